"""Run benchmarks and write what they measured: all of them, or those named."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from benchmarks import (
    batch_collect,
    batch_priming,
    batch_reviews,
    batch_submit,
    parallel_cache,
    parallel_latency,
    parallel_limits,
    parallel_memory,
    parallel_peers,
    parallel_speed,
    reviews,
    startup,
    transport,
)  # fmt: skip
from benchmarks.results import RAW, RESULTS, Machine, Section, write_raw, write_section

BENCHMARKS: Mapping[str, Callable[[bool], Section | None]] = {
    "startup": startup.measure,
    "reviews": reviews.measure,
    "transport": transport.measure,
    "parallel-speed": parallel_speed.measure,
    "parallel-latency": parallel_latency.measure,
    "parallel-limits": parallel_limits.measure,
    "parallel-cache": parallel_cache.measure,
    "parallel-memory": parallel_memory.measure,
    "parallel-million": parallel_memory.measure_million,
    "parallel-peers": parallel_peers.measure,
    "batch-reviews": batch_reviews.measure,
    "batch-submit": batch_submit.measure,
    "batch-memory": batch_submit.measure_memory,
    "batch-collect": batch_collect.measure,
    "batch-priming": batch_priming.measure,
}
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
    for name in _named(arguments.names) if arguments.names else BENCHMARKS:
        print(f"{name} …", flush=True)
        machine = Machine.look()
        section = BENCHMARKS[name](arguments.quick)
        if section is None:
            continue
        print("\n".join(section.lines), end="\n\n", flush=True)
        if not arguments.quick:
            command = f"python -m benchmarks {name}"
            write_section(RESULTS, section, machine, command=command)
            write_raw(RAW, name, section, machine, command=command)


def _named(names: Iterable[str]) -> Iterator[str]:
    for name in names:
        yield from GROUPS.get(name, (name,))


if __name__ == "__main__":
    main()
