"""What people read of batches: where they stand, how long results are kept, and what nobody knows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from runner.cli.batch_report import batch_details, batch_facts, batch_table, open_in_brief
from runner.execution.summary import Summary
from runner.ledger import Batch, BatchState, Counts, Money
from runner.types import Usage

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def batch(number: int, state: BatchState, **fields: Any) -> Batch:
    values: dict[str, Any] = {
        "batch_id": f"msgbatch_{number}",
        "steps": 1_000,
        "body_sha256": b"",
        "watermark": None,
        "reserved_pico": 2 * 10**12,
        "created_at": NOON,
        "expires_at": NOON + timedelta(hours=24),
        "began_at": NOON,
    }
    return Batch(number, state, **{**values, **fields})


def summary(*batches: Batch) -> Summary:
    counts, money = Counts(total=3_000, open=3_000), Money()
    return Summary(
        "r", "x", "waiting", None, 6, "batch", counts, money, Usage(), None, 0.0, (), simulated=False, batches=batches
    )


def test_a_run_without_batches_says_nothing_of_them() -> None:
    assert batch_facts(summary()) == []
    assert batch_table(summary(), NOON) == []


def test_what_waits_at_the_api_is_told_with_how_long_it_is_kept() -> None:
    facts = dict(batch_facts(summary(batch(1, "closed"), batch(2, "in_progress"), batch(3, "ended", settled=400))))
    assert facts["batches"] == "1 collected, 1 in progress, 1 ended"
    assert facts["at API"] == "1,600 requests in 2 batches; results are kept until 2026-12-21 12:00 UTC"


def test_what_is_in_doubt_is_told_with_its_rows_its_bound_and_since_when() -> None:
    doubtful = batch(3, "in_doubt", batch_id=None, expires_at=None, began_at=None, watermark="msgbatch_2")
    facts = dict(batch_facts(summary(doubtful)))
    assert facts["in doubt"] == (
        "batch 3: 1,000 rows, at most $2.00; since 2026-11-22 12:00:00 UTC nobody knows whether the API has it. "
        "If so, it is newer than msgbatch_2"
    )
    assert facts["at API"] == ""


def test_the_table_has_a_line_a_batch_and_no_escape_sequences() -> None:
    head, first, second = batch_table(
        summary(batch(1, "closed", priming=True), batch(2, "canceling", cause="user", note="odd\x1b[2Jly")),
        NOON + timedelta(minutes=3),
    )
    assert head.split()[:4] == ["batch", "id", "state", "age"]
    assert first.split() == ["1", "msgbatch_1", "closed", "1,000", "0", "priming"]
    assert "canceling (user cancel)  3:00" in second
    assert second.endswith("oddly")


def test_trouble_that_was_overcome_is_not_shown_any_more() -> None:
    _, shown = batch_table(summary(batch(1, "closed", note="ConnectionResetError")), NOON)
    assert "Reset" not in shown


def test_rows_that_are_kept_back_are_told() -> None:
    facts = dict(batch_facts(summary(batch(1, "closed"), batch(2, "in_progress", settled=0))))
    assert facts["unsent"] == "2,000 rows, until batches have ended"
    assert dict(batch_facts(summary(*(batch(number, "in_progress") for number in (1, 2, 3)))))["unsent"] == ""


def test_a_list_names_what_is_still_to_be_done() -> None:
    states: tuple[BatchState, ...] = ("closed", "in_progress", "in_progress", "stuck")
    assert open_in_brief(summary(*(batch(number, state) for number, state in enumerate(states)))) == (
        "2 in progress, 1 stuck"
    )
    assert open_in_brief(summary(batch(1, "closed"))) == ""


def test_programs_are_told_of_doubt_and_of_how_long_results_are_kept() -> None:
    waits = batch_details(batch(1, "in_progress"))
    assert (waits["in_doubt"], waits["results_until"]) == (None, "2026-12-21T12:00:00.000Z")
    doubt = batch_details(batch(3, "in_doubt", batch_id=None, began_at=None, watermark="msgbatch_2", note="reset"))
    assert doubt["in_doubt"] == {
        "since": "2026-11-22T12:00:00.000Z",
        "rows": 1_000,
        "at_most_usd": 2.0,
        "newer_than": "msgbatch_2",
    }
    assert (doubt["results_until"], doubt["note"]) == (None, "reset")
    assert batch_details(batch(1, "closed"))["results_until"] is None
