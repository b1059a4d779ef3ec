from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from runner.errors import LedgerError
from runner.ledger import NONE_ACCEPTED, Counts, Ruling
from runner.ledger.audit import audit
from runner.ledger.sqlite import SqliteLedger
from runner.types import Outcome, Step, Usage
from support.ledger_batches import accepted_lines, answered, ended_batch, land
from support.ledger_versions import turn_to_version
from support.ledgers import NOON, accept, answer, failed, lease_all, new_ledger, rows


def digests(text: str) -> list[bytes | None]:
    """One a letter; `-` for a row that is like no other."""
    return [None if letter == "-" else letter.encode() for letter in text]


@contextmanager
def ledger_of(folder: Path, text: str, samples: int = 1) -> Iterator[SqliteLedger]:
    """Rows with these digests; audited at the end."""
    with SqliteLedger.create(folder, {}) as ledger:
        ledger.enrol(rows(len(text)), samples=samples)
        ledger.note_twins(digests(text))
        yield ledger
        assert audit(folder) == []
    assert audit(folder) == []


def broken_rule(outcome: Outcome) -> Ruling:
    raise ZeroDivisionError(outcome.step)


def test_only_the_first_row_of_a_digest_is_asked(tmp_path: Path) -> None:
    with ledger_of(tmp_path / "run", "abacb-a-") as ledger:
        assert [opened.step.row for opened in ledger.open_steps(None, 10)] == [0, 1, 3, 5, 7]
        assert [ledger.first_of(row) for row in range(8)] == [0, 1, 0, 3, 1, 5, 0, 7]
        assert [row.index for row in ledger.rows(twins=False)] == [0, 1, 3, 5, 7]
        assert [row.index for row in ledger.rows(2, twins=False)] == [3, 5, 7]
        assert [row.index for row in ledger.rows()] == [*range(8)]
        counts = ledger.counts()
        assert (counts.total, counts.open, counts.twins, counts.open_twins) == (8, 8, 3, 3)
        assert (counts.asking, counts.open_asking) == (5, 5)


def test_twins_end_with_their_first_row_and_cost_nothing(tmp_path: Path) -> None:
    with ledger_of(tmp_path / "run", "abab") as ledger:
        lease_all(ledger, [Step(0), Step(1)])
        ledger.record([answer(Step(0), text="yes"), failed(Step(1), kind="refusal")], accept)
        counts = ledger.counts()
        assert counts == Counts(
            total=4, succeeded=2, failed=2, reused=2, failures={"refusal": 2}, attempts=2, requests=2, twins=2
        )
        first, _, twin, refused = ledger.results()
        assert (twin.row.key, twin.row.index, twin.status) == ("key-2", 2, "succeeded")
        assert (twin.body, twin.request_hash, twin.request_id) == (first.body, first.request_hash, first.request_id)
        assert (twin.attempts, twin.reused, twin.usage, twin.cost_pico) == (0, True, Usage(), 0)
        assert (first.attempts, first.reused, first.cost_pico) == (1, False, 7)
        assert (refused.status, refused.reused) == ("failed", True)
        assert refused.failure is not None
        assert refused.failure.kind == "refusal"
        assert ledger.money().spent == sum(result.cost_pico or 0 for result in ledger.results()) == 7


def test_a_first_row_that_is_tried_again_keeps_its_twins_open(tmp_path: Path) -> None:
    with ledger_of(tmp_path / "run", "aaa") as ledger:
        lease_all(ledger, [Step(0)])
        ledger.record([failed(Step(0), retryable=True)], lambda outcome: Ruling("open", outcome.failure))
        assert [result.status for result in ledger.results()] == ["open"] * 3
        assert not any(result.reused for result in ledger.results())
        lease_all(ledger, [Step(0)])
        ledger.record([answer(Step(0), 2)], accept)
        assert ledger.counts().succeeded == 3


def test_an_opening_takes_up_what_the_spool_has_for_twins_too(tmp_path: Path) -> None:
    with ledger_of(tmp_path / "run", "aaa") as ledger:
        lease_all(ledger, [Step(0)])
        with pytest.raises(ZeroDivisionError):
            ledger.record([answer(Step(0))], broken_rule)
    with SqliteLedger.open(tmp_path / "run") as ledger:
        assert ledger.counts().open == 3
        ledger.settle_answered(accept)
        assert (ledger.counts().succeeded, ledger.counts().reused) == (3, 2)


