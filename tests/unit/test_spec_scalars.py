from __future__ import annotations

import pytest

from runner.spec.scalars import Doubtful, resolve


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("true", True),
        ("False", False),
        ("0", 0),
        ("-17", -17),
        ("+5", 5),
        ("0o17", 15),
        ("0xFF", 255),
        ("1e3", 1000.0),
        ("5.00", 5.0),
        (".5", 0.5),
        ("0.5", 0.5),
        ("-0", 0),
    ],
)
def test_core_schema_scalars_have_their_values(text: str, value: object) -> None:
    resolved = resolve(text)
    assert resolved == value
    assert type(resolved) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        *("no", "yes", "on", "off", "y", "NO", "2026-11-22", "22:22", "2026-11-22T10:00:00Z", "1.2.3", "5%", "500ms"),
        *("+", "-", ".", "0b101", "1e", "e5", "nan", "inf", "tRue", "nil", "127.0.0.1", "0x", "=", "1,000"),
    ],
)
def test_other_dialects_words_are_text(text: str) -> None:
    assert resolve(text) == text


@pytest.mark.parametrize(
    "text", ["012", "-01", "00", "0123.5", "1_000", "1_0.5", ".nan", ".NaN", ".inf", "-.inf", "1e999"]
)
def test_doubtful_numbers_are_refused_with_a_cure(text: str) -> None:
    doubtful = resolve(text)
    assert isinstance(doubtful, Doubtful)
    assert f'"{text}"' in doubtful.hint


def test_a_number_that_was_meant_is_named() -> None:
    leading, underscored = resolve("-007"), resolve("1_000")
    assert isinstance(leading, Doubtful)
    assert "write -7;" in leading.hint
    assert isinstance(underscored, Doubtful)
    assert "write 1000;" in underscored.hint


def test_a_number_of_thousands_of_digits_is_refused() -> None:
    assert isinstance(resolve("9" * 5000), Doubtful)
