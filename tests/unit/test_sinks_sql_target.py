"""The statements that make and mend tables, as people are told them."""

from __future__ import annotations

import pytest

from runner.column_types import BYTES, INTEGER, JSON, STRING, ColumnType
from runner.errors import DeliveryError
from runner.sinks.sql.columns import Column, Table
from runner.sinks.sql.duckdb import DuckDB
from runner.sinks.sql.mysql import MySQL
from runner.sinks.sql.names import TableName
from runner.sinks.sql.options import Write
from runner.sinks.sql.postgresql import PostgreSQL
from runner.sinks.sql.session import Dialect, on_conflict, portions
from runner.sinks.sql.sqlite import SQLite
from runner.sinks.sql.target import Wanted, create_statement, require_fit

ALL: list[Dialect] = [PostgreSQL(), MySQL(), SQLite(), DuckDB()]
KEY = Column("key", "string", "text", nullable=False)


def wanted(
    write: Write = "append", *, evolves: bool = False, unique_key: tuple[str, ...] = (), **types: ColumnType
) -> Wanted:
    columns = {"key": STRING, **types}
    return Wanted(TableName("analytics", "answers"), list(columns), columns, write, unique_key, evolves)


def told(dialect: Dialect, wish: Wanted, found: Table) -> DeliveryError:
    with pytest.raises(DeliveryError) as error:
        require_fit(dialect, wish, found, "answers at the server")
    return error.value


def test_a_table_is_made_with_types_of_its_database() -> None:
    wish = wanted(
        "merge",
        unique_key=("key",),
        n=INTEGER,
        price=ColumnType("decimal", precision=10, scale=2),
        at=ColumnType("datetime", zone="UTC"),
        data=BYTES,
        tags=JSON,
    )
    made = {dialect.kind: create_statement(dialect, wish) for dialect in ALL}
    assert made == {
        "postgresql": 'CREATE TABLE "analytics"."answers" ("key" text NOT NULL, "n" bigint, "price" numeric(10, 2), '
        '"at" timestamptz, "data" bytea, "tags" jsonb, PRIMARY KEY ("key"))',
        "mysql": "CREATE TABLE `analytics`.`answers` (`key` VARCHAR(512) CHARACTER SET utf8mb4 COLLATE "
        "utf8mb4_nopad_bin NOT NULL, `n` BIGINT, `price` DECIMAL(10, 2), `at` DATETIME(6), `data` LONGBLOB, "
        "`tags` JSON, PRIMARY KEY (`key`)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
        "sqlite": 'CREATE TABLE "analytics"."answers" ("key" TEXT NOT NULL, "n" INTEGER, "price" TEXT, "at" DATETIME, '
        '"data" BLOB, "tags" JSON_TEXT, PRIMARY KEY ("key"))',
        "duckdb": 'CREATE TABLE "analytics"."answers" ("key" VARCHAR NOT NULL, "n" BIGINT, "price" DECIMAL(10, 2), '
        '"at" TIMESTAMP WITH TIME ZONE, "data" BLOB, "tags" JSON, PRIMARY KEY ("key"))',
    }


def test_keys_of_several_texts_share_the_bytes_of_an_index_in_mariadb() -> None:
    wish = wanted("merge", unique_key=("key", "a", "b"), a=STRING, b=BYTES)
    statement = create_statement(MySQL(), wish)
    assert "`a` VARCHAR(256)" in statement
    assert "`b` VARBINARY(1024)" in statement


@pytest.mark.parametrize("dialect", ALL, ids=lambda dialect: dialect.kind)
def test_a_missing_column_is_told_with_the_statement_that_adds_it(dialect: Dialect) -> None:
    error = told(dialect, wanted(why=STRING, n=INTEGER), Table([KEY]))
    assert error.code == "table-unfit"
    assert "has no columns 'why', 'n'" in error.message
    assert error.hint is not None
    first, second, other = error.hint.splitlines()
    quote = dialect.quoted
    table = f"{quote('analytics')}.{quote('answers')}"
    assert first == f"ALTER TABLE {table} ADD COLUMN {quote('why')} {dialect.type_text(STRING)};"
    assert second == f"ALTER TABLE {table} ADD COLUMN {quote('n')} {dialect.type_text(INTEGER)};"
    assert "contract: evolve" in other


