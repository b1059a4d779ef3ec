from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from runner.sinks.sql.key_book import KeyBook, key_digest


def test_a_key_is_the_first_records_also_in_another_process(tmp_path: Path) -> None:
    path = tmp_path / "deliveries" / "0.keys.db"
    book = KeyBook(path, "run.0.a.1")
    assert book.claim([b"1", b"2", b"1"], ["a", "b", "c"]) == ["a", "b", "a"]
    book.close()
    again = KeyBook(path, "run.0.a.1")
    assert again.claim([b"1", b"2", b"3"], ["a", "x", "y"]) == ["a", "b", "y"]
    again.close()


def test_another_delivery_begins_with_an_empty_book(tmp_path: Path) -> None:
    book = KeyBook(tmp_path / "keys.db", "run.0.a.1")
    book.claim([b"1"], ["a"])
    book.close()
    other = KeyBook(tmp_path / "keys.db", "run.0.a.2")
    assert other.claim([b"1"], ["b"]) == ["b"]
    other.close()


def test_a_book_that_cannot_be_opened_is_an_error_of_the_disk(tmp_path: Path) -> None:
    (tmp_path / "keys.db").write_bytes(b"this is no database, whatever it is called" * 50)
    with pytest.raises(OSError, match=r"keys\.db"):
        KeyBook(tmp_path / "keys.db", "run")


def test_keys_are_told_apart_by_value_and_folded_where_a_collation_may_fold() -> None:
    def one(*values: object, folded: bool = False) -> bytes:
        return key_digest(values, folded=[folded] * len(values))

    assert one("a", "b") != one("ab", "")
    assert one("A") != one("a")
    assert one("A") != one("a ")
    assert one("Ä ", folded=True) == one("a", folded=True)
    assert one(1) != one("1")
    assert one(dt.date(2026, 1, 2)) == one(dt.date(2026, 1, 2))
