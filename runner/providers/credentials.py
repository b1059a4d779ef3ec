"""Where credentials and the API's address come from: the SDK's own names and order, read from a given environment.

Owns   the search, and the message that lists every place that was looked in. Imports no SDK, so `doctor` can ask as
       well.
Knows  names and shapes of credentials only; using one is the transports' (`providers.transport`).

Invariants
  * A blank credential is none: an unset variable of a CI system often arrives as an empty string.
  * No representation of these values shows a secret.
  * Credentials never travel in the clear beyond this machine, unless a proxy for http is named in the environment.

Source: SDK 2.12 `_client.py` (`AsyncAnthropic.__init__`: the order) and `lib/credentials/_constants.py` (the names).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from runner.errors import SetupError

DEFAULT_ADDRESS = "https://api.anthropic.com"

CredentialKind = Literal["api_key", "auth_token", "profile", "federation", "headers"]

_STATIC: tuple[tuple[CredentialKind, str], ...] = (
    ("api_key", "ANTHROPIC_API_KEY"),
    ("auth_token", "ANTHROPIC_AUTH_TOKEN"),
)
_CARRIERS = frozenset({"authorization", "x-api-key"})
"""Headers that are a credential by themselves."""


@dataclass(frozen=True, slots=True)
class Federation:
    """Workload identity: an identity token is exchanged for an access token under a rule of an organisation."""

    rule_id: str
    organization_id: str
    token: str | None = field(repr=False)
    token_file: str | None
    service_account_id: str | None
    workspace_id: str | None
    scope: str | None


@dataclass(frozen=True, slots=True)
class Credentials:
    """One credential and what goes with it. `value` is the key, the token or the profile's name; `address` None
    leaves the choice to the profile, else to the SDK's default."""

    kind: CredentialKind
    value: str = field(repr=False)
    address: str | None
    headers: Mapping[str, str] = field(repr=False)
    federation: Federation | None = None
    workspace: str | None = None

    @property
    def secrets(self) -> tuple[str, ...]:
        """Texts that must never be shown."""
        values = [*self.headers.values()]
        if self.kind in {"api_key", "auth_token"}:
            values.append(self.value)
        if self.federation is not None and self.federation.token:
            values.append(self.federation.token)
        return tuple(value for value in values if len(value) >= _MIN_SECRET)


_MIN_SECRET = 6
"""Characters; replacing shorter header values (`1`, `true`) in messages would only garble them."""


def find_credentials(environ: Mapping[str, str], home: Path | None = None) -> Credentials:
    """Find the credential as the SDK would in this environment.

    Raises SetupError: there is none (every place is listed), it cannot be a header, or the address is not safe.
    """
    headers = parse_custom_headers(environ.get("ANTHROPIC_CUSTOM_HEADERS", ""))
    address = _present(environ, "ANTHROPIC_BASE_URL")
    if address is not None:
        check_address(address)
    config_dir = _config_dir(environ, home)
    for kind, name in _STATIC:
        value = _present(environ, name)
        if value is not None:
            _check_header_value(name, value)
            return Credentials(kind, value, address or DEFAULT_ADDRESS, headers)
    profile = _present(environ, "ANTHROPIC_PROFILE")
    if profile is not None:
        return Credentials("profile", profile, address, headers)
    federation = _federation(environ)
    if federation is not None:
        return Credentials("federation", "", address or DEFAULT_ADDRESS, headers, federation, federation.workspace_id)
    profile = _active_profile(config_dir)
    if (config_dir / "configs" / f"{profile}.json").is_file():
        return Credentials("profile", profile, address, headers)
    if any(name.lower() in _CARRIERS for name in headers):
        return Credentials("headers", "", address or DEFAULT_ADDRESS, headers)
    raise SetupError(
        "no credential for the Anthropic API was found; looked for, in this order:\n"
        + "\n".join(f"  - {place}" for place in _places(environ, config_dir, profile)),
        code="no-credentials",
        hint="set ANTHROPIC_API_KEY in the environment or in the project's .env file, or try the job with --simulate",
    )


