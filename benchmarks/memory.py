"""Peak memory of a run over 20,000 rows and over ten times as many, and what each leaves on disk.

The peak is the kernel's, of the runner's process alone. It may grow by what a longer run warms up once; it must not
grow with the rows: `GOAL` is the issue's.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path

from benchmarks.children import Used, own_peak_bytes
from benchmarks.project import CONCURRENCY, ROW_TOKENS, Project, project, write_bench_job
from benchmarks.results import Section, spread, table

GOAL = 1.3
"""At most this many times the smaller run's peak."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """What a finished run has on disk, in bytes by part."""

    parts: dict[str, int]

    @classmethod
    def of(cls, bench: Project) -> Leftover:
        run = bench.run_folder
        ledger = sum(path.stat().st_size for path in run.glob("ledger.db*"))
        parts = {
            "`data/rows.csv` (the source)": (bench.root / "data" / "rows.csv").stat().st_size,
            "`rows/` (the run's own copy)": _size(run / "rows"),
            "`spool/` (every reply)": _size(run / "spool"),
            "`ledger.db`": ledger,
            "`log.jsonl`": (run / "log.jsonl").stat().st_size,
            "`out/bench.jsonl` (the records)": (bench.root / "out" / "bench.jsonl").stat().st_size,
        }
        return cls(parts)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def measure(quick: bool) -> Section:
    """The small run before and after the large one."""
    small, large = (300, 3_000) if quick else (20_000, 200_000)
    order = [small, large] if quick else [small, large, small, small]
    used: dict[int, list[Used]] = {small: [], large: []}
    left: dict[int, Leftover] = {}
    for rows in order:
        with project() as bench:
            job = write_bench_job(bench, rows)
            one, summary = bench.run(job)
            assert summary["rows"]["succeeded"] == rows
            assert one.peak_bytes > own_peak_bytes(), "this could be the measuring process's own peak"
            used[rows].append(one)
            left[rows] = Leftover.of(bench)
    peaks = {rows: [one.peak_mib for one in runs] for rows, runs in used.items()}
    ratio = statistics.median(peaks[large]) / statistics.median(peaks[small])
    lines = [
        f"Rows of about {ROW_TOKENS} tokens, {CONCURRENCY} at a time.",
        "",
        *table(
            ("rows", "runs", "peak memory, MiB", "CPU a row, ms", "wall, s"),
            [
                (
                    f"{rows:,}",
                    str(len(runs)),
                    spread(peaks[rows], 1),
                    spread([1000 * one.cpu_s / rows for one in runs], 3),
                    spread([one.wall_s for one in runs], 1),
                )
                for rows, runs in used.items()
            ],
        ),
        "",
        f"Ratio of the peaks: **{ratio:.2f}** (goal: at most {GOAL}).",
        "",
        "Bytes a row on disk after the run:",
        "",
        *table(
            ("", f"{small:,} rows", f"{large:,} rows"),
            [(part, *(f"{left[rows].parts[part] / rows:,.0f}" for rows in left)) for part in left[small].parts],
        ),
    ]
    return Section("Memory and disk", lines)
