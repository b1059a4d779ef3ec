"""The journal of a sink that takes parts: what was given is known after any crash, and a number is never used twice."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from runner.errors import LedgerError
from runner.ledger.journal import BLOCK, Intended, Journal, journal_path, records_given

DEFINITION = "ab" * 32


def journal(tmp_path: Path, definition: str = DEFINITION) -> Journal:
    return Journal(tmp_path, 3, definition)


def test_a_part_is_known_until_it_is_settled_and_its_versions_from_then_on(tmp_path: Path) -> None:
    with journal(tmp_path) as first:
        assert (first.intended, first.last_part, first.records) == (None, 0, 0)
        number = first.intend([7, 2 * BLOCK + 1], [2**64 - 1, 5])
    with journal(tmp_path) as again:
        part = again.intended
        assert part is not None
        assert (part.number, [*part.rows], [*part.versions]) == (number, [7, 2 * BLOCK + 1], [2**64 - 1, 5])
        assert (again.last_part, again.last_settled, again.records) == (1, 0, 0)
        again.settle(part)
    with journal(tmp_path) as settled:
        assert settled.intended is None
        assert (settled.last_settled, settled.records) == (1, 2)
        assert [settled.versions(0)[7], settled.versions(2)[1], settled.versions(1)[0]] == [2**64 - 1, 5, 0]


def test_a_row_that_is_given_again_counts_once_and_one_that_was_refused_not_at_all(tmp_path: Path) -> None:
    with journal(tmp_path) as kept:
        for rows, without in (([1, 2], ()), ([1, 3], (3,))):
            number = kept.intend(rows, [9] * 2)
            kept.settle(Intended(number, rows, [9] * 2), without)
        assert (kept.records, kept.versions(0)[3]) == (2, 0)


def test_the_number_of_a_part_that_was_given_up_is_not_used_again(tmp_path: Path) -> None:
    with journal(tmp_path) as kept:
        assert kept.intend([1], [1]) == 1
        kept.withdraw()
        assert (kept.intended, kept.intend([1], [1])) == (None, 2)


def test_a_sink_that_is_defined_otherwise_starts_anew_under_another_name(tmp_path: Path) -> None:
    with journal(tmp_path) as first:
        name = first.name
        first.settle(Intended(first.intend([1], [1]), [1], [1]))
        first.finish()
    with journal(tmp_path, "cd" * 32) as other:
        assert (other.records, other.last_part, other.is_finished) == (0, 0, False)
        assert other.name != name
    with journal(tmp_path) as back:  # and so is one that is defined as it once was
        assert back.name not in (name, other.name)
        assert back.records == 0


def test_a_delivery_that_starts_anew_has_another_name_and_a_finished_one_is_unfinished_by_a_part(
    tmp_path: Path,
) -> None:
    with journal(tmp_path) as kept:
        name = kept.name
        kept.finish()
        stood = [kept.is_finished]
        kept.intend([1], [1])
        stood.append(kept.is_finished)
        assert stood == [True, False]
        kept.start_anew()
        assert (kept.name == name, kept.intended, kept.last_part) == (False, None, 0)


def test_a_journal_of_a_newer_runner_is_refused(tmp_path: Path) -> None:
    journal(tmp_path).close()
    with sqlite3.connect(journal_path(tmp_path, 3)) as connection:
        connection.execute("PRAGMA user_version = 9")
    connection.close()
    with pytest.raises(LedgerError) as caught:
        journal(tmp_path)
    assert caught.value.code == "newer-version"


def test_others_see_how_many_were_given_also_while_a_journal_is_being_made(tmp_path: Path) -> None:
    assert records_given(tmp_path, 3) is None
    journal_path(tmp_path, 3).parent.mkdir()
    journal_path(tmp_path, 3).touch()
    assert records_given(tmp_path, 3) is None
    with journal(tmp_path) as kept:
        assert records_given(tmp_path, 3) == 0
        kept.settle(Intended(kept.intend([4, 5], [1, 1]), [4, 5], [1, 1]))
        assert records_given(tmp_path, 3) == 2
    assert records_given(tmp_path, 3) == 2
