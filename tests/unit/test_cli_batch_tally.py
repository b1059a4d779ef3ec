"""Batches as a display shows them: counted from events, and never with progress that nobody knows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

from runner.cli.batch_tally import BatchTally, batch_words, said_of
from runner.cli.display import PlainLines
from runner.cli.tally import Tally
from runner.events import BatchMoved, BatchSettled, Packed, RunEnded, RunStarted
from runner.types import Usage
from support.engine_fakes import HandClock

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def moved(number: int, state: str, *, age_s: float = 60, **fields: Any) -> BatchMoved:
    began = NOON - timedelta(seconds=age_s)
    return BatchMoved(number, state, f"msgbatch_{number}", 10, began, began + timedelta(hours=24), **fields)


def test_batches_are_counted_by_where_they_stand() -> None:
    tally = BatchTally()
    assert tally.standing(NOON) is None
    for event in (moved(1, "in_progress", age_s=300), moved(2, "in_progress"), moved(3, "ended"), moved(4, "sending")):
        tally.moved(event)
    tally.packed(Packed(5, 7, 1_000))
    standing = tally.standing(NOON)
    assert standing is not None
    assert (standing.batches, standing.requests, standing.ended, standing.packing) == (3, 30, 1, 7)
    assert (standing.oldest_s, standing.expires_at) == (300, NOON + timedelta(hours=24, seconds=-300))
    for state in ("closed", "not_sent", "rejected"):
        tally.moved(moved(1, state))
    assert batch_words(tally.standing(NOON) or standing)[0] == "2 batches at the API (20 requests, the oldest for 1:00)"


def test_a_move_is_said_where_a_person_wants_to_know() -> None:
    said = said_of(moved(1, "in_progress", priming=True))
    assert said is not None
    assert "first and alone to fill the cache" in said
    assert said_of(moved(1, "sending")) is None
    assert "in doubt" in (said_of(moved(1, "in_doubt")) or "")


def test_what_is_settled_counts_and_a_batch_has_no_rate() -> None:
    tally = Tally(HandClock())
    tally.notify(RunStarted("r", "x", "batch", 20, 20, None, resumed=False))
    tally.notify(moved(1, "in_progress"))
    tally.notify(moved(2, "in_progress"))
    tally.notify(BatchSettled(1, {"succeeded": 6, "failed": 1, "canceled": 1, "open": 2}, Usage(100, 50), 9, 1))
    progress = tally.progress()
    assert (progress.done, progress.prompt_tokens, progress.cost_pico, progress.unpriced) == (8, 100, 9, 1)
    assert (progress.failures, progress.retried) == ({"failed": 1}, {"of batches": 2}), "canceled is not failed"
    assert (progress.rows_per_s, progress.left_s) == (None, None)
    stream = StringIO()
    lines = PlainLines(stream, every_s=0)
    lines.show(tally.notices(), progress)
    lines.show((), progress)
    assert "2 batches at the API (20 requests" in stream.getvalue()
    assert "in flight" not in stream.getvalue()


def test_a_cancel_does_not_say_that_it_goes_on() -> None:
    tally = Tally(HandClock())
    tally.notify(RunStarted("r", "x", "batch", 20, 5, None, resumed=True, task="cancel"))
    assert [notice.text for notice in tally.notices()] == ["x: canceling run r: 5 of 20 rows are open"]


def test_a_row_with_several_samples_is_done_once_all_of_them_are() -> None:
    tally = Tally(HandClock())
    tally.notify(RunStarted("r", "x", "batch", 20, 10, None, resumed=True, samples=3))
    tally.notify(BatchSettled(1, {"succeeded": 12, "failed": 2}, Usage(), 0))
    assert (tally.progress().total, tally.progress().done) == (20, 14)
    tally.notify(BatchSettled(1, {"succeeded": 13}, Usage(), 0))
    assert tally.progress().done == 19, "three samples had ended before this sitting"
    tally.notify(RunEnded("r", "finished", 20))
    (*_, ended) = [notice.progress for notice in tally.notices()]
    assert ended is not None
    assert (ended.done, ended.samples, ended.failures) == (20, 3, {"failed": 2})
