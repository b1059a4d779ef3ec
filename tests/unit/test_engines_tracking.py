"""Following batches until they are closed, over a real ledger and a scripted API."""

from __future__ import annotations

import asyncio
import itertools
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from runner.engines import StopReason
from runner.engines.deadline import Deadline
from runner.engines.halt import INTERRUPTED
from runner.events import BatchMoved, BatchSettled, Warned
from runner.ledger.audit import audit
from runner.types import Failure
from support.tracking_fakes import (
    NOT_FOUND,
    RESET,
    BatchAnswers,
    BatchRun,
    QuickClock,
    archived,
    ended,
    errored,
    jsonl,
    name,
    remote,
    succeeded,
    until,
)  # fmt: skip

ID = "msgbatch_1"


def all_succeeded(rows: range, number: int = 1) -> bytes:
    return jsonl(*(succeeded(name(row, number), f"answer {row}") for row in rows))


def ended_well(count: int, batch_id: str = ID) -> Any:
    return remote(batch_id, "ended", succeeded=count)


def test_a_batch_is_polled_collected_and_closed(tmp_path: Path) -> None:
    run = BatchRun(tmp_path / "run", 3)
    looks = [remote(ID, processing=3), remote(ID, processing=3), ended_well(3)]
    run.batch(range(3), BatchAnswers(looks, [all_succeeded(range(3))]))
    tracker = run.to_the_end()
    assert (tracker.open, tracker.reason, tracker.reopened, tracker.queued_requests) == (0, None, 0, 0)
    assert (run.state(), run.statuses()) == ("closed", ["succeeded"] * 3)
    assert b"answer 2" in run.result(2).body
    assert [moved.state for moved in run.listener.of(BatchMoved)] == ["ended", "closed"]
    (settled,) = run.listener.of(BatchSettled)
    assert (settled.statuses, settled.cost_pico, settled.usage.input_tokens) == ({"succeeded": 3}, 45, 30)
    assert run.ledger.money().spent == 45
    assert run.listener.of(Warned) == []
    run.ledger.close()
    assert audit(tmp_path / "run") == []


def test_a_reply_on_which_a_turn_follows_is_not_told_as_one_that_is_sent_again(tmp_path: Path) -> None:
    run = BatchRun(tmp_path / "run", 3)
    run.turns = 1
    lines = jsonl(succeeded(name(0), "yes"), succeeded(name(1), "no"), errored(name(2)))
    run.batch(range(3), BatchAnswers([remote(ID, "ended", succeeded=2, errored=1)], [lines]))
    assert run.to_the_end().reopened == 3
    (settled,) = run.listener.of(BatchSettled)
    assert (settled.statuses, settled.usage.input_tokens) == ({"open": 1}, 20)


def test_polls_come_further_and_further_apart(tmp_path: Path) -> None:
    run = BatchRun(tmp_path / "run", 1)
    run.batch(range(1), BatchAnswers([remote(ID, processing=1)] * 12 + [ended_well(1)], [all_succeeded(range(1))]))
    run.to_the_end()
    times = run.api.times("look")
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert len(gaps) == 12
    assert all(gap >= 0.99 * 1.5**number for number, gap in enumerate(gaps[:10]))
    assert gaps[11] >= 59


@pytest.mark.parametrize("failure", [RESET, Failure("api_error", "ill", retryable=True, http_status=500)])
def test_an_api_that_does_not_answer_is_asked_for_ever(tmp_path: Path, failure: Failure) -> None:
    run = BatchRun(tmp_path / "run", 1)
    run.batch(range(1), BatchAnswers([failure] * 9 + [ended_well(1)], [all_succeeded(range(1))]))
    assert run.to_the_end().reason is None
    assert run.state() == "closed"
    times = run.api.times("look")
    assert times[9] - times[8] >= 59


def test_a_rate_limit_is_waited_for_and_clamped(tmp_path: Path) -> None:
    run = BatchRun(tmp_path / "run", 1)
    limited = Failure("rate_limit_error", "slow down", retryable=True, http_status=429, retry_after_s=86_400.0)
    run.batch(range(1), BatchAnswers([limited, ended_well(1)], [all_succeeded(range(1))]))
    run.to_the_end()
    before, after = run.api.times("look")
    assert 300 <= after - before < 5_000


