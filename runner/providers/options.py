"""What all providers say of themselves before a client is made: options, offers, and what is missing. Light: no SDK.

Owns   the contract of a provider's `Options`, and those of Anthropic's own API. The platforms' are `platform_options`.
Knows  nothing of a client. A third party's provider has an `Options` class of the same shape: a subclass of
       `ProviderOptions`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from typing import ClassVar

from msgspec import Struct, field
from pydantic import BaseModel, ConfigDict, Field

from runner.errors import SetupError
from runner.providers.credentials import address_of, find_credentials
from runner.providers.transport import choose

DISTRIBUTION = "rowrunner"
"""What install hints name; a test holds it to the project's own name."""


class Offers(Struct, frozen=True):
    """What a provider has.

    `refused_params`: parameters that its API does not take, with the reason. `files`: it has the Files API.
    `urls`: it takes images and documents by their URL. `prices`: whose hold, by the name that `genai-prices` has for
    them.
    """

    batches: bool = True
    count_tokens: bool = True
    models: bool = True
    files: bool = True
    urls: bool = True
    refused_params: Mapping[str, str] = field(default_factory=dict)
    prices: str = "anthropic"


class Missing(Struct, frozen=True):
    """Something that a run would need on this machine, and the cure."""

    code: str
    what: str
    hint: str


class ProviderOptions(BaseModel):
    """What all providers have in common. `label` is the platform's own name."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    label: ClassVar[str] = "the provider"
    offers: ClassVar[Offers] = Offers(batches=False, count_tokens=False, models=False)
    extra: ClassVar[str | None] = None
    """The extra of this distribution that brings what the SDK's client needs."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Modules that come with the extra."""

    base_url: str | None = Field(
        None, min_length=1, description="Another address than the platform's own: a gateway, or a private endpoint."
    )

    def address(self, environ: Mapping[str, str]) -> str:
        """Which API a run belongs to, without a credential. Raises SetupError where it cannot be known."""
        raise NotImplementedError

    def missing(self, environ: Mapping[str, str]) -> Iterator[Missing]:  # noqa: ARG002 - the contract
        """What a run would need and does not find; asks no network."""
        yield from self._missing_extra()

    def owner(self, environ: Mapping[str, str]) -> tuple[str, ...] | None:  # noqa: ARG002 - the contract
        """Whose limits its requests meet; None where that cannot be known."""
        return ()

    @classmethod
    def naming(cls, model: str) -> str | None:  # noqa: ARG003 - the contract
        """A hint where a model's name cannot be one of this platform's."""
        return None

    def price_factor(self, environ: Mapping[str, str]) -> tuple[int, int]:  # noqa: ARG002 - the contract
        """By how much its prices are above the list, as a fraction."""
        return 1, 1

    def _missing_extra(self) -> Iterator[Missing]:
        absent = [name for name in self.needs if not _is_installed(name)]
        if absent:
            hint = f'pip install "{DISTRIBUTION}[{self.extra}]"'
            yield Missing("missing-extra", f"{self.label} needs {' and '.join(absent)}, not installed here", hint)


def require(options: ProviderOptions, environ: Mapping[str, str]) -> None:
    """Raise SetupError for the first thing that is missing."""
    for missing in options.missing(environ):
        raise SetupError(missing.what, code=missing.code, hint=missing.hint)


class AnthropicOptions(ProviderOptions):
    """Anthropic's own API: all comes from the environment."""

    label: ClassVar[str] = "Anthropic's API"
    offers: ClassVar[Offers] = Offers()

    base_url: None = Field(None, description="Set `ANTHROPIC_BASE_URL` instead: it goes with the credential.")

    def address(self, environ: Mapping[str, str]) -> str:
        return address_of(environ)

    def missing(self, environ: Mapping[str, str]) -> Iterator[Missing]:
        try:
            choose(find_credentials(environ), "auto")
        except SetupError as error:
            yield Missing(error.code, error.message, error.hint or "")


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of a package above it
        return False
