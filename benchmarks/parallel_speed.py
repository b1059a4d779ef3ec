"""Rows a second, CPU a row and peak memory of a whole run, beside a bare loop and loops over the SDK.

All send the same rows to the same server, in turns: to the stand-in, whose own work (it checks, counts, bills and keeps
books) takes a good part of two cores, and to a server that costs next to nothing. Runner has its ledger and its records
in all of it. The loops over the SDK are slow and get fewer rows; what a program costs before and after its rows is
measured with a single row and told beside the figures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from benchmarks.programs import NAMES, Done, Program, bare_loop, figures, medians, runner, sdk_aiohttp_loop, sdk_loop
from benchmarks.project import ROW_TOKENS, SYSTEM_TOKENS, Project, lean_project, project, projects_by_size
from benchmarks.results import Section, spread, table, verdict
from benchmarks.servers import Lean, Server

SPEED_GOAL = 0.8
"""At least so many of the bare loop's rows a second."""
CPU_GOAL_MS = 0.4
"""At most so much CPU a row, where the bare loop takes BARE_CPU_MS."""
BARE_CPU_MS = (0.25, 0.32)
CPU_RATIO_GOAL = CPU_GOAL_MS / BARE_CPU_MS[0]
"""What that allows as a ratio, on machines where the loop takes another time."""

IN_FLIGHT = (64, 100, 200)
"""Few, a usual number, and what a job has that says nothing (docs/job.md)."""

Runs = dict[tuple[str, int, str], list[Done]]
"""By server, in flight and program."""


def measure(quick: bool) -> Section:
    """All programs in turns, for each server and number in flight."""
    rows, slow_rows, turns = (300, 50, 1) if quick else (20_000, 4_000, 5)
    runs: Runs = {}
    alone: dict[str, list[Done]] = {}
    raw: list[dict[str, Any]] = []
    for done, turn in _runs(rows, slow_rows, turns, quick=quick):
        for server, one in done:
            if one.rows == 1:
                alone.setdefault(one.program, []).append(one)
            else:
                runs.setdefault((server, one.in_flight, one.program), []).append(one)
            raw.append(one.raw(server=server, turn=turn))
    return Section("Throughput", _lines(runs, alone, rows, slow_rows, turns), raw)


def _runs(rows: int, slow_rows: int, turns: int, *, quick: bool) -> Iterator[tuple[list[tuple[str, Done]], int]]:
    opened: Sequence[Callable[[], AbstractContextManager[Project]]] = (lean_project, project)
    for open_project in opened:
        with open_project() as bench, projects_by_size(bench, (1, slow_rows, rows)) as places:
            for in_flight in IN_FLIGHT[:1] if quick else IN_FLIGHT:
                for turn in range(turns):
                    yield (
                        [
                            (bench.server.name, program(places[size], size, in_flight))
                            for program, size in _turn(bench.server, rows, slow_rows, in_flight)
                            if not quick or program is runner or program is bare_loop
                        ],
                        turn,
                    )


def _turn(server: Server, rows: int, slow_rows: int, in_flight: int) -> Iterator[tuple[Program, int]]:
    """What is run in a turn, with how many rows. The slow ones and the single rows at one number in flight only."""
    yield from ((program, rows) for program in (runner, bare_loop))
    if in_flight == IN_FLIGHT[0]:
        yield from ((program, slow_rows) for program in (sdk_loop, sdk_aiohttp_loop))
        if isinstance(server, Lean):  # it tells when the first request came
            yield from ((program, 1) for program in (runner, bare_loop, sdk_loop, sdk_aiohttp_loop))


def _lines(runs: Runs, alone: Mapping[str, Sequence[Done]], rows: int, slow_rows: int, turns: int) -> list[str]:
    lines = [
        f"{rows:,} rows of about {ROW_TOKENS} tokens behind a cached block of {SYSTEM_TOKENS:,} ({slow_rows:,} rows",
        f"for the loops over the SDK); {turns} turns. Both servers answer at once. *Served* is from the first",
        "request to the last reply as the server saw them; all else is the whole program, ledger and records included.",
        "",
    ]
    for server, in_flight in dict.fromkeys((server, in_flight) for server, in_flight, _ in runs):
        here = {program: each for (name, count, program), each in runs.items() if (name, count) == (server, in_flight)}
        lines += [f"Against {server}, {in_flight} in flight:", "", *_table(here), "", *_goals(here), ""]
    lines += [
        "A single row, which is what starting and ending cost:",
        "",
        *table(
            ("", "wall, s", "CPU, s", "first request after, s"),
            [
                (
                    NAMES[program],
                    spread(figures(each, lambda one: one.used.wall_s)),
                    spread(figures(each, lambda one: one.used.cpu_s)),
                    spread(figures(each, lambda one: one.first_request_s)),
                )
                for program, each in alone.items()
            ],
        ),
        "",
        "The bare loop encodes the shared block once. It keeps no ledger, knows no cap, limit, retry or cache, and its",
        "rows are lost when it is killed; the loops over the SDK keep everything in memory besides.",
    ]
    return lines


def _table(here: Mapping[str, Sequence[Done]]) -> list[str]:
    return table(
        ("", "rows a second", "served, rows a second", "CPU a row, ms", "wall, s", "peak memory, MiB"),
        [
            (
                NAMES[program],
                spread(figures(each, lambda one: one.rows_per_s), 0),
                spread(figures(each, lambda one: one.served_per_s), 0),
                spread(figures(each, lambda one: one.cpu_ms), 3),
                spread(figures(each, lambda one: one.used.wall_s), 1),
                spread(figures(each, lambda one: one.used.peak_mib), 0),
            )
            for program, each in here.items()
        ],
    )


def _goals(here: Mapping[str, Sequence[Done]]) -> list[str]:
    ours, bare = here["runner run"], here["aiohttp + uvloop + orjson"]
    speed = medians(ours, lambda one: one.rows_per_s) / medians(bare, lambda one: one.rows_per_s)
    served = medians(ours, lambda one: one.served_per_s) / medians(bare, lambda one: one.served_per_s)
    cpu = medians(ours, lambda one: one.cpu_ms)
    ratio = cpu / medians(bare, lambda one: one.cpu_ms)
    least, most = BARE_CPU_MS
    return [
        f"Runner to the bare loop: rows a second {verdict(speed, SPEED_GOAL, at_least=True)}, served {served:.2f};",
        f"CPU a row {verdict(ratio, CPU_RATIO_GOAL, at_least=False)}. That goal is {CPU_GOAL_MS} ms where the loop",
        f"takes {least} to {most}; here runner takes {cpu:.3f} and the loop {cpu / ratio:.3f}.",
    ]
