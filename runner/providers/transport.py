"""Which transport carries the requests: the one place that chooses.

Owns   the choice between the SDK's client and connections of our own (docs/decisions/0011), and its reason in words.
Knows  the kinds of credentials and the setting. The transports are named, not imported: the SDK takes a second to
       import, so only a run that sends through it pays for it.

A credential that does not change can be a header that is made once; whatever has to be fetched or renewed (a profile's
login, workload identity) is the SDK's trade.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, cast

from msgspec import Struct

from runner.clock import Clock
from runner.errors import SetupError
from runner.plugins import Plugin
from runner.providers import Provider
from runner.providers.credentials import Credentials, find_credentials

Transport = Literal["sdk", "wire"]
TransportSetting = Literal["auto", "sdk", "wire"]

_CLASSES: Mapping[Transport, str] = {
    "sdk": "runner.providers.anthropic:AnthropicProvider",
    "wire": "runner.providers.wire:WireProvider",
}

_STATIC = {
    "api_key": "ANTHROPIC_API_KEY does not change",
    "auth_token": "ANTHROPIC_AUTH_TOKEN does not change",
    "headers": "the credential among ANTHROPIC_CUSTOM_HEADERS does not change",
}
_RENEWED = {
    "profile": "a profile's login is renewed by the SDK",
    "federation": "workload identity is exchanged by the SDK",
}


class Choice(Struct, frozen=True):
    transport: Transport
    why: str


def choose(credentials: Credentials, setting: str) -> Choice:
    """Choose by the credential and the setting. Raises SetupError where the setting asks for what cannot be."""
    static = _STATIC.get(credentials.kind)
    if setting == "sdk":
        return Choice("sdk", "the setting `transport` says so")
    if static is not None:
        return Choice("wire", "the setting `transport` says so" if setting == "wire" else static)
    why = _RENEWED[credentials.kind]
    if setting == "wire":
        raise SetupError(
            f"`transport: wire` needs a credential that does not change, but {why}",
            code="bad-transport",
            hint="set `transport` to auto or sdk, or ANTHROPIC_API_KEY to a key",
        )
    return Choice("sdk", why)


class AnthropicTransport:
    """What a job's provider `anthropic` is made by."""

    @staticmethod
    def connect(
        environ: Mapping[str, str], *, max_concurrency: int, clock: Clock | None = None, transport: str = "auto"
    ) -> Provider:
        """Make a provider of the transport that `choose` says, on the loop that will send. Raises SetupError."""
        chosen = choose(find_credentials(environ), transport).transport
        plugin = Plugin("provider", "anthropic", "runner.providers.options:AnthropicOptions", _CLASSES[chosen])
        made = plugin.load().connect(environ, max_concurrency=max_concurrency, clock=clock)
        return cast(Provider, made)
