"""Which API a command talks to: the user's, or the stand-in that it starts for itself.

Owns   the address and whether answers are simulated; starting and ending the stand-in around a command (decision 13).
Knows  providers by name. Credentials stay inside the environment mapping and the provider made from it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from runner.clock import Clock
from runner.encoding import encode
from runner.plugins import find_provider
from runner.providers import Provider
from runner.providers.credentials import address_of, find_credentials
from runner.providers.transport import choose
from runner.simulator import Options, launch

__all__ = ["SIMULATOR", "Api", "address_of", "reach"]

SIMULATOR = "simulator"
"""Stands for the address of a stand-in that a command starts for itself: its port changes, its answers do not."""


@dataclass(frozen=True, slots=True)
class Api:
    """Where requests go. `address` names it in a run's line; `environ` is what the provider finds its credential in,
    `transport` is the setting."""

    address: str
    simulated: bool
    environ: Mapping[str, str]
    transport: str = "auto"

    @property
    def files_owner(self) -> bytes:
        """A digest of whose files an upload becomes: the API and the credential. Raises SetupError without one."""
        if self.simulated:
            return hashlib.sha256(self.address.encode()).digest()
        found, rule = find_credentials(self.environ), None
        if found.federation is not None:
            rule = [found.federation.organization_id, found.federation.rule_id, found.federation.service_account_id]
        parts = [self.address, found.kind, found.value, found.workspace, rule]
        return hashlib.sha256(encode([*parts, dict(sorted(found.headers.items()))])).digest()

    def require_credential(self) -> None:
        """Raise SetupError where there is no usable credential: before a run is made that could not send."""
        choose(find_credentials(self.environ), self.transport)

    @property
    def offers_batches(self) -> bool:
        """Whether batches can be had there; asked before the SDK is loaded, so it is said here of what is built in."""
        return True

    def connect(self, *, max_concurrency: int, clock: Clock) -> Provider:
        """Make the provider, on the loop that will use it. Raises SetupError where there is no usable credential."""
        kind = find_provider("anthropic").load()
        provider: Provider = kind.connect(
            self.environ, max_concurrency=max_concurrency, clock=clock, transport=self.transport
        )
        return provider


@contextmanager
def reach(
    environ: Mapping[str, str], *, simulate: bool, simulator_state: Path, transport: str = "auto"
) -> Iterator[Api]:
    """The API for one command. With `simulate` a stand-in runs as long as the command, and never gets a real key."""
    if not simulate:
        yield Api(address_of(environ), False, environ, transport)
        return
    simulator_state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with launch(Options(state=simulator_state)) as running:
        yield Api(SIMULATOR, True, running.environ, transport)
