"""Run benchmarks and write what they measured: all of them, or those named."""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from benchmarks.results import RAW, RESULTS, Machine, Section, write_raw, write_section
from runner.clock import SystemClock

BENCHMARKS: Mapping[str, str] = {
    "startup": "startup:measure",
    "reviews": "reviews:measure",
    "transport": "transport:measure",
    "parallel-speed": "parallel_speed:measure",
    "parallel-latency": "parallel_latency:measure",
    "parallel-limits": "parallel_limits:measure",
    "parallel-cache": "parallel_cache:measure",
    "parallel-memory": "parallel_memory:measure",
    "parallel-million": "parallel_memory:measure_million",
    "parallel-peers": "parallel_peers:measure",
    "sql-sink": "sql_sink:measure",
    "table-files": "table_files:measure",
    "table-sink": "table_files:measure_sink",
    "batch-reviews": "batch_reviews:measure",
    "batch-submit": "batch_submit:measure",
    "batch-memory": "batch_submit:measure_memory",
    "batch-collect": "batch_collect:measure",
    "batch-priming": "batch_priming:measure",
}
"""Module and function, imported when they are asked for: a measuring process has to stay small (`children`)."""
QUICK_AT_ONCE = 2
"""Parts that run side by side where the figures mean nothing."""
GROUPS: Mapping[str, Sequence[str]] = {
    "parallel": ("startup", *(name for name in BENCHMARKS if name.startswith("parallel-"))),
    "batch": tuple(name for name in BENCHMARKS if name.startswith("batch-")),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    known = [*GROUPS, *BENCHMARKS]
    parser.add_argument("names", nargs="*", choices=[[], *known], metavar="NAME", help=", ".join(known))
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works; only prints")
    arguments = parser.parse_args()
    names = list(_named(arguments.names or BENCHMARKS))
    if len(names) == 1:
        _measure(names[0], quick=arguments.quick)
        return
    # Each in a process of its own, that what one part took does not count in another (`children`).
    if not arguments.quick:
        for name in names:
            subprocess.run([sys.executable, "-m", "benchmarks", name], check=True)
        return
    with ThreadPoolExecutor(QUICK_AT_ONCE) as pool:
        done = list(pool.map(_try_out, names))
    sys.exit(any(not well for well in done))


def _try_out(name: str) -> bool:
    """Run a part with few rows and print what it said; whether it ended well."""
    command = [sys.executable, "-m", "benchmarks", name, "--quick"]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(done.stdout, end="", flush=True)
    return done.returncode == 0


def _measure(name: str, *, quick: bool) -> None:
    print(f"{name} …", flush=True)
    machine, clock = Machine.look(), SystemClock()
    started = clock.monotonic()
    module, function = BENCHMARKS[name].split(":")
    measure: Callable[[bool], Section | None] = getattr(importlib.import_module(f"benchmarks.{module}"), function)
    section = measure(quick)
    if section is None:
        return
    print("\n".join(section.lines), end="\n\n")
    print(f"{name} took {clock.monotonic() - started:.0f} s", end="\n\n", flush=True)
    if not quick:
        command = f"python -m benchmarks {name}"
        write_section(RESULTS, section, machine, command=command)
        write_raw(RAW, name, section, machine, command=command)


def _named(names: Iterable[str]) -> Iterator[str]:
    for name in names:
        yield from GROUPS.get(name, (name,))


if __name__ == "__main__":
    main()
