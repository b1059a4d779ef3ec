from __future__ import annotations

from typing import Any

import pytest

from runner.spec.environment import Substitution
from runner.spec.node import MapNode, plain
from runner.spec.source import parse_yaml

NAMES = {"HOST": "db", "PORT": "5432", "EMPTY": "", "YES": "true"}


def substituted(text: str) -> tuple[Any, list[str]]:
    tree = parse_yaml(text, "j")
    assert isinstance(tree, MapNode)
    substitution = Substitution(NAMES)
    return plain(substitution.apply(tree)), [problem.code for problem in substitution.problems]


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


def test_nested_places_are_allowed_by_the_key_above() -> None:
    text = "sinks: [{headers: {auth: 'Bearer ${HOST}'}}]\ndataset: {bind: {since: '${PORT}'}}\n"
    values, problems = substituted(text)
    assert values["sinks"][0]["headers"]["auth"] == "Bearer db"
    assert values["dataset"]["bind"]["since"] == 5432
    assert not problems


@pytest.mark.parametrize("text", ["prompt: 'a ${HOST}'", "vars: {a: '${HOST}'}", "sinks: [{path: '${HOST}'}]"])
def test_elsewhere_they_are_refused(text: str) -> None:
    assert substituted(text)[1] == ["variable-not-allowed"]


@pytest.mark.parametrize("text", ["url: '${'", "url: '${HOST'", "url: '${1}'", "url: '${A B}'", "url: '${}'"])
def test_what_is_no_name_is_refused(text: str) -> None:
    assert substituted(text)[1] == ["bad-variable"]


def test_prices_in_texts_are_no_variables() -> None:
    assert substituted("prompt: 'It costs $5 or $x.'") == ({"prompt": "It costs $5 or $x."}, [])
