from __future__ import annotations

import pytest

from runner.errors import InputError, Location, Problem, closest, render


@pytest.mark.parametrize(
    ("name", "options", "meant"),
    [
        ("modle", ["mode", "model"], "model"),
        ("modl", ["mode", "model"], "model"),
        ("Stars", ["stars", "text"], "stars"),
        ("sinsk", ["sinks", "since"], "sinks"),
        ("colour", ["text"], None),
        ("x", [], None),
    ],
)
def test_the_option_that_was_meant_is_found(name: str, options: list[str], meant: str | None) -> None:
    assert closest(name, options) == meant


def test_a_cure_that_rows_one_behind_the_other_share_is_said_once() -> None:
    rows = [Problem("not-castable", "no number", Location("a.csv", line), "write digits") for line in (2, 3)]
    other = Problem("ragged-row", "3 fields", Location("a.csv", 4), "quote it")
    assert render(InputError([*rows, other])).splitlines() == [
        "a.csv:2: error[not-castable]: no number",
        "a.csv:3: error[not-castable]: no number",
        "  write digits",
        "",
        "a.csv:4: error[ragged-row]: 3 fields",
        "  quote it",
        "",
        "3 problems",
    ]


def test_lines_that_are_shown_keep_their_cures() -> None:
    shown = [Problem("x", "wrong", Location("a.yaml", line, 1, 1, "a: b"), "mend it") for line in (1, 2)]
    assert render(InputError(shown)).count("mend it") == 2