def test_evolve_takes_a_missing_column_but_not_one_of_the_unique_key() -> None:
    require_fit(PostgreSQL(), wanted(evolves=True, why=STRING), Table([KEY]), "answers")
    wish = wanted("merge", unique_key=("id",), evolves=True, id=STRING)
    assert "has no column 'id'" in told(PostgreSQL(), wish, Table([KEY])).message


@pytest.mark.parametrize(
    ("dialect", "hint"),
    [
        (PostgreSQL(), 'CREATE UNIQUE INDEX "answers_key" ON "analytics"."answers" ("key");'),
        (SQLite(), 'CREATE UNIQUE INDEX "answers_key" ON "analytics"."answers" ("key");'),
        (MySQL(), "ALTER TABLE `analytics`.`answers` ADD UNIQUE (`key`);"),
    ],
)
def test_a_merge_without_a_unique_index_is_refused_with_the_statement_that_makes_one(
    dialect: Dialect, hint: str
) -> None:
    found = Table([KEY], [frozenset({"key", "other"})])
    error = told(dialect, wanted("merge", unique_key=("key",)), found)
    assert error.code == "no-unique-index"
    assert error.hint == hint


def test_in_mariadb_another_unique_index_could_merge_a_record_into_the_wrong_row() -> None:
    email = Column("email", "string", "varchar(99)")
    unique = [frozenset({"key"}), frozenset({"email"})]
    wish = wanted("merge", unique_key=("key",), email=STRING)
    assert "unique in (email) too" in told(MySQL(), wish, Table([KEY, email], unique)).message
    require_fit(PostgreSQL(), wish, Table([KEY, email], unique), "answers")
    wider = [frozenset({"key"}), frozenset({"key", "email"})]
    require_fit(MySQL(), wish, Table([KEY, email], wider), "answers")


def test_columns_that_need_a_value_or_take_none_are_told() -> None:
    needs = Column("owner", "string", "text", nullable=False)
    assert "needs a value in its column 'owner'" in told(PostgreSQL(), wanted(), Table([KEY, needs])).message
    made = Column("key", "string", "text", is_computed=True)
    assert "computes its column 'key' itself" in told(PostgreSQL(), wanted(), Table([made])).message


def test_a_type_that_never_fits_is_told_before_there_are_records() -> None:
    found = Table([KEY, Column("n", "date", "date")])
    assert "is date, and its values are integer" in told(PostgreSQL(), wanted(n=INTEGER), found).message
    require_fit(PostgreSQL(), wanted(n=STRING), found, "answers")


def test_a_table_without_transactions_is_refused() -> None:
    error = told(MySQL(), wanted(), Table([KEY], engine="MyISAM"))
    assert error.hint == "ALTER TABLE `analytics`.`answers` ENGINE=InnoDB;"


def test_names_of_columns_are_told_apart_as_the_database_does() -> None:
    require_fit(SQLite(), wanted(), Table([Column("KEY", "string", "text")], folds_case=True), "answers")
    assert told(PostgreSQL(), wanted(), Table([Column("KEY", "string", "text")])).code == "table-unfit"


def test_an_upsert_of_nothing_but_its_key_changes_no_row() -> None:
    assert on_conflict(PostgreSQL(), ["a"], ["a"]) == ' ON CONFLICT ("a") DO NOTHING'
    assert on_conflict(PostgreSQL(), ["a", "b"], ["a"]) == ' ON CONFLICT ("a") DO UPDATE SET "b" = excluded."b"'


def test_portions_are_bounded_in_rows_and_bytes_and_divide_no_row() -> None:
    rows = [["x" * 10] for _ in range(10)]
    assert [len(portion) for portion in portions(rows, 4, 1_000)] == [4, 4, 2]
    assert [len(portion) for portion in portions(rows, 100, 25)] == [3, 3, 3, 1]
    assert [len(portion) for portion in portions([["x" * 99]] * 2, 100, 25)] == [1, 1]
