"""Many requests in flight at an API that takes its time: how near to the ideal, and what each row costs then.

The ideal is the number in flight divided by the latency. The rate is from the first request to the last reply, as the
lean server saw them; the whole program's time stands beside it. The numbers of rows are multiples of what is in flight,
so that the ideal itself loses nothing at the end.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from benchmarks.programs import NAMES, Done, Program, bare_loop, figures, medians, runner, sdk_aiohttp_loop, sdk_loop
from benchmarks.project import Project, lean_project, write_bench_job
from benchmarks.results import Section, spread, table, verdict

SHORT_GOAL, LONG_GOAL = 0.95, 0.92
"""At least so much of the ideal: at 200 ms and 400 in flight, at 2 s and 800 in flight."""
CPU_GOAL = 1.3
"""At most so many times the CPU a row that 100 in flight take."""


@dataclass(frozen=True, slots=True)
class Case:
    """`rows` are sent `in_flight` at a time to a server that takes `latency_s`."""

    program: Program
    rows: int
    in_flight: int
    latency_s: float

    @property
    def ideal_per_s(self) -> float:
        return self.in_flight / self.latency_s


Runs = dict[Case, list[Done]]


def measure(quick: bool) -> Section:
    """The short latency in turns; at the long one, where the machine is idle, all of a turn side by side."""
    turns = 1 if quick else 5
    latency_s, in_flight = (0.05, 100) if quick else (0.2, 400)
    waves, slow_waves = (10, 2) if quick else (50, 10)
    short = [
        Case(runner, waves * in_flight, in_flight, latency_s),
        Case(bare_loop, waves * in_flight, in_flight, latency_s),
        Case(sdk_loop, slow_waves * in_flight, in_flight, latency_s),
        Case(sdk_aiohttp_loop, slow_waves * in_flight, in_flight, latency_s),
    ]
    if quick:
        del short[2:]
    latency_s, few, many, waves = (0.2, 20, 160, 5) if quick else (2.0, 100, 800, 20)
    long = [
        Case(runner, waves * many, many, latency_s),
        Case(runner, waves * few, few, latency_s),
        Case(bare_loop, waves * many, many, latency_s),
        Case(bare_loop, waves * few, few, latency_s),
    ]
    if quick:
        del long[2:]
    raw: list[dict[str, Any]] = []
    nearby = _run(short, turns, raw, together=False)
    far = _run(long, turns, raw, together=True)
    start_ups = _run([Case(runner, 1, few, 0.0), Case(bare_loop, 1, few, 0.0)], turns, raw, together=False)
    start_up_s = {case.program: medians(each, lambda one: one.used.cpu_s) for case, each in start_ups.items()}
    alone = [f"{NAMES[each[0].program]} {start_up_s[case.program]:.2f} s" for case, each in start_ups.items()]
    cpu = _cpu_ms(far, long[0], start_up_s) / _cpu_ms(far, long[1], start_up_s)
    lines = [
        f"{turns} turns against the lean server. *Of the ideal* is the rate from the first request to the last reply.",
        "",
        *_part(nearby, start_up_s),
        "",
        f"Runner: {verdict(_of_ideal(nearby, short[0]), SHORT_GOAL, at_least=True)} of the ideal.",
        "",
        *_part(far, start_up_s),
        "",
        f"Runner: {verdict(_of_ideal(far, long[0]), LONG_GOAL, at_least=True)} of the ideal;",
        f"CPU a row at {many} in flight to that at {few}: {verdict(cpu, CPU_GOAL, at_least=False)}.",
        "",
        f"At {long[0].latency_s:g} s the programs of one turn run at the same time, each against a server of its own;",
        f"{few} in flight get fewer rows, so that all take as long. CPU a row is without what a single row takes,",
        f"which would weigh more on fewer rows: {', '.join(alone)}.",
    ]
    return Section("Latency", lines, raw)


def _run(cases: Sequence[Case], turns: int, raw: list[dict[str, Any]], *, together: bool) -> Runs:
    runs: Runs = {case: [] for case in cases}
    with ExitStack() as stack:
        places: Mapping[Case, Project] = {case: stack.enter_context(lean_project(case.latency_s)) for case in cases}
        for case, place in places.items():
            write_bench_job(place, case.rows)
        with ThreadPoolExecutor(max_workers=len(cases) if together else 1) as pool:
            for turn in range(turns):
                done = pool.map(lambda case: case.program(places[case], case.rows, case.in_flight), cases)
                for case, one in zip(cases, done, strict=True):
                    runs[case].append(one)
                    raw.append(one.raw(latency_s=case.latency_s, turn=turn))
    return runs


def _part(runs: Runs, start_up_s: Mapping[Program, float]) -> list[str]:
    (latency_s,) = {case.latency_s for case in runs}
    return [
        f"{1000 * latency_s:,.0f} ms:",
        "",
        *table(
            ("", "in flight", "rows", "rows a second", "of the ideal", "whole program, s", "CPU a row, ms"),
            [
                (
                    NAMES[each[0].program],
                    f"{case.in_flight:,}",
                    f"{case.rows:,}",
                    spread(figures(each, lambda one: one.served_per_s), 0),
                    spread([one.served_per_s / case.ideal_per_s for one in each], 3),
                    spread(figures(each, lambda one: one.used.wall_s), 1),
                    f"{_cpu_ms(runs, case, start_up_s):.3f}" if case.program in start_up_s else "",
                )
                for case, each in runs.items()
            ],
        ),
    ]


def _of_ideal(runs: Runs, case: Case) -> float:
    return statistics.median(one.served_per_s / case.ideal_per_s for one in runs[case])


def _cpu_ms(runs: Runs, case: Case, start_up_s: Mapping[Program, float]) -> float:
    return 1_000 * (medians(runs[case], lambda one: one.used.cpu_s) - start_up_s[case.program]) / case.rows
