"""Connections to real servers: what is said where one cannot be used, and that reading cannot write."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy

from runner.connections import Connection
from runner.databases import Fault, database_of
from runner.databases.duck import open_duckdb
from runner.databases.engines import engine_of
from runner.databases.faults import setup_error, told
from runner.errors import SetupError
from support.databases import MARIADB, POSTGRESQL, fetch, mariadb_database, postgresql_schema, require

Namespace = tuple[str, str]


@pytest.fixture
def postgresql() -> Iterator[Namespace]:
    with postgresql_schema() as namespace:
        yield namespace


@pytest.fixture
def mariadb() -> Iterator[Namespace]:
    with mariadb_database() as namespace:
        yield namespace


def fault(url: str, statement: str, root: Path = Path()) -> Fault:
    """What is told of a statement."""
    faults: list[Fault] = []

    def make(found: Fault) -> SetupError:
        faults.append(found)
        return setup_error(found)

    connection = Connection(url)
    with pytest.raises(SetupError), told(connection, make):
        _run(connection, root, statement)
    return faults[0]


def _run(connection: Connection, root: Path, statement: str) -> None:
    if connection.parts.dialect == "duckdb":
        open_duckdb(connection, root).execute(statement)
        return
    with engine_of(connection, root).connect() as open_connection:
        open_connection.exec_driver_sql(statement)


@pytest.mark.parametrize(
    ("url", "statement", "message", "line", "token"),
    [
        (POSTGRESQL, "selec 1", 'syntax error at or near "selec"', 1, "selec"),
        (POSTGRESQL, "select 1,\n  nope", 'column "nope" does not exist', 2, "nope"),
        (POSTGRESQL, "select 1/0", "division by zero", None, None),
        (MARIADB, "select 1,\n  2 frm t", "Table 'test.t'|syntax error near 't'", 2, "t"),
        (MARIADB, "selec 1", "syntax error near 'selec'", 1, "selec"),
        (MARIADB, "select * from nope", "Table 'test.nope' doesn't exist", None, "nope"),
        ("sqlite://", "selec 1", 'near "selec": syntax error', None, "selec"),
        ("sqlite://", "select nope", "no such column: nope", None, "nope"),
        ("duckdb://", "select 1,\n nope", 'Binder Error: Referenced column "nope" was not found.*', 2, "nope"),
    ],
)
def test_a_wrong_statement_is_told_with_its_place(
    url: str, statement: str, message: str, line: int | None, token: str | None
) -> None:
    if "127" in url:
        require(url)
    found = fault(url, statement)
    assert (found.code, found.line, found.token) == ("database-error", line, token)
    assert re.fullmatch(message, found.message)
    assert not found.is_passing


@pytest.mark.parametrize(
    ("url", "code", "message"),
    [
        (
            "postgresql://me:hunter2@127.0.0.1:1/shop",
            "cannot-connect",
            "postgresql://127.0.0.1:1/shop cannot be reached: .*",
        ),
        ("mariadb://me:hunter2@127.0.0.1:1/shop", "cannot-connect", "mariadb://127.0.0.1:1/shop cannot be reached: .*"),
        ("postgresql://me:hunter2@no.host.invalid/shop", "cannot-connect", "postgresql://no.host.invalid/shop .*"),
        (
            "sqlite:////no/such/folder/shop.db",
            "cannot-connect",
            "sqlite:////no/such/folder/shop.db .*: unable to open .*",
        ),
    ],
)
def test_a_server_that_is_not_there_is_told_without_a_secret(url: str, code: str, message: str) -> None:
    found = fault(url, "select 1")
    assert found.code == code
    assert re.fullmatch(message, found.message)
    assert found.is_passing
    assert "hunter2" not in str(found)


@pytest.mark.parametrize(
    ("url", "options"),
    [
        (POSTGRESQL, {"bogus": "canary"}),
        (POSTGRESQL, {"connect_timeout": "canary"}),
        (MARIADB, {"bogus": "canary"}),
        (MARIADB, {"port": "canary"}),
        ("sqlite:///a.db", {"bogus": "canary"}),
    ],
)
def test_an_option_that_a_driver_does_not_take_is_told_as_such(
    tmp_path: Path, url: str, options: dict[str, str]
) -> None:
    engine = engine_of(Connection(url, "mine", options), tmp_path)
    with pytest.raises(SetupError, match=r"^mine \(.*\) cannot be used: ") as caught:
        engine.connect()
    assert "options of the connection" in str(caught.value.hint)
    assert "canary" not in str(caught.value)


def test_a_file_that_cannot_be_opened_is_no_server(tmp_path: Path) -> None:
    found = fault("sqlite:///none/a.db", "select 1", tmp_path)
    assert found.code == "cannot-connect"
    assert "path" in str(found.hint)


def test_a_refused_password_is_told_without_it() -> None:
    require(MARIADB)
    found = fault(MARIADB.replace("root@", "root:hunter2@"), "select 1")
    assert found.code == "no-access"
    assert "hunter2" not in str(found)
    require(POSTGRESQL)
    assert fault(re.sub("/[^/]*$", "/nodb", POSTGRESQL), "select 1").code == "cannot-connect"


def test_a_user_that_is_not_there_is_told_as_no_access() -> None:
    require(POSTGRESQL)
    found = fault(POSTGRESQL.replace("postgres@", "nobody_there:hunter2@"), "select 1")
    assert (found.code, found.is_passing) == ("no-access", False)
    assert "hunter2" not in str(found)


def test_a_file_that_is_not_there_is_not_taken_for_a_server() -> None:
    hint = fault("sqlite:////no/such/folder/shop.db", "select 1").hint
    assert hint is not None
    assert hint.startswith("is the path right?")


def test_a_connection_that_the_server_ends_is_told_as_lost() -> None:
    require(POSTGRESQL)
    found = fault(POSTGRESQL, "select pg_terminate_backend(pg_backend_pid())")
    assert (found.code, found.is_passing) == ("connection-lost", True)


def writes(url: str, statement: str) -> None:
    """Try to write over a connection that only reads."""
    connection = Connection(url)
    with (
        told(connection, setup_error),
        engine_of(connection, Path(), read_only=True).begin() as open_connection,
    ):
        open_connection.execute(sqlalchemy.text(statement))


def test_postgresql_reads_only(postgresql: Namespace) -> None:
    url, schema = postgresql
    with pytest.raises(SetupError, match="cannot execute CREATE TABLE in a read-only transaction"):
        writes(url, f"create table {schema}.t (id int)")
    assert fetch(url, f"select * from pg_tables where schemaname = '{schema}'") == []


def test_mariadb_reads_only(mariadb: Namespace) -> None:
    url, database = mariadb
    with pytest.raises(SetupError, match="Cannot execute statement in a READ ONLY transaction"):
        writes(url, f"create table {database}.t (id int)")
    assert fetch(url, f"show tables from {database}") == []


def test_sqlite_reads_only_and_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="unable to open database file"):
        writes(f"sqlite:///{tmp_path}/missing.db", "create table t (id int)")
    assert list(tmp_path.iterdir()) == []
    file = tmp_path / "a file? #1.db"
    connection = Connection(f"sqlite:///{tmp_path}/a%20file%3F%20%231.db")
    with engine_of(connection, tmp_path).begin() as open_connection:
        open_connection.exec_driver_sql("create table t (id int)")
    assert file.exists()
    with pytest.raises(SetupError, match="attempt to write a readonly database"):
        writes(connection.url, "insert into t values (1)")


def test_duckdb_fetches_no_extension(tmp_path: Path) -> None:
    with open_duckdb(Connection("duckdb:///new.duckdb"), tmp_path) as database:
        assert database.execute("select current_setting('autoinstall_known_extensions')").fetchall() == [(False,)]
    assert (tmp_path / "new.duckdb").exists()


@pytest.mark.parametrize(
    ("url", "code", "words"),
    [
        ("postgresq://me:hunter2@db/shop", "unknown-database", "did you mean `postgresql`"),
        ("postgresql+asyncpg://me:hunter2@db/shop", "bad-url", "leave the driver out"),
        ("oracle+oracledb://me:hunter2@db/shop", "missing-extra", "pip install oracledb"),
        ("postgresql://me:hun/ter2@db/shop", "bad-url", "postgresql://user@host/database"),
    ],
)
def test_a_url_that_cannot_be_used_is_told_before_connecting(url: str, code: str, words: str) -> None:
    with pytest.raises(SetupError) as caught:
        engine_of(Connection(url), Path())
    assert caught.value.code == code
    assert words in str(caught.value.hint)
    assert "hunter2" not in str(caught.value.problems)


def test_a_driver_that_is_missing_is_told_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.databases._is_installed", lambda module: module == "sqlalchemy")
    with pytest.raises(SetupError) as caught:
        database_of(Connection("postgres://db/shop"))
    assert caught.value.hint == "pip install 'rowrunner[postgresql]'"
