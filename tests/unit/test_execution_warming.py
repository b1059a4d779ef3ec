"""The warm-up of a run: made where it pays, kept as overhead, not made again while the cache holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from runner.engines import Prepared
from runner.events import Warned
from runner.execution.warming import ROW, warm_up_of
from runner.ledger import Lease
from runner.ledger.audit import audit
from runner.message import parse_reply
from runner.providers import Sent
from runner.types import Failure, Outcome, Step
from support.execution_fakes import Bench, FaultyLedger, folder_in_memory, reply_body
from support.frozen_clock import START, FrozenClock

ROWS = 220
JOB = """\
name: x
model: claude-haiku-5-5
params: {max_tokens: 50, thinking: {type: disabled}}
system: [{file: rules.md, cache: true}]
prompt: "{{ row.text }}"
dataset: {path: data/rows.csv, key: id}
limits: {max_concurrency: 4, max_cost_usd: 5}
retry: {initial_interval: 1ms, maximum_interval: 1ms, max_attempts: 3}
sinks: [out/x.jsonl]
"""
WARM_UP = "."
"""The text of its message."""


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with folder_in_memory(tmp_path) as folder:
        bench = Bench(folder / "project", ROWS, job=JOB)
        bench.write("rules.md", "Be brief. " * 600)
        yield bench
        for info in bench.runs():
            assert audit(info.folder) == []


def refusal(kind: str, *, retryable: bool = False) -> Sent:
    return Sent(None, Failure(kind, "no", retryable=retryable), request_id="req_f")


def test_a_run_of_many_rows_is_warmed_up_and_the_cost_is_overhead(bench: Bench) -> None:
    summary = bench.run()
    assert (summary.exit_status, summary.counts.succeeded) == (0, ROWS)
    assert bench.provider.received[0] == WARM_UP
    assert bench.provider.received.count(WARM_UP) == 1
    assert summary.money.spent == (ROWS + 1) * summary.money.overhead > 0
    assert summary.to_dict()["overhead_usd"] * (ROWS + 1) == pytest.approx(summary.to_dict()["cost_usd"])
    assert len(bench.records()) == ROWS


def test_a_later_run_is_warmed_up_for_what_it_sends_and_takes_no_answer_from_a_warm_up(bench: Bench) -> None:
    bench.run()
    bench.rows([*(f"text {number}" for number in range(ROWS)), *(f"more {number}" for number in range(ROWS)), "."])
    summary = bench.run()
    assert (summary.exit_status, summary.counts.reused) == (0, ROWS)
    assert bench.provider.received.count(WARM_UP) == 3, "two warm-ups, and a row that says the same"
    assert bench.records()[-1]["output"] == "echo of ."


def test_few_rows_let_the_first_one_lead(bench: Bench) -> None:
    bench.rows(f"text {number}" for number in range(100))
    assert bench.run().money.overhead == 0
    assert WARM_UP not in bench.provider.received


def test_a_refused_warm_up_is_told_once_and_not_asked_for_again_in_the_run(bench: Bench) -> None:
    bench.provider.always[WARM_UP] = refusal("invalid_request_error")
    bench.provider.always["text 219"] = Sent(
        None, Failure("authentication_error", "bad key", http_status=401, scope="job"), request_id="req_k"
    )
    first = bench.run()
    assert first.status == "stopped"
    bench.provider.always.pop("text 219")
    bench.rows([*(f"text {number}" for number in range(ROWS))])
    second = bench.run()
    assert second.exit_status == 0
    assert second.run_id == first.run_id
    assert bench.provider.received.count(WARM_UP) == 1
    assert [warned.code for warned in bench.events.of(Warned)].count("no-warm-up") == 1
    assert second.money.overhead == 0


def test_a_warm_up_under_the_cap_is_reserved_like_a_row(bench: Bench) -> None:
    summary = bench.run("limits.max_cost_usd=0.0001")
    assert (summary.status, summary.counts.attempts) == ("stopped", 0)
    assert bench.provider.received == []


# -- what became of earlier ones -----------------------------------------------------------------------------------


def after(bench: Bench, *outcomes: tuple[float, Outcome | None], now_s: float) -> Prepared | None:
    """The warm-up of a run that has had these, so many seconds after its beginning; None for one that was lost."""
    info, clock = bench.begin(), FrozenClock()
    for number, (at_s, outcome) in enumerate(outcomes):
        clock.advance(at_s - clock.monotonic())
        step = Step(ROW, round=number)
        with FaultyLedger.open(info.folder, clock=clock) as ledger:
            run = bench.assembled(info, ledger)
            ledger.lease([Lease(step, bytes(32), 10)], None)
            if outcome is not None:
                ledger.record([replace(outcome, step=step, started_at=clock.now(), ended_at=clock.now())], run.rule)
    clock.advance(now_s - clock.monotonic())
    with FaultyLedger.open(info.folder, clock=clock) as ledger:
        run = replace(bench.assembled(info, ledger), clock=clock)
        return warm_up_of(run, run.compiled)


def outcome_of(**fields: Any) -> Outcome:
    return Outcome(Step(ROW), 1, "errored", "parallel", bytes(32), START, START, **fields)


def written() -> Outcome:
    body = reply_body("")
    return replace(outcome_of(body=body, reply=parse_reply(body), cost_pico=7), end="succeeded")


def errored(kind: str, **fields: Any) -> Outcome:
    return outcome_of(failure=Failure(kind, "no", **fields))


def test_the_first_is_a_step_of_no_row_that_asks_for_nothing(bench: Bench) -> None:
    made = after(bench, now_s=0)
    assert made is not None
    assert (made.step, made.attempts, made.request.max_tokens) == (Step(-1), 0, 0)
    assert made.bound_pico is not None
    assert made.bound_pico > 0


@pytest.mark.parametrize("end", [written(), None, errored("timeout", retryable=True, may_be_billed=True)])
def test_it_is_not_made_again_while_what_it_wrote_or_may_have_written_can_be_read(
    bench: Bench, end: Outcome | None
) -> None:
    assert after(bench, (0, end), now_s=299) is None


@pytest.mark.parametrize("end", [written(), None])
def test_it_is_made_again_once_that_is_gone(bench: Bench, end: Outcome | None) -> None:
    made = after(bench, (0, end), now_s=301)
    assert made is not None
    assert made.step == Step(-1, round=1)


@pytest.mark.parametrize(
    ("outcomes", "now_s", "number"),
    [
        ([(0, written()), (310, written())], 400, None),
        ([(0, written()), (310, None)], 700, 2),
        ([(0, errored("overloaded_error", retryable=True)), (1, written())], 2, None),
    ],
)
def test_the_last_one_counts(
    bench: Bench, outcomes: list[tuple[float, Outcome | None]], now_s: float, number: int | None
) -> None:
    made = after(bench, *outcomes, now_s=now_s)
    assert (None if made is None else made.step) == (None if number is None else Step(-1, round=number))


@pytest.mark.parametrize("retryable", [True, False])
@pytest.mark.parametrize("now_s", [1, 9_999])
def test_after_a_passing_failure_the_next_sitting_tries_again_after_a_refusal_it_does_not(
    bench: Bench, now_s: float, *, retryable: bool
) -> None:
    made = after(bench, (0, errored("api_error", retryable=retryable)), now_s=now_s)
    assert (made is not None) == retryable
