from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.statements import scan


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("select * from t where a >= :since and b = :b", ("since", "b")),
        ("select :since::date, x::int, ':no', \":no\", `:no`", ("since",)),
        ("select '12:30:00', a[1:n], 'it''s :no' -- :no\n, :yes /* :no /* :no */ :no */", ("yes",)),
        ("select $$ :no $$, $a$ :no $$ :no $a$, :yes", ("yes",)),
        (r"select E'\':no', '\', :yes", ("yes",)),
        ("select :a + :a", ("a",)),
        ("select 'never closed :no", ()),
        ("select :1, : a", ()),
        ("", ()),
    ],
)
def test_parameters_are_found_where_they_are_no_text(text: str, names: tuple[str, ...]) -> None:
    assert scan(text).names == names


def test_a_backslash_escapes_where_the_database_says_so() -> None:
    text = r"select 'it\'s :no', :yes"
    assert scan(text, mysql=True).names == ("yes",)
    assert scan(text).names == ("no",)


def test_a_number_sign_begins_a_comment_in_mysql() -> None:
    text = "select 1 # it's :no\n, '#', `#`, :yes # :no"
    assert scan(text, mysql=True).names == ("yes",)
    assert scan("select a # :yes", mysql=False).names == ("yes",)


@pytest.mark.parametrize(
    ("text", "second"),
    [
        ("select 1", None),
        ("select 1;", None),
        ("select 1 ; ; -- the end\n", None),
        ("select ';'", None),
        ("select 1; select 2", 10),
        ("select 1;\n-- next\ndelete from t", 18),
        ("select 1; 2", 10),
        ("select 1; 'x'", 10),
    ],
)
def test_a_second_statement_is_found(text: str, second: int | None) -> None:
    assert scan(text).second == second


@pytest.mark.parametrize(
    ("text", "ordered"),
    [
        ("select * from t order by id", True),
        ("select * from t ORDER\n BY id limit 3", True),
        ("select * from (select * from t order by id) q", False),
        ("select row_number() over (order by id) from t", False),
        ("select 'order by' from t -- order by x", False),
    ],
)
def test_an_order_counts_where_it_orders_the_rows(text: str, ordered: bool) -> None:
    assert scan(text).ordered is ordered


def test_an_into_of_a_select_is_found() -> None:
    assert scan("select * into copy from t").into == 9
    assert scan("select 'into', (select into_x from t) -- into").into is None


def test_the_first_word_and_lists() -> None:
    found = scan("/* all */ (SELECT * FROM t WHERE a IN :ids AND b in (:names) AND c = :c)")
    assert found.first_word == "select"
    assert found.lists == {"ids", "names"}


def test_a_statement_is_written_for_a_driver() -> None:
    assert scan("select :a, ':a', :a::int;").written("$") == "select $a, ':a', $a::int"
    assert scan("select :a").written("$") == "select $a"


@given(st.text(alphabet="ab:;'\"`$-/*\\()\n eE", max_size=60), st.booleans())
def test_any_text_is_read(text: str, backslash: bool) -> None:
    found = scan(text, mysql=backslash)
    assert all(text[each.start : each.end] == f":{each.name}" for each in found.parameters)
    assert found.second is None or text[found.second] not in "; \n"
    assert isinstance(found.written("$"), str)
