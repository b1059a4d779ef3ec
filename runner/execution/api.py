"""Which API a command talks to: the user's, or the stand-in that it starts for itself.

Owns   the address and whether answers are simulated; starting and ending the stand-in around a command
       (docs/decisions/0003).
Knows  providers by name. Credentials stay inside the environment mapping and the provider made from it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from runner.clock import Clock
from runner.deferred import deferred
from runner.encoding import encode
from runner.errors import Problem, SetupError, SpecError
from runner.plugins import find_provider
from runner.providers import Provider
from runner.providers.credentials import address_of, find_credentials, parse_custom_headers
from runner.providers.options import Offers, ProviderOptions, require
from runner.providers.transport import choose
from runner.spec.job import ProviderSpec

if TYPE_CHECKING:
    from runner import simulator
else:
    simulator = deferred("runner.simulator")  # 13 ms

__all__ = ["SIMULATOR", "Api", "address_for", "address_of", "options_of", "reach"]

ANTHROPIC = ProviderSpec()

SIMULATOR = "simulator"
"""Stands for the address of a stand-in that a command starts for itself: its port changes, its answers do not."""


@dataclass(frozen=True, slots=True)
class Api:
    """Where requests go. `address` names it in a run's line; `environ` is what the provider finds its credential in,
    `transport` is the setting, `served_by` the job's provider."""

    address: str
    simulated: bool
    environ: Mapping[str, str] = field(repr=False)
    transport: str = "auto"
    served_by: ProviderSpec = ANTHROPIC

    @property
    def files_owner(self) -> bytes:
        """A digest of whose files an upload becomes: the API and the credential. Raises SetupError without one."""
        if self.simulated:
            return hashlib.sha256(self.address.encode()).digest()
        if not self.is_own:
            return hashlib.sha256(encode([self.address, *(self.options.owner(self.environ) or ())])).digest()
        found, rule = find_credentials(self.environ), None
        if found.federation is not None:
            rule = [found.federation.organization_id, found.federation.rule_id, found.federation.service_account_id]
        parts = [self.address, found.kind, found.value, found.workspace, rule]
        return hashlib.sha256(encode([*parts, dict(sorted(found.headers.items()))])).digest()

    @property
    def betas(self) -> tuple[str, ...]:
        """Those that the environment has every request carry, in one order. The model may answer otherwise with them,
        and no request's identity has them."""
        if self.simulated:
            return ()
        headers = parse_custom_headers(self.environ.get("ANTHROPIC_CUSTOM_HEADERS", ""))
        named = (value for name, value in headers.items() if name.lower() == "anthropic-beta")
        return tuple(sorted({beta for value in named for beta in map(str.strip, value.split(",")) if beta}))

    def require_credential(self) -> None:
        """Raise SetupError where there is no usable credential: before a run is made that could not send."""
        if self.is_own:
            choose(find_credentials(self.environ), self.transport)
            return
        if self.transport == "wire":
            raise SetupError(
                f"`transport: wire` leads to Anthropic's own API alone; this job's provider is `{self.served_by.name}`",
                code="bad-transport",
                hint="set `transport` to auto or sdk",
            )
        require(self.options, self.environ)

    @property
    def is_own(self) -> bool:
        """Whether it is Anthropic's own API, or what stands in for it."""
        return self.served_by.name == ANTHROPIC.name

    @property
    def options(self) -> ProviderOptions:
        return options_of(self.served_by)

    @property
    def offers(self) -> Offers:
        """What can be had there; asked before the SDK is loaded."""
        return self.options.offers

    @property
    def offers_batches(self) -> bool:
        return self.offers.batches

    def connect(self, *, max_concurrency: int, clock: Clock) -> Provider:
        """Make the provider, on the loop that will use it. Raises SetupError where there is no usable credential."""
        kind = find_provider(self.served_by.name).load()
        provider: Provider
        if self.is_own:
            provider = kind.connect(
                self.environ, max_concurrency=max_concurrency, clock=clock, transport=self.transport
            )
        else:
            provider = kind.connect_with(self.environ, self.options, max_concurrency=max_concurrency, clock=clock)
        return provider


def options_of(served_by: ProviderSpec) -> ProviderOptions:
    """The options of a job's provider. Raises SpecError for one that is not installed (any more)."""
    model = find_provider(served_by.name).options()
    if not issubclass(model, ProviderOptions):
        message = f"the options of the provider {served_by.name!r} are no `ProviderOptions`"
        raise SpecError([Problem("broken-plugin", message, hint="see `runner.providers.options`")])
    try:
        return model(**served_by.given)
    except ValidationError as error:
        (first, *_) = error.errors()
        message = f"the provider {served_by.name!r} does not take {'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise SpecError([Problem("bad-value", message)]) from error


def address_for(served_by: ProviderSpec, environ: Mapping[str, str]) -> str:
    """Which API a run belongs to, as its line remembers it: a platform's is never that of another, whatever gateway
    leads to both. Needs no credential. Raises SetupError where a region or a project is not named."""
    address = options_of(served_by).address(environ)
    return address if served_by.name == ANTHROPIC.name else f"{served_by.name}+{address}"


def cache_address(served_by: ProviderSpec, environ: Mapping[str, str]) -> str:
    """The same, for what is kept of an API's models: some name even where it cannot be known."""
    try:
        return address_for(served_by, environ)
    except SetupError:
        return served_by.name


@contextmanager
def reach(
    environ: Mapping[str, str],
    *,
    simulate: bool,
    simulator_state: Path,
    transport: str = "auto",
    served_by: ProviderSpec = ANTHROPIC,
) -> Iterator[Api]:
    """The API for one command. With `simulate` a stand-in runs as long as the command, and never gets a real key."""
    if not simulate:
        yield Api(address_for(served_by, environ), False, environ, transport, served_by)
        return
    simulator_state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with simulator.launch(simulator.Options(state=simulator_state)) as running:
        yield Api(SIMULATOR, True, running.environ, transport)