@pytest.mark.parametrize(("status", "kind", "scope", "reason"), [
    (401, "authentication_error", "job", "credentials"),
    (403, "permission_error", "job", "permission"),
    (403, "permission_error", "row", "permission"),
])  # fmt: skip
def test_a_refused_key_stops_the_run_and_leaves_the_batch(
    tmp_path: Path, status: int, kind: str, scope: Any, reason: str
) -> None:
    run = BatchRun(tmp_path / "run", 1)
    run.batch(range(1), BatchAnswers([Failure(kind, "no", http_status=status, scope=scope)]))
    tracker = run.to_the_end()
    assert tracker.reason is not None
    assert (tracker.reason.kind, tracker.open, run.state()) == (reason, 1, "in_progress")


def test_a_batch_that_is_not_found_is_told_once_and_looked_for(tmp_path: Path) -> None:
    run = BatchRun(tmp_path / "run", 1)
    looks = [NOT_FOUND, NOT_FOUND, remote(ID, processing=1), ended_well(1)]
    run.batch(range(1), BatchAnswers(looks, [all_succeeded(range(1))]))
    assert run.to_the_end().reason is None
    assert [moved.state for moved in run.listener.of(BatchMoved)] == ["unseen", "in_progress", "ended", "closed"]
    assert run.warnings() == ["batch-unseen"]


@pytest.mark.parametrize("look", [remote(ID, processing=1), NOT_FOUND])
def test_a_batch_that_never_ends_is_stuck_and_stops_the_run_when_nothing_else_is_left(
    tmp_path: Path, look: Any
) -> None:
    run = BatchRun(tmp_path / "run", 1)
    run.batch(range(1), BatchAnswers([look]), age_s=26 * 3600 + 60)
    tracker = run.to_the_end()
    assert tracker.reason is not None
    assert (tracker.reason.kind, run.state(), run.warnings()) == ("stuck", "stuck", ["batch-stuck"])
    assert run.statuses() == ["open"]
    assert run.ledger.open_steps(None, 9) == []


def test_a_stuck_batch_does_not_stop_the_others_and_is_collected_when_it_ends(tmp_path: Path) -> None:
    run = BatchRun(tmp_path / "run", 2)
    looks = [remote(ID, processing=1)] * 3 + [ended_well(1)]
    run.batch(range(1), BatchAnswers(looks, [all_succeeded(range(1))]), age_s=27 * 3600)
    others = [remote("msgbatch_2", processing=1)] * 20 + [ended_well(1, "msgbatch_2")]
    run.batch(range(1, 2), BatchAnswers(others, [all_succeeded(range(1, 2), 2)]))
    tracker = run.to_the_end()
    assert (tracker.reason, run.statuses()) == (None, ["succeeded"] * 2)


# -- results -------------------------------------------------------------------------------------------------------


def test_every_end_of_a_request_is_ruled_on(tmp_path: Path) -> None:
    run = BatchRun(tmp_path / "run", 4)
    lines = jsonl(
        ended(name(3), "expired"), errored(name(2)), errored(name(1), "invalid_request_error"), succeeded(name(0))
    )
    tallies = remote(ID, "ended", succeeded=1, errored=2, expired=1)
    run.batch(range(4), BatchAnswers([tallies], [lines]))
    tracker = run.to_the_end()
    assert (tracker.reason, tracker.reopened, run.state()) == (None, 2, "closed")
    assert run.statuses() == ["succeeded", "failed", "open", "open"]
    assert [found.tries for found in run.ledger.open_steps(None, 9)] == [1, 1]


def test_a_broken_download_starts_again(tmp_path: Path) -> None:
    run = BatchRun(tmp_path / "run", 2)
    run.batch(range(2), BatchAnswers([ended_well(2)], [RESET, RESET, all_succeeded(range(2))]))
    assert run.to_the_end().reason is None
    assert (run.state(), run.api.count("results")) == ("closed", 3)
    assert run.statuses() == ["succeeded"] * 2


