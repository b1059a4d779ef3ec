"""The job over a published dataset in both modes: what must be the same, and what each costs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from benchmarks import reviews
from benchmarks.children import Used
from benchmarks.project import project
from benchmarks.results import Section, table
from runner.simulator import Latency

SAME = ("key", "output", "text", "stop_reason", "row")


def measure(quick: bool) -> Section | None:
    """The published dataset in both modes; what must be the same is compared here."""
    if not reviews.REVIEWS.is_file():
        print(f"left out: {reviews.REVIEWS} is not here")
        return None
    del quick
    with project(batch_latency=Latency(1.0)) as bench:
        reviews.write(bench)
        found: dict[str, tuple[Used, dict[str, Any], dict[str, Any], list[dict[str, Any]]]] = {}
        for mode in ("parallel", "batch"):
            used, summary = bench.run("jobs/reviews.yaml", "--mode", mode)
            records = [json.loads(line) for line in (bench.root / "out" / "reviews.jsonl").read_bytes().splitlines()]
            found[mode] = (used, summary, bench.api.controls.accounts(), records)
    _, _, account, records = found["batch"]
    keys = [record["key"] for record in records]
    compared = [
        [{name: record[name] for name in SAME} for record in found[mode][3]] for mode in ("parallel", "batch")
    ]  # fmt: skip
    lost, twice = reviews.ROWS - len(set(keys)), len(keys) - len(set(keys))
    differing = sum(ours != theirs for ours, theirs in zip(*compared, strict=True))
    return Section(
        "Batches: the reviews job",
        [
            f"{reviews.ROWS:,} rows, batches that take a second.",
            "",
            *table(
                ("", "batch", "parallel"),
                [
                    ("wall, s", *(f"{found[mode][0].wall_s:.1f}" for mode in ("batch", "parallel"))),
                    ("peak memory, MiB", *(f"{found[mode][0].peak_mib:.0f}" for mode in ("batch", "parallel"))),
                    ("requests billed", *(f"{found[mode][2]['requests']:,}" for mode in ("batch", "parallel"))),
                    ("bill of the API, USD", *(_dollars(found[mode][2]) for mode in ("batch", "parallel"))),
                    (
                        "bill of the ledger, USD",
                        *(f"{found[mode][1]['cost_usd']:.6f}" for mode in ("batch", "parallel")),
                    ),
                ],
            ),
            "",
            f"Rows lost: **{lost}**; records twice: **{twice}**; records that differ between the modes in",
            f"{', '.join(SAME)}: **{differing}**; batches accepted: {account['batches']},",
            f"of them bought twice: **{account['batches_repeated']}**.",
        ],
    )


def _dollars(account: Mapping[str, Any]) -> str:
    return f"{account['cost_pico'] / 10**12:.6f}"
