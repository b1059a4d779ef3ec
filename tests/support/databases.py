"""Servers that tests use: PostgreSQL and MariaDB, each test with a schema or database of its own.

Their URLs come from `RUNNER_TEST_POSTGRESQL_URL` and `RUNNER_TEST_MARIADB_URL`. Where no server answers a test is
skipped, but in CI it fails.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import pytest
import sqlalchemy

POSTGRESQL = os.environ.get("RUNNER_TEST_POSTGRESQL_URL", "postgresql://postgres@127.0.0.1:5432/test")
MARIADB = os.environ.get("RUNNER_TEST_MARIADB_URL", "mariadb://root@127.0.0.1:3306/test")


@contextmanager
def postgresql_schema() -> Iterator[tuple[str, str]]:
    """The server's URL and the name of a new schema, which is dropped in the end."""
    with _namespace(POSTGRESQL, "CREATE SCHEMA {}", "DROP SCHEMA IF EXISTS {} CASCADE") as name:
        yield POSTGRESQL, name


@contextmanager
def mariadb_database() -> Iterator[tuple[str, str]]:
    """The server's URL and the name of a new database, which is dropped in the end."""
    with _namespace(MARIADB, "CREATE DATABASE {} CHARACTER SET utf8mb4", "DROP DATABASE IF EXISTS {}") as name:
        yield MARIADB, name


@contextmanager
def _namespace(url: str, create: str, drop: str) -> Iterator[str]:
    require(url)
    name = f"runner_test_{secrets.token_hex(6)}"
    execute(url, create.format(name))
    try:
        yield name
    finally:
        execute(url, drop.format(name))


def execute(url: str, *statements: str) -> None:
    """Run statements as they are, each committed."""
    engine = engine_at(url)
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
            connection.commit()


def fetch(url: str, statement: str) -> list[tuple[object, ...]]:
    with engine_at(url).connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(statement)]


@cache
def engine_at(url: str) -> sqlalchemy.Engine:
    driver = {"mariadb": "mariadb+pymysql", "mysql": "mysql+pymysql"}
    scheme, _, rest = url.partition("://")
    return sqlalchemy.create_engine(f"{driver.get(scheme, scheme)}://{rest}", poolclass=sqlalchemy.NullPool)


def require(url: str) -> None:
    """Skip the test where no server answers; in CI it fails."""
    why = _answers(url)
    if why is None:
        return
    if os.environ.get("CI"):
        pytest.fail(f"no server at {url}: {why}")
    pytest.skip(f"no server at {url}: {why}")


@cache
def _answers(url: str) -> str | None:
    try:
        with engine_at(url).connect():
            return None
    except sqlalchemy.exc.SQLAlchemyError as error:
        return str(error).splitlines()[0]
