"""Rows a second and CPU a row, beside a plain loop over the SDK.

Both do the same requests against the same stand-in, which answers at once: what is measured is what each of them costs,
not how long an API takes. The figures are of whole programs, start-up included.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from benchmarks.children import Used, run
from benchmarks.project import CONCURRENCY, ROW_TOKENS, SYSTEM_TOKENS, Project, project, write_bench_job
from benchmarks.results import Section, spread, table


def measure(quick: bool) -> Section:
    """Runner and the loop in turns."""
    rows, turns = (500, 1) if quick else (20_000, 3)
    ours: list[Used] = []
    theirs: list[Used] = []
    with project() as bench:
        job = write_bench_job(bench, rows)
        for _ in range(turns):
            used, summary = bench.run(job)
            assert summary["rows"]["succeeded"] == rows
            ours.append(used)
            theirs.append(_sdk_loop(bench, rows))
    lines = [
        f"{rows:,} rows of about {ROW_TOKENS} tokens behind a cached block of {SYSTEM_TOKENS:,}; {turns} turns.",
        f"{CONCURRENCY} requests at a time; the stand-in answers at once.",
        "",
        *table(
            ("", "rows a second", "CPU a row, ms", "wall, s", "peak memory, MiB"),
            [_figures("`runner run`", ours, rows), _figures("a loop over the SDK", theirs, rows)],
        ),
        "",
        "The loop keeps everything in memory, loses it all when it is killed, and knows no cap.",
    ]
    return Section("Throughput", lines)


def _sdk_loop(bench: Project, rows: int) -> Used:
    bench.api.controls.reset()
    paths = [bench.root / path for path in ("data/rows.csv", "templates/system.md.j2", "out/loop.jsonl")]
    used = run(
        (sys.executable, "-m", "benchmarks.sdk_loop", *map(str, paths)), cwd=bench.root, environ=bench.api.environ
    )
    assert bench.api.controls.accounts()["requests"] == rows
    return used


def _figures(name: str, used: Sequence[Used], rows: int) -> tuple[str, ...]:
    return (
        name,
        spread([rows / one.wall_s for one in used], 0),
        spread([1000 * one.cpu_s / rows for one in used], 3),
        spread([one.wall_s for one in used], 1),
        spread([one.peak_mib for one in used], 0),
    )
