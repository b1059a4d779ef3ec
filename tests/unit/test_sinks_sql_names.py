from __future__ import annotations

import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.sinks.sql.names import TableName, backquoted, double_quoted, parse_table

NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=30)


@pytest.mark.parametrize(
    ("text", "schema", "name"),
    [
        ("answers", None, "answers"),
        ("analytics.answers", "analytics", "answers"),
        ('"a.b".answers', "a.b", "answers"),
        ('analytics."say ""hi"""', "analytics", 'say "hi"'),
        ("Analytics.Answers", "Analytics", "Answers"),
        ("größe.日本語", "größe", "日本語"),
        ("two words", None, "two words"),
    ],
)
def test_a_table_is_a_name_with_or_without_a_schema(text: str, schema: str | None, name: str) -> None:
    assert parse_table(text) == TableName(schema, name)


@pytest.mark.parametrize("text", ["", ".", "a.", ".a", "a.b.c", '"a', 'a"b', "a..b", "a. b", '""', "a\0b"])
def test_what_is_no_table_is_refused_with_what_is_expected(text: str) -> None:
    with pytest.raises(ValueError, match=r"a table, or schema\.table"):
        parse_table(text)


@given(schema=st.none() | NAMES, name=NAMES)
def test_a_name_reads_back_as_it_is_shown(schema: str | None, name: str) -> None:
    table = TableName(schema, name)
    if any(part is not None and part != part.strip() for part in (schema, name)):
        return
    assert parse_table(str(table)) == table


@given(name=NAMES)
def test_a_quoted_name_is_that_name_and_nothing_else(name: str) -> None:
    connection = sqlite3.connect(":memory:")
    try:
        for quoted in (double_quoted(name), backquoted(name)):
            connection.execute(f"CREATE TABLE {quoted} ({quoted} TEXT)")
            assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [(name,)]
            connection.execute(f"DROP TABLE {quoted}")
    finally:
        connection.close()
