"""Runs of batch mode, command by command: which engine a pass uses, and what is left for the next command."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from runner.engines import StopReason
from runner.errors import LedgerError, UsageError
from runner.execution.resuming import cancel_at
from runner.execution.summary import Summary
from runner.ledger import Batch, BatchFacts, BatchState
from runner.ledger.audit import audit
from runner.ledger.sqlite import SqliteLedger
from runner.settings import load_settings
from support.execution_batches import BatchBench
from support.execution_fakes import JOB, folder_in_memory

ROWS = 8
TEXTS = [f"text {number}" for number in range(ROWS)]
IN_THREES = [TEXTS[:3], TEXTS[3:6], TEXTS[6:]]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[BatchBench]:
    with folder_in_memory(tmp_path) as folder:
        bench = BatchBench(folder / "project", ROWS)
        yield bench
        for info in bench.runs():
            assert audit(info.folder) == []


def one_batch(bench: BatchBench) -> None:
    settings = bench.root / "runner.toml"
    settings.write_text(settings.read_text().replace("batch_max_requests = 3", f"batch_max_requests = {ROWS}"))


def stopped(reason: StopReason | None) -> str | None:
    return reason.kind if reason is not None else None


def test_all_rows_go_out_in_batches_and_each_is_bought_once(bench: BatchBench) -> None:
    summary = bench.run()
    assert (summary.status, summary.exit_status, summary.mode) == ("finished", 0, "batch")
    assert bench.provider.bought == IN_THREES
    assert bench.provider.received == [], "nothing was sent in parallel"
    assert [record["output"] for record in bench.records()] == [f"echo of {text}" for text in TEXTS]
    assert {(record["mode"], record["attempts"]) for record in bench.records()} == {("batch", 1)}
    assert [batch["status"] for batch in summary.to_dict()["batches"]] == ["closed"] * 3


DOCUMENTS_JOB = JOB.replace(
    'prompt: "{{ row.text }}"',
    'messages: [{role: user, content: [{text: "{{ row.text }}", cache: true}, " asks {{ row.id }}"]}]',
)


def test_rows_about_one_document_stand_together_in_a_batch(tmp_path: Path) -> None:
    bench = BatchBench(tmp_path / "project", job=DOCUMENTS_JOB)
    bench.rows(letter * 2_000 for letter in "ababcabc")
    summary = bench.run()
    assert (summary.status, summary.exit_status) == ("finished", 0)
    asked = [[(text[0], text[-2:]) for text in texts] for texts in bench.provider.bought]
    assert asked == [
        [("a", "k0"), ("a", "k2"), ("a", "k5")],
        [("b", "k1"), ("b", "k3"), ("b", "k6")],
        [("c", "k4"), ("c", "k7")],
    ]
    assert [record["key"] for record in bench.records()] == [f"k{number}" for number in range(8)]
    assert audit(bench.runs()[-1].folder) == []


def test_few_rows_that_come_back_open_are_sent_again_in_parallel(bench: BatchBench) -> None:
    one_batch(bench)  # so that none comes back while there is still a batch to be packed, which would take it along
    bench.provider.endings = {"text 1": ["errored"], "text 7": ["expired"]}
    assert bench.run().exit_status == 0
    assert bench.provider.bought == [TEXTS]
    assert sorted(bench.provider.received) == ["text 1", "text 7"]
    modes = {record["key"]: (record["mode"], record["attempts"]) for record in bench.records()}
    assert modes["k1"] == modes["k7"] == ("parallel", 2)


def test_many_of_them_make_another_batch(bench: BatchBench) -> None:
    (bench.root / "runner.toml").write_text((bench.root / "runner.toml").read_text() + "batch_resend_rows = 1\n")
    bench.provider.endings = {"text 0": ["errored"], "text 1": ["expired"]}
    bench.provider.endings["text 2"] = ["errored", "errored"]
    summary = bench.run()
    assert summary.exit_status == 0
    assert bench.provider.bought[:4] == [*IN_THREES, ["text 0", "text 1", "text 2"]]
    assert bench.provider.received == ["text 2"], "one alone goes out in parallel"
    assert bench.records()[2]["attempts"] == 3


def test_a_cap_that_does_not_admit_the_full_price_keeps_them_in_batches(bench: BatchBench) -> None:
    one_batch(bench)  # so that all come back at once: of a few the cap might admit the full price
    bench.provider.endings = {text: ["errored"] for text in TEXTS}
    most = bench.run().meta["upper_cost_pico"]
    bench.provider.received.clear()
    bench.provider.endings = {text: ["errored"] * 9 for text in TEXTS}
    summary = bench.run(f"limits.max_cost_usd={1.1 * most / 10**12:.12f}", "retry.max_attempts=2", reuse=False)
    assert summary.counts.failures == {"overloaded_error": ROWS}
    assert bench.provider.received == []


def test_a_trial_that_asks_for_batches_gets_them(bench: BatchBench) -> None:
    summary = bench.run(limit=4)
    assert (summary.exit_status, summary.mode, bench.provider.bought) == (0, "batch", [TEXTS[:3], TEXTS[3:4]])
    assert len(bench.records("out/x.trial.jsonl")) == 4


def test_a_run_is_finished_only_when_its_batches_are_closed(bench: BatchBench) -> None:
    """A kill between the last settle and the mark: every row has its answer, and the batch is still to be closed."""
    bench.provider.hangs = True
    bench.run(detach=True)
    bench.provider.hangs = False
    mark = SqliteLedger.mark_batch

    def never_closed(ledger: SqliteLedger, number: int, state: BatchState, facts: BatchFacts | None = None) -> Batch:
        if state == "closed":
            raise LedgerError("killed", code="killed")
        return mark(ledger, number, state, facts)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SqliteLedger, "mark_batch", never_closed)
        with pytest.raises(LedgerError, match="killed"):
            bench.resume(wait=True)
    summary = bench.resume(wait=True)
    assert (summary.status, {batch.state for batch in summary.batches}) == ("finished", {"closed"})
    assert bench.provider.bought == IN_THREES


# -- detached ----------------------------------------------------------------------------------------------------------


def test_a_detached_run_leaves_its_batches_and_a_resume_does_what_is_due(bench: BatchBench) -> None:
    bench.provider.hangs = True
    summary = bench.run(detach=True)
    assert (summary.status, summary.exit_status, stopped(summary.stopped_by)) == ("waiting", 6, "waiting")
    assert [batch["status"] for batch in summary.to_dict()["batches"]] == ["in_progress"] * 3
    assert bench.resume().exit_status == 6
    bench.provider.hangs = False
    summary = bench.resume()
    assert (summary.status, summary.exit_status, len(bench.records())) == ("finished", 0, ROWS)
    assert bench.provider.bought == IN_THREES


def test_waiting_follows_a_detached_run_to_its_end(bench: BatchBench) -> None:
    bench.provider.hangs = True
    assert bench.run(detach=True).exit_status == 6
    bench.provider.hangs = False
    assert bench.resume(wait=True).exit_status == 0


def test_a_parallel_run_cannot_be_detached(bench: BatchBench) -> None:
    with pytest.raises(UsageError, match="in parallel mode, because the job says so"):
        bench.run("mode=parallel", detach=True)
    assert bench.runs() == []
    bench.run("mode=parallel", "limits.max_cost_usd=0.000000001")
    with pytest.raises(UsageError, match="in parallel mode"):
        bench.resume(detach=True)


# -- cancel, and a new run ---------------------------------------------------------------------------------------------


def test_a_cancel_ends_every_row_and_a_retry_opens_them_again(bench: BatchBench) -> None:
    bench.provider.hangs = True
    bench.run(detach=True)
    summary = bench.cancel()
    assert (summary.status, summary.exit_status, summary.counts.canceled) == ("canceled", 5, ROWS)
    assert all(made.canceled for made in bench.provider.made)
    assert not (bench.root / "out").exists()
    with pytest.raises(LedgerError, match="there is nothing to cancel"):
        bench.cancel()
    bench.provider.hangs = False
    assert bench.retry().exit_status == 0
    assert len(bench.records()) == ROWS


def test_a_cancel_that_was_cut_off_is_ended_by_whoever_comes_next(bench: BatchBench) -> None:
    bench.provider.hangs = True
    bench.run(detach=True)
    with bench.open_last() as ledger:
        ledger.set_meta({"canceling": True})
    assert bench.resume(wait=True).status == "canceled"
    assert len(bench.provider.made) == 3, "nothing more was sent"


def test_the_next_run_of_a_job_ends_the_cancel_first(bench: BatchBench) -> None:
    bench.provider.hangs = True
    bench.run(detach=True)
    with bench.open_last() as ledger:
        ledger.set_meta({"canceling": True})
    bench.provider.hangs = False
    assert bench.run().exit_status == 0
    assert [info.meta["state"] for info in bench.runs()] == ["canceled", "finished"]


def test_a_new_run_collects_what_the_old_one_has_at_the_api(bench: BatchBench) -> None:
    bench.provider.hangs = True
    bench.run(detach=True)
    summary = bench.run("params.max_tokens=40", new=True, detach=True)
    assert (summary.exit_status, len(bench.runs())) == (6, 1), "the old one's batches are waited for"
    bench.provider.hangs = False
    summary = bench.run(new=True)
    assert (summary.exit_status, summary.counts.reused) == (0, ROWS)
    assert [info.meta["state"] for info in bench.runs()] == ["superseded", "finished"]
    assert bench.provider.bought == IN_THREES


# -- in doubt ----------------------------------------------------------------------------------------------------------


def test_what_is_in_doubt_is_sent_again_only_on_the_users_word_and_in_time(bench: BatchBench) -> None:
    bench.provider.lost = 1
    summary = bench.run(detach=True)
    assert (summary.exit_status, stopped(summary.stopped_by)) in ((4, "in_doubt"), (6, "waiting"))
    with pytest.raises(LedgerError, match="may still turn up in the API's list"):
        bench.resume(resend=True, wait=True)
    assert len(bench.provider.bought) == 3
    bench.clock.ahead = timedelta(hours=2)
    summary = bench.resume(resend=True, wait=True)
    assert (summary.status, summary.exit_status) == ("finished", 0)
    assert summary.money.doubtful > 0, "what may have been bought twice stays counted"
    assert any("sent again" in warning for warning in summary.warnings)
    assert len(bench.records()) == ROWS
    assert bench.provider.hidden[0].texts, "the lost one was never found"


def test_a_list_that_cannot_be_read_is_no_look(bench: BatchBench) -> None:
    """The user's word counts once the list was read again and did not hold the batch."""
    bench.provider.lost = 1
    bench.provider.hangs = True
    bench.run(detach=True)
    bench.clock.ahead = timedelta(hours=2)
    bench.provider.made[:0] = bench.provider.hidden  # it has turned up meanwhile, and has ended
    bench.provider.hidden.clear()
    for made, looks in zip(bench.provider.made, (2, -10, -10), strict=True):
        made.looks = looks
    bench.provider.hangs = False
    bench.provider.list_failures = 1
    summary = bench.resume(resend=True, wait=True)
    assert summary.exit_status == 0
    assert (bench.provider.bought, bench.provider.received) == (IN_THREES, []), "it was found: nothing is bought twice"


