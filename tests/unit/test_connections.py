from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.connections import BadUrl, Connection, has_written_secret, read_url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:secret@db.example.com:5433/shop", "postgresql://db.example.com:5433/shop"),
        ("postgres://db/shop?sslmode=require", "postgresql://db/shop"),
        ("mysql+pymysql://root@[::1]/shop", "mysql://[::1]/shop"),
        ("sqlite:///data/shop.db", "sqlite:///data/shop.db"),
        ("sqlite:////srv/shop.db", "sqlite:////srv/shop.db"),
        ("duckdb:///data/me@home.duckdb", "duckdb:///data/me@home.duckdb"),
    ],
)
def test_what_is_shown_of_a_url_has_no_account_and_no_option(url: str, shown: str) -> None:
    assert Connection(url).shown == shown
    assert Connection(url, "warehouse").shown == f"warehouse ({shown})"


@given(st.text(min_size=1, max_size=20), st.text(alphabet="abcxyz", min_size=1))
def test_every_password_is_read_back_and_never_shown(password: str, user: str) -> None:
    url = f"postgresql://{user}:{quote(password, safe='')}@db/shop"
    connection = Connection(url)
    assert connection.parts.password == password
    assert connection.parts.username == user
    assert connection.shown == "postgresql://db/shop"
    assert "hunter2" not in repr(Connection("postgresql://a:hunter2@db/shop", options={"password": "hunter2"}))


def test_an_at_sign_in_a_password_needs_no_quoting() -> None:
    parts = read_url("postgresql://me:p@ss@db/shop")
    assert (parts.password, parts.host) == ("p@ss", "db")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("shop.db", "begins with the kind"),
        ("postgresql://me:p/ss@db/shop", "write it as %2F"),
        ("postgresql://db:port/shop", "the port is no number"),
        ("postgresql://me:hunter2db:5432/shop", "the host is not readable|the port is no number"),
    ],
)
def test_a_url_that_cannot_be_read_is_not_quoted(url: str, words: str) -> None:
    with pytest.raises(BadUrl, match=words) as caught:
        read_url(url)
    assert "hunter2" not in str(caught.value)
    assert "p/ss" not in str(caught.value)
    assert Connection(url).shown == "the URL"


def test_secrets_are_taken_out_of_messages() -> None:
    connection = Connection(
        "postgresql://me:p%40ssword@db/shop?sslmode=require&token=t0ken", options={"passfile": "/f00"}
    )
    text = "no: p@ssword, p%40ssword, t0ken, /f00, sslmode=require"
    assert connection.scrubbed(text) == "no: ***, ***, ***, ***, sslmode=require"


@pytest.mark.parametrize(
    ("written", "secret"),
    [
        ("postgresql://me:hunter2@db/shop", True),
        ("postgresql://me:${PASSWORD}@db/shop", False),
        ("postgresql://me:${PASSWORD:-hunter2}@db/shop", True),
        ("${DATABASE_URL:-postgresql://me:hunter2@db/shop}", True),
        ("${DATABASE_URL:-postgresql://me@db/shop}", False),
        ("${DATABASE_URL}", False),
        ("postgresql://me@db/shop?password=hunter2", True),
        ("postgresql://me@db/shop?sslmode=require", False),
        ("postgresql://me:@db/shop", False),
        ("warehouse", False),
    ],
)
def test_a_written_password_is_noticed(written: str, secret: bool) -> None:
    assert has_written_secret(written) is secret
