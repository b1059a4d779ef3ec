"""What the benchmarks of batch mode share: the job, and the programs that it is held against.

While batches are sent they take so long (`NEVER`) that none of their requests is processed: the stand-in only receives,
checks and keeps them.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from benchmarks.bodies import MAX_TOKENS, MODEL
from benchmarks.children import Used, run
from benchmarks.project import Project, shared_text, write_rows
from runner.clock import SystemClock
from runner.simulator import Latency

SHARED_BYTES = 8_000
NEVER = Latency(86_000.0)
"""Nearly the 24 hours after which a batch expires: nothing is processed while we measure."""

JOB = """\
name: bench
mode: batch
model: {model}
params: {{max_tokens: {max_tokens}}}
system:
  - {{template: system.md.j2, cache: {cache}}}
prompt: "{{{{ row.text }}}}"
dataset: {{path: data/rows.csv, key: id}}
limits: {{max_cost_usd: 1000000}}
sinks: [out/bench.jsonl]
"""
WHERE = "jobs/bench.yaml"


def write_job(
    bench: Project, rows: int, *, shared_bytes: int = SHARED_BYTES, tokens: int = 200, model: str = MODEL,
    max_tokens: int = MAX_TOKENS, cache: str = "5m",
) -> None:  # fmt: skip
    bench.write(WHERE, JOB.format(model=model, max_tokens=max_tokens, cache=cache))
    bench.write("templates/system.md.j2", shared_text(shared_bytes))
    write_rows(bench.root / "data" / "rows.csv", rows, tokens)


def peer(bench: Project, what: str, *arguments: object) -> tuple[Used, dict[str, Any]]:
    """A program of `sdk_batch`, and the object it printed."""
    command = (sys.executable, "-m", "benchmarks.sdk_batch", what, *map(str, arguments))
    used = run(command, cwd=bench.root, environ=bench.api.environ)
    return used, json.loads(used.stdout)


def all_ended(bench: Project) -> list[str]:
    """Wait until everything accepted has ended; the ids."""
    clock = SystemClock()
    until = clock.monotonic() + 600
    while True:
        batches = bench.api.controls.batches()
        if all(batch["batch"]["processing_status"] == "ended" for batch in batches):
            return [batch["id"] for batch in batches]
        assert clock.monotonic() < until, "the stand-in does not get its batches done"
        time.sleep(0.2)