@pytest.mark.parametrize("detach", [False, True])
def test_what_may_be_the_one_in_doubt_is_waited_for_before_anything_is_sent_again(
    bench: BatchBench, detach: bool
) -> None:
    """It is still in progress, an hour later: only its results can say whose it is."""
    bench.provider.lost = 1
    bench.provider.hangs = True
    bench.run(detach=True)
    bench.clock.ahead = timedelta(hours=2)
    found = bench.provider.hidden.pop()
    found.looks = -1
    bench.provider.made.insert(0, found)
    if detach:
        assert bench.resume(resend=True).exit_status == 6
        assert bench.provider.received == []
    for made in bench.provider.made[1:]:
        made.looks = 2
    bench.provider.hangs, bench.provider.ends_by_itself = False, True
    summary = bench.resume(resend=True, wait=True)
    assert summary.exit_status == 0
    assert (bench.provider.bought, bench.provider.received) == (IN_THREES, []), "nothing was bought twice"


def test_after_the_deadline_a_batch_in_doubt_does_not_keep_the_other_rows(bench: BatchBench) -> None:
    bench.provider.lost = 1
    bench.provider.hangs = True
    bench.run("limits.deadline=4h", detach=True)
    bench.clock.ahead = timedelta(hours=5)
    summary = bench.resume(wait=True)
    assert (summary.exit_status, stopped(summary.stopped_by)) == (4, "in_doubt")
    assert (summary.counts.succeeded, summary.counts.open) == (ROWS - 3, 3)
    assert sorted(bench.provider.received) == TEXTS[3:]