def test_results_that_are_not_there_yet_are_asked_for_again(tmp_path: Path) -> None:
    run = BatchRun(tmp_path / "run", 2)
    run.batch(range(2), BatchAnswers([ended_well(2)], [NOT_FOUND, NOT_FOUND, all_succeeded(range(2))]))
    assert run.to_the_end().reason is None
    assert (run.state(), run.warnings()) == ("closed", ["results-unseen"])


def test_results_without_some_ids_are_fetched_again_and_what_each_file_gave_is_kept(tmp_path: Path) -> None:
    run = BatchRun(tmp_path / "run", 3)
    first, second = all_succeeded(range(2)), all_succeeded(range(1, 3))
    run.batch(range(3), BatchAnswers([ended_well(3)], [first, second]))
    assert run.to_the_end().reason is None
    assert (run.state(), run.statuses(), run.api.count("results")) == ("closed", ["succeeded"] * 3, 2)
    assert [b"answer %d" % row in run.result(row).body for row in range(3)] == [True] * 3
    assert run.warnings() == ["results-missing"]


def test_results_that_stay_incomplete_stop_the_run_and_say_what_is_missing(tmp_path: Path) -> None:
    run = BatchRun(tmp_path / "run", 4)
    run.batch(range(4), BatchAnswers([ended_well(4)], [all_succeeded(range(2))]))
    tracker = run.to_the_end()
    assert tracker.reason is not None
    assert tracker.reason.kind == "results_incomplete"
    assert "2 of its 4 requests have no result (rows 2, 3)" in tracker.reason.message
    assert "--resend" in str(tracker.reason.hint)
    assert (run.api.count("results"), run.state()) == (6, "ended")
    assert run.statuses() == ["succeeded", "succeeded", "open", "open"]
    again = run.reopen()
    again.api.answers[ID].results = [all_succeeded(range(4))]
    assert again.to_the_end().reason is None
    assert (again.state(), again.statuses()) == ("closed", ["succeeded"] * 4)


def test_tallies_that_do_not_agree_are_asked_for_once_more_and_keep_the_batch_open(tmp_path: Path) -> None:
    run = BatchRun(tmp_path / "run", 2)
    wrong = remote(ID, "ended", succeeded=1, errored=1)
    run.batch(range(2), BatchAnswers([wrong], [all_succeeded(range(2))]))
    tracker = run.to_the_end()
    assert tracker.reason is not None
    assert tracker.reason.kind == "results_incomplete"
    assert "1 succeeded, 1 errored" in tracker.reason.message
    assert "2 succeeded" in tracker.reason.message
    assert (run.api.count("results"), run.state(), run.statuses()) == (2, "ended", ["succeeded"] * 2)


def test_tallies_that_are_put_right_close_the_batch(tmp_path: Path) -> None:
    run = BatchRun(tmp_path / "run", 2)
    looks = [remote(ID, "ended", succeeded=1, errored=1), ended_well(2)]
    run.batch(range(2), BatchAnswers(looks, [all_succeeded(range(2))]))
    assert run.to_the_end().reason is None
    assert (run.state(), run.ledger.batch(1).tallies) == ("closed", {"succeeded": 2})


def test_odd_lines_are_counted_told_and_change_nothing(tmp_path: Path) -> None:
    run = BatchRun(tmp_path / "run", 3)
    lines = jsonl(
        b"", succeeded(name(0), "first"), b"{cut", succeeded(name(0), "first"), b"  ", succeeded(name(0), "other"),
        succeeded(name(1)), succeeded(name(9)), succeeded(name(1, 7)), succeeded("foreign"), errored(name(2)),
        b'{"custom_id":"%s","result":{"type":"paused"}}' % name(2).encode(), end=b"\r\n",
    )  # fmt: skip
    run.batch(range(3), BatchAnswers([remote(ID, "ended", succeeded=2, errored=1)], [lines]))
    assert run.to_the_end().reason is None
    assert (run.state(), run.statuses()) == ("closed", ["succeeded", "succeeded", "open"])
    assert b"first" in run.result(0).body
    assert sorted(run.warnings()) == [
        "results-contradict", "results-foreign", "results-repeated", "results-unreadable",
    ]  # fmt: skip
    told = {event.code: event.message for event in run.listener.of(Warned)}
    assert "3 lines" in told["results-foreign"]
    assert "2 lines" in told["results-unreadable"]


