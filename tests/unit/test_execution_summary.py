"""How a run stands: the exit status of every way to end, and the summary's fixed fields."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.engines import StopReason
from runner.execution.summary import RunStatus, Summary, exit_status, stop_note, summarise, tolerance_note
from runner.ledger import Counts, Delivery
from runner.ledger.sqlite import SqliteLedger
from runner.spec.values import Share
from runner.types import Step
from support.ledgers import accept, answer, failed, new_ledger

NONE_ALLOWED = Share(rows=0)
INTERRUPTED, TERMINATED = StopReason("interrupted", "interrupted"), StopReason("terminated", "terminated")
BUDGET = StopReason("budget", "the cap is reached")

counts = st.builds(
    lambda rows_open, succeeded, failures, expired, canceled: Counts(
        total=rows_open + succeeded + failures + expired + canceled,
        open=rows_open,
        succeeded=succeeded,
        failed=failures,
        expired=expired,
        canceled=canceled,
    ),
    *[st.integers(0, 1_000)] * 5,
)
sinks = st.lists(
    st.sampled_from(["pending", "staged", "delivered", "failed"]).map(
        lambda state: Delivery(0, "jsonl", "out/x.jsonl", state)  # type: ignore[arg-type]  # one of its literals
    ),
    max_size=3,
)
tolerated = st.integers(0, 1_000).map(lambda rows: Share(rows=rows))


@given(counts, sinks, tolerated)
def test_a_finished_run_ends_by_its_counts(counts: Counts, sinks: list[Delivery], allowed: Share) -> None:
    unfit = counts.total - counts.succeeded
    if counts.open or any(sink.state != "delivered" for sink in sinks):
        expected = 4
    elif unfit > (allowed.rows or 0):
        expected = 5
    else:
        expected = 0
    assert exit_status("finished", counts, sinks, None, allowed) == expected


@given(counts, sinks, tolerated, st.sampled_from(["stopped", "waiting", "running"]))
def test_what_has_not_ended_is_never_a_success(
    counts: Counts, sinks: list[Delivery], allowed: Share, status: RunStatus
) -> None:
    assert exit_status(status, counts, sinks, None, allowed) == 4
    assert exit_status("stopped", counts, sinks, BUDGET, allowed) == 4


@given(counts, sinks, tolerated)
def test_a_signal_decides_whatever_the_counts_are(counts: Counts, sinks: list[Delivery], allowed: Share) -> None:
    assert exit_status("interrupted", counts, sinks, INTERRUPTED, allowed) == 130
    assert exit_status("interrupted", counts, sinks, TERMINATED, allowed) == 143


def test_no_rows_are_no_failure() -> None:
    assert exit_status("finished", Counts(), [], None, NONE_ALLOWED) == 0


WAITS = StopReason("waiting", "1 batch waits at the API")


@given(counts, sinks, tolerated)
def test_a_run_waits_only_with_something_at_the_api(counts: Counts, sinks: list[Delivery], allowed: Share) -> None:
    assert exit_status("waiting", counts, sinks, WAITS, allowed, at_api=1) == 6
    assert exit_status("waiting", counts, sinks, WAITS, allowed) == 4
    assert exit_status("stopped", counts, sinks, StopReason("in_doubt", "?"), allowed, at_api=1) == 4
    assert exit_status("interrupted", counts, sinks, INTERRUPTED, allowed, at_api=1) == 130


# -- of a ledger ---------------------------------------------------------------------------------------------------


def meta(state: str, **more: Any) -> dict[str, Any]:
    return {"run_id": "20261122-1", "job": "x", "mode": "parallel", "state": state, "simulated": False, **more}


def run_of_three(folder: Path, state: str, *, answered: int = 3, **more: Any) -> SqliteLedger:
    """Three rows, the last of them refused once all are answered."""
    ledger = new_ledger(folder, 3, **meta(state, **more))
    outcomes = [answer(Step(0)), answer(Step(1)), failed(Step(2), kind="refusal")]
    ledger.record(outcomes[:answered], accept)
    return ledger


def note_sink(ledger: SqliteLedger, state: Any, number: int = 0) -> None:
    ledger.set_delivery(Delivery(number, "jsonl", f"out/{number}.jsonl", state, 3, "00" * 32))


def stand(summary: Summary) -> tuple[str, int, str | None]:
    return summary.status, summary.exit_status, summary.resume


RESUME = "runner resume 20261122-1"


def test_a_run_that_was_killed_before_its_delivery_is_not_finished(tmp_path: Path) -> None:
    with run_of_three(tmp_path, "open") as ledger:
        assert stand(summarise(ledger)) == ("stopped", 4, RESUME)


def test_a_run_that_was_killed_before_its_last_row_is_not_finished(tmp_path: Path) -> None:
    with run_of_three(tmp_path, "open", answered=2) as ledger:
        assert stand(summarise(ledger, allow_failures=Share(rows=3))) == ("stopped", 4, RESUME)


def test_a_finished_run_tolerates_what_was_allowed_when_it_ended(tmp_path: Path) -> None:
    with run_of_three(tmp_path, "finished") as ledger:
        note_sink(ledger, "delivered")
        assert stand(summarise(ledger)) == ("finished", 5, None)
        ledger.set_meta(tolerance_note(Share(rows=1)))
        assert stand(summarise(ledger)) == ("finished", 0, None)
        assert stand(summarise(ledger, allow_failures=NONE_ALLOWED)) == ("finished", 5, None)
        ledger.set_meta(tolerance_note(Share(fraction=Fraction(1, 2))))
        assert stand(summarise(ledger)) == ("finished", 0, None)


@pytest.mark.parametrize("state", ["failed", "staged"])
def test_a_sink_that_was_not_delivered_is_no_success(tmp_path: Path, state: str) -> None:
    with run_of_three(tmp_path, "finished") as ledger:
        note_sink(ledger, "delivered")
        note_sink(ledger, state, number=1)
        assert stand(summarise(ledger, allow_failures=Share(rows=1))) == ("finished", 4, None)


def test_a_stopped_run_says_why_also_later(tmp_path: Path) -> None:
    with run_of_three(tmp_path, "open", answered=1) as ledger:
        assert stand(summarise(ledger, stopped_by=BUDGET)) == ("stopped", 4, RESUME)
        ledger.set_meta(stop_note(INTERRUPTED))
        later = summarise(ledger)
        assert stand(later) == ("interrupted", 130, RESUME)
        assert later.stopped_by == INTERRUPTED


def test_a_run_whose_place_another_took_is_not_resumed(tmp_path: Path) -> None:
    with run_of_three(tmp_path, "superseded", answered=1) as ledger:
        assert stand(summarise(ledger)) == ("stopped", 4, None)


def test_the_summary_has_the_fields_of_the_interface_in_their_order(tmp_path: Path) -> None:
    with run_of_three(tmp_path, "finished", estimated_cost_pico=3 * 10**12, elapsed_s=1.23456) as ledger:
        note_sink(ledger, "delivered")
        shown = summarise(ledger, warnings=["mind this"]).to_dict()
    assert list(shown) == [
        "format", "run_id", "job", "status", "stopped_by", "exit_status", "mode", "rows", "failures", "requests",
        "attempts", "usage", "cost_usd", "overhead_usd", "estimated_cost_usd", "elapsed_s", "batches", "sinks",
        "warnings", "resume", "simulated", "limited_by",
            "failure_reasons",
    ]  # fmt: skip
    assert list(shown["rows"]) == ["total", "succeeded", "failed", "expired", "canceled", "open", "reused"]
    assert shown["rows"] == {
        "total": 3, "succeeded": 2, "failed": 1, "expired": 0, "canceled": 0, "open": 0, "reused": 0
    }  # fmt: skip
    assert shown["failures"] == {"refusal": 1}
    assert (shown["format"], shown["estimated_cost_usd"], shown["elapsed_s"]) == (1, 3.0, 1.235)
    assert shown["cost_usd"] == 14e-12
    assert shown["usage"]["output_tokens"] == 10
    (sink,) = shown["sinks"]
    assert sink == {"kind": "jsonl", "target": "out/0.jsonl", "records": 3, "status": "delivered", "error": None}


def test_a_cost_that_nobody_knows_is_null(tmp_path: Path) -> None:
    with new_ledger(tmp_path, 1, **meta("finished")) as ledger:
        ledger.record([answer(Step(0), cost=None)], accept)
        assert summarise(ledger).to_dict()["cost_usd"] is None