def address_of(environ: Mapping[str, str]) -> str:
    """Which API this environment leads to, as a run remembers it; needs no credential. A profile that brings its own
    address is named instead of it."""
    address = _present(environ, "ANTHROPIC_BASE_URL")
    profile = _present(environ, "ANTHROPIC_PROFILE")
    if address is None and profile is not None:
        return f"profile {profile}"
    return (address or DEFAULT_ADDRESS).rstrip("/")


def check_address(address: str) -> None:
    """Raise SetupError unless the address is https, or http to this machine."""
    parts = urlsplit(address)
    if parts.username is not None:
        raise SetupError(
            f"the API's address holds a user name, which the key would be at odds with: {_without_password(address)!r}",
            code="unsafe-address",
            hint="take the part before the @ out of ANTHROPIC_BASE_URL",
        )
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme == "http" and parts.hostname and _is_loopback(parts.hostname):
        return
    raise SetupError(
        f"the API's address must be https (http only on this machine), but is {_without_password(address)!r}",
        code="unsafe-address",
        hint="set ANTHROPIC_BASE_URL to an https:// address, or unset it",
    )


def parse_custom_headers(text: str) -> dict[str, str]:
    """Read `ANTHROPIC_CUSTOM_HEADERS`: a `Name: value` a line; lines without a colon are passed over, as the SDK
    does."""
    pairs = (line.partition(":") for line in text.split("\n"))
    return {name.strip(): value.strip() for name, colon, value in pairs if colon and name.strip()}


def _present(environ: Mapping[str, str], name: str) -> str | None:
    value = environ.get(name, "")
    return value if value.strip() else None


def _check_header_value(name: str, value: str) -> None:
    if not all("!" <= character <= "~" for character in value):
        raise SetupError(
            f"{name} holds a space, a line break or another character that no credential has",
            code="bad-credential",
            hint="set it again, without quotes and without what a copy may have brought along",
        )


def _federation(environ: Mapping[str, str]) -> Federation | None:
    rule_id = _present(environ, "ANTHROPIC_FEDERATION_RULE_ID")
    organization_id = _present(environ, "ANTHROPIC_ORGANIZATION_ID")
    token = _present(environ, "ANTHROPIC_IDENTITY_TOKEN")
    token_file = _present(environ, "ANTHROPIC_IDENTITY_TOKEN_FILE")
    if rule_id is None or organization_id is None or (token is None and token_file is None):
        return None
    return Federation(
        rule_id,
        organization_id,
        token,
        token_file,
        _present(environ, "ANTHROPIC_SERVICE_ACCOUNT_ID"),
        _present(environ, "ANTHROPIC_WORKSPACE_ID"),
        _present(environ, "ANTHROPIC_SCOPE"),
    )


def _config_dir(environ: Mapping[str, str], home: Path | None) -> Path:
    named = _present(environ, "ANTHROPIC_CONFIG_DIR")
    return Path(named) if named else (home or Path.home()) / ".config" / "anthropic"


def _active_profile(config_dir: Path) -> str:
    try:
        name = (config_dir / "active_config").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        name = ""
    return name or "default"


def _places(environ: Mapping[str, str], config_dir: Path, profile: str) -> list[str]:
    def variable(name: str) -> str:
        return f"{name} (set, but blank)" if name in environ and not environ[name].strip() else f"{name} (not set)"

    return [
        variable("ANTHROPIC_API_KEY"),
        variable("ANTHROPIC_AUTH_TOKEN"),
        variable("ANTHROPIC_PROFILE"),
        "ANTHROPIC_FEDERATION_RULE_ID, ANTHROPIC_ORGANIZATION_ID and ANTHROPIC_IDENTITY_TOKEN[_FILE] (not all set)",
        f"the profile {profile!r} in {config_dir} (no such file)",
        "a credential among ANTHROPIC_CUSTOM_HEADERS (none)",
    ]


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _without_password(address: str) -> str:
    scheme, separator, rest = address.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}" if separator else address