def test_a_paid_reply_that_cannot_be_read_counts_as_the_api_counts_it(tmp_path: Path) -> None:
    run = BatchRun(tmp_path / "run", 2)
    lines = jsonl(succeeded(name(0)), b'{"custom_id":"%s","result":{"type":"succeeded"}}' % name(1).encode())
    run.batch(range(2), BatchAnswers([ended_well(2)], [lines]))
    assert run.to_the_end().reason is None
    assert (run.state(), run.statuses()) == ("closed", ["succeeded", "failed"])
    assert run.ledger.money().doubtful == 1_000


def test_a_billing_error_inside_results_is_recorded_and_stops_the_run(tmp_path: Path) -> None:
    run = BatchRun(tmp_path / "run", 3)
    lines = jsonl(succeeded(name(0)), errored(name(1), "billing_error"), succeeded(name(2)))
    run.batch(range(3), BatchAnswers([remote(ID, "ended", succeeded=2, errored=1)], [lines]))
    tracker = run.to_the_end()
    assert tracker.reason is not None
    assert (tracker.reason.kind, run.state()) == ("spend_limit", "closed")
    assert (run.statuses(), tracker.reopened) == (["succeeded", "open", "succeeded"], 1)


def test_a_landed_file_of_an_earlier_sitting_is_read_from_its_start_without_another_download(tmp_path: Path) -> None:
    run = BatchRun(tmp_path / "run", 3)
    run.batch(range(3), BatchAnswers([ended_well(3)], [RESET]))

    async def land() -> None:
        async with run.tracker(follow=False):
            path = await run.writer.landing_path(1)
            await run.writer.mark_batch(1, "ended")
            path.write_bytes(all_succeeded(range(3)))
            await run.writer.land(1)

    asyncio.run(land())
    again = run.reopen()
    assert again.to_the_end().reason is None
    assert (again.state(), again.statuses(), again.api.count("results")) == ("closed", ["succeeded"] * 3, 0)
    assert again.api.count("look") == 1, "its tallies were not known"


# -- results that are gone -----------------------------------------------------------------------------------------


def test_archived_results_are_lost_and_may_have_been_billed(tmp_path: Path) -> None:
    run = BatchRun(tmp_path / "run", 2)
    run.batch(range(2), BatchAnswers([archived(ended_well(2))]))
    assert run.to_the_end().reason is None
    assert (run.state(), run.statuses()) == ("closed", ["failed"] * 2)
    failure = run.result(0).failure
    assert failure is not None
    assert (failure.kind, run.ledger.money().doubtful, run.api.count("results")) == ("results_lost", 2_000, 0)
    assert run.warnings() == ["batch-archived"]
    run.ledger.close()
    assert audit(tmp_path / "run") == []


def test_results_that_are_not_found_after_29_days_are_lost(tmp_path: Path) -> None:
    run = BatchRun(tmp_path / "run", 1)
    run.batch(range(1), BatchAnswers([ended_well(1)], [NOT_FOUND]), age_s=30 * 86_400)
    assert run.to_the_end().reason is None
    assert (run.state(), run.statuses()) == ("closed", ["failed"])


def test_a_batch_whose_results_are_gone_keeps_what_has_landed(tmp_path: Path) -> None:
    run = BatchRun(tmp_path / "run", 3)
    run.batch(range(3), BatchAnswers([ended_well(3), archived(ended_well(3))], [all_succeeded(range(1)), NOT_FOUND]))
    assert run.to_the_end().reason is None
    assert (run.state(), run.statuses()) == ("closed", ["succeeded", "failed", "failed"])


# -- canceling -----------------------------------------------------------------------------------------------------


