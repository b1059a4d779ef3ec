from __future__ import annotations

from pathlib import Path

import apsw
import pytest
from msgspec.structs import replace

from runner.errors import LedgerError
from runner.ledger import Counts, Lease, Money, Ruling, Settled
from runner.ledger.audit import audit
from runner.ledger.sqlite import SqliteLedger
from runner.types import Failure, Outcome, Step, Usage
from support.ledger_batches import (
    COST,
    ENDED,
    EXPIRED,
    INVALID,
    Line,
    accepted_lines,
    answered,
    collect,
    ended_batch,
    hash_of,
    intend,
    land,
    move,
)
from support.ledgers import ANSWERED, BOUND, NOON, accept, failed, message, new_ledger

STEPS = [Step(row) for row in range(4)]
MISMATCH = Failure("schema_mismatch", "label is missing")


def by_end(outcome: Outcome) -> Ruling:
    """Expired ones wait for another batch, other failures are final."""
    if outcome.end == "expired":
        return Ruling("open", outcome.failure)
    return accept(outcome)


def test_lines_of_every_kind_are_booked(tmp_path: Path) -> None:
    lines: list[Line] = [
        (STEPS[3], "expired", EXPIRED),
        (STEPS[0], "succeeded", "yes"),
        (STEPS[2], "errored", INVALID),
        (STEPS[1], "succeeded", "no"),
    ]
    with new_ledger(tmp_path / "run", 5) as ledger:
        number = ended_batch(ledger, STEPS)
        settled = collect(ledger, number, lines, by_end)
        assert settled == Settled([Ruling("open", EXPIRED), ANSWERED, Ruling("failed", INVALID), ANSWERED])
        assert ledger.counts() == Counts(
            total=5, open=2, succeeded=2, failed=1, failures={"invalid_request_error": 1}, attempts=4, requests=4
        )
        assert ledger.money() == Money(spent=2 * COST)
        assert ledger.usage() == Usage(20, 10)
        assert ledger.batch(number).settled == 4
        assert [(found.step.row, found.attempts, found.tries) for found in ledger.open_steps(None, 9)] == [
            (3, 1, 1),
            (4, 0, 0),
        ]
        result = ledger.result(0)
        assert (result.status, result.mode, result.body, result.batch_id) == (
            "succeeded",
            "batch",
            message("yes"),
            "msgbatch_1",
        )
        assert (result.started_at, result.ended_at, result.request_hash) == (NOON, ENDED, hash_of(STEPS[0]))
        assert (ledger.result(2).failure, ledger.result(2).body) == (INVALID, b"")
        assert [attempt.reserved_pico for attempt in ledger.attempts(1)] == [BOUND]
        assert move(ledger, number, "closed").state == "closed"
    assert audit(tmp_path / "run") == []


def test_the_rule_is_given_what_the_lease_and_the_line_say(tmp_path: Path) -> None:
    seen: list[Outcome] = []
    with new_ledger(tmp_path / "run", 2) as ledger:

        def look(outcome: Outcome) -> Ruling:
            seen.append(outcome)
            return by_end(outcome)

        first = ended_batch(ledger, STEPS[:2])
        (lost, line) = land(ledger, first, [(STEPS[1], "expired", EXPIRED), *answered(STEPS[0])])
        ledger.settle_batch(first, [lost, line], look, NOON)
        assert seen == [
            Outcome(
                step=STEPS[0],
                attempt=1,
                end="succeeded",
                mode="batch",
                request_hash=hash_of(STEPS[0]),
                started_at=NOON,
                ended_at=ENDED,
                reply=line.reply,
                usage=line.usage,
                cost_pico=COST,
                batch_id="msgbatch_1",
            ),
            Outcome(
                step=STEPS[1],
                attempt=1,
                end="expired",
                mode="batch",
                request_hash=hash_of(STEPS[1]),
                started_at=NOON,
                ended_at=ENDED,
                failure=EXPIRED,
                request_id="req_1",
                batch_id="msgbatch_1",
            ),
        ]
        assert hash(seen[0].step) == hash(STEPS[0])
        assert replace(seen[0], tries=3).tries == 3, "it is an Outcome in every way"
        second = ended_batch(ledger, [STEPS[1]])
        collect(ledger, second, answered(STEPS[1]), look)
        assert (seen[-1].attempt, seen[-1].tries, seen[-1].batch_id) == (2, 2, "msgbatch_2")
        assert (ledger.counts().attempts, ledger.counts().requests) == (3, 2)
        assert [found.end for found in ledger.attempts(1)] == ["expired", "succeeded"]
    assert audit(tmp_path / "run") == []


