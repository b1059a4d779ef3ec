"""Rows by the dozen: as many as there are, once each, in their order, whatever their number."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import apsw
import pytest

from runner.ledger.bulk import insert_flat, numbers

SIZES = [0, 1, 2, 15, 16, 17, 63, 64, 65, 79, 80, 81, 127, 128, 129, 144, 145]


@pytest.fixture
def connection() -> Iterator[apsw.Connection]:
    with closing(apsw.Connection(":memory:")) as connection:
        connection.execute("CREATE TABLE things (number INTEGER, name TEXT, first TEXT, second INTEGER)")
        yield connection


@pytest.mark.parametrize("count", SIZES)
def test_every_row_is_inserted_once_and_in_order(connection: apsw.Connection, count: int) -> None:
    values = [value for number in range(count) for value in (number, f"thing {number}")]
    insert_flat(connection, "INSERT INTO things VALUES ", "({},{},?1,?2)", values, ("x", 9))
    assert connection.execute("SELECT * FROM things ORDER BY rowid").fetchall() == [
        (number, f"thing {number}", "x", 9) for number in range(count)
    ]


@pytest.mark.parametrize("count", SIZES)
def test_what_follows_the_rows_holds_of_all_of_them(connection: apsw.Connection, count: int) -> None:
    connection.execute("CREATE UNIQUE INDEX things_by_number ON things (number)")
    connection.execute("INSERT INTO things (number) VALUES (0), (70), (128)")
    end = " ON CONFLICT (number) DO UPDATE SET name = ?1"
    insert_flat(connection, "INSERT INTO things (number) VALUES ", "({})", list(range(count)), ("there",), end)
    found = connection.execute("SELECT number, name FROM things WHERE number < ? ORDER BY number", (count,)).fetchall()
    assert found == [(number, "there" if number in (0, 70, 128) else None) for number in range(count)]


def test_no_number_at_all_is_an_empty_table(connection: apsw.Connection) -> None:
    connection.execute("INSERT INTO things (number) VALUES (0), (1), (-1)")
    found = "SELECT number FROM things WHERE number IN carray(?)"
    assert connection.execute(found, (numbers([]),)).fetchall() == []
    assert connection.execute(found, (numbers([1, -1, 1]),)).fetchall() == [(1,), (-1,)]
