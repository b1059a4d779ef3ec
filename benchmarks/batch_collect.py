"""Collecting a batch: from `ended` to `closed` in the run's own log, beside loops that only read its results."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from benchmarks.batch_jobs import NEVER, WHERE, all_ended, peer, write_job
from benchmarks.children import Used
from benchmarks.project import project
from benchmarks.results import Section, spread, table

GOAL = 3.0
"""At least so many times as fast as the SDK reads."""


@dataclass(frozen=True, slots=True)
class _Collected:
    used: Used
    elapsed_s: float


def measure(quick: bool) -> Section:
    """From `ended` to `closed`, by the run's own log, against a loop that only reads the results."""
    rows, turns = (300, 1) if quick else (100_000, 3)
    ours: list[_Collected] = []
    theirs: dict[str, list[float]] = {"results": [], "lines": []}
    with project(batch_latency=NEVER) as bench:
        write_job(bench, rows, shared_bytes=200, tokens=20)
        size = 0
        for _ in range(turns):
            bench.run(WHERE, "--detach", "--yes", RUNNER_BATCH_MAX_REQUESTS=str(rows))
            bench.api.controls.end_batches()
            (batch_id,) = all_ended(bench)
            size = (bench.api.state / "batches" / f"{batch_id}.results").stat().st_size
            for name, elapsed in theirs.items():
                _, told = peer(bench, name, batch_id)
                assert told["read"] == rows
                elapsed.append(told["elapsed_s"])
            used, summary = bench.command("resume", "--detach")
            assert summary["rows"]["succeeded"] == rows, summary
            ours.append(_Collected(used, _ended_to_closed(bench.run_folder / "log.jsonl")))
    elapsed = [one.elapsed_s for one in ours]
    ratio = statistics.median(theirs["results"]) / statistics.median(elapsed)
    return Section(
        "Batches: collecting",
        [
            f"{rows:,} results of {size / rows:,.0f} bytes in one batch; {turns} turns. Runner's time is from the note",
            "that the batch has ended to the note that it is closed: downloaded, durable, every id and tally checked,",
            "decided and in the ledger. The loops only read; theirs is without start-up too.",
            "",
            *table(
                ("", "s", "results a second"),
                [
                    (name, spread(times), spread([rows / one for one in times], 0))
                    for name, times in (
                        ("`runner resume`", elapsed),
                        ("`for r in client.messages.batches.results(id)`", theirs["results"]),
                        ("a bare connection and orjson", theirs["lines"]),
                    )
                ],
            ),
            "",
            f"Runner is **{ratio:.1f}** times as fast as the SDK's reading alone (goal: at least {GOAL:.0f}).",
            f"The whole command, records delivered: {spread([one.used.wall_s for one in ours], 1)} s,",
            f"{spread([one.used.peak_mib for one in ours], 0)} MiB.",
        ],
    )


def _ended_to_closed(log: Path) -> float:
    """Seconds between the two notes of the only batch, as the log's own times tell."""
    moved: dict[str, datetime] = {}
    for line in log.read_bytes().splitlines():
        note = json.loads(line)
        if note.get("event") == "BatchMoved" or "state" in note:
            moved.setdefault(str(note.get("state")), datetime.fromisoformat(note["at"]))
    return (moved["closed"] - moved["ended"]).total_seconds()
