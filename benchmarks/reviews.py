"""The job over a published dataset: 3,708 sentences, a cached rubric, a schema, 200 in flight, 50 ms of latency."""

from __future__ import annotations

from typing import Any

from benchmarks.bodies import MODEL
from benchmarks.children import Used
from benchmarks.project import Project, project
from benchmarks.results import ROOT, Section, spread, table
from runner.simulator import Latency

REVIEWS = ROOT.parent / "shared" / "data" / "amazon_reviews.csv"
"""No part of the project; see `tests/integration/test_reviews_job.py`."""
ROWS = 3_708
SLOTS = 200

JOB = f"""\
name: reviews
mode: parallel
model: {MODEL}
params: {{max_tokens: 300}}
system:
  - {{template: rubric.md.j2, cache: true}}
prompt: "Judge this sentence of a review:\\n\\n{{{{ row.text }}}}"
dataset: {{path: data/amazon_reviews.csv, key: sentence_id}}
output:
  fields: {{label: [positive, negative, neutral], score: number, why: string}}
limits: {{max_concurrency: {SLOTS}, max_cost_usd: 50}}
sinks: [out/reviews.jsonl]
"""
RUBRIC = "".join(f"Rule {number}: a sentence that names fault {number} is negative.\n" for number in range(1, 101))


def measure(quick: bool) -> Section | None:
    """The job from nothing, a few times; None where the dataset is not here."""
    if not REVIEWS.is_file():
        print(f"left out: {REVIEWS} is not here")
        return None
    turns = 1 if quick else 3
    used: list[Used] = []
    accounts: list[dict[str, Any]] = []
    bills: list[float] = []
    with project(latency=Latency(0.05)) as bench:
        write(bench)
        for _ in range(turns):
            one, summary = bench.run("jobs/reviews.yaml")
            assert summary["rows"]["succeeded"] == ROWS
            used.append(one)
            accounts.append(bench.api.controls.accounts())
            bills.append(summary["cost_usd"])
    lines = [
        f"{ROWS:,} rows, {SLOTS} in flight, 50 ms of latency, {turns} turns.",
        "",
        *table(
            ("", "median (least–most)"),
            [
                ("wall, s", spread([one.wall_s for one in used], 1)),
                ("CPU a row, ms", spread([1000 * one.cpu_s / ROWS for one in used], 2)),
                ("peak memory, MiB", spread([one.peak_mib for one in used], 0)),
                ("requests billed", spread([account["requests"] for account in accounts], 0)),
                ("cache writes of the rubric", spread([account["cache_writes"] for account in accounts], 0)),
                ("bill of the API, USD", spread([account["cost_pico"] / 10**12 for account in accounts], 6)),
                ("bill of the ledger, USD", spread(bills, 6)),
            ],
        ),
    ]
    return Section("The reviews job", lines)


def write(bench: Project) -> None:
    bench.write("jobs/reviews.yaml", JOB)
    bench.write("templates/rubric.md.j2", RUBRIC)
    bench.write("data/amazon_reviews.csv", REVIEWS.read_text(encoding="utf-8"))