def canceled_run(folder: Path) -> BatchRun:
    """Two rows at the API, of which a cancel leaves one unanswered."""
    run = BatchRun(folder, 2)
    lines = jsonl(succeeded(name(0)), ended(name(1), "canceled"))
    canceling = remote(ID, "canceling", processing=2)
    after: list[Any] = [canceling, canceling, remote(ID, "ended", succeeded=1, canceled=1)]
    run.batch(range(2), BatchAnswers([remote(ID, processing=2)], [lines], [canceling], after))
    return run


@pytest.mark.parametrize(("cause", "status", "reopened"), [
    ("user", "canceled", 0), ("deadline", "open", 1),
])  # fmt: skip
def test_what_a_cancel_leaves_follows_its_cause(tmp_path: Path, cause: Any, status: str, reopened: int) -> None:
    run = canceled_run(tmp_path / "run")
    causes: list[Any] = []

    async def note(_: str) -> None:
        causes.append(run.ledger.batch(1).cause)

    run.api.at_cancel = note

    async def follow() -> Any:
        async with run.tracker() as tracker:
            await tracker.cancel_all(cause)
            await tracker.cancel_all(cause)
            await until(tracker, lambda: tracker.open == 0)
            await tracker.cancel_all(cause)
            return tracker

    tracker = asyncio.run(follow())
    assert causes[0] == cause, "the cause is durable before the cancel"
    assert (tracker.reason, tracker.reopened, run.statuses()) == (None, reopened, ["succeeded", status])
    if reopened:
        assert [found.tries for found in run.ledger.open_steps(None, 9)] == [0]


def test_a_batch_that_others_canceled_stops_the_run_and_its_steps_are_open_again(tmp_path: Path) -> None:
    run = canceled_run(tmp_path / "run")
    answers = run.api.answers[ID]
    assert answers.after_cancel is not None
    answers.looks = answers.after_cancel
    tracker = run.to_the_end()
    assert tracker.reason is not None
    assert (tracker.reason.kind, tracker.reopened, run.state()) == ("canceled_elsewhere", 1, "closed")
    assert (run.statuses(), run.api.count("cancel")) == (["succeeded", "open"], 0)


def test_a_cancel_that_did_not_come_through_is_sent_again(tmp_path: Path) -> None:
    run = canceled_run(tmp_path / "run")
    run.api.answers[ID].cancels = [RESET, RESET, remote(ID, "canceling", processing=2)]

    async def follow() -> Any:
        async with run.tracker() as tracker:
            await tracker.cancel_all("user")
            await until(tracker, lambda: tracker.open == 0)

    asyncio.run(follow())
    assert (run.api.count("cancel"), run.statuses()) == (3, ["succeeded", "canceled"])


def test_a_cause_that_was_stored_by_a_sitting_that_died_is_acted_upon(tmp_path: Path) -> None:
    run = canceled_run(tmp_path / "run")
    run.api.answers[ID].cancels = [RESET]

    async def die() -> None:
        async with run.tracker() as tracker:
            await tracker.cancel_all("user")

    asyncio.run(die())
    again = run.reopen()
    again.api.answers[ID].cancels = [remote(ID, "canceling", processing=2)]
    assert again.to_the_end().reason is None
    assert again.statuses() == ["succeeded", "canceled"]


# -- the deadline --------------------------------------------------------------------------------------------------


def deadline_in(run: BatchRun, seconds: float) -> Deadline:
    """A deadline whose point of no return lies `seconds` ahead, less what is unanswered: a tenth of a second a row."""
    at = QuickClock.START + timedelta(seconds=seconds)
    return Deadline(at, QuickClock.START, 10.0, run.rows)


def test_at_the_point_of_no_return_what_has_not_ended_is_canceled(tmp_path: Path) -> None:
    run = canceled_run(tmp_path / "run")
    run.deadline = deadline_in(run, 3_000)

    async def follow() -> Any:
        async with run.tracker() as tracker:
            assert not tracker.deadline_passed
            await until(tracker, lambda: tracker.open == 0)
            return tracker

    tracker = asyncio.run(follow())
    assert tracker.deadline_passed
    assert (tracker.reason, tracker.reopened, run.statuses()) == (None, 1, ["succeeded", "open"])
    assert run.ledger.batch(1).cause == "deadline"
    assert run.api.times("cancel")[0] >= 2_545