def test_retry_of_a_twin_is_one_of_the_first_row(tmp_path: Path) -> None:
    with ledger_of(tmp_path / "run", "abba") as ledger:
        lease_all(ledger, [Step(0), Step(1)])
        ledger.record([failed(Step(0)), failed(Step(1), kind="refusal")], accept)
        assert ledger.reopen(keys=["key-3"]) == 2
        assert [result.status for result in ledger.results()] == ["open", "failed", "failed", "open"]
        assert ledger.counts().failures == {"refusal": 2}
        assert [opened.step.row for opened in ledger.open_steps(None, 10)] == [0]
        assert ledger.reopen(kinds=["refusal"]) == 2
        assert ledger.counts().open == 4


def test_canceling_ends_twins_with_the_rows_that_wait_and_leaves_those_under_way(tmp_path: Path) -> None:
    with ledger_of(tmp_path / "run", "abcabc") as ledger:
        lease_all(ledger, [Step(1)])
        assert ledger.cancel_open() == 4
        assert [result.status for result in ledger.results()] == ["canceled", "open", "canceled"] * 2
        ledger.record([answer(Step(1))], accept)
        assert ledger.counts().succeeded == 2


def test_judging_again_changes_twins_as_their_first_row(tmp_path: Path) -> None:
    with ledger_of(tmp_path / "run", "aab") as ledger:
        lease_all(ledger, [Step(0), Step(2)])
        ledger.record([answer(Step(0)), answer(Step(2))], accept)

        def refuse(outcome: Outcome) -> Ruling:
            bad = failed(outcome.step, kind="schema_mismatch").failure
            return Ruling("failed", bad) if outcome.step.row == 0 else Ruling("succeeded")

        came_to = ledger.rejudge(refuse, "strict")
        assert (came_to.replies, came_to.to_failed) == (2, 2)
        assert ledger.counts().failures == {"schema_mismatch": 2}

        def otherwise(outcome: Outcome) -> Ruling:
            return Ruling("failed", failed(outcome.step, kind="refusal").failure)

        assert ledger.rejudge(otherwise, "otherwise").to_failed == 1
        assert ledger.counts().failures == {"refusal": 3}
        assert ledger.rejudge(accept, "lenient").to_succeeded == 3
        assert ledger.counts().succeeded == 3


@pytest.mark.parametrize("way", ["ruled on", "accepted"])
def test_results_of_a_batch_end_twins(tmp_path: Path, way: str) -> None:
    with ledger_of(tmp_path / "run", "abab") as ledger:
        steps = [Step(0), Step(1)]
        number = ended_batch(ledger, steps)
        lines = land(ledger, number, answered(*steps))
        given = ([], accepted_lines(lines)) if way == "accepted" else (lines, NONE_ACCEPTED)
        ledger.settle_batch(number, given[0], accept, NOON, given[1])
        counts = ledger.counts()
        assert (counts.succeeded, counts.reused, counts.requests) == (4, 2, 2)
        assert ledger.result(3).batch_id == ledger.result(1).batch_id == "msgbatch_1"


def test_samples_of_a_first_row_are_those_of_its_twins(tmp_path: Path) -> None:
    with ledger_of(tmp_path / "run", "aa", samples=2) as ledger:
        steps = [Step(0, sample=0), Step(0, sample=1)]
        assert [opened.step for opened in ledger.open_steps(None, 10)] == steps
        lease_all(ledger, steps)
        ledger.record([answer(steps[0])], accept)
        assert ledger.counts().open == 2
        ledger.record([failed(steps[1])], accept)
        assert ledger.counts().succeeded == 2
        assert [reply.step for reply in ledger.replies(1)] == [steps[0]]
        assert len(ledger.attempts(1)) == 2