def test_a_batch_without_an_end_ends_now(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 1) as ledger:
        number = intend(ledger, STEPS[:1]).number
        move(ledger, number, "sending", "in_progress", "ended")
        collect(ledger, number, answered(STEPS[0]))
        assert ledger.result(0).ended_at == NOON


def test_settling_again_changes_nothing_and_says_so(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 4) as ledger:
        number = ended_batch(ledger, STEPS[:3])
        lines = land(ledger, number, answered(*STEPS[:3]))
        assert ledger.settle_batch(number, lines[:2], accept, NOON) == Settled([ANSWERED, ANSWERED])
        before = (ledger.counts(), ledger.money(), ledger.usage())
        assert ledger.settle_batch(number, lines[:2], _never, NOON) == Settled([None, None], repeated=2)
        assert (ledger.counts(), ledger.money(), ledger.usage()) == before
        assert ledger.settle_batch(number, lines, accept, NOON) == Settled([None, None, ANSWERED], repeated=2)
        assert ledger.batch(number).settled == 3
    assert audit(tmp_path / "run") == []


def test_the_first_of_two_lines_counts(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 1) as ledger:
        number = ended_batch(ledger, STEPS[:1])
        lines: list[Line] = [(STEPS[0], "succeeded", "first"), (STEPS[0], "succeeded", "second")]
        assert collect(ledger, number, lines) == Settled([ANSWERED, None], repeated=1)
        assert ledger.result(0).body == message("first")
        assert ledger.money().spent == COST
    assert audit(tmp_path / "run") == []


def test_a_step_of_another_batch_or_of_none_is_unknown(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 4) as ledger:
        number = ended_batch(ledger, STEPS[:1])
        ended_batch(ledger, STEPS[1:2])
        ledger.lease([Lease(STEPS[2], bytes(32), BOUND)], None)
        lines = answered(STEPS[3], STEPS[2], STEPS[1], Step(99), STEPS[0])
        assert collect(ledger, number, lines) == Settled(
            [None, None, None, None, ANSWERED], unknown=tuple(step for step, _, _ in sorted(lines[:4]))
        )
        assert ledger.counts().succeeded == 1
        assert ledger.money().reserved == 2 * BOUND


def test_results_of_a_batch_that_was_declared_not_sent_book_nothing(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 2) as ledger:
        number = intend(ledger, STEPS[:2]).number
        move(ledger, number, "sending", "in_doubt", "not_sent")
        assert collect(ledger, number, answered(*STEPS[:2])) == Settled([None, None], unknown=tuple(STEPS[:2]))
        assert (ledger.money().spent, ledger.money().doubtful, ledger.counts().open) == (0, 2 * BOUND, 2)
    assert audit(tmp_path / "run") == []


