"""What it saves to send one request first, so that the others find the shared block in the cache."""

from __future__ import annotations

from benchmarks.batch_jobs import SHARED_BYTES, WHERE, all_ended, peer, write_job
from benchmarks.children import RUNNER, run
from benchmarks.project import project
from benchmarks.results import Section, table
from runner.simulator import Latency

GOAL = 0.6
"""At most so many times the unprimed bill."""
MODEL = "claude-opus-4-8"
"""Caches from 1,024 tokens on, and does not think unless it is asked to."""


def measure(quick: bool) -> Section:
    """The stand-in's bill for a job, primed by runner, and for the very same requests in one batch."""
    rows = 60 if quick else 2_000
    with project(batch_latency=Latency(0.2), batch_start="at_once", reply_tokens=50) as bench:
        write_job(bench, rows, model=MODEL, max_tokens=200, cache="1h")
        rendered = run((*RUNNER, "render", WHERE), cwd=bench.root, environ=bench.api.environ).stdout
        _, summary = bench.run(WHERE, "--yes")
        primed = bench.api.controls.accounts()
        assert summary["rows"]["succeeded"] == rows, summary
        bench.clear()
        bodies = bench.write("data/bodies.jsonl", rendered)
        peer(bench, "rendered", bodies)
        all_ended(bench)
        plain = bench.api.controls.accounts()
    assert plain["requests"] == primed["requests"] == rows
    ratio = primed["cost_pico"] / plain["cost_pico"]
    figures = ("cache_writes", "cache_read_input_tokens", "ephemeral_1h_input_tokens", "input_tokens", "output_tokens")
    return Section(
        "Batches: priming",
        [
            f"{rows:,} rows of about 200 tokens behind a shared block of {SHARED_BYTES:,} bytes with a 1h mark,",
            f"replies of about 50 tokens, {MODEL}; the stand-in starts all rows of a batch at once, so that none reads",
            "what another of the same batch writes. Unprimed are the same bodies, as `runner render` prints them.",
            "",
            *table(
                ("", "primed", "unprimed"),
                [
                    *((name.replace("_", " "), f"{primed[name]:,}", f"{plain[name]:,}") for name in figures),
                    ("bill, USD", *(f"{each['cost_pico'] / 10**12:.4f}" for each in (primed, plain))),
                    ("bill of the ledger, USD", f"{summary['cost_usd']:.4f}", ""),
                ],
            ),
            "",
            f"Primed to unprimed: **{ratio:.2f}** (goal: at most {GOAL}).",
        ],
    )
