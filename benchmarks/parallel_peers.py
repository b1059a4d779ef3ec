"""Runner beside what people use: loops over the SDK, and public runners, each in an environment of its own.

Two questions, both with 200 in flight and replies that take 200 ms: how fast from a cold start, and what happens at a
limit of 3,000 requests a minute that nobody is told of. All against the stand-in. A peer that cannot be installed or
does not run is left out with a line that says why.
"""

from __future__ import annotations

import importlib.metadata
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.peers import PEERS
from benchmarks.peers.environments import install
from benchmarks.programs import (
    NAMES,
    Done,
    Program,
    bare_loop,
    driven,
    figures,
    medians,
    runner,
    sdk_aiohttp_loop,
    sdk_loop,
)
from benchmarks.project import ROW_TOKENS, SYSTEM_TOKENS, Project, project, projects_by_size, write_bench_job
from benchmarks.results import Section, spread, table
from benchmarks.servers import StandIn
from runner.simulator import Latency

IN_FLIGHT = 200
LATENCY_S = 0.2
REQUESTS_A_MINUTE = 3_000
BUCKET_S = 1.0
LIMITED_ROWS = 600


@dataclass(frozen=True, slots=True)
class Contender:
    """A program with its version and how many rows it gets; `limited` says whether it is also tried at the limit."""

    program: Program
    version: str
    rows: int
    limited: bool = True


@dataclass(frozen=True, slots=True)
class Run:
    done: Done
    cache_writes: int
    wrote_nothing: bool
    """No request wrote to the cache or read from it: nothing was marked."""


def measure(quick: bool) -> Section:
    """The cold fan-out in turns, then everybody once at the limit."""
    rows, turns, limited_rows = (100, 1, 100) if quick else (2_000, 5, LIMITED_ROWS)
    sdk = importlib.metadata.version("anthropic")
    contenders = [
        Contender(runner, importlib.metadata.version("rowrunner"), rows),
        Contender(sdk_loop, f"anthropic {sdk}", rows),
    ]
    left_out: list[str] = []
    if not quick:
        contenders += [
            Contender(sdk_aiohttp_loop, f"anthropic {sdk}", rows),
            Contender(bare_loop, f"aiohttp {importlib.metadata.version('aiohttp')}", rows, limited=False),
            *_peers(left_out),
        ]
    raw: list[dict[str, Any]] = []
    singles, runs = _fan_out(contenders, turns, raw)
    limited = _at_the_limit([one for one in contenders if one.limited], limited_rows, raw, left_out)
    lines = [
        f"Rows of about {ROW_TOKENS} tokens behind a cached block of {SYSTEM_TOKENS:,}, {IN_FLIGHT} in flight,",
        f"{1000 * LATENCY_S:.0f} ms of latency (ideal {IN_FLIGHT / LATENCY_S:,.0f} rows a second), from a cold cache;",
        f"{turns} turns. *Served* is from the first request to the last reply; CPU a row is without what a single row",
        "takes, which stands beside it.",
        "",
        *table(
            (
                "",
                "version",
                "rows",
                "served, rows a second",
                "CPU a row, ms",
                "single row, CPU s",
                "cache writes",
                "wall, s",
            ),
            [_fan_out_row(one, runs[one], singles[one]) for one in contenders],
        ),
        "",
        f"At a limit of {REQUESTS_A_MINUTE:,} requests a minute that nobody is told of, {BUCKET_S:g} s' worth of it at",
        f"once; {limited_rows:,} rows ({60 * limited_rows / REQUESTS_A_MINUTE:.0f} s at the limit), once:",
        "",
        *table(
            ("", "429s a row", "rows lost", "served, s"),
            [
                (
                    NAMES.get(one.program, one.program),
                    f"{one.seen.refused / one.rows:.3f}",
                    f"{one.lost / one.rows:.1%}",
                    f"{one.seen.served_s:.1f}",
                )
                for one in limited
            ],
        ),
        *(["", *left_out] if left_out else []),
    ]
    return Section("Peers", lines, raw)


def _peers(left_out: list[str]) -> Iterator[Contender]:
    for peer in PEERS:
        print(f"  installing {peer.distribution} …", flush=True)
        installed = install(peer)
        if isinstance(installed, str):
            left_out.append(f"{installed}.")
            continue
        program = driven(installed)
        try:
            with project() as bench:
                write_bench_job(bench, 20)
                program(bench, 20, IN_FLIGHT)  # unmeasured: byte code is written
        except (AssertionError, RuntimeError) as error:
            left_out.append(
                f"{peer.distribution} {installed.version} is left out, it did not run: {_last_line(error)}."
            )
            continue
        yield Contender(program, f"{peer.distribution} {installed.version}", peer.rows)


def _fan_out(
    contenders: Sequence[Contender], turns: int, raw: list[dict[str, Any]]
) -> tuple[Mapping[Contender, float], Mapping[Contender, Sequence[Run]]]:
    """The CPU seconds of a single row, and the runs, by contender."""
    runs: dict[Contender, list[Run]] = {one: [] for one in contenders}
    singles: dict[Contender, float] = {}
    sizes = [1, *(one.rows for one in contenders)]
    with project(latency=Latency(LATENCY_S)) as bench, projects_by_size(bench, sizes) as places:
        for one in contenders:
            singles[one] = one.program(places[1], 1, IN_FLIGHT).used.cpu_s
        for turn in range(turns):
            for one in contenders:
                place = places[one.rows]
                done = one.program(place, one.rows, IN_FLIGHT)
                writes, cached = _cache(place)
                runs[one].append(Run(done, writes, cached == 0))
                raw.append(done.raw(what="fan-out", turn=turn, version=one.version, cache_writes=writes))
    return singles, runs


def _at_the_limit(
    contenders: Sequence[Contender], rows: int, raw: list[dict[str, Any]], left_out: list[str]
) -> list[Done]:
    found = []
    for one in contenders:
        key = f"bench-{secrets.token_hex(8)}"
        options = {"rpm": REQUESTS_A_MINUTE, "burst_s": BUCKET_S, "key": key}
        with project(latency=Latency(LATENCY_S), **options) as bench:
            write_bench_job(bench, rows)
            try:
                done = one.program(bench, rows, IN_FLIGHT)
            except (AssertionError, RuntimeError) as error:
                left_out.append(f"{one.version}: at the limit it did not end as it should: {_last_line(error)}.")
                continue
            found.append(done)
            raw.append(done.raw(what="limit", version=one.version))
    return found


def _cache(bench: Project) -> tuple[int, int]:
    """How many requests wrote to the cache, and how many tokens were written or read."""
    assert isinstance(bench.server, StandIn)
    written = "ephemeral_5m_input_tokens + ephemeral_1h_input_tokens"
    writes, tokens = bench.server.query(
        f"SELECT sum({written} > 0), sum({written} + cache_read_input_tokens) FROM billed"
    )[0]
    return writes, tokens


def _fan_out_row(one: Contender, runs: Sequence[Run], single_cpu_s: float) -> tuple[str, ...]:
    done = [run.done for run in runs]
    marked = not all(run.wrote_nothing for run in runs)
    name = done[0].program
    return (
        NAMES.get(name, name),
        one.version,
        f"{one.rows:,}",
        spread(figures(done, lambda each: each.served_per_s), 0),
        f"{1000 * (medians(done, lambda each: each.used.cpu_s) - single_cpu_s) / one.rows:.2f}",
        f"{single_cpu_s:.1f}",
        spread([run.cache_writes for run in runs], 0) if marked else "no mark",
        spread(figures(done, lambda each: each.used.wall_s), 1),
    )


def _last_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__