def test_steps_of_several_rounds_are_told_apart(tmp_path: Path) -> None:
    """A reply that does not fit asks for a repair; the repair is settled by the next batch."""

    def repair(outcome: Outcome) -> Ruling:
        asks = outcome.step.round == 0 and outcome.step.row == 1
        return Ruling("open", MISMATCH, replace(outcome.step, round=1)) if asks else ANSWERED

    with new_ledger(tmp_path / "run", 3) as ledger:
        first = ended_batch(ledger, STEPS[:3])
        collect(ledger, first, answered(*STEPS[:3]), repair)
        assert [found.step for found in ledger.open_steps(None, 9)] == [Step(1, round=1)]
        second = ended_batch(ledger, [Step(1, round=1)])
        collect(ledger, second, [(Step(1, round=1), "succeeded", "repaired")], repair)
        assert (ledger.result(1).body, ledger.result(1).attempts) == (message("repaired"), 2)
        assert ledger.counts().succeeded == 3
    assert audit(tmp_path / "run") == []


def test_a_reply_without_a_known_price_is_counted(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 1) as ledger:
        number = ended_batch(ledger, STEPS[:1])
        (line,) = land(ledger, number, answered(STEPS[0]))
        ledger.settle_batch(number, [replace(line, cost_pico=None)], accept, NOON)
        assert (ledger.money().unpriced, ledger.result(0).cost_pico) == (1, None)
    assert audit(tmp_path / "run") == []


def test_a_warm_up_in_a_batch_is_overhead(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 1) as ledger:
        number = ended_batch(ledger, [Step(-1), Step(0)])
        collect(ledger, number, answered(Step(-1), Step(0)))
        assert (ledger.money().overhead, ledger.counts().succeeded) == (COST, 1)
    assert audit(tmp_path / "run") == []


def test_more_lines_than_a_statement_takes(tmp_path: Path) -> None:
    count = 1_237
    with new_ledger(tmp_path / "run", count) as ledger:
        steps = [Step(row) for row in range(count)]
        number = ended_batch(ledger, steps)
        order = [steps[(place * 7) % count] for place in range(count)]
        assert collect(ledger, number, answered(*order)).rulings == [ANSWERED] * count
        assert [result.body for result in ledger.results()] == [message(f"reply {row}") for row in range(count)]
        assert ledger.batch(number).settled == count
    assert audit(tmp_path / "run") == []


def test_nothing_can_be_settled_before_a_file_has_landed(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 1) as ledger:
        number = ended_batch(ledger, STEPS[:1])
        with pytest.raises(LedgerError) as caught:
            ledger.settle_batch(number, [], accept, NOON)
        assert caught.value.code == "not-landed"
        with pytest.raises(LedgerError, match="no batch 7"):
            ledger.settle_batch(7, [], accept, NOON)


def test_a_rule_that_raises_books_nothing_and_can_be_repeated(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 2) as ledger:
        number = ended_batch(ledger, STEPS[:2])
        lines = land(ledger, number, answered(*STEPS[:2]))
        with pytest.raises(AssertionError, match="was ruled on"):
            ledger.settle_batch(number, lines, _never, NOON)
        assert (ledger.money().reserved, ledger.batch(number).settled) == (2 * BOUND, 0)
        assert ledger.settle_batch(number, lines, accept, NOON).rulings == [ANSWERED, ANSWERED]


def test_what_was_lost_or_recorded_otherwise_settles_its_batch_too(tmp_path: Path) -> None:
    lost = replace(failed(STEPS[1], kind="results_lost"), mode="batch", batch_id="msgbatch_1")
    with new_ledger(tmp_path / "run", 2) as ledger:
        number = ended_batch(ledger, STEPS[:2])
        collect(ledger, number, answered(STEPS[0]))
        ledger.record([lost], accept)
        assert ledger.batch(number).settled == 2
        assert move(ledger, number, "closed").settled == 2
    assert audit(tmp_path / "run") == []


def test_settled_lines_are_there_after_the_process_died(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 4) as ledger:
        number = ended_batch(ledger, STEPS)
        lines = land(ledger, number, answered(*STEPS))
        ledger.settle_batch(number, lines[:2], accept, NOON)
    with SqliteLedger.open(tmp_path / "run") as ledger:
        assert ledger.settle_answered(_never) == 0
        assert [found.step.row for found in ledger.batch_steps(number, None, 9)] == [2, 3]
        assert ledger.settle_batch(number, lines, accept, NOON).repeated == 2
        assert ledger.counts().succeeded == 4
    assert audit(tmp_path / "run") == []