def test_a_restart_past_the_point_cancels_at_once_and_follows_what_is_being_canceled(tmp_path: Path) -> None:
    run = canceled_run(tmp_path / "run")
    run.deadline = deadline_in(run, -1)
    tracker = run.to_the_end()
    assert (tracker.deadline_passed, tracker.reopened, run.api.calls[0][0]) == (True, 1, "cancel")
    other = canceled_run(tmp_path / "other")
    other.deadline = deadline_in(other, -1)

    async def die() -> None:
        async with other.tracker() as tracker:
            await until(tracker, lambda: other.state() == "canceling")

    asyncio.run(die())
    cancels = other.api.count("cancel")
    again = other.reopen()
    assert again.to_the_end().reopened == 1
    assert again.api.count("cancel") == cancels


# -- looking once, stopping, errors --------------------------------------------------------------------------------


def test_one_look_collects_what_has_ended_and_leaves_the_rest(tmp_path: Path) -> None:
    run = BatchRun(tmp_path / "run", 3)
    run.batch(range(1), BatchAnswers([ended_well(1)], [RESET, all_succeeded(range(1))]))
    run.batch(range(1, 3), BatchAnswers([remote("msgbatch_2", processing=2)]), age_s=1)

    async def look() -> Any:
        async with run.tracker() as tracker:
            await tracker.look_once()
            return tracker

    tracker = asyncio.run(look())
    assert (run.state(1), run.state(2)) == ("closed", "in_progress")
    assert (tracker.open, tracker.queued_requests, tracker.reason) == (1, 2, None)


def test_one_look_also_collects_what_ends_while_others_are_collected(tmp_path: Path) -> None:
    run = BatchRun(tmp_path / "run", 3)
    run.batch(range(1), BatchAnswers([ended_well(1)], [*[RESET] * 9, all_succeeded(range(1))]))
    later = [remote("msgbatch_2", processing=2), ended_well(2, "msgbatch_2")]
    # It has ended, and is not collected, when the first one is closed.
    slow: list[bytes | Failure] = [*[RESET] * 11, all_succeeded(range(1, 3), 2)]
    run.batch(range(1, 3), BatchAnswers(later, slow), age_s=1)

    async def look() -> int:
        async with run.tracker() as tracker:
            await tracker.look_once()
            return tracker.open

    assert asyncio.run(look()) == 0
    assert (run.state(1), run.state(2)) == ("closed", "closed")


def test_one_look_at_results_that_stay_incomplete_says_so(tmp_path: Path) -> None:
    run = BatchRun(tmp_path / "run", 2)
    run.batch(range(2), BatchAnswers([ended_well(2)], [all_succeeded(range(1))]))

    async def look() -> Any:
        async with run.tracker() as tracker:
            await tracker.look_once()
            return tracker.reason

    reason = asyncio.run(look())
    assert isinstance(reason, StopReason)
    assert reason.kind == "results_incomplete"


def test_a_halt_ends_the_polling_at_once_and_leaves_the_batch(tmp_path: Path) -> None:
    run = BatchRun(tmp_path / "run", 1)
    run.batch(range(1), BatchAnswers([remote(ID, processing=1)]))

    async def follow() -> int:
        async with run.tracker() as tracker:
            while not run.api.count("look"):  # noqa: ASYNC110 - a look that finds nothing new is told to nobody
                await asyncio.sleep(0)
            run.halt.stop(INTERRUPTED)
            async with asyncio.timeout(60):
                await tracker.changed()
                await tracker.look_once()
            looks = run.api.count("look")
            await asyncio.sleep(0.02)
            return run.api.count("look") - looks

    assert asyncio.run(follow()) == 0
    assert run.state() == "in_progress"


def test_an_error_of_the_book_comes_out(tmp_path: Path) -> None:
    run = BatchRun(tmp_path / "run", 1)
    run.batch(range(1), BatchAnswers([ended_well(1)], [all_succeeded(range(1))]))
    run.ledger._database.connection.execute(
        "CREATE TRIGGER broken BEFORE UPDATE ON batches BEGIN SELECT raise(FAIL, 'broken'); END"
    )

    async def follow() -> None:
        async with run.tracker() as tracker:
            with pytest.raises(Exception, match="broken"):
                await until(tracker, lambda: False)
            with pytest.raises(Exception, match="broken"):
                await tracker.look_once()

    with pytest.raises(Exception, match="broken"):
        asyncio.run(follow())


