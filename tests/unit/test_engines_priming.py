"""How a priming batch stands, by the book and the clock."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from runner.engines.priming import due_in_s, primed, why_unprimed
from runner.ledger import Batch
from support.engine_fakes import EPOCH

NOW = EPOCH + timedelta(minutes=30)


def batch(state: Any, number: int = 1, *, priming: bool = True, minutes_ago: float = 10.0, **fields: Any) -> Batch:
    created_at = NOW - timedelta(minutes=minutes_ago)
    return Batch(number, state, None, 1, b"", None, 0, created_at, None, priming, **fields)


@pytest.mark.parametrize(
    ("batches", "state"),
    [
        ([], "none"),
        ([batch("closed", priming=False)], "none"),
        ([batch("sending")], "waiting"),
        ([batch("in_progress")], "waiting"),
        ([batch("unseen")], "waiting"),
        ([batch("in_progress", minutes_ago=61)], "failed"),
        ([batch("ended")], "warm"),
        ([batch("closed", ended_at=NOW, tallies={"succeeded": 1})], "warm"),
        ([batch("closed", ended_at=NOW, tallies={"succeeded": 0, "expired": 1})], "failed"),
        ([batch("closed", ended_at=NOW - timedelta(minutes=61))], "none"),
        ([batch("closed", minutes_ago=61)], "none"),
        ([batch("in_doubt")], "failed"),
        ([batch("not_sent")], "none"),
        ([batch("rejected")], "none"),
        ([batch("closed", ended_at=NOW), batch("in_progress", 2)], "waiting"),
        ([batch("not_sent"), batch("closed", 2, ended_at=NOW)], "warm"),
    ],
)
def test_how_priming_stands(batches: list[Batch], state: str) -> None:
    assert primed(batches, NOW) == state


def test_a_priming_batch_is_waited_for_an_hour() -> None:
    assert due_in_s([batch("in_progress")], NOW) == 50 * 60
    assert due_in_s([batch("in_progress", minutes_ago=90)], NOW) == 0


def test_why_the_others_go_without_is_said() -> None:
    assert "within an hour" in why_unprimed([batch("in_progress", minutes_ago=61)])
    assert "did not succeed" in why_unprimed([batch("closed")])
    assert "is in doubt" in why_unprimed([batch("in_doubt")])