def test_an_earlier_reply_is_found_by_a_twin(tmp_path: Path) -> None:
    with ledger_of(tmp_path / "run", "-aa") as ledger:
        lease_all(ledger, [Step(1)])
        ledger.record([answer(Step(1), text="paid")], accept)
        found = ledger.earlier_reply(2, 0, bytes([1]) * 32)
        assert found is not None
        assert b"paid" in found.body


def test_twins_far_from_their_first_row_are_found(tmp_path: Path) -> None:
    count = 1203  # more than two windows of results
    with ledger_of(tmp_path / "run", "a" * count) as ledger:
        lease_all(ledger, [Step(0)])
        later = NOON + timedelta(minutes=1)
        ledger.record([replace(answer(Step(0)), ended_at=later)], accept)
        results = list(ledger.results())
        assert {(result.status, result.ended_at) for result in results} == {("succeeded", later)}
        assert sum(result.reused for result in results) == ledger.counts().reused == count - 1
        assert ledger.result(1200) == results[1200]


def test_rows_that_have_their_outcome_are_found_with_their_twins(tmp_path: Path) -> None:
    with ledger_of(tmp_path / "run", "abcabca") as ledger:
        assert ledger.settled_rows(0, 10) == []
        lease_all(ledger, [Step(0), Step(1)])
        ledger.record([answer(Step(0))], accept)
        assert ledger.settled_rows(0, 10) == [0, 3, 6]
        assert ledger.settled_rows(1, 1) == [3]
        assert ledger.with_twins([1, 0, 0], 3) == [0, 1, 3, 4, 6]
        assert ledger.with_twins([1, 0], 2) is None
        assert ledger.with_twins([], 2) == []
        ledger.record([failed(Step(1))], accept)
        assert ledger.settled_rows(2, 10) == [3, 4, 6]
    with new_ledger(tmp_path / "plain", 3) as ledger:
        assert ledger.with_twins([2, 0], 0) == [0, 2]


def test_rows_are_spread_evenly_over_those_that_are_asked(tmp_path: Path) -> None:
    with ledger_of(tmp_path / "run", "abcdefgh" + "a" * 92) as ledger:
        assert ledger.spread(100) == [*range(8)]
        assert ledger.spread(4) == [0, 2, 4, 6]
    with new_ledger(tmp_path / "plain", 10) as ledger:
        assert ledger.spread(100) == [*range(10)]
        assert ledger.spread(5) == [0, 2, 4, 6, 8]
    with new_ledger(tmp_path / "empty", 0) as ledger:
        assert ledger.spread(5) == []


def test_no_two_alike_leave_no_trace(tmp_path: Path) -> None:
    with ledger_of(tmp_path / "run", "abc") as ledger:
        assert ledger.counts().twins == 0
        assert ledger.note_twins(digests("aaa")) == 2  # nothing was noted yet


def test_twins_are_noted_once_and_before_anything_is_sent(tmp_path: Path) -> None:
    with ledger_of(tmp_path / "run", "aa") as ledger, pytest.raises(LedgerError, match="once"):
        ledger.note_twins(digests("aa"))
    with new_ledger(tmp_path / "sent", 2) as ledger:
        lease_all(ledger, [Step(0)])
        with pytest.raises(LedgerError, match="once"):
            ledger.note_twins(digests("aa"))


def test_a_digest_that_fails_leaves_the_rows_as_they_were(tmp_path: Path) -> None:
    def broken() -> Iterator[bytes]:
        yield b"a"
        yield b"a"
        raise OSError("no more")

    with new_ledger(tmp_path / "run", 2) as ledger:
        with pytest.raises(OSError, match="no more"):
            ledger.note_twins(broken())
        assert ledger.note_twins(digests("aa")) == 1


def test_a_run_from_before_there_were_twins_has_none(tmp_path: Path) -> None:
    new_ledger(tmp_path / "run", 2).close()
    turn_to_version(3, tmp_path / "run/ledger.db")
    with SqliteLedger.open(tmp_path / "run", read_only=True) as ledger:
        assert (ledger.counts().twins, ledger.counts().open, len(list(ledger.results()))) == (0, 2, 2)
    with SqliteLedger.open(tmp_path / "run") as ledger:
        assert (ledger.counts().twins, ledger.first_of(1), len(list(ledger.results()))) == (0, 1, 2)
