"""Measure start-up, throughput, CPU and memory of the command line, and add the figures to RESULTS.md.

    python -m benchmarks [--rows 2000 20000]

The stand-in runs as a process of its own, outside of what is measured. CPU and peak memory are those of the one
`runner` process, as the system counts them when it ends (`wait4`).
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from runner.simulator import Options, launch

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "RESULTS.md"
START_TRIES = 5
JOB = """\
name: bench
model: claude-haiku-5-5
params: {max_tokens: 200}
system: [{template: sentiment/rubric.md.j2, cache: 1h}]
vars: {tone: strict}
prompt: "Product: {{ row.product }}\\n\\n<review>\\n{{ row.text }}\\n</review>"
dataset: {path: data/bench.csv, key: review_id}
output: {fields: {label: [positive, negative, neutral], why: optional string}}
limits: {max_concurrency: 200, max_cost_usd: 1000}
"""


@dataclass(frozen=True, slots=True)
class Spent:
    """What one process took. `rss_bytes` is its peak."""

    wall_s: float
    cpu_s: float
    rss_bytes: int


def spend(place: Path, environ: Mapping[str, str], *arguments: str) -> Spent:
    """Run `runner` once, to its end. Raises RuntimeError where it fails."""
    began = time.perf_counter()
    with (place / "output.txt").open("w+b") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "runner", *arguments], cwd=place, env=dict(environ), stdout=output, stderr=output
        )
        _, status, usage = os.wait4(child.pid, 0)
        wall_s = time.perf_counter() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            output.seek(0)
            raise RuntimeError(f"runner {' '.join(arguments)} ended with {child.returncode}: {output.read().decode()}")
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2): bytes on macOS, kilobytes on Linux
    return Spent(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit)


def start_up(place: Path, environ: Mapping[str, str]) -> Iterator[str]:
    """The best of a few starts: the others measure what else the machine did."""
    yield from ("| command | wall s | CPU s |", "|---|---|---|")
    for command in (["--help"], ["check", "jobs/sentiment.yaml"], ["plan", "jobs/sentiment.yaml"]):
        tries = [spend(place, environ, *command) for _ in range(START_TRIES)]
        wall_s, cpu_s = min(each.wall_s for each in tries), min(each.cpu_s for each in tries)
        yield f"| `runner {' '.join(command)}` | {wall_s:.2f} | {cpu_s:.2f} |"


def runs(place: Path, environ: Mapping[str, str], sizes: Sequence[int]) -> Iterator[str]:
    yield from ("| rows | wall s | rows/s | CPU ms a row | peak memory MB |", "|---|---|---|---|---|")
    (place / "jobs" / "bench.yaml").write_text(JOB, encoding="utf-8")
    for size in sizes:
        write_rows(place / "data" / "bench.csv", size)
        spent = spend(place, environ, "run", "jobs/bench.yaml", "--no-reuse", "--new")
        rate, cpu_ms = size / spent.wall_s, 1000 * spent.cpu_s / size
        yield f"| {size:,} | {spent.wall_s:.1f} | {rate:,.0f} | {cpu_ms:.2f} | {spent.rss_bytes / 1e6:.0f} |"


def write_rows(path: Path, count: int) -> None:
    """Texts of about 300 characters, all of them different."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["review_id", "product", "text"])
        for number in range(count):
            text = f"Review number {number}. " + "It did what it should, on most days, and the box was dented. " * 4
            writer.writerow([f"b-{number}", f"Product {number % 97}", text])


def report(sizes: Sequence[int]) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("ANTHROPIC_", "RUNNER_"))}
    clean |= {"PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        spend(place, clean, "init", "starter")
        lines = ["", "Start-up, best of 5:", "", *start_up(place / "starter", clean)]
        with launch(Options(state=place / "stand-in")) as api:
            lines += ["", "Runs on the stand-in, 200 at a time, cached rubric and schema:", ""]
            lines += runs(place / "starter", {**clean, **api.environ}, sizes)
    command = f"python -m benchmarks --rows {' '.join(map(str, sizes))}"
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
    head = [f"## {datetime.now(UTC):%Y-%m-%d}, commit {commit()}", "", f"`{command}` on {machine}"]
    return "\n".join([*head, *lines]) + "\n"


def commit() -> str:
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return described.stdout.strip() or "unknown"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--rows", type=int, nargs="+", default=[2000, 20000])
    text = report(parser.parse_args().rows)
    print(text)
    before = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else "# Measured figures\n\nNewest last.\n"
    RESULTS.write_text(f"{before}\n{text}", encoding="utf-8")


if __name__ == "__main__":
    main()