def test_the_users_word_is_about_what_was_told_and_not_about_what_is_sent_on_it(bench: BatchBench) -> None:
    """An API that loses every reply would be paid again and again."""
    (bench.root / "runner.toml").write_text((bench.root / "runner.toml").read_text() + "batch_resend_rows = 0\n")
    bench.provider.lost = 1
    bench.run(detach=True)
    bench.clock.ahead = timedelta(hours=2)
    bench.provider.lost = 9
    before = len(bench.provider.bought)
    summary = bench.resume(resend=True, wait=True)
    assert (summary.exit_status, stopped(summary.stopped_by)) == (4, "in_doubt")
    assert len(bench.provider.bought) == before + 1


def test_the_users_word_is_not_about_results_of_batches_that_are_sent_on_it(bench: BatchBench) -> None:
    (bench.root / "runner.toml").write_text((bench.root / "runner.toml").read_text() + "batch_resend_rows = 0\n")
    bench.provider.lost = 1
    bench.run(detach=True)
    bench.clock.ahead = timedelta(hours=2)
    bench.provider.missing = {"text 1"}
    before = len(bench.provider.bought)
    summary = bench.resume(resend=True, wait=True)
    assert (summary.exit_status, stopped(summary.stopped_by)) == (4, "results_incomplete")
    assert len(bench.provider.bought) == before + 1


