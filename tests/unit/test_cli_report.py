"""What people read at a run's end."""

from __future__ import annotations

import io

import pytest

from runner.cli.report import lines, width_of, worst
from runner.engines import StopReason
from runner.ledger import Counts, Delivery, Money
from support.summaries import RUN, summary


def test_a_good_end_is_told_in_a_few_lines() -> None:
    assert lines(summary()) == [
        f"many ({RUN}): finished, 600 of 600 rows succeeded, parallel, 0:32",
        "  requests 600 in 627 attempts",
        "  tokens   10,000 in (90% read from the cache), 300 out",
        "  cost     $0.0125 (estimated $0.0228)",
        "  sink     out/many.jsonl: 600 records",
    ]


def test_what_a_warm_up_cost_is_told() -> None:
    told = lines(summary(money=Money(spent=12_500_000_000, overhead=330_125_000)))
    assert "  warm-up  $0.000330 for filling the cache before the rows" in told


def test_one_of_a_kind_is_singular() -> None:
    told = lines(
        summary(
            counts=Counts(total=1, succeeded=1, reused=1),
            money=Money(unpriced=1),
            sinks=[Delivery(0, "jsonl", "out/x.jsonl", "delivered", 1)],
        )
    )
    assert "1 of 1 row succeeded" in told[0]
    assert "  reused   1 answer paid for before" in told
    assert "  cost     $0.00, and 1 reply of unknown price" in told
    assert "  sink     out/x.jsonl: 1 record" in told


def test_what_did_not_work_out_comes_first() -> None:
    counts = Counts(total=600, succeeded=543, failed=54, open=3, failures={"refusal": 50, "timeout": 4})
    told = lines(summary(counts=counts, status="stopped", resume=f"runner resume {RUN}"))
    assert told[1:3] == ["  failed   54 (refusal 50, timeout 4)", "  open     3"]
    assert told[-2:] == [
        f"  go on    runner resume {RUN}, or run the job again",
        f"           runner show {RUN} --failed lists the failed rows",
    ]


def test_a_run_that_has_ended_says_how_failed_rows_are_listed_and_sent_again() -> None:
    failed = lines(summary(counts=Counts(total=2, succeeded=1, failed=1, failures={"connection_error": 1})))
    assert failed[-2:] == [
        f"  go on    runner show {RUN} --failed lists the failed rows",
        f"           runner retry {RUN} sends them again",
    ]
    expired = lines(summary(counts=Counts(total=3, succeeded=1, failed=1, expired=1, failures={"timeout": 1})))
    assert "--failed lists the failed and expired rows" in expired[-2]
    running = lines(summary(counts=Counts(total=2, failed=1, open=1, failures={"timeout": 1}), status="running"))
    assert not [line for line in running if "runner retry" in line], "another process is at it"
    assert not [line for line in lines(summary(counts=Counts(total=2, succeeded=2))) if "retry" in line]


def test_a_reason_to_stop_stands_with_its_cure_and_an_interruption_once() -> None:
    reason = StopReason("credentials", "invalid x-api-key", "check ANTHROPIC_API_KEY")
    told = lines(summary(status="stopped", stopped_by=reason))
    assert told[-2:] == ["  stopped  invalid x-api-key", "           check ANTHROPIC_API_KEY"]
    told = lines(summary(status="interrupted", stopped_by=StopReason("interrupted", "interrupted")))
    assert [line for line in told if "interrupted" in line] == told[:1]


def test_what_was_dropped_in_flight_is_in_doubt_but_what_is_in_flight_is_not() -> None:
    money = Money(doubtful=10**9, reserved=2 * 10**9)
    doubt = "  in doubt up to $0.00300 for requests whose reply never came"
    assert doubt in lines(summary(status="interrupted", money=money))
    assert not [line for line in lines(summary(status="running", money=Money(reserved=10**9))) if "doubt" in line]


def test_nothing_to_do_says_what_stays_as_it_is() -> None:
    assert lines(summary(nothing_to_do=True))[0] == "many: nothing to do, every row has its answer"
    counts = Counts(total=600, succeeded=599, failed=1, failures={"refusal": 1})
    told = lines(summary(nothing_to_do=True, counts=counts))
    assert told[0] == "many: nothing to do, no row would be sent"
    assert told[2:4] == [
        "  failed   1 (refusal 1)",
        "           they stay as they are until their request changes, or `runner retry`",
    ]
    assert told[-1] == f"           runner retry {RUN} sends them again"
    assert not [line for line in told if line.startswith("  cost")], "nothing was paid now"


def test_text_of_the_api_cannot_control_the_terminal() -> None:
    reason = StopReason("api_refused", "\x1b]0;title\x07no", "\x1b[2Jask")
    sinks = [Delivery(0, "jsonl", "out/\x1b[31mx.jsonl", "failed", error="disk\nfull")]
    told = lines(summary(status="stopped", stopped_by=reason, sinks=sinks, warnings=["\x1b[31mred"]))
    assert not [line for line in told if "\x1b" in line or "\n" in line]
    assert "  sink     out/x.jsonl: not delivered: disk full" in told


@pytest.mark.parametrize("width", [40, 80, 120])
def test_lines_fit_a_terminal_between_words(width: int) -> None:
    told = lines(summary(warnings=["a warning of many words " * 9]), width)
    assert max(map(len, told)) <= width
    assert " ".join(" ".join(told).split()) == " ".join(
        " ".join(lines(summary(warnings=["a warning of many words " * 9]))).split()
    )


def test_what_is_no_terminal_gets_no_wrapped_lines() -> None:
    assert width_of(io.StringIO()) is None


@pytest.mark.parametrize(
    ("statuses", "status"),
    [
        ((), 0),
        ((0, 0), 0),
        ((0, 5), 5),
        ((5, 4), 4),
        ((6, 5), 5),
        ((0, 6), 6),
        ((4, 3), 3),
        ((1, 2), 1),
        ((5, 130), 130),
    ],
)
def test_several_jobs_end_with_the_worst(statuses: tuple[int, ...], status: int) -> None:
    assert worst(statuses) == status
