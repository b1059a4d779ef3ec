from __future__ import annotations

from typing import Any

import pytest

from runner.spec.environment import Substitution
from runner.spec.node import MapNode, plain
from runner.spec.source import parse_yaml

NAMES = {"HOST": "db", "PORT": "5432", "EMPTY": "", "YES": "true", "LATIN": "m\udcfcll"}


def substituted(text: str) -> tuple[Any, list[str]]:
    tree = parse_yaml(text, "j")
    assert isinstance(tree, MapNode)
    substitution = Substitution(NAMES)
    return plain(substitution.apply(tree)), [problem.code for problem in substitution.problems]


def test_the_environment_is_not_told() -> None:
    assert "5432" not in repr(Substitution(NAMES))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("url: '${HOST}:${PORT}/x'", "db:5432/x"),
        ("url: ${PORT}", 5432),
        ("url: '${PORT}'", 5432),
        ("url: ${YES}", True),
        ("url: ${NONE:-7}", 7),
        ("url: '${EMPTY:-x}y'", "xy"),
        ("url: 'a$$b$${HOST}'", "a$b${HOST}"),
        ("url: 'a$b'", "a$b"),
        ("url: '${NONE:-}'", None),
    ],
)
def test_names_become_values_and_a_lone_one_has_a_type(text: str, value: object) -> None:
    assert substituted(text) == ({"url": value}, [])


@pytest.mark.parametrize("key", ["headers: {X-Key: '${PORT}'}", "signing_secret: ${PORT}"])
def test_a_header_and_a_secret_are_texts_whatever_they_look_like(key: str) -> None:
    values, problems = substituted(key)
    assert ("5432" in str(values), "'5432'" in str(values), problems) == (True, True, [])


def test_nested_places_are_allowed_by_the_key_above() -> None:
    text = "sinks: [{headers: {auth: 'Bearer ${HOST}'}}]\ndataset: {bind: {since: '${PORT}'}}\n"
    values, problems = substituted(text)
    assert values["sinks"][0]["headers"]["auth"] == "Bearer db"
    assert values["dataset"]["bind"]["since"] == 5432
    assert not problems


@pytest.mark.parametrize("text", ["prompt: 'a ${HOST}'", "vars: {a: '${HOST}'}", "sinks: [{path: '${HOST}'}]"])
def test_elsewhere_they_are_refused(text: str) -> None:
    assert substituted(text)[1] == ["variable-not-allowed"]


def test_of_a_url_it_is_told_where_its_credentials_come_from() -> None:
    tree = parse_yaml("dataset: {path: 'https://me:${HOST}@host/x.csv'}", "j")
    assert isinstance(tree, MapNode)
    substitution = Substitution(NAMES)
    substitution.apply(tree)
    (problem,) = substitution.problems
    assert problem.code == "variable-not-allowed"
    assert problem.hint is not None
    assert "~/.netrc" in problem.hint


@pytest.mark.parametrize("text", ["url: '${'", "url: '${HOST'", "url: '${1}'", "url: '${A B}'", "url: '${}'"])
def test_what_is_no_name_is_refused(text: str) -> None:
    assert substituted(text)[1] == ["bad-variable"]


def test_prices_in_texts_are_no_variables() -> None:
    assert substituted("prompt: 'It costs $5 or $x.'") == ({"prompt": "It costs $5 or $x."}, [])


@pytest.mark.parametrize("text", ["url: '${EMPTY}'", "sinks: [{url: ' ${EMPTY}'}]", "a: {signing_secret: '${EMPTY}'}"])
def test_what_cannot_be_empty_is_told_like_a_name_that_is_not_set(text: str) -> None:
    tree = parse_yaml(text, "j")
    assert isinstance(tree, MapNode)
    for lenient, codes in ((False, (["unset-variable"], [])), (True, ([], ["unset-variable"]))):
        substitution = Substitution({"EMPTY": ""}, lenient)
        substitution.apply(tree)
        told = [problem.code for problem in substitution.problems], [each.code for each in substitution.warnings]
        assert told == codes


def test_headers_and_values_of_a_statement_may_be_empty() -> None:
    text = "headers: {url: '${EMPTY}'}\nbind: {url: '${EMPTY}'}\nlimits: {max_cost_usd: '${EMPTY}'}"
    tree = parse_yaml(text, "j")
    assert isinstance(tree, MapNode)
    substitution = Substitution({"EMPTY": ""})
    assert plain(substitution.apply(tree)) == {
        "headers": {"url": ""}, "bind": {"url": None}, "limits": {"max_cost_usd": None}
    }  # fmt: skip
    assert substitution.problems == []


def test_bytes_that_are_no_utf_8_are_refused() -> None:
    assert substituted("url: 'a/${LATIN}'")[1] == ["not-utf8"]
