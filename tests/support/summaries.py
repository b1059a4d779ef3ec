"""A summary of a run, with what a test is about changed."""

from __future__ import annotations

from typing import Any

from runner.execution.summary import Summary
from runner.ledger import Counts, Delivery, Money
from runner.types import Usage

RUN = "20261122-112009-378-f235"


def summary(**changed: Any) -> Summary:
    """A run of 600 rows that went well, but for what is changed."""
    facts: dict[str, Any] = {
        "run_id": RUN,
        "job": "many",
        "status": "finished",
        "stopped_by": None,
        "exit_status": 0,
        "mode": "parallel",
        "counts": Counts(total=600, succeeded=600, attempts=627, requests=600),
        "money": Money(spent=12_500_000_000),
        "usage": Usage(input_tokens=1_000, output_tokens=300, cache_read_input_tokens=9_000),
        "estimated_cost_pico": 22_800_000_000,
        "elapsed_s": 32.4,
        "sinks": [Delivery(0, "jsonl", "out/many.jsonl", "delivered", 600)],
        "simulated": False,
        **changed,
    }
    return Summary(**facts)
