"""What people read of a run's batches: in its summary, and one by one in `runner show`.

Owns   the words for batches at the API, for what is in doubt, and for how long results are kept; and what
       `show --format json` tells of a batch beyond the summary's four fields.
Knows  summaries as values.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from runner import execution
from runner.cli.terminal import aligned, counted, duration, plain_text, usd
from runner.clock import to_rfc3339
from runner.execution.standing import OVER, at_api, doubtful, kept_until, results_until, waiting_requests
from runner.ledger import Batch
from runner.types import PICO_PER_USD


def batch_facts(summary: execution.Summary) -> list[tuple[str, str]]:
    """Labels and texts for a summary; empty where the run made no batch."""
    batches = summary.batches
    if not batches:
        return []
    told = _states(batches)
    primed = sum(batch.priming for batch in batches)
    first = f"; {counted(primed, 'request')} went first, to fill the cache" if primed else ""
    return [
        ("batches", f"{told}{first}"),
        ("at API", _at_api(at_api(batches))),
        ("unsent", _unsent(summary)),
        *[("in doubt", in_doubt(batch)) for batch in doubtful(batches)],
    ]


def open_in_brief(summary: execution.Summary) -> str:
    """The batches that something is still to be done about, for a line of `runner list`."""
    return _states([batch for batch in summary.batches if batch.state not in OVER])


def _states(batches: Sequence[Batch]) -> str:
    states = Counter("collected" if batch.state == "closed" else batch.state.replace("_", " ") for batch in batches)
    return ", ".join(f"{number:,} {state}" for state, number in states.items())


def _unsent(summary: execution.Summary) -> str:
    """What is open beside the batches of a run that waits: the cap, the queue or the priming keep it back."""
    unsent = summary.counts.open - waiting_requests([batch for batch in summary.batches if batch.state not in OVER])
    return f"{counted(unsent, 'row')}, until batches have ended" if summary.status == "waiting" and unsent > 0 else ""


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


def batch_details(batch: Batch) -> dict[str, Any]:
    """One batch as `show --format json` has it, after the summary's own fields. `in_doubt` is null where the API
    certainly has it."""
    doubt = {
        "since": to_rfc3339(batch.created_at),
        "rows": batch.steps,
        "at_most_usd": batch.reserved_pico / PICO_PER_USD,
        "newer_than": batch.watermark,
    }
    known = batch.batch_id is not None and batch.state not in OVER
    return {
        "number": batch.number,
        "collected": batch.settled,
        "priming": batch.priming,
        "canceled_by": batch.cause,
        "results_until": to_rfc3339(results_until(batch)) if known else None,
        "in_doubt": doubt if doubtful([batch]) else None,
        "note": batch.note,
    }


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
    trouble = "" if batch.state in OVER else plain_text(batch.note or "")  # what was overcome only alarms
    note = trouble or ("priming" if batch.priming else "")
    return (str(batch.number), batch.batch_id or "-", state, age, *numbers, expires, note)
