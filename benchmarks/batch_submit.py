"""Sending batches: beside the plain SDK and a bare upload, and the memory that it takes over a million rows.

What is compared runs in turns against one stand-in, whose time to receive a body is in all figures of wall time.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

from benchmarks.batch_jobs import NEVER, SHARED_BYTES, WHERE, peer, write_job
from benchmarks.children import Used, own_peak_bytes
from benchmarks.project import project
from benchmarks.results import Section, spread, table

WALL_GOAL, CPU_GOAL, PEAK_GOAL = 1 / 1.5, 1.0, 1 / 4
"""At most so many times the SDK loop's."""
GROWTH_GOAL = 1.3
"""At most so many times the smaller run's peak."""


def measure(quick: bool) -> Section:
    """Enrolled, built and durably submitted, against the loop and the floor, in turns."""
    rows, turns = (300, 1) if quick else (100_000, 3)
    used: dict[str, list[Used]] = {"runner": [], "loop": [], "floor": []}
    batches: dict[str, int] = {}
    with project(batch_latency=NEVER) as bench:
        write_job(bench, rows)
        paths = (bench.root / "data" / "rows.csv", bench.root / "templates" / "system.md.j2")
        ways: Mapping[str, Callable[[], Used]] = {
            "runner": lambda: bench.run(WHERE, "--detach", "--yes")[0],
            "loop": lambda: peer(bench, "submit", *paths)[0],
            "floor": lambda: peer(bench, "upload", *paths)[0],
        }
        for _ in range(turns):
            for name, way in ways.items():
                bench.clear()
                used[name].append(way())
                account = bench.api.controls.accounts()
                assert account["batch_requests"] == rows, account
                assert account["requests"] == 0, "nothing was to be processed meanwhile"
                batches[name] = account["batches"]
    # With few rows the upload takes no more than this process does.
    assert quick or all(one.peak_bytes > own_peak_bytes() for each in used.values() for one in each)
    names = {
        "runner": "`runner run --detach`",
        "loop": "a list of requests, `batches.create`",
        "floor": "a bare streamed upload",
    }
    ratios = {name: _ratio(used, name) for name in ("wall_s", "cpu_s", "peak_bytes")}
    return Section(
        "Batches: sending",
        [
            f"{rows:,} rows of about 200 tokens behind a shared block of {SHARED_BYTES:,} bytes; {turns} turns. Runner",
            "enrols, builds and keeps what it sends; the loop and the upload read the file and forget. Nothing is",
            "processed meanwhile; the stand-in's time to receive a body is in all three.",
            "",
            *table(
                ("", "batches", "wall, s", "CPU, s", "peak memory, MiB"),
                [
                    (
                        names[name],
                        str(batches[name]),
                        spread([one.wall_s for one in each], 1),
                        spread([one.cpu_s for one in each], 1),
                        spread([one.peak_mib for one in each], 0),
                    )
                    for name, each in used.items()
                ],
            ),
            "",
            f"Runner to loop: wall **{ratios['wall_s']:.2f}** (goal: at most {WALL_GOAL:.2f}),",
            f"CPU **{ratios['cpu_s']:.2f}** (at most {CPU_GOAL:.0f}),",
            f"memory **{ratios['peak_bytes']:.2f}** (at most {PEAK_GOAL}).",
        ],
    )


def _ratio(used: Mapping[str, Sequence[Used]], figure: str) -> float:
    ours, theirs = ([getattr(one, figure) for one in used[name]] for name in ("runner", "loop"))
    return float(statistics.median(ours) / statistics.median(theirs))


def measure_memory(quick: bool) -> Section:
    """Peak memory of sending 100,000 rows and ten times as many, of a job whose requests are small."""
    small, large = (300, 3_000) if quick else (100_000, 1_000_000)
    shared_bytes, tokens = 200, 20
    peaks: dict[int, list[float]] = {small: [], large: []}
    used: dict[int, list[Used]] = {small: [], large: []}
    batches: dict[int, int] = {}
    for rows in [small, large] if quick else [small, large, small]:
        with project(batch_latency=NEVER, batch_queue=2 * large) as bench:
            write_job(bench, rows, shared_bytes=shared_bytes, tokens=tokens)
            one, _ = bench.run(WHERE, "--detach", "--yes", RUNNER_BATCH_QUEUE_REQUESTS=str(2 * large))
            account = bench.api.controls.accounts()
            assert account["batch_requests"] == rows, account
            assert one.peak_bytes > own_peak_bytes(), "this could be the measuring process's own peak"
            peaks[rows].append(one.peak_mib)
            used[rows].append(one)
            batches[rows] = account["batches"]
    ratio = statistics.median(peaks[large]) / statistics.median(peaks[small])
    return Section(
        "Batches: memory",
        [
            f"Rows of about {tokens} tokens behind a shared block of {shared_bytes} bytes, so that a million of them",
            "take little disk and time; enrolled, built and submitted with `--detach`. The queue's limit is raised on",
            "both sides, so that all batches are at the API at once.",
            "",
            *table(
                ("rows", "runs", "batches", "peak memory, MiB", "wall, s", "CPU a row, µs"),
                [
                    (
                        f"{rows:,}",
                        str(len(each)),
                        str(batches[rows]),
                        spread(peaks[rows], 1),
                        spread([one.wall_s for one in each], 1),
                        spread([1e6 * one.cpu_s / rows for one in each], 1),
                    )
                    for rows, each in used.items()
                ],
            ),
            "",
            f"Ratio of the peaks: **{ratio:.2f}** (goal: at most {GROWTH_GOAL}).",
        ],
    )
