"""Run benchmarks and write what they measured: all of them, or those named."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping

from benchmarks import (
    batch_collect,
    batch_priming,
    batch_reviews,
    batch_submit,
    memory,
    reviews,
    startup,
    throughput,
    transport,
)  # fmt: skip
from benchmarks.results import RESULTS, Machine, Section, write_section

BENCHMARKS: Mapping[str, Callable[[bool], Section | None]] = {
    "startup": startup.measure,
    "reviews": reviews.measure,
    "throughput": throughput.measure,
    "transport": transport.measure,
    "memory": memory.measure,
    "batch-reviews": batch_reviews.measure,
    "batch-submit": batch_submit.measure,
    "batch-memory": batch_submit.measure_memory,
    "batch-collect": batch_collect.measure,
    "batch-priming": batch_priming.measure,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *BENCHMARKS], metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works; only prints")
    arguments = parser.parse_args()
    for name in arguments.names or BENCHMARKS:
        print(f"{name} …", flush=True)
        machine = Machine.look()
        section = BENCHMARKS[name](arguments.quick)
        if section is None:
            continue
        print("\n".join(section.lines), end="\n\n", flush=True)
        if not arguments.quick:
            write_section(RESULTS, section, machine, command=f"python -m benchmarks {name}")


if __name__ == "__main__":
    main()