def test_accepted_lines_are_booked_as_the_rule_would_book_them(tmp_path: Path) -> None:
    """In everything that is in the tables: rows side by side and apart, tried before, unpriced, and of no batch."""
    rows = [9, 0, 1, 2, 4, 5, 7, 11]
    tables: list[list[object]] = []
    for way in ("ruled on", "accepted"):
        with new_ledger(tmp_path / way, 13) as ledger:
            first = ended_batch(ledger, [Step(row) for row in (4, 7, 10)])
            collect(ledger, first, [(Step(row), "expired", EXPIRED) for row in (4, 7, 10)], by_end)
            number = ended_batch(ledger, [Step(row) for row in rows if row != 11])
            ended_batch(ledger, [Step(11)])
            lines = [
                replace(line, cost_pico=None if line.step.row == 5 else COST + line.step.row)
                for line in land(ledger, number, answered(*map(Step, rows)))
            ]
            for again in (False, True):
                if way == "accepted":
                    settled = ledger.settle_batch(number, [], _never, NOON, accepted_lines(lines))
                    done = list(settled.accepted.rows)
                else:
                    settled = ledger.settle_batch(number, lines, accept, NOON)
                    done = sorted(line.step.row for line, ruling in zip(lines, settled.rulings, strict=True) if ruling)
                assert done == ([] if again else sorted(set(rows) - {11}))
                assert (settled.repeated, settled.unknown) == (7 if again else 0, (Step(11),))
        assert audit(tmp_path / way) == []
        tables.append(_dump(tmp_path / way / "ledger.db"))
    assert tables[0] == tables[1]


def test_lines_of_both_kinds_are_settled_together(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 4) as ledger:
        number = ended_batch(ledger, STEPS)
        lines = land(ledger, number, [*answered(*STEPS[:2]), (STEPS[2], "errored", INVALID)])
        settled = ledger.settle_batch(number, lines[2:], by_end, NOON, accepted_lines(lines[:2]))
        assert settled == Settled([Ruling("failed", INVALID)], accepted_lines(lines[:2]))
        assert (settled.accepted.usage, list(settled.accepted.costs_pico)) == (Usage(20, 10), [COST, COST])
        assert (ledger.counts().succeeded, ledger.counts().failed, ledger.batch(number).settled) == (2, 1, 3)
    assert audit(tmp_path / "run") == []


def test_more_accepted_lines_than_a_statement_takes(tmp_path: Path) -> None:
    count = 1_237
    with new_ledger(tmp_path / "run", count) as ledger:
        number = ended_batch(ledger, map(Step, range(count)))
        lines = land(ledger, number, answered(*[Step((place * 7) % count) for place in range(count)]))
        accepted = accepted_lines(lines)
        for start in range(0, count, 500):
            part = accepted.part(start, start + 500)
            assert ledger.settle_batch(number, [], _never, NOON, part).accepted == part
        assert [result.body for result in ledger.results()] == [message(f"reply {row}") for row in range(count)]
    assert audit(tmp_path / "run") == []


def _dump(path: Path) -> list[object]:
    """All that the tables say of rows, steps, leases, attempts and sums."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    tables = ("rows", "steps", "leases", "attempts", "totals", "batches", "landings", "failure_kinds")
    try:
        return [connection.execute(f"SELECT * FROM {table}").fetchall() for table in tables]
    finally:
        connection.close()


def _never(outcome: Outcome) -> Ruling:
    raise AssertionError(f"{outcome.step} was ruled on")


def test_a_file_without_lines_settles_nothing(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 1) as ledger:
        number = ended_batch(ledger, STEPS[:1])
        land(ledger, number, [])
        assert ledger.settle_batch(number, [], accept, NOON).rulings == []
        assert ledger.batch(number).settled == 0
