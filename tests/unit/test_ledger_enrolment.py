from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.errors import InputError, LedgerError
from runner.ledger import EnrolledRow
from runner.ledger.audit import audit
from runner.ledger.sqlite import SqliteLedger
from runner.types import Row, Step
from support.ledgers import new_ledger, rows


def test_every_row_gets_an_open_step_in_order(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 3) as ledger:
        assert [found.step for found in ledger.open_steps(None, 10)] == [Step(0), Step(1), Step(2)]
        assert (ledger.counts().total, ledger.counts().open) == (3, 3)
        assert [ledger.find(f"key-{number}") for number in (2, 0, 9)] == [2, 0, None]
    assert audit(tmp_path / "run") == []


@pytest.mark.parametrize("count", [0, 1, 1_023, 1_024, 1_025, 2_064])
def test_so_many_rows_as_there_are_keep_their_places(tmp_path: Path, count: int) -> None:
    """They are loaded some thousand at a time."""
    with SqliteLedger.create(tmp_path / "run", {}) as ledger:
        places = ((f"{number % 3}.csv", None if number % 5 == 0 else number + 2) for number in range(count))
        assert ledger.enrol(EnrolledRow(Row(f"k{n}", n, {"n": n}), *place) for n, place in enumerate(places)) == count
        assert [(row.index, row.key, row.values) for row in ledger.rows()] == [
            (number, f"k{number}", {"n": number}) for number in range(count)
        ]
        kept = (
            "SELECT r.idx, s.file, r.line, r.status, r.kind FROM rows r JOIN sources s ON s.id = r.source ORDER BY idx"
        )
        assert ledger._connection.execute(kept).fetchall() == [
            (number, f"{number % 3}.csv", None if number % 5 == 0 else number + 2, 0, None) for number in range(count)
        ]
        assert all(ledger.find(f"k{number}") == number for number in range(0, count, 100))
        assert [found.step for found in ledger.open_steps(None, count + 1)] == [Step(number) for number in range(count)]
    assert audit(tmp_path / "run") == []


def test_a_key_that_appears_twice_is_told_with_both_places(tmp_path: Path) -> None:
    keys = [
        ("a", "one.csv", 2),
        ("b", "one.csv", 3),
        ("a", "two.csv", 2),
        ("a", "two.csv", 3),
        ("ü", "x", None),
        ("ü", "y", None),
    ]
    with SqliteLedger.create(tmp_path / "run", {}) as ledger:
        with pytest.raises(InputError) as caught:
            ledger.enrol(EnrolledRow(Row(key, n, {}), file, line) for n, (key, file, line) in enumerate(keys))
        assert [(str(problem.where), problem.message) for problem in caught.value.problems] == [
            ("two.csv:2", "the key 'a' appears twice: first at one.csv:2"),
            ("two.csv:3", "the key 'a' appears twice: first at one.csv:2"),
            ("y", "the key 'ü' appears twice: first at x"),
        ]
        assert ledger.counts().total == 0
        assert ledger.enrol(rows(2)) == 2


def test_at_most_twenty_clashes_are_told(tmp_path: Path) -> None:
    with SqliteLedger.create(tmp_path / "run", {}) as ledger, pytest.raises(InputError) as caught:
        ledger.enrol(EnrolledRow(Row("same", n, {}), "d.csv", n) for n in range(100))
    assert len(caught.value.problems) == 20


def test_an_interrupted_enrolment_leaves_none(tmp_path: Path) -> None:
    def broken() -> Iterator[EnrolledRow]:
        yield from rows(1000)
        raise InterruptedError

    with SqliteLedger.create(tmp_path / "run", {}) as ledger:
        with pytest.raises(InterruptedError):
            ledger.enrol(broken())
        assert "rows_sha256" not in ledger.meta
        assert list(ledger.rows()) == []
        assert not list((tmp_path / "run/rows").iterdir())
    with SqliteLedger.open(tmp_path / "run") as ledger:
        (tmp_path / "run/rows/000001.rows").write_bytes(b"left by one that was killed")
        assert ledger.enrol(rows(5)) == 5
        assert len(list(ledger.rows())) == 5


def test_a_run_is_enrolled_once(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 0) as ledger, pytest.raises(LedgerError) as caught:
        ledger.enrol(rows(1))
    assert caught.value.code == "enrolled"


def test_a_row_out_of_place_is_a_bug(tmp_path: Path) -> None:
    with SqliteLedger.create(tmp_path / "run", {}) as ledger, pytest.raises(ValueError, match="has index 1 at place 0"):
        ledger.enrol([EnrolledRow(Row("a", 1, {}), "d", None)])


def test_keys_may_hold_anything_that_a_string_can(tmp_path: Path) -> None:
    keys = ["", "\x00", "\ud83d", "日本", '["a",1]']
    with SqliteLedger.create(tmp_path / "run", {}) as ledger:
        ledger.enrol(EnrolledRow(Row(key, n, {}), "caf\udce9.csv", None) for n, key in enumerate(keys))
        assert [ledger.find(key) for key in keys] == [0, 1, 2, 3, 4]
        assert [row.key for row in ledger.rows()] == keys