# -- results that lack rows --------------------------------------------------------------------------------------------


def test_the_users_word_sends_what_is_missing_again_also_after_the_last_try(bench: BatchBench) -> None:
    bench.provider.missing = {"text 1"}
    summary = bench.run("retry.max_attempts=1")
    assert (summary.exit_status, stopped(summary.stopped_by)) == (4, "results_incomplete")
    summary = bench.resume(resend=True, wait=True)
    assert (summary.exit_status, summary.counts.succeeded) == (0, ROWS)
    assert bench.provider.received == ["text 1"]
    assert summary.money.doubtful > 0


def test_a_cancel_ends_on_the_users_word_where_results_lack_rows(bench: BatchBench) -> None:
    bench.provider.missing = {"text 1"}
    assert stopped(bench.run().stopped_by) == "results_incomplete"
    summary = bench.cancel()
    assert (summary.exit_status, stopped(summary.stopped_by)) == (4, "results_incomplete")
    summary = bench.resume(resend=True, wait=True)
    assert (summary.status, summary.counts.canceled, summary.counts.succeeded) == ("canceled", 1, ROWS - 1)


def test_a_cancel_looks_for_what_is_in_doubt_and_keeps_what_it_answered(bench: BatchBench) -> None:
    bench.provider.lost = 1
    bench.provider.hangs = True
    bench.run(detach=True)
    found = bench.provider.hidden.pop()
    found.looks = 2
    bench.provider.made.insert(0, found)
    bench.provider.hangs = False
    summary = bench.cancel()
    assert summary.status == "canceled"
    assert summary.counts.succeeded >= 3, "the one that was found had ended"
    assert not found.canceled, "what has ended is not canceled"


def test_a_retry_of_nothing_leaves_a_cancel_as_it_is(bench: BatchBench) -> None:
    bench.provider.hangs = True
    bench.run(detach=True)
    with bench.open_last() as ledger:
        ledger.set_meta({"canceling": True})
    with pytest.raises(UsageError, match="has no failed rows"):
        bench.retry(kinds=["refusal"])
    assert bench.runs()[-1].meta["canceling"] is True


def test_a_batch_that_was_deleted_at_the_api_is_given_up_on_the_users_word(bench: BatchBench) -> None:
    bench.provider.hangs = True
    bench.run(detach=True)
    bench.provider.deleted = {"msgbatch_02"}
    bench.provider.hangs = False
    bench.clock.ahead = timedelta(hours=27)
    summary = bench.resume(wait=True)
    assert (summary.exit_status, stopped(summary.stopped_by), summary.counts.open) == (4, "stuck", 3)
    assert summary.stopped_by is not None
    assert "--resend" in (summary.stopped_by.hint or "")
    assert len(bench.provider.bought) == 3
    summary = bench.resume(resend=True, wait=True)
    assert (summary.exit_status, summary.counts.succeeded) == (0, ROWS)
    assert summary.money.doubtful > 0


