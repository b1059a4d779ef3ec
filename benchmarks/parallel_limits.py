"""At a rate limit that the job does not state: how much of it is used, and how many requests are refused.

The stand-in has the limit, as a bucket that holds a minute's worth (its default: the first minute may use twice the
limit) and as one that holds a second's worth (the API says that it may enforce a limit over shorter windows). Minutes
are counted from the first accepted request, by the stand-in's books, and only whole ones. All runs of runner go on at
the same time, each against a stand-in and with a key of its own: at 50 rows a second they leave the machine idle.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any, Literal

from benchmarks.programs import NAMES, Done, Program, runner, sdk_aiohttp_loop, sdk_loop
from benchmarks.project import Project, project, write_bench_job
from benchmarks.results import Section, table, verdict
from benchmarks.servers import StandIn
from runner.simulator import Latency

USED_GOAL = 0.97
"""At least so much of the limit in every whole minute."""
REFUSED_GOAL = 0.005
"""At most so many of the requests."""
REQUESTS_A_MINUTE = 3_000
INPUT_TOKENS_A_MINUTE = 640_000
"""About as many rows: the cached block does not count."""
IN_FLIGHT = 200
LATENCY_S = 0.2

_COUNTED = {"rpm": "1", "itpm": "input_tokens + ephemeral_5m_input_tokens + ephemeral_1h_input_tokens"}
"""What an entry of the books takes from a limit."""


@dataclass(frozen=True, slots=True)
class Case:
    program: Program
    kind: Literal["rpm", "itpm"]
    bucket_s: float
    rows: int

    @property
    def limit(self) -> int:
        return REQUESTS_A_MINUTE if self.kind == "rpm" else INPUT_TOKENS_A_MINUTE

    def describe(self) -> str:
        return f"{self.limit:,} {'requests' if self.kind == 'rpm' else 'input tokens'}"


@dataclass(frozen=True, slots=True)
class Kept:
    """A run at a limit; `minutes` is what was accepted in each whole minute, as parts of the limit."""

    done: Done
    minutes: Sequence[float]

    @property
    def refused(self) -> float:
        return self.done.seen.refused / self.done.seen.received


def measure(quick: bool) -> Section:
    """Runner's runs side by side, then the loops over the SDK side by side."""
    minute_s = 3.0 if quick else 60.0
    ours = (
        [Case(runner, "rpm", 1.0, 350)]
        if quick
        else [
            Case(runner, "rpm", 60.0, 9_500),
            Case(runner, "rpm", 1.0, 7_000),
            Case(runner, "itpm", 60.0, 9_500),
            Case(runner, "itpm", 1.0, 7_000),
        ]
    )
    theirs = (
        []
        if quick
        else [
            Case(sdk_loop, "rpm", 60.0, 6_000),
            Case(sdk_loop, "rpm", 1.0, 3_000),
            Case(sdk_aiohttp_loop, "rpm", 1.0, 3_000),
        ]
    )
    kept = [*_run(ours, minute_s), *_run(theirs, minute_s)]
    raw: list[dict[str, Any]] = [
        one.done.raw(
            limit=case.limit, kind=case.kind, bucket_s=case.bucket_s, minutes=[round(part, 4) for part in one.minutes]
        )
        for case, one in kept
    ]
    lines = [
        f"{IN_FLIGHT} in flight at most, {1000 * LATENCY_S:.0f} ms of latency; one run each, several minutes long.",
        "",
        *table(
            (
                "",
                "limit a minute",
                "bucket, s",
                "rows",
                "of the limit, a minute",
                "answered 429",
                "rows lost",
                "wall, s",
            ),
            [
                (
                    NAMES[one.done.program],
                    case.describe(),
                    f"{case.bucket_s:g}",
                    f"{case.rows:,}",
                    " ".join(f"{part:.3f}" for part in one.minutes),
                    f"{one.refused:.2%}",
                    f"{one.done.lost / case.rows:.1%}",
                    f"{one.done.used.wall_s:.0f}",
                )
                for case, one in kept
            ],
        ),
        "",
        *_goals([one for case, one in kept if case.program is runner]),
    ]
    return Section("Rate limits", lines, raw)


def _run(cases: Sequence[Case], minute_s: float) -> list[tuple[Case, Kept]]:
    with ExitStack() as stack:
        places = [stack.enter_context(_limited(case)) for case in cases]
        for case, place in zip(cases, places, strict=True):
            write_bench_job(place, case.rows)
        with ThreadPoolExecutor(max_workers=max(1, len(cases))) as pool:
            done = pool.map(lambda case, place: case.program(place, case.rows, IN_FLIGHT), cases, places)
            kept = [
                Kept(one, list(_minutes(case, place, minute_s)))
                for case, place, one in zip(cases, places, done, strict=True)
            ]
    return list(zip(cases, kept, strict=True))


def _limited(case: Case) -> AbstractContextManager[Project]:
    """A project at a limit. Its key is its own: what a run learns of one key's limits is of no use to another."""
    limit = {case.kind: case.limit}
    return project(latency=Latency(LATENCY_S), burst_s=case.bucket_s, key=f"bench-{secrets.token_hex(8)}", **limit)


def _minutes(case: Case, place: Project, minute_s: float) -> Iterator[float]:
    assert isinstance(place.server, StandIn)
    seconds = "(julianday(at) - (SELECT min(julianday(at)) FROM billed)) * 86400.0"
    rows = place.server.query(
        f"SELECT cast({seconds} / ? AS INTEGER) AS minute, sum({_COUNTED[case.kind]}), max({seconds}) "
        "FROM billed GROUP BY minute ORDER BY minute",
        minute_s,
    )
    last_s = rows[-1][2]
    accepted = {minute: count for minute, count, _ in rows}
    for minute in range(int(last_s / minute_s)):
        yield accepted.get(minute, 0) / (case.limit * minute_s / 60.0)


def _goals(ours: Sequence[Kept]) -> list[str]:
    used = min((part for one in ours for part in one.minutes), default=0.0)
    refused = max(one.refused for one in ours)
    missed = "" if refused <= REFUSED_GOAL else ", **missed**"
    return [
        f"Runner's worst whole minute: {verdict(used, USED_GOAL, at_least=True, digits=3)} of the limit;",
        f"its largest share of 429s: **{refused:.2%}** (goal: at most {REFUSED_GOAL:.1%}{missed}).",
    ]
