"""What people read of a run's batches: in its summary, and one by one in `runner show`.

Owns   the words for batches at the API, for what is in doubt, and for how long results are kept.
Knows  summaries as values.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from runner import execution
from runner.cli.terminal import aligned, counted, duration, plain_text, usd
from runner.execution.standing import OVER, at_api, doubtful, kept_until, waiting_requests
from runner.ledger import Batch


def batch_facts(summary: execution.Summary) -> list[tuple[str, str]]:
    """Labels and texts for a summary; empty where the run made no batch."""
    batches = summary.batches
    if not batches:
        return []
    states = Counter("collected" if batch.state == "closed" else batch.state.replace("_", " ") for batch in batches)
    told = ", ".join(f"{number:,} {state}" for state, number in states.items())
    primed = sum(batch.priming for batch in batches)
    first = f"; {counted(primed, 'request')} went first, to fill the cache" if primed else ""
    return [
        ("batches", f"{told}{first}"),
        ("at API", _at_api(at_api(batches))),
        *[("in doubt", in_doubt(batch)) for batch in doubtful(batches)],
    ]


def _at_api(batches: list[Batch]) -> str:
    until = kept_until(batches)
    if until is None:
        return ""
    where = f"{counted(waiting_requests(batches), 'request')} in {counted(len(batches), 'batch', 'batches')}"
    return f"{where}; results are kept until {until:%Y-%m-%d %H:%M} UTC"


def in_doubt(batch: Batch) -> str:
    """What is known of a batch whose create had no reply."""
    newest = f"newer than {batch.watermark}" if batch.watermark is not None else "the first of its workspace"
    return (
        f"batch {batch.number}: {counted(batch.steps, 'row')}, at most {usd(batch.reserved_pico)}; since "
        f"{batch.created_at:%Y-%m-%d %H:%M:%S} UTC nobody knows whether the API has it. If so, it is {newest}"
    )


def batch_table(summary: execution.Summary, now: datetime) -> list[str]:
    """One line a batch, for `runner show`."""
    if not summary.batches:
        return []
    head = ("batch", "id", "state", "age", "requests", "collected", "expires", "note")
    return aligned([head, *(_listed(batch, now) for batch in summary.batches)], right=(0, 3, 4, 5))


def _listed(batch: Batch, now: datetime) -> tuple[str, ...]:
    age = "" if batch.state in OVER else duration((now - (batch.began_at or batch.created_at)).total_seconds())
    expires = f"{batch.expires_at:%Y-%m-%d %H:%M}" if batch.expires_at is not None and batch.state not in OVER else ""
    state = batch.state.replace("_", " ") + (f" ({batch.cause} cancel)" if batch.cause is not None else "")
    numbers = (f"{batch.steps:,}", f"{batch.settled:,}")
    note = plain_text(batch.note or "") or ("priming" if batch.priming else "")
    return (str(batch.number), batch.batch_id or "-", state, age, *numbers, expires, note)