def test_many_batches_share_a_few_calls(tmp_path: Path) -> None:
    run = BatchRun(tmp_path / "run", 40)
    for row in range(40):
        batch_id = f"msgbatch_{row + 1}"
        results = all_succeeded(range(row, row + 1), row + 1)
        run.batch([row], BatchAnswers([ended_well(1, batch_id)], [results]))
    assert run.to_the_end().reason is None
    assert run.statuses() == ["succeeded"] * 40
    assert run.api.most_under_way <= 8


def test_a_batch_whose_tallies_fit_a_file_that_lacks_a_row_is_not_closed(tmp_path: Path) -> None:
    run = BatchRun(tmp_path / "run", 3)
    run.batch(range(3), BatchAnswers([ended_well(2)], [all_succeeded(range(2))]))
    tracker = run.to_the_end()
    assert tracker.reason is not None
    assert (tracker.reason.kind, run.state()) == ("results_incomplete", "ended")


def test_a_machine_that_slept_past_the_point_notices(tmp_path: Path) -> None:
    run = canceled_run(tmp_path / "run")
    run.deadline = deadline_in(run, 7 * 86_400)

    async def follow() -> None:
        async with run.tracker() as tracker:
            await asyncio.sleep(0.01)
            assert not tracker.deadline_passed
            run.clock.advance(7 * 86_400)
            await until(tracker, lambda: tracker.open == 0)

    asyncio.run(follow())
    assert (run.ledger.batch(1).cause, run.statuses()) == ("deadline", ["succeeded", "open"])


def test_the_point_of_no_return_is_told_also_where_nothing_is_at_the_api(tmp_path: Path) -> None:
    run = BatchRun(tmp_path / "run", 1)
    run.deadline = deadline_in(run, 100)

    async def wait() -> bool:
        async with run.tracker() as tracker:
            await until(tracker, lambda: tracker.deadline_passed)
            return tracker.deadline_passed

    assert asyncio.run(wait())


def test_a_batch_that_is_handed_over_after_the_point_is_canceled(tmp_path: Path) -> None:
    run = canceled_run(tmp_path / "run")
    run.deadline = deadline_in(run, 50)

    async def follow() -> None:
        async with run.tracker(follow=False) as tracker:
            await until(tracker, lambda: tracker.deadline_passed)
            tracker.follow(run.ledger.batch(1))
            tracker.follow(run.ledger.batch(1))
            await until(tracker, lambda: tracker.open == 0)

    asyncio.run(follow())
    assert (run.api.count("cancel"), run.statuses()) == (1, ["succeeded", "open"])


def test_a_cancel_of_the_user_s_replaces_that_of_the_deadline(tmp_path: Path) -> None:
    run = canceled_run(tmp_path / "run")

    async def follow() -> None:
        async with run.tracker() as tracker:
            for cause in ("deadline", "user"):
                await tracker.cancel_all(cause)
            await until(tracker, lambda: tracker.open == 0)

    asyncio.run(follow())
    assert (run.ledger.batch(1).cause, run.statuses()) == ("user", ["succeeded", "canceled"])


@pytest.mark.parametrize("seconds", [0.0, 0.002, 0.005, 0.01, 0.02, 0.05])
def test_a_tracker_that_is_ended_at_any_moment_leaves_all_to_the_next(tmp_path: Path, seconds: float) -> None:
    run = BatchRun(tmp_path / "run", 300)
    run.api.chunk_bytes = 100
    run.batch(range(300), BatchAnswers([ended_well(300)], [all_succeeded(range(300))]))

    async def end() -> None:
        async with run.tracker():
            await asyncio.sleep(seconds)

    asyncio.run(end())
    again = run.reopen()
    assert again.to_the_end().reason is None
    assert (again.state(), set(again.statuses()), again.ledger.counts().attempts) == ("closed", {"succeeded"}, 300)
