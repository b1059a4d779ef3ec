"""The programs that send one dataset: runner, and the loops it is held against. Each runs as a child, whole.

Owns   how each is called, what counts as having done it, and the raw figures of a run.
Knows  projects and servers; nothing of what is made of the figures.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.children import Used, own_peak_bytes, run
from benchmarks.peers.environments import Installed
from benchmarks.project import Project
from benchmarks.servers import Seen


@dataclass(frozen=True, slots=True)
class Done:
    """One run of a program over `rows` rows."""

    program: str
    rows: int
    in_flight: int
    used: Used
    seen: Seen
    lost: int = 0

    @property
    def rows_per_s(self) -> float:
        """Of the whole program, start-up and end included."""
        return self.rows / self.used.wall_s

    @property
    def served_per_s(self) -> float:
        """From the first request to the last reply, as the server saw them."""
        return self.rows / self.seen.served_s

    @property
    def cpu_ms(self) -> float:
        """Of the whole program, a row."""
        return 1_000 * self.used.cpu_s / self.rows

    @property
    def first_request_s(self) -> float:
        """From the start of the program to its first request; of a server that can tell."""
        assert self.seen.first_at is not None
        return self.seen.first_at - self.used.started_at

    def raw(self, **more: Any) -> dict[str, Any]:
        """What is kept of it."""
        used = {name: round(value, 4) for name, value in asdict(self.used).items() if name in ("wall_s", "cpu_s")}
        seen = {name: value for name, value in asdict(self.seen).items() if name not in ("first_at", "laps")}
        seen["served_s"] = round(self.seen.served_s, 4)
        about = {"program": self.program, "rows": self.rows, "in_flight": self.in_flight, "lost": self.lost}
        return {**more, **about, **used, "peak_bytes": self.used.peak_bytes, **seen}


Program = Callable[[Project, int, int], Done]
"""Sends the project's rows, so many in flight: (project, rows, in flight)."""

JOB = "jobs/bench.yaml"
PEER_TIMEOUT_S = 300.0
"""A peer that takes longer is left out."""


def runner(bench: Project, rows: int, in_flight: int) -> Done:
    """`runner run`, from nothing."""
    used, summary = bench.run(JOB, "--set", f"limits.max_concurrency={in_flight}")
    assert summary["rows"]["succeeded"] == rows, summary
    return _done("runner run", bench, rows, in_flight, used)


def bare_loop(bench: Project, rows: int, in_flight: int) -> Done:
    return _loop("aiohttp + uvloop + orjson", ["benchmarks.bare_loop"], bench, rows, in_flight)


def sdk_loop(bench: Project, rows: int, in_flight: int) -> Done:
    return _loop("the SDK's default", ["benchmarks.sdk_loop"], bench, rows, in_flight)


def sdk_aiohttp_loop(bench: Project, rows: int, in_flight: int) -> Done:
    return _loop("the SDK's aiohttp", ["benchmarks.sdk_loop", "aiohttp"], bench, rows, in_flight)


NAMES: Mapping[str, str] = {
    "runner run": "`runner run`",
    "aiohttp + uvloop + orjson": "a bare loop: aiohttp, uvloop, orjson",
    "the SDK's default": "a loop over the SDK",
    "the SDK's aiohttp": "a loop over the SDK with `DefaultAioHttpClient`",
}
"""As tables have them."""


def _loop(name: str, module: Sequence[str], bench: Project, rows: int, in_flight: int) -> Done:
    bench.clear()
    command = (sys.executable, "-m", module[0], *_paths(bench), str(in_flight), *module[1:])
    used = run(command, cwd=bench.root, environ=bench.server.environ)
    lost = json.loads(used.stdout)["lost"] if used.stdout else 0
    return _done(name, bench, rows, in_flight, used, lost)


def _paths(bench: Project) -> list[str]:
    """Rows, shared block, output: the first arguments of every loop."""
    return [str(bench.root / path) for path in ("data/rows.csv", "templates/system.md.j2", "out/loop.jsonl")]


def driven(installed: Installed) -> Program:
    """A peer, by its driver and in its own environment. Its home is the project's, so that nothing it kept helps it."""

    def program(bench: Project, rows: int, in_flight: int) -> Done:
        bench.clear()
        home = bench.root / "home"
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir()
        command = (str(installed.python), "-m", f"benchmarks.peers.{installed.peer.module}", *_paths(bench))
        used = run(
            (*command, str(in_flight)),
            cwd=bench.root,
            environ={**bench.server.environ, "HOME": str(home)},
            timeout_s=PEER_TIMEOUT_S,
        )
        lost = json.loads(used.stdout.strip().splitlines()[-1])["lost"]
        return _done(installed.peer.distribution, bench, rows, in_flight, used, lost)

    return program


def _done(name: str, bench: Project, rows: int, in_flight: int, used: Used, lost: int = 0) -> Done:
    seen = bench.server.seen()
    assert seen.succeeded >= rows - lost, f"{name} had {seen.succeeded:,} replies for {rows:,} rows"
    assert used.peak_bytes > own_peak_bytes(), "this could be the measuring process's own peak"
    return Done(name, rows, in_flight, used, seen, lost)


def medians(runs: Iterable[Done], figure: Callable[[Done], float]) -> float:
    return statistics.median(map(figure, runs))


def figures(runs: Iterable[Done], figure: Callable[[Done], float]) -> list[float]:
    return [figure(one) for one in runs]
