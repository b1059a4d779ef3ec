"""The stand-in API for tests: a real server in a child process, scripted and asked over its control endpoint.

    with simulated_api(tmp_path, latency="20ms") as api:
        api.fault("529", times=1)
        client = anthropic.Anthropic(base_url=api.base_url, api_key=api.api_key, max_retries=0)
        ...
        assert api.accounts()["requests"] == 1

Starting one takes about a second, so the tests of a file share one: the fixture `api` of `conftest`, clean before each
test, started with what `api_options` says.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from runner.simulator import Controls, Latency, Options, Running, launch
from runner.simulator.accounts import Accounts

ENDED_WITHIN_S = 30.0
"""How long the stand-in may take to write the answers of batches that were told to end."""


@dataclass(frozen=True, slots=True)
class SimulatedApi:
    """A running stand-in. `environ` points the SDK at it; `state` is the folder of its books."""

    running: Running

    @property
    def base_url(self) -> str:
        return self.running.base_url

    @property
    def api_key(self) -> str:
        return self.running.api_key

    @property
    def state(self) -> Path:
        return self.running.state

    @property
    def environ(self) -> dict[str, str]:
        return self.running.environ

    @property
    def controls(self) -> Controls:
        return self.running.controls

    def fault(self, kind: str, **rule: Any) -> None:
        """Script a fault, narrowed by nth, text, rate, times …: see `runner.simulator.faults.Rule`."""
        self.controls.fault(kind, **rule)

    def clear_faults(self) -> None:
        self.controls.clear_faults()

    def accounts(self) -> dict[str, Any]:
        """Totals of everything billed: see `runner.simulator.accounts.Accounts.totals`."""
        return self.controls.accounts()

    def requests(self) -> list[dict[str, Any]]:
        """Every billed request, in order."""
        return self.controls.requests()

    def counts(self) -> dict[str, int]:
        """How often each request was billed, by the stand-in's own hash of it."""
        return self.controls.counts()

    def traffic(self) -> dict[str, Any]:
        """received, in_flight, max_in_flight, by_status."""
        return self.controls.traffic()

    def batches(self) -> list[dict[str, Any]]:
        """Every batch that was bought, with its object as it stands: see `runner.simulator.Controls.batches`."""
        return self.controls.batches()

    def uploads(self) -> list[dict[str, Any]]:
        """Every upload that was accepted, in order: see `runner.simulator.Controls.uploads`."""
        return self.controls.uploads()

    def end_batches(self, batch_id: str | None = None) -> int:
        """End a batch at once, a stuck one too; all that are open, where none is named. The answers are written by
        then, so that the next look finds them."""
        ended = self.controls.end_batches(batch_id)
        give_up = time.monotonic() + ENDED_WITHIN_S
        while self._under_way(batch_id):
            assert time.monotonic() < give_up, "a batch was told to end and has not"
            time.sleep(0.01)
        return ended

    def _under_way(self, batch_id: str | None) -> bool:
        told = [bought["batch"] for bought in self.batches() if "batch" in bought]
        return any(batch["processing_status"] != "ended" for batch in told if batch_id in (None, batch["id"]))

    def advance(self, seconds: float) -> None:
        """Turn the stand-in's clock forward."""
        self.controls.advance(seconds)

    def reset(self) -> None:
        """Forget faults, cache, limits, batches, files and accounts."""
        self.controls.reset()

    @contextmanager
    def clean(self) -> Iterator[None]:
        """For one test of those that share it: as if it had just been started. Its clock is turned back afterwards."""
        self.reset()
        before_s = self._ahead_s()
        try:
            yield
        finally:
            if turned_s := self._ahead_s() - before_s:
                self.advance(-turned_s)

    def _ahead_s(self) -> float:
        books = apsw.Connection(str(self.state / "accounts.db"), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            return float(next(iter(books.execute("SELECT coalesce(max(ahead_s), 0.0) FROM clock")))[0])
        finally:
            books.close()


@contextmanager
def simulated_api(folder: Path, **options: Any) -> Iterator[SimulatedApi]:
    """Start a stand-in with its state in `folder`/simulator. `options` are those of `runner.simulator.Options`.

    `latency` and `batch_latency` may be text ("20ms", "lognormal:50ms"), `faults` a mapping of kind to rate.
    """
    for name in ("latency", "batch_latency"):
        if isinstance(options.get(name), str):
            options[name] = Latency.parse(options[name])
    if isinstance(options.get("faults"), dict):
        options["faults"] = tuple(options["faults"].items())
    with launch(Options(state=folder / "simulator", **options)) as running:
        yield SimulatedApi(running)


def billed_after_the_end(api: SimulatedApi) -> dict[str, Any]:
    """The totals of a stand-in that has ended, or was killed, read from its folder."""
    books = Accounts(api.state)
    try:
        return books.totals()
    finally:
        books.close()