def test_a_batch_that_was_deleted_at_the_api_does_not_keep_a_cancel_from_ending(bench: BatchBench) -> None:
    bench.provider.hangs = True
    bench.run(detach=True)
    bench.provider.deleted = {"msgbatch_02"}
    bench.clock.ahead = timedelta(hours=27)
    assert stopped(bench.cancel().stopped_by) == "stuck"
    summary = bench.resume(resend=True, wait=True)
    assert (summary.status, summary.counts.canceled) == ("canceled", ROWS)


# -- nothing answers ---------------------------------------------------------------------------------------------------


def hasty(bench: BatchBench) -> None:
    """No run waits long for an API that is not there."""
    settings = bench.root / "runner.toml"
    settings.write_text(settings.read_text() + "unreachable_after_s = 0.05\n")


@pytest.mark.parametrize("mode", ["batch", "parallel"])
def test_an_api_that_is_not_reached_leaves_all_rows_open_and_the_next_command_goes_on(
    bench: BatchBench, mode: str
) -> None:
    hasty(bench)
    bench.provider.unreachable = True
    summary = bench.run(f"mode={mode}", "retry.max_attempts=1")
    assert (summary.status, summary.exit_status, stopped(summary.stopped_by)) == ("stopped", 4, "unreachable")
    assert (summary.counts.open, summary.counts.failed) == (ROWS, 0)
    assert summary.stopped_by is not None
    assert "https://api.example" in summary.stopped_by.message
    assert "ANTHROPIC_BASE_URL" in (summary.stopped_by.hint or "")
    assert (summary.money.spent, summary.money.reserved, summary.money.doubtful) == (0, 0, 0)
    assert not (bench.root / "out/x.jsonl").exists()
    bench.provider.unreachable = False
    again = bench.run(f"mode={mode}", "retry.max_attempts=1")
    assert (again.exit_status, again.run_id, again.counts.succeeded) == (0, summary.run_id, ROWS)
    assert [record["key"] for record in bench.records()] == [f"k{number}" for number in range(ROWS)]


def test_a_run_that_has_batches_at_the_api_waits_for_it_beyond_its_patience(bench: BatchBench) -> None:
    hasty(bench)
    bench.provider.looks_refused = 36
    summary = bench.run()
    assert (summary.exit_status, bench.provider.looks_refused) == (0, 0)
    assert bench.provider.bought == IN_THREES
    assert any("what is at the API stays there" in warning for warning in summary.warnings)


def test_a_detached_run_does_not_say_that_work_waits_where_nobody_could_tell(bench: BatchBench) -> None:
    bench.provider.hangs = True
    assert stopped(bench.run(detach=True).stopped_by) == "waiting"
    bench.provider.unreachable = True
    summary = bench.run(detach=True)
    assert (summary.exit_status, stopped(summary.stopped_by)) == (4, "unreachable")
    bench.provider.unreachable = False
    assert stopped(bench.run(detach=True).stopped_by) == "waiting"
    bench.provider.hangs = False
    assert bench.run().exit_status == 0
    assert bench.provider.bought == IN_THREES


@pytest.mark.parametrize("unreachable", [True, False])
def test_a_run_is_canceled_from_another_address_only_while_it_has_nothing_at_its_own(
    bench: BatchBench, unreachable: bool
) -> None:
    hasty(bench)
    bench.provider.hangs, bench.provider.unreachable = True, unreachable
    bench.run(detach=True)
    (info,) = bench.runs()
    settings = load_settings(bench.root, {})
    elsewhere = replace(bench.api(), address="https://gateway.example")

    def canceled() -> Summary:
        return cancel_at(info, bench.state, settings, elsewhere, observer=bench.events, clock=bench.clock)

    if unreachable:
        assert canceled().status == "canceled"
    else:
        with pytest.raises(LedgerError) as caught:
            canceled()
        assert caught.value.code == "other-address"


@pytest.mark.parametrize("detach", [False, True])
def test_a_cancel_that_does_not_reach_the_api_stays_to_be_done(bench: BatchBench, detach: bool) -> None:
    hasty(bench)
    bench.provider.hangs = True
    bench.run(detach=True)
    bench.provider.unreachable = True
    summary = bench.cancel(detach=detach)
    assert (summary.exit_status, stopped(summary.stopped_by)) == (4, "unreachable")
    bench.provider.unreachable = False
    assert bench.cancel().status == "canceled"
    assert all(made.canceled for made in bench.provider.made)
