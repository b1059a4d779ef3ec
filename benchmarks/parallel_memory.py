"""Peak memory, rate over time and disk of runs that differ only in their number of rows, against the lean server.

The peak is the kernel's, of the runner's process alone. It may grow by what a longer run warms up once; it must not
grow with the rows. Goals are in MB (10^6 bytes).
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.bodies import LAP
from benchmarks.programs import Done, figures, medians, runner
from benchmarks.project import ROW_TOKENS, SYSTEM_TOKENS, Project, lean_project, write_bench_job
from benchmarks.results import Section, spread, table, verdict

PEAK_GOAL_MB = 150
"""At most, at 100,000 rows."""
GROWTH_GOAL = 1.3
"""At most so many times the peak at 10,000 rows, at 1,000,000."""
IN_FLIGHT = 100
DISK_PER_ROW = 6_000
"""Bytes that a row needs at most while a run goes on: source, copy, reply, ledger, staged records; measured 3,700."""


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


@dataclass(slots=True)
class Grown:
    """Runs by their number of rows."""

    runs: dict[int, list[Done]]
    left: dict[int, Leftover]
    raw: list[dict[str, Any]]

    @classmethod
    def by(cls, order: Sequence[int]) -> Grown:
        grown = cls({rows: [] for rows in sorted(order)}, {}, [])
        for turn, rows in enumerate(order):
            with lean_project() as bench:
                write_bench_job(bench, rows)
                one = runner(bench, rows, IN_FLIGHT)
                grown.runs[rows].append(one)
                grown.left[rows] = Leftover.of(bench)
                laps = [round(lap - (one.seen.first_at or 0.0), 2) for lap in one.seen.laps]
                grown.raw.append(one.raw(turn=turn, disk=grown.left[rows].parts, laps=laps))
        return grown

    def peak_mb(self, rows: int) -> float:
        return medians(self.runs[rows], _mb)

    def lines(self) -> list[str]:
        left = self.left
        return [
            f"Rows of about {ROW_TOKENS} tokens behind a cached block of {SYSTEM_TOKENS:,}, {IN_FLIGHT} in flight,",
            "against the lean server; runs of different sizes in turns.",
            "",
            *table(
                ("rows", "runs", "peak memory, MB", "CPU a row, ms", "served, rows a second", "wall, s"),
                [
                    (
                        f"{rows:,}",
                        str(len(runs)),
                        spread(figures(runs, _mb), 1),
                        spread(figures(runs, lambda one: one.cpu_ms), 3),
                        spread(figures(runs, lambda one: one.served_per_s), 0),
                        spread(figures(runs, lambda one: one.used.wall_s), 1),
                    )
                    for rows, runs in self.runs.items()
                ],
            ),
            "",
            "Bytes a row on disk after the run:",
            "",
            *table(
                ("", *(f"{rows:,} rows" for rows in self.runs)),
                [
                    (part, *(f"{left[rows].parts[part] / rows:,.0f}" for rows in self.runs))
                    for part in next(iter(left.values())).parts
                ],
            ),
        ]


def measure(quick: bool) -> Section:
    """10,000 rows and 100,000."""
    small, large = (300, 1_000) if quick else (10_000, 100_000)
    grown = Grown.by([small, large] if quick else [small, large, small, small, large, small, small, large])
    peak = grown.peak_mb(large)
    growth = peak / grown.peak_mb(small)
    lines = [
        *grown.lines(),
        "",
        f"Peak at {large:,} rows, MB: {verdict(peak, PEAK_GOAL_MB, at_least=False, digits=0)}, which is",
        f"{growth:.2f} times that at {small:,}.",
    ]
    return Section("Memory and disk", lines, grown.raw)


def measure_million(quick: bool) -> Section | None:
    """A million rows between two runs of 10,000; None where the disk is too full for it."""
    small, large, lap = (300, 3_000, 0) if quick else (10_000, 1_000_000, 100_000)
    free, needed = shutil.disk_usage(tempfile.gettempdir()).free, DISK_PER_ROW * large
    if free < needed:
        print(
            f"left out: {needed / 1e9:.1f} GB of disk are needed in {tempfile.gettempdir()}, {free / 1e9:.1f} are free"
        )
        return None
    grown = Grown.by([small, large] if quick else [small, large, small])
    (one,) = grown.runs[large]
    growth = grown.peak_mb(large) / grown.peak_mb(small)
    lines = [
        *grown.lines(),
        "",
        f"Peak at {large:,} rows to that at {small:,}: {verdict(growth, GROWTH_GOAL, at_least=False)}.",
    ]
    if lap:
        rates = _rates(one, lap)
        lines += [
            "",
            f"Rows a second in each {lap:,}, as the server saw them: {', '.join(f'{rate:,.0f}' for rate in rates)};",
            f"the slowest to the fastest {min(rates) / max(rates):.2f}.",
            *_sizes(grown.left[large].parts),
        ]
    return Section("A million rows", lines, grown.raw)


def _rates(one: Done, lap: int) -> list[float]:
    assert one.seen.first_at is not None
    times = [one.seen.first_at, *one.seen.laps[lap // LAP - 1 :: lap // LAP]]
    return [lap / (after - before) for before, after in itertools.pairwise(times)]


def _sizes(parts: Mapping[str, int]) -> list[str]:
    """The whole sizes, which bytes a row hide."""
    return ["", "On disk: " + ", ".join(f"{name} {size / 1e6:,.0f} MB" for name, size in parts.items()) + "."]


def _mb(one: Done) -> float:
    return one.used.peak_bytes / 1e6
