"""What running a job again means: which run goes on, which begins, what is sent and what is left alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.errors import BudgetError, InputError, LedgerError, UsageError
from runner.events import Preparing, RunStarted
from runner.execution.asked import RunOptions
from runner.execution.converge import run_job
from runner.ledger import Lease, Ruling
from runner.ledger.sqlite import SqliteLedger
from runner.message import parse_reply
from runner.providers import Sent
from runner.types import Outcome, Request, Step
from support.engine_fakes import Listener
from support.execution_fakes import JOB, Bench, folder_in_memory, refused, replied, reply_body
from support.ledgers import answer

WITHOUT_CAP = JOB.replace(", max_cost_usd: 5", "")
ASKS_ALWAYS = "confirm_above_usd = 0.000001\n"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with folder_in_memory(tmp_path) as folder:
        yield Bench(folder / "project", rows=6)


def states(bench: Bench) -> list[str]:
    return [str(info.meta["state"]) for info in bench.runs()]


# -- again ---------------------------------------------------------------------------------------------------------


def test_an_unfinished_run_goes_on_with_changed_limits(bench: Bench) -> None:
    begun = bench.begin()
    summary = bench.run("limits.max_cost_usd=2", "retry.max_attempts=2", "description=other words")
    assert (summary.run_id, summary.exit_status) == (begun.run_id, 0)
    assert bench.events.of(RunStarted)[-1].cap_pico == 2 * 10**12
    assert bench.events.of(RunStarted)[-1].resumed


def test_a_changed_job_is_never_mixed_into_an_unfinished_run(bench: Bench) -> None:
    begun = bench.begin()
    with pytest.raises(LedgerError) as caught:
        bench.run("params.max_tokens=60")
    assert caught.value.code == "job-changed"
    assert "params.max_tokens" in caught.value.message
    assert f"runner resume {begun.run_id}" in (caught.value.hint or "")
    assert "--new" in (caught.value.hint or "")
    assert (states(bench), bench.provider.received) == (["open"], [])


def test_new_leaves_the_unfinished_run_and_keeps_its_answers(bench: Bench) -> None:
    spend_limit = refused("billing_error", scope="job", retryable=False)
    bench.provider.script["text 5"] = [spend_limit]
    assert bench.run().exit_status == 4
    answered = bench.provider.billed.total()
    assert answered
    summary = bench.run(new=True)
    assert (summary.exit_status, summary.counts.reused) == (0, answered)
    assert states(bench) == ["superseded", "finished"]
    assert set(bench.provider.billed.values()) == {1}


def test_replies_that_a_kill_left_undecided_are_not_paid_again_by_a_new_run(bench: Bench) -> None:
    info = bench.begin()

    def killed(outcome: Outcome) -> Ruling:
        raise KeyboardInterrupt

    with SqliteLedger.open(info.folder) as ledger:
        compiled = bench.assembled(info, ledger).compiled
        requests = [request for row in ledger.rows() if isinstance(request := compiled.request(row), Request)]
        ledger.lease([Lease(Step(row), request.hash, 0) for row, request in enumerate(requests)], None)
        body = reply_body("paid for")
        outcomes = [
            answer(Step(row), request_hash=request.hash, body=body, reply=parse_reply(body))
            for row, request in enumerate(requests)
        ]
        with pytest.raises(KeyboardInterrupt):
            ledger.record(outcomes, killed)

    summary = bench.run(new=True)
    assert (summary.exit_status, summary.counts.reused) == (0, len(requests))
    assert bench.provider.received == []


def test_an_unfinished_run_stays_where_its_successor_does_not_begin(bench: Bench) -> None:
    bench.begin()
    bench.write("data/rows.csv", "id,text\na,1\na,2\n")
    with pytest.raises(InputError):
        bench.run(new=True)
    assert states(bench) == ["open"]

    bench.rows(["one", "two"])
    bench.write("runner.toml", ASKS_ALWAYS)
    bench.write("jobs/x.yaml", WITHOUT_CAP)
    with pytest.raises(BudgetError):
        bench.run(new=True, confirm=lambda _: False)
    assert states(bench) == ["open"]


def test_a_finished_run_with_nothing_new_makes_no_run(bench: Bench) -> None:
    first = bench.run()
    second = bench.run()
    assert second.nothing_to_do
    assert (second.run_id, second.exit_status) == (first.run_id, 0)
    assert states(bench) == ["finished"]
    assert [path.name for path in bench.state.runs_path.iterdir()] == [first.run_id], "nothing is left of the second"


@pytest.mark.parametrize(
    ("failure", "sent_again"),
    [
        (refused("overloaded_error"), True),
        (refused("timeout"), True),
        (replied("no", stop_reason="refusal"), False),
        (replied("half", stop_reason="max_tokens"), False),
        (refused("invalid_request_error", retryable=False, http_status=400), False),
    ],
    ids=["529", "timeout", "refusal", "truncated", "400"],
)
def test_only_what_failed_for_a_passing_reason_is_sent_again(bench: Bench, failure: Sent, *, sent_again: bool) -> None:
    bench.provider.script["text 3"] = [failure] * 3
    assert bench.run().counts.failed == 1
    tries = bench.provider.received.count("text 3")
    bench.provider.script.clear()
    summary = bench.run()
    assert summary.nothing_to_do is not sent_again
    assert bench.provider.received.count("text 3") == tries + sent_again
    assert summary.exit_status == (0 if sent_again else 5)
    assert bench.provider.received.count("text 0") == 1


def test_a_failure_that_stays_is_carried_into_a_new_run_with_its_text(bench: Bench) -> None:
    bench.provider.script["text 3"] = [replied("half", stop_reason="max_tokens")]
    bench.run()
    bench.rows(f"text {number}" for number in range(7))
    summary = bench.run()
    assert summary.counts.failures == {"truncated": 1}
    record = bench.records()[3]
    assert (record["status"], record["text"], record["stop_reason"]) == ("failed", "half", "max_tokens")
    assert bench.provider.received.count("text 3") == 1


def test_a_changed_request_is_sent_whatever_became_of_the_old_one(bench: Bench) -> None:
    bench.provider.script["text 3"] = [replied("no", stop_reason="refusal")]
    bench.run()
    bench.rows("text 3 again" if number == 3 else f"text {number}" for number in range(6))
    assert bench.run().exit_status == 0
    assert bench.records()[3]["output"] == "echo of text 3 again"


def test_without_reuse_everything_is_paid_again(bench: Bench) -> None:
    bench.run()
    summary = bench.run(reuse=False)
    assert summary.counts.reused == 0
    assert set(bench.provider.billed.values()) == {2}


def test_answers_are_kept_across_runs_when_the_state_of_one_is_deleted(bench: Bench) -> None:
    """The folder of a finished run goes; what it paid for is forgotten, and only that."""
    bench.run()
    bench.rows(f"text {number}" for number in range(8))
    second = bench.run()
    first = bench.runs()[0]
    bench.state.discard(first.folder)
    bench.rows(f"text {number}" for number in range(9))
    third = bench.run()
    assert third.counts.reused == 8, "the second run holds what it took over from the first"
    bench.state.discard(bench.state.find(second.run_id).folder)
    bench.state.discard(bench.state.find(third.run_id).folder)
    (bench.root / "out" / "x.jsonl").unlink()
    assert bench.run().counts.reused == 0


def test_a_run_without_an_index_of_replies_makes_it_again(bench: Bench) -> None:
    bench.run()
    bench.state.replies_path.unlink()
    bench.rows(["text 5", "text 4", "new"])
    assert bench.run().counts.reused == 2


# -- trials --------------------------------------------------------------------------------------------------------


def test_a_trial_never_touches_production(bench: Bench) -> None:
    trial = bench.run(limit=2)
    assert trial.counts.total == 2
    assert not (bench.root / "out" / "x.jsonl").exists()
    assert len(bench.records("out/x.trial.jsonl")) == 2
    summary = bench.run()
    assert (summary.counts.total, summary.counts.reused) == (6, 2), "what the trial paid for is reused"
    assert bench.run(keys=["k1"]).run_id != summary.run_id
    assert bench.run().nothing_to_do, "a trial is never the last run"


def test_a_trial_is_delivered_where_that_is_asked_for(bench: Bench) -> None:
    bench.run(limit=2)
    bench.run(limit=2, deliver=True)
    assert len(bench.records()) == 2


def test_an_interrupted_trial_does_not_go_on_as_one_that_delivers(bench: Bench) -> None:
    bench.run("limits.max_cost_usd=0.000000001", limit=2)
    bench.run(limit=2, deliver=True)
    assert len(bench.records()) == 2
    assert not (bench.root / "out" / "x.trial.jsonl").exists()


def test_a_trial_beside_a_run_that_waits_for_a_word_leaves_it_alone(bench: Bench) -> None:
    """While a person is asked, the new run is not begun yet; a trial of the same job has another lock."""
    bench.write("jobs/x.yaml", WITHOUT_CAP)
    bench.write("runner.toml", ASKS_ALWAYS)

    def try_meanwhile(_: str) -> bool:
        assert bench.run(limit=1, yes=True).exit_status == 0
        return True

    summary = bench.run(confirm=try_meanwhile)
    assert (summary.exit_status, summary.counts.total) == (0, 6)
    assert len(bench.records()) == 6


def test_a_run_beside_a_trial_that_waits_for_a_word_leaves_it_alone(bench: Bench) -> None:
    bench.write("jobs/x.yaml", WITHOUT_CAP)
    bench.write("runner.toml", ASKS_ALWAYS)
    trial = bench.run(limit=2, confirm=lambda _: bench.run(yes=True).exit_status == 0)
    assert (trial.exit_status, trial.counts.total) == (0, 2)


# -- what a run that does not begin leaves -------------------------------------------------------------------------


def test_a_run_that_does_not_begin_leaves_nothing(bench: Bench) -> None:
    bench.write("data/rows.csv", "id,text\na,1\na,2\n")
    with pytest.raises(InputError):
        bench.run()
    assert list(bench.state.runs_path.iterdir()) == []


def test_what_a_killed_enrolment_left_is_removed(bench: Bench) -> None:
    info = bench.begin()
    with SqliteLedger.open(info.folder) as ledger:
        ledger.set_meta({"state": "enrolling"})
    summary = bench.run()
    assert summary.exit_status == 0
    assert [run.run_id for run in bench.runs()] == [summary.run_id]


def test_a_damaged_run_stops_a_run_but_not_new_nor_a_trial(bench: Bench) -> None:
    begun = bench.begin()
    ledger = begun.folder / "ledger.db"
    ledger.write_bytes(b"x" * 100 + ledger.read_bytes()[100:])
    with pytest.raises(LedgerError) as caught:
        bench.run()
    assert str(begun.folder) in caught.value.message
    assert not bench.provider.received
    assert bench.run(limit=1).exit_status == 0
    assert bench.run(new=True).exit_status == 0


def test_two_processes_do_not_run_one_job(bench: Bench) -> None:
    with bench.state.own(bench.line, trial=False):
        with pytest.raises(LedgerError) as caught:
            bench.run()
        assert caught.value.code == "locked"
        assert bench.run(limit=1).exit_status == 0, "a trial may go beside"


def test_a_sink_on_stdout_is_refused_where_the_summary_goes_there(bench: Bench) -> None:
    bench.write("jobs/x.yaml", JOB.replace("out/x.jsonl", '"-"'))
    with pytest.raises(UsageError):
        run_job(bench.root / "jobs/x.yaml", RunOptions(refuse_stdout=True), observer=Listener(), confirm=None)


def test_how_far_it_is_with_looking_for_twins_is_told_before_the_run_starts(bench: Bench) -> None:
    bench.write("jobs/x.yaml", JOB.replace("key: id}", "key: id, distinct: true}"))
    bench.rows(["the same"] * 250)
    assert bench.run().counts.twins == 249
    told = [event for event in bench.events.events if isinstance(event, Preparing | RunStarted)]
    assert [(each.done, each.rows) for each in told if isinstance(each, Preparing)] == [
        (0, 250), (100, 250), (200, 250), (250, 250),
    ]  # fmt: skip
    assert isinstance(told[-1], RunStarted)
