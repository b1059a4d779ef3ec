"""Resume and retry: what they go on with, what they refuse, and that a refusal changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from runner.clock import SystemClock
from runner.errors import DeliveryError, LedgerError, UsageError
from runner.execution.folders import RunInfo
from runner.execution.resuming import resume, retry
from runner.execution.summary import Summary
from runner.ledger.sqlite import SqliteLedger
from runner.settings import load_settings
from support.execution_fakes import Bench, OwnApi, folder_in_memory, refused, replied


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with folder_in_memory(tmp_path) as folder:
        yield Bench(folder / "project", rows=8)


def resumed(bench: Bench, info: RunInfo, *, api: OwnApi | None = None) -> Summary:
    settings = load_settings(bench.root)
    return resume(info, bench.state, settings, api or bench.api(), observer=bench.events, clock=SystemClock())


def retried(
    bench: Bench, info: RunInfo, *, api: OwnApi | None = None, kinds: Sequence[str] = (), keys: Sequence[str] = ()
) -> Summary:
    settings, clock = load_settings(bench.root), SystemClock()
    api = api or bench.api()
    return retry(info, bench.state, settings, api, kinds=kinds, keys=keys, observer=bench.events, clock=clock)


def refuse(bench: Bench, *texts: str) -> None:
    """The model refuses these, once."""
    bench.provider.script.update({text: [replied("no", stop_reason="refusal")] for text in texts})


# -- resume --------------------------------------------------------------------------------------------------------


def test_a_run_goes_on_with_the_job_as_it_was_stored(bench: Bench) -> None:
    bench.run("limits.max_cost_usd=0.000000001")
    (info,) = bench.runs()
    bench.write("jobs/x.yaml", "not: a job")
    bench.rows(["other rows"])
    summary = resumed(bench, info)
    assert (summary.status, summary.run_id, summary.counts.total) == ("stopped", info.run_id, 8)
    assert summary.stopped_by is not None
    assert summary.stopped_by.kind == "budget", "its cap is stored too"


def test_an_unfinished_run_is_finished_and_delivered(bench: Bench) -> None:
    info = bench.begin()
    summary = resumed(bench, info)
    assert (summary.status, summary.exit_status) == ("finished", 0)
    assert [record["output"] for record in bench.records()] == [f"echo of text {number}" for number in range(8)]


def test_a_finished_run_is_not_resumed(bench: Bench) -> None:
    bench.run()
    (info,) = bench.runs()
    with pytest.raises(LedgerError) as caught:
        resumed(bench, info)
    assert caught.value.code == "not-resumable"
    assert "runner retry" in (caught.value.hint or "")


def test_a_run_that_another_process_has_finished_or_given_up_meanwhile_is_left_alone(bench: Bench) -> None:
    stale = bench.begin()
    bench.run("vars.more=1", new=True)
    assert [info.meta["state"] for info in bench.runs()] == ["superseded", "finished"]
    before = bench.records()
    with pytest.raises(LedgerError) as caught:
        resumed(bench, stale)
    assert caught.value.code == "not-resumable"
    assert bench.records() == before


def test_a_run_is_not_sent_to_another_address(bench: Bench) -> None:
    info = bench.begin()
    elsewhere = replace(bench.api(), address="https://gateway.example")
    with pytest.raises(LedgerError) as caught:
        resumed(bench, info, api=elsewhere)
    assert caught.value.code == "other-address"
    assert not bench.provider.received


def test_a_run_that_is_under_way_elsewhere_is_locked(bench: Bench) -> None:
    info = bench.begin()
    with bench.state.own(bench.line, trial=False), pytest.raises(LedgerError) as caught:
        resumed(bench, info)
    assert caught.value.code == "locked"


@pytest.mark.parametrize("name", ["job.json", "templates.json", "schema.json"])
def test_a_run_whose_stored_job_is_damaged_is_refused_as_that(bench: Bench, name: str) -> None:
    info = bench.begin()
    (info.folder / "inputs" / name).write_bytes(b"")
    with pytest.raises(LedgerError) as caught:
        resumed(bench, info)
    assert caught.value.code == "damaged"
    (info.folder / "inputs" / name).unlink()
    with pytest.raises(LedgerError):
        resumed(bench, info)
    assert bench.run().exit_status == 0, "`run` has the job itself, and stores it again"


# -- retry ---------------------------------------------------------------------------------------------------------


def test_failed_rows_are_sent_again_and_the_sinks_written_anew(bench: Bench) -> None:
    refuse(bench, "text 2", "text 5")
    assert bench.run().exit_status == 5
    (info,) = bench.runs()
    summary = retried(bench, info)
    assert (summary.exit_status, summary.counts.succeeded) == (0, 8)
    assert bench.provider.billed["text 2"] == 2
    assert bench.provider.billed["text 0"] == 1
    assert bench.records()[2]["output"] == "echo of text 2"
    assert bench.records()[2]["attempts"] == 2


def test_rows_are_chosen_by_kind_and_by_key(bench: Bench) -> None:
    refuse(bench, "text 2", "text 5")
    bench.provider.script["text 3"] = [replied("cut", stop_reason="max_tokens")]
    bench.run()
    (info,) = bench.runs()
    assert retried(bench, info, kinds=["truncated"]).counts.failures == {"refusal": 2}
    assert retried(bench, info, keys=["k5"]).counts.failures == {"refusal": 1}
    assert retried(bench, info).counts.failures == {}


@pytest.mark.parametrize(
    ("keys", "kinds", "code"),
    [(["k99"], [], "unknown-key"), (["k0"], [], "nothing-to-retry"), ([], ["x"], "nothing-to-retry")],
)
def test_what_cannot_be_retried_leaves_the_run_finished(
    bench: Bench, keys: list[str], kinds: list[str], code: str
) -> None:
    refuse(bench, "text 2")
    bench.run()
    (info,) = bench.runs()
    with pytest.raises(UsageError) as caught:
        retried(bench, info, keys=keys, kinds=kinds)
    assert caught.value.code == code
    assert [run.meta["state"] for run in bench.runs()] == ["finished"]


def test_a_retry_that_cannot_begin_leaves_the_run_finished(bench: Bench) -> None:
    """Another address, a target that somebody else wrote: nothing is opened again."""
    refuse(bench, "text 2")
    bench.run()
    (info,) = bench.runs()
    with pytest.raises(LedgerError):
        retried(bench, info, api=replace(bench.api(), address="https://gateway.example"))
    bench.write("out/x.jsonl", "somebody else's\n")
    with pytest.raises(DeliveryError):
        retried(bench, info)
    (after,) = bench.runs()
    assert after.finished
    with SqliteLedger.open(info.folder, read_only=True) as ledger:
        assert (ledger.counts().open, ledger.counts().failed) == (0, 1)


def test_a_run_whose_place_was_taken_is_not_retried(bench: Bench) -> None:
    stale = bench.begin()
    bench.run("vars.more=1", new=True)
    with pytest.raises(LedgerError) as caught:
        retried(bench, stale)
    assert caught.value.code == "not-resumable"


def test_retried_rows_have_all_their_tries_again(bench: Bench) -> None:
    bench.provider.script["text 2"] = [refused()] * 3
    assert bench.run().counts.failures == {"overloaded_error": 1}
    (info,) = bench.runs()
    bench.provider.script["text 2"] = [refused()] * 2
    assert retried(bench, info).counts.succeeded == 8


def test_a_retry_of_an_older_run_that_was_interrupted_is_not_what_run_goes_on_with(bench: Bench) -> None:
    refuse(bench, "text 2")
    bench.run()
    old = bench.runs()[0]
    bench.rows(f"text {number}" for number in range(10))
    bench.run()
    with SqliteLedger.open(old.folder) as ledger:
        ledger.set_meta({"state": "open"})
        assert ledger.reopen()
    summary = bench.run()
    assert summary.run_id != old.run_id
    assert len(bench.records()) == 10, "the newer output stays"
