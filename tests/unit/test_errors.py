from __future__ import annotations

import pytest

from runner.errors import closest


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
