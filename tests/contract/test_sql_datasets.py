"""SQL datasets pass the conformance suite, and keep their own promises: types, one statement, no writing."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pytest
import sqlalchemy

from runner.connections import Connection
from runner.datasets import Dataset, DatasetContext, TypedDataset
from runner.errors import InputError, Problem, RunnerError, SetupError
from runner.plugins import dataset_from
from runner.testing.datasets import check_dataset
from support.databases import POSTGRESQL, engine_at, execute, mariadb_database, postgresql_schema, require
from support.many import MANY
from support.peak_memory import run_apart

Rows = Sequence[Mapping[str, Any]]
numbers = itertools.count()


def dataset(
    statement: str, url: str | None = None, root: Path = Path(), *, source: str = "sql", **bind: Any
) -> Dataset:
    connection = Connection(url) if url is not None else None
    plugin = dataset_from(source, "", connection.dialect if connection else None)
    context = DatasetContext(root, connection=connection, scratch=root)
    made: Dataset = plugin.load()(plugin.options().model_validate({source: statement, "bind": bind}), context)
    return made


def values(statement: str, url: str | None = None, root: Path = Path(), **options: Any) -> list[dict[str, Any]]:
    return [dict(row.values) for row in dataset(statement, url, root, **options).rows()]


def problem(statement: str, url: str | None = None, root: Path = Path(), **options: Any) -> Problem:
    with pytest.raises(RunnerError) as caught:
        values(statement, url, root, **options)
    (found,) = caught.value.problems
    return found


@pytest.fixture
def postgresql() -> Iterator[tuple[str, str]]:
    with postgresql_schema() as namespace:
        yield namespace


@pytest.fixture
def mariadb() -> Iterator[tuple[str, str]]:
    with mariadb_database() as namespace:
        yield namespace


# -- The suite


def stored(rows: Rows, url: str, table: str, quote: str, root: Path) -> Dataset:
    """The rows in a table of their own; a wide row, which no table of MariaDB holds, as a statement alone."""
    columns = list(rows[0]) if rows else ["id", "text"]
    if len(columns) > 100:
        literals = ", ".join(f"'{value}' AS {quote}{name}{quote}" for name, value in rows[0].items())
        return dataset(f"SELECT {literals}", url, root)
    execute(url, f"CREATE TABLE {table} (number INTEGER, {', '.join(f'{name} TEXT' for name in columns)})")
    if rows:
        marks = ", ".join(f":{name}" for name in columns)
        insert = sqlalchemy.text(f"INSERT INTO {table} VALUES (:number, {marks})")
        with engine_at(url).begin() as connection:
            connection.execute(insert, [{"number": number, **row} for number, row in enumerate(rows)])
    return dataset(f"SELECT {', '.join(columns)} FROM {table} ORDER BY number", url, root)


def test_postgresql_keeps_the_contract(postgresql: tuple[str, str], tmp_path: Path) -> None:
    url, schema = postgresql
    check_dataset(lambda rows: stored(rows, url, f"{schema}.t{next(numbers)}", '"', tmp_path))


def test_mariadb_keeps_the_contract(mariadb: tuple[str, str], tmp_path: Path) -> None:
    url, database = mariadb
    check_dataset(lambda rows: stored(rows, url, f"{database}.t{next(numbers)}", "`", tmp_path))


def test_sqlite_keeps_the_contract(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/rows.db"
    check_dataset(lambda rows: stored(rows, url, f"t{next(numbers)}", '"', tmp_path))


def test_a_duckdb_file_keeps_the_contract(tmp_path: Path) -> None:
    def make(rows: Rows) -> Dataset:
        file = f"{next(numbers)}.duckdb"
        columns = list(rows[0]) if rows else ["id", "text"]
        with duckdb.connect(str(tmp_path / file)) as database:
            database.execute("CREATE TABLE t ({})".format(", ".join(f'"{name}" TEXT' for name in columns)))
            if rows:
                marks = ", ".join("?" for _ in columns)
                database.executemany(f"INSERT INTO t VALUES ({marks})", [list(row.values()) for row in rows])
        return dataset("SELECT * FROM t", f"duckdb:///{file}", tmp_path)

    check_dataset(make)


def test_a_query_over_files_keeps_the_contract(tmp_path: Path) -> None:
    def make(rows: Rows) -> Dataset:
        file = f"{next(numbers)}.jsonl"
        (tmp_path / file).write_text("".join(json.dumps(row) + "\n" for row in rows))
        columns = dict.fromkeys(rows[0] if rows else ("id", "text"), "VARCHAR")
        return dataset(f"FROM read_json('{file}', columns = {columns})", root=tmp_path, source="query")

    check_dataset(make)


# -- Types


UTC = dt.UTC
ID = "6c3f4c1e-8f0b-4a53-8ad6-3d6a5b1f7f10"
NAIVE = dt.datetime(2026, 11, 28, 12, 30, 0, 500_000, tzinfo=UTC).replace(tzinfo=None)
POSTGRESQL_TYPES: list[tuple[str, Any]] = [
    ("true", True),
    ("9223372036854775807::bigint", 9223372036854775807),
    ("1.5::float8", 1.5),
    ("1.50::numeric(10,2)", Decimal("1.50")),
    ("123456789012345678901234567890.12::numeric", Decimal("123456789012345678901234567890.12")),
    ("date '2026-11-28'", dt.date(2026, 11, 28)),
    ("timestamp '2026-11-28 12:30:00.5'", NAIVE),
    ("timestamptz '2026-11-28 12:30:00+02' at time zone 'UTC'", NAIVE.replace(hour=10, microsecond=0)),
    ("time '12:30'", dt.time(12, 30)),
    ("interval '1 day 2 hours'", dt.timedelta(days=1, hours=2)),
    ("array[1, null, 3]", [1, None, 3]),
    ("array[date '2026-11-28']", [dt.date(2026, 11, 28)]),
    ("'{\"a\": [1, null]}'::jsonb", {"a": [1, None]}),
    ("'\\x00ff'::bytea", b"\x00\xff"),
    (f"'{ID}'::uuid", ID),
    ("'10.0.0.0/8'::cidr", "10.0.0.0/8"),
    ("int4range(1, 5)", "[1, 5)"),
    ("null::int", None),
    ("'日本語 😀'", "日本語 😀"),
]


@pytest.mark.parametrize(("expression", "value"), POSTGRESQL_TYPES)
def test_values_of_postgresql(expression: str, value: Any) -> None:
    require(POSTGRESQL)
    (row,) = values(f"SELECT {expression} AS x", POSTGRESQL)
    assert row == {"x": value}
    assert type(row["x"]) is type(value)


def test_an_instant_keeps_its_offset_and_no_name_of_a_zone() -> None:
    require(POSTGRESQL)
    (row,) = values("SELECT timestamptz '2026-11-28 12:30:00+02' AS x", POSTGRESQL)
    assert row["x"] == dt.datetime(2026, 11, 28, 10, 30, tzinfo=UTC)
    assert isinstance(row["x"].tzinfo, dt.timezone)


MARIADB_TYPES: list[tuple[str, Any]] = [
    ("true", 1),
    ("18446744073709551615", 18446744073709551615),
    ("cast(1.5 as double)", 1.5),
    ("cast('1.50' as decimal(10,2))", Decimal("1.50")),
    ("date '2026-11-28'", dt.date(2026, 11, 28)),
    ("cast('2026-11-28 12:30:00.5' as datetime(6))", NAIVE),
    ("cast('-26:00:00' as time)", -dt.timedelta(hours=26)),
    ("x'00ff'", b"\x00\xff"),
    ("null", None),
    ("'日本語 😀'", "日本語 😀"),
    ("json_object('a', 1)", '{"a": 1}'),
]


@pytest.mark.parametrize(("expression", "value"), MARIADB_TYPES)
def test_values_of_mariadb(mariadb: tuple[str, str], expression: str, value: Any) -> None:
    (row,) = values(f"SELECT {expression} AS x", mariadb[0])
    assert row == {"x": value}
    assert type(row["x"]) is type(value)


DUCKDB_TYPES: list[tuple[str, Any]] = [
    ("true", True),
    ("170141183460469231731687303715884105727::hugeint", 170141183460469231731687303715884105727),
    ("1.50::decimal(10,2)", Decimal("1.50")),
    ("date '2026-11-28'", dt.date(2026, 11, 28)),
    ("timestamp '2026-11-28 12:30:00.5'", NAIVE),
    ("'2026-11-28 12:30:00+02'::timestamptz", dt.datetime(2026, 11, 28, 10, 30, tzinfo=UTC)),
    ("interval '1 day'", dt.timedelta(days=1)),
    ("[1, null]", [1, None]),
    ("[1, 2]::int[2]", [1, 2]),
    (
        "{'a': 1, 'b': [uuid '6c3f4c1e-8f0b-4a53-8ad6-3d6a5b1f7f10']}",
        {"a": 1, "b": ["6c3f4c1e-8f0b-4a53-8ad6-3d6a5b1f7f10"]},
    ),
    ("map {'a': 1}", {"a": 1}),
    ("map {date '2026-11-28': 1}", {"2026-11-28": 1}),
    ("'{\"a\": [1, null]}'::json", {"a": [1, None]}),
    ("'\\x00\\xFF'::blob", b"\x00\xff"),
]


@pytest.mark.parametrize(("expression", "value"), DUCKDB_TYPES)
def test_values_of_duckdb(expression: str, value: Any, tmp_path: Path) -> None:
    (row,) = values(f"SELECT {expression} AS x", root=tmp_path, source="query")
    assert row == {"x": value}
    assert type(row["x"]) is type(value)


def test_values_of_sqlite_are_what_it_stores() -> None:
    (row,) = values("SELECT 1 AS i, 1.5 AS f, 'x' AS t, x'00ff' AS b, NULL AS n, date('2026-11-28') AS d", "sqlite://")
    assert row == {"i": 1, "f": 1.5, "t": "x", "b": b"\x00\xff", "n": None, "d": "2026-11-28"}


# -- Bound values


BOUND = "SELECT :text AS text, :number AS number, :flag AS flag, :nil AS nil, ':text' AS quoted"
GIVEN = {"text": "it's; :x", "number": 3, "flag": True, "nil": None}


@pytest.mark.parametrize("url", [POSTGRESQL, "mariadb", "sqlite://", None])
def test_values_are_bound_and_keep_their_types(url: str | None, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    if url == POSTGRESQL:
        require(POSTGRESQL)
    if url == "mariadb":
        url = request.getfixturevalue("mariadb")[0]
    (row,) = values(BOUND, url, tmp_path, source="sql" if url else "query", **GIVEN)
    assert row == {**GIVEN, "quoted": ":text"}


@pytest.mark.parametrize("url", [POSTGRESQL, "mariadb", "sqlite://"])
def test_a_list_is_the_items_of_an_in(url: str, request: pytest.FixtureRequest) -> None:
    if url == POSTGRESQL:
        require(POSTGRESQL)
    if url == "mariadb":
        url = request.getfixturevalue("mariadb")[0]
    statement = "SELECT id FROM (SELECT 1 AS id UNION SELECT 2 UNION SELECT 3) q WHERE id IN :ids ORDER BY id"
    assert values(statement, url, ids=[1, 3]) == [{"id": 1}, {"id": 3}]
    assert values(statement, url, ids=[]) == []


def test_a_list_is_an_array_elsewhere(tmp_path: Path) -> None:
    require(POSTGRESQL)
    assert values("SELECT i FROM generate_series(1, 3) i WHERE i = any(:ids)", POSTGRESQL, ids=[2]) == [{"i": 2}]
    query = "SELECT i FROM range(3) t(i) WHERE list_contains(:ids, i)"
    assert values(query, root=tmp_path, source="query", ids=[2]) == [{"i": 2}]


def test_a_type_is_the_databases_to_tell() -> None:
    require(POSTGRESQL)
    statement = (
        "SELECT i::date AS day FROM generate_series(date '2026-01-01', '2026-01-03', '1 day') i WHERE i > :since"
    )
    assert values(statement, POSTGRESQL, since="2026-01-02") == [{"day": dt.date(2026, 1, 3)}]
    assert values("SELECT :since::date + 1 AS day", POSTGRESQL, since="2026-01-02") == [{"day": dt.date(2026, 1, 3)}]
    assert values("SELECT '100%' AS a, 5 % 3 AS b, 'a\\:b' AS c, '\\d' AS d", POSTGRESQL) == [
        {"a": "100%", "b": 2, "c": "a\\:b", "d": "\\d"}
    ]


# -- What is refused


ALL = [POSTGRESQL, "mariadb", "sqlite://", None]


@pytest.fixture(params=ALL, ids=["postgresql", "mariadb", "sqlite", "duckdb"])
def found(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Problem]:
    """What is wrong with a statement, for each of the databases."""
    url = request.param
    if url == POSTGRESQL:
        require(POSTGRESQL)
    if url == "mariadb":
        url = request.getfixturevalue("mariadb")[0]
    return partial(problem, url=url, root=tmp_path, source="sql" if url else "query")


def test_columns_that_stand_twice_are_told(found: Callable[..., Problem]) -> None:
    told = found("SELECT 1 AS a, 2 AS b, 3 AS a")
    assert (told.code, told.message) == ("duplicate-column", "two columns are called 'a': 1 and 3")


def test_a_statement_that_is_none_is_told_with_its_place(found: Callable[..., Problem]) -> None:
    told = found("SELECT 1 AS a,\n  FRM x")
    assert told.code == "database-error"


def test_a_table_that_is_not_there_is_told(found: Callable[..., Problem]) -> None:
    told = found("SELECT *\nFROM no_such_table")
    assert told.code == "database-error"
    assert "no_such_table" in told.message


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE made_by_a_dataset (id int)",
        "WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x",
        "SELECT 1; DROP TABLE t",
        "COPY (SELECT 1) TO 'made_by_a_dataset.csv'",
    ],
)
def test_nothing_is_written(found: Callable[..., Problem], statement: str, tmp_path: Path) -> None:
    assert found(statement).code in ("database-error", "bad-statement")
    assert [path.name for path in tmp_path.iterdir() if "made" in path.name] == []


def test_postgresql_cannot_write_by_a_function(postgresql: tuple[str, str]) -> None:
    url, schema = postgresql
    execute(
        url,
        f"CREATE TABLE {schema}.t (id int)",
        f"CREATE FUNCTION {schema}.w() RETURNS int LANGUAGE sql AS 'INSERT INTO {schema}.t VALUES (1) RETURNING 1'",
    )
    assert "read-only transaction" in problem(f"SELECT {schema}.w() AS x", url).message


def test_a_column_without_a_name_is_told() -> None:
    require(POSTGRESQL)
    told = problem("SELECT 1 AS a, 1 + 1", POSTGRESQL)
    assert (told.code, told.message) == ("unnamed-column", "column 2 has no name")


def test_no_message_holds_a_bound_value(found: Callable[..., Problem]) -> None:
    told = found("SELECT :secret AS a FRM x", secret="hunter2")
    assert "hunter2" not in str(told)
    told = found("SELECT cast(:secret AS date) AS a FROM nothing_here", secret="hunter2")
    assert "hunter2" not in str(told)
    told = found("SELECT 1 AS a WHERE 1 = 1 :secret", secret="hunter2")  # MariaDB repeats what stands there
    assert "hunter2" not in str(told)


def test_a_value_that_postgresql_refuses_is_not_shown(postgresql: tuple[str, str]) -> None:
    url, schema = postgresql
    execute(url, f"CREATE TABLE {schema}.t (x text)", f"INSERT INTO {schema}.t VALUES ('private 17')")
    told = problem(f"SELECT x::int AS x FROM {schema}.t", url)
    assert told.code == "database-error"
    assert "private" not in told.message
    assert "invalid input syntax for type integer" in told.message


def test_a_value_that_duckdb_refuses_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x\n" + "1\n" * 50_000 + "private 17\n")
    for query in (
        "SELECT x::int AS x FROM read_csv('a.csv', all_varchar = true)",
        "FROM read_csv('a.csv', types = ['INT'])",
    ):
        told = problem(query, root=tmp_path, source="query")
        assert told.code == "database-error"
        assert "private" not in str(told)


def test_a_text_that_is_no_text_is_not_shown(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    execute(url, "CREATE TABLE t (x TEXT)", "INSERT INTO t VALUES (CAST(x'70726976ff' AS TEXT))")
    told = problem("SELECT x FROM t", url, tmp_path)
    assert "UTF-8" in told.message
    assert "priv" not in str(told)


def test_a_connection_that_ends_in_the_middle_is_told(tmp_path: Path) -> None:
    require(POSTGRESQL)
    end = "CASE WHEN i = 50000 THEN pg_terminate_backend(pg_backend_pid()) END AS x"
    statement = f"SELECT i, {end} FROM generate_series(1, 100000) i"
    with pytest.raises(SetupError) as caught:
        list(dataset(statement, POSTGRESQL, tmp_path).rows())
    assert caught.value.code == "connection-lost"
    assert caught.value.hint == "run it again: no row was taken yet"


# -- DuckDB's files


def test_relative_paths_start_at_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    for folder, content in ((root, "x\n1\n"), (elsewhere, "x\n2\n")):
        (folder / "data").mkdir(parents=True)
        (folder / "data/a.csv").write_text(content)
    monkeypatch.chdir(tmp_path)
    assert values("FROM 'data/a.csv'", root=root, source="query") == [{"x": 1}]
    assert values("FROM read_csv('data/*.csv')", root=root, source="query") == [{"x": 1}]
    monkeypatch.chdir(elsewhere)
    told = problem("FROM 'data/a.csv'", root=root, source="query")
    assert told.code == "ambiguous-path"
    assert values(f"FROM '{elsewhere}/data/a.csv'", root=root, source="query") == [{"x": 2}]


def test_files_are_joined(tmp_path: Path) -> None:
    (tmp_path / "reviews.csv").write_text("id,shop\n1,a\n2,b\n3,a\n")
    (tmp_path / "shops.jsonl").write_text('{"shop": "a", "city": "Rome"}\n{"shop": "b", "city": "Oslo"}\n')
    query = "SELECT r.id, s.city FROM 'reviews.csv' r JOIN 'shops.jsonl' s USING (shop) WHERE city = :city ORDER BY id"
    assert values(query, root=tmp_path, source="query", city="Rome") == [
        {"id": 1, "city": "Rome"},
        {"id": 3, "city": "Rome"},
    ]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("FROM 'nothing.parquet'", "No files found"),
        ("SET memory_limit = '100GB'", "a dataset reads, and this is SET"),
        ("INSTALL httpfs", "a dataset reads"),
        ("FROM read_xlsx('a.xlsx')", "read_xlsx"),
        ("SELECT 1 AS a; SELECT 2 AS b", "this is SELECT and SELECT"),
    ],
)
def test_what_duckdb_is_not_asked(query: str, words: str, tmp_path: Path) -> None:
    told = problem(query, root=tmp_path, source="query")
    assert re.search(words, told.message)


def test_a_folder_that_a_killed_process_spilled_into_is_removed_by_the_next_query(tmp_path: Path) -> None:
    spilled = tmp_path / "duckdb-abc123"
    spilled.mkdir()
    (spilled / "duckdb_temp_storage_DEFAULT-0.tmp").write_bytes(b"x" * 1000)
    assert values("SELECT 1 AS a", root=tmp_path, source="query") == [{"a": 1}]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_for_spilled_data_is_thrown_away(tmp_path: Path) -> None:
    rows = dataset("SELECT i FROM range(100000) t(i)", root=tmp_path, source="query").rows()
    next(rows)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("duckdb-")]
    rows.close()  # type: ignore[attr-defined]
    assert list(tmp_path.iterdir()) == []


def test_input_errors_are_no_bugs() -> None:
    require(POSTGRESQL)
    with pytest.raises(InputError):
        values("SELECT 'x'::int AS a", POSTGRESQL)


# -- Declared types


def declared(statement: str, url: str | None, root: Path) -> dict[str, str] | None:
    made = dataset(statement, url, root, source="sql" if url else "query")
    assert isinstance(made, TypedDataset)
    types = made.column_types()
    assert list(made.rows()) is not None
    return None if types is None else {name: str(each) for name, each in types.items()}


def test_postgresql_declares_the_types_of_columns(tmp_path: Path) -> None:
    require(POSTGRESQL)
    statement = """
        SELECT 1 AS i, 1.5::float8 AS f, 1.50::numeric(10,2) AS d, now() AS ts, now()::timestamp AS n,
            array[1] AS a, '{}'::jsonb AS j, 'x'::varchar(3) AS s, ''::bytea AS b WHERE false
    """
    assert declared(statement, POSTGRESQL, tmp_path) == {
        "i": "integer", "f": "number", "d": "decimal(10, 2)", "ts": "datetime(UTC)", "n": "datetime",
        "a": "list(integer)", "j": "json", "s": "string", "b": "bytes",
    }  # fmt: skip
    assert declared("SELECT 1 AS i, point(1, 2) AS p", POSTGRESQL, tmp_path) is None
    assert declared("SELECT 1::numeric AS d", POSTGRESQL, tmp_path) is None


def test_duckdb_declares_the_types_of_columns(tmp_path: Path) -> None:
    statement = """
        SELECT 1 AS i, 1.5::double AS f, 1.50::decimal(10,2) AS d, now() AS ts, [1] AS a, {'x': 1} AS m,
            '{}'::json AS j, 'a'::enum('a', 'b') AS e, 1::hugeint AS h, interval '1 day' AS v
    """
    assert declared(statement, None, tmp_path) == {
        "i": "integer", "f": "number", "d": "decimal(10, 2)", "ts": "datetime(UTC)", "a": "list(integer)",
        "m": "mapping", "j": "json", "e": "string", "h": "integer", "v": "duration",
    }  # fmt: skip


def test_of_other_databases_the_rows_tell(mariadb: tuple[str, str], tmp_path: Path) -> None:
    assert declared("SELECT 1 AS i", mariadb[0], tmp_path) is None
    assert declared("SELECT 1 AS i", "sqlite://", tmp_path) is None


# -- Bounded memory


FIRST, LAST = dt.datetime(1, 1, 1, tzinfo=UTC), dt.datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)


@pytest.mark.parametrize("row", [1, 40])
@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("date 'infinity'", "a date is infinity"),
        ("timestamp '-infinity'", "a timestamp is -infinity"),
        ("timestamptz 'infinity'", "a timestamp is infinity"),
        ("array[date 'infinity']", "a date is infinity"),
        ("date '10000-01-01'", "a date lies before the year 1 or after 9999"),
        ("timestamp '0001-01-01 BC'", "a timestamp lies before the year 1 or after 9999"),
        ("time '24:00'", "a time is 24:00"),
    ],
)
def test_a_time_of_postgresql_that_no_row_holds_is_told(expression: str, told: str, row: int) -> None:
    statement = f"SELECT i, CASE WHEN i = {row} THEN {expression} END AS at FROM generate_series(1, 50) i"
    found = problem(statement, POSTGRESQL)
    assert (found.code, found.message) == ("unreadable-value", f"{told}, which no row can hold")
    assert found.hint is not None
    assert "nullif(x, 'infinity')" in found.hint


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("date 'infinity'", dt.date.max),
        ("date '-infinity'", dt.date.min),
        ("timestamp 'infinity'", LAST.replace(tzinfo=None)),
        ("timestamptz 'infinity'", LAST),
        ("timestamptz '-infinity'", FIRST),
    ],
)
def test_infinity_of_duckdb_is_the_last_or_the_first_moment_there_is(
    expression: str, value: Any, tmp_path: Path
) -> None:
    assert values(f"SELECT {expression} AS at", root=tmp_path, source="query") == [{"at": value}]


@pytest.mark.parametrize("expression", ["date '290000-01-01'", "timestamp '290000-01-01'", "time '24:00:00'"])
def test_a_time_that_python_does_not_hold_is_told(expression: str, tmp_path: Path) -> None:
    told = problem(f"SELECT 1 AS id, {expression} AS x", root=tmp_path, source="query")
    assert told.code == "unreadable-value"
    assert "column 'x'" in told.message


@pytest.mark.parametrize(
    ("text", "words"), [("repeat('[', 3000) || repeat(']', 3000)", "nested too deep"), ("repeat('9', 5000)", "digits")]
)
@pytest.mark.parametrize("number", [1, 40])
def test_json_that_python_does_not_hold_is_told(text: str, words: str, number: int) -> None:
    require(POSTGRESQL)
    statement = f"SELECT CASE WHEN i = {number} THEN ({text})::json END AS x FROM generate_series(1, 60) i"
    told = problem(statement, POSTGRESQL)
    assert told.code == "unreadable-value"
    assert words in told.message


READ = """\
import sys
from pathlib import Path
from runner.connections import Connection
from runner.datasets import DatasetContext
from runner.plugins import dataset_from
from support.peak_memory import peak_bytes

