"""What a run has at the API: when a person is told that results will be gone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from runner.execution.standing import LOSS_TOLD, RESULTS_KEPT, soon_lost
from runner.ledger import Batch, BatchState

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def batch(state: BatchState, batch_id: str | None = "msgbatch_7") -> Batch:
    return Batch(7, state, batch_id, 10, b"", None, 0, NOON, NOON + timedelta(hours=24), began_at=NOON)


@pytest.mark.parametrize(
    ("left", "told"),
    [
        (LOSS_TOLD + timedelta(seconds=1), None),
        (LOSS_TOLD, "are not collected, and are kept until 2026-12-21 12:00 UTC: `runner resume r1`"),
        (timedelta(seconds=-1), "are not collected, and were kept until 2026-12-21 12:00 UTC: `runner resume r1`"),
    ],
)
def test_the_end_of_results_is_told_five_days_before(left: timedelta, told: str | None) -> None:
    said = list(soon_lost("r1", [batch("in_progress")], NOON + RESULTS_KEPT - left))
    assert said == ([] if told is None else [f"the results of batch 7 (msgbatch_7) {told}"])


@pytest.mark.parametrize("state", ["closed", "archived", "not_sent", "rejected"])
def test_what_is_collected_or_gone_for_good_is_not_told(state: BatchState) -> None:
    assert list(soon_lost("r1", [batch(state)], NOON + RESULTS_KEPT)) == []


def test_a_batch_that_nobody_knows_the_id_of_has_no_results_to_lose() -> None:
    assert list(soon_lost("r1", [batch("in_doubt", None)], NOON + RESULTS_KEPT)) == []