source, statement, url, root = sys.argv[1:]
connection = Connection(url) if url else None
plugin = dataset_from(source, "", connection.dialect if connection else None)
made = plugin.load()(
    plugin.options().model_validate({source: statement}),
    DatasetContext(Path(root), connection=connection, scratch=Path(root)),
)
before = peak_bytes()
count = sum(1 for _ in made.rows())
print(count, (peak_bytes() - before) >> 20)
"""
BODY = "repeat('x', 200)"


def read_apart(statement: str, url: str, root: Path, source: str = "sql") -> tuple[int, int]:
    """How many rows a process of its own reads, and the MiB by which its memory grows at most."""
    count, grown = run_apart(READ, source, statement, url, root, timeout_s=110).split()
    return int(count), int(grown)


@pytest.mark.slow
def test_many_rows_of_postgresql_need_no_memory(tmp_path: Path) -> None:
    require(POSTGRESQL)
    statement = f"SELECT i AS id, {BODY} || i AS body FROM generate_series(1, {MANY}) i"
    count, grown = read_apart(statement, POSTGRESQL, tmp_path)
    assert count == MANY
    assert grown < 64


@pytest.mark.slow
def test_many_rows_of_mariadb_need_no_memory(mariadb: tuple[str, str], tmp_path: Path) -> None:
    statement = f"SELECT seq AS id, concat({BODY}, seq) AS body FROM seq_1_to_{MANY}"
    count, grown = read_apart(statement, mariadb[0], tmp_path)
    assert count == MANY
    assert grown < 64


@pytest.mark.slow
def test_large_rows_come_few_at_a_time(tmp_path: Path) -> None:
    require(POSTGRESQL)
    statement = "SELECT i AS id, repeat('x', 2000000) || i AS body FROM generate_series(1, 200) i"
    count, grown = read_apart(statement, POSTGRESQL, tmp_path)
    assert count == 200
    assert grown < 200


@pytest.mark.slow
def test_large_json_comes_few_rows_at_a_time(tmp_path: Path) -> None:
    require(POSTGRESQL)
    items = "(SELECT jsonb_agg(repeat('x', 100)) FROM generate_series(1, 1000))"
    count, grown = read_apart(f"SELECT {items} AS body FROM generate_series(1, 3000)", POSTGRESQL, tmp_path)
    assert count == 3000
    assert grown < 64


@pytest.mark.slow
def test_a_join_of_many_rows_is_bounded(tmp_path: Path) -> None:
    with duckdb.connect() as database:
        made = f"SELECT i AS id, {BODY} || i AS body FROM range({MANY}) t(i)"
        database.execute(f"COPY ({made}) TO '{tmp_path}/rows.parquet'")
    statement = "SELECT a.id, a.body, b.body AS b FROM 'rows.parquet' a JOIN 'rows.parquet' b USING (id) ORDER BY b"
    count, grown = read_apart(statement, "", tmp_path, "query")
    assert count == MANY
    assert grown < 600


@pytest.mark.parametrize("database", ["postgresql", "mariadb", "sqlite", "duckdb"])
def test_rows_that_nobody_wants_are_not_computed(database: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Each statement would give a thousand million rows."""
    counting = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000) SELECT i FROM n"
    statement, url = {
        "postgresql": ("SELECT generate_series(1, 1000000000) AS i", POSTGRESQL),
        "mariadb": ("SELECT seq AS i FROM seq_1_to_1000000000", "mariadb"),
        "sqlite": (counting, "sqlite://"),
        "duckdb": ("SELECT i FROM range(1, 1000000000) t(i)", None),
    }[database]
    if url == POSTGRESQL:
        require(POSTGRESQL)
    if url == "mariadb":
        url = request.getfixturevalue("mariadb")[0]
    rows = dataset(statement, url, tmp_path, source="sql" if url else "query").rows()
    assert [row.values["i"] for row in itertools.islice(rows, 3)] == [1, 2, 3]
    rows.close()  # type: ignore[attr-defined]


INTERRUPTED = """\
import signal
import sys
from pathlib import Path
from runner.datasets import DatasetContext
from runner.datasets.duck import DuckdbDataset
from runner.datasets.sql_options import QueryOptions

query = "SELECT count(*) AS n FROM range(1000000) a(i), range(1000000) b(j) WHERE (i * j) % 7 = 3"
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's child in the background ignores it
print("asking", flush=True)
try:
    list(DuckdbDataset(QueryOptions(query=query), DatasetContext(Path(sys.argv[1]))).rows())
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.slow
def test_a_query_hears_ctrl_c(tmp_path: Path) -> None:
    """On its own DuckDB holds the main thread for as long as it computes: minutes, here."""
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "asking\n"
        threading.Event().wait(1)  # it is computing by then; were it not, it would be interrupted all the same
        child.send_signal(signal.SIGINT)
        try:
            assert child.communicate(timeout=30)[0] == "interrupted\n"
        finally:
            child.kill()
