"""Patterns mean what ECMA-262 says, not what Python would."""

from __future__ import annotations

import tracemalloc
from random import Random

import pytest

from runner.spec.patterns import BadPattern, Pattern, compile_pattern, is_pattern


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("^a$", "a"),
        (r"^\s$", "\u2003"),
        (r"[\s]", "\xa0"),
        (r"(?<y>a)", "a"),
        ("[$]", "$"),
        (r"[\s\S]", "\n"),
        ("[^]", "\n"),
        (r"^\u{1F600}$", "😀"),
        (r"a\/b", "a/b"),
        ("[[a]", "["),
        (r"\cJ", "\n"),
        (r"(?<=a)b", "ab"),
        (r"\$", "$"),
        ("^[^[]*$", "a"),
        ("^[[]$", "["),
        ("^[a[^]$", "^"),
        (r"^[^\S\n]$", "\u2003"),
        (r"^\ud83d\ude00$", "😀"),
        (r"^[\uD83D\uDE00-\uD83D\uDE02]$", "😁"),
        (r"(?<=^a+|b)c", "aac"),
        (r"^\a\N\U\z$", "aNUz"),
    ],
)
def test_what_matches_there_matches_here(pattern: str, text: str) -> None:
    assert compile_pattern(pattern).search(text)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("^a$", "a\n"),
        (r"^\d$", "৪"),
        (r"^\w$", "é"),
        ("[]", "a"),
        (r"\S", "\u2003"),
        (r"[\S]", "\u2003"),
        (r"\Z", ""),
        ("[^[]$", "a["),
        ("^[^[]$", "a\n"),
        (".", "\n\r\u2028\u2029"),
        (r"(?<!^a+)b", "aab"),
    ],
)
def test_what_does_not_match_there_does_not_match_here(pattern: str, text: str) -> None:
    assert not compile_pattern(pattern).search(text)


@pytest.mark.parametrize(
    "pattern", ["(", "[a", r"\p{L}", r"\u{110000}", "a**", "(" * 5_000, "(?i)a", "(?i:a)", "(?u)a"]
)
def test_what_is_no_pattern_is_told(pattern: str) -> None:
    with pytest.raises(BadPattern):
        compile_pattern(pattern)


@pytest.mark.parametrize("pattern", [r"(?<y>a)\k<y>", r"(a)\1", "a{6000}", "(?:){100000}", "(?:(?:a{0,90}){0,90})?"])
def test_what_no_search_of_bounded_time_can_do_is_told_with_what_to_do(pattern: str) -> None:
    with pytest.raises(BadPattern, match="the pattern cannot be used") as told:
        compile_pattern(pattern)
    assert told.value.hint
    assert is_pattern(pattern)


def test_white_space_and_the_rest_are_every_character() -> None:
    within = [compile_pattern(pattern) for pattern in (r"\s", r"[\s]", r"[^\S]", r"\S", r"[\S]", r"[^\s]")]
    for point in (*range(0x3100), 0xFEFE, 0xFEFF, 0xFF00, 0x10FFFF):
        found = [pattern.search(chr(point)) for pattern in within]
        space = (chr(point).isspace() and point not in (0x1C, 0x1D, 0x1E, 0x1F, 0x85)) or point == 0xFEFF
        assert found == [space] * 3 + [not space] * 3, hex(point)


def test_a_long_text_is_told_soon_to_be_a_pattern_or_none() -> None:
    """Python takes a minute to make a matcher of it."""
    assert is_pattern(r"[\u0000-\u2000\u3000-\uffff]" * 30_000)


def test_more_steps_than_are_remembered_are_taken_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.spec.automata.MAX_KNOWN", 300)
    pattern = Pattern("^.*z$")
    text = "".join(chr(0x4E00 + number % 200) for number in range(1_000))
    for _ in range(2):
        assert pattern.search(text + "z")
        assert not pattern.search(text)


def test_what_is_remembered_of_an_expression_of_many_places_is_bounded() -> None:
    """Each character of the text leads to another set of some hundred places."""
    pattern = Pattern("[ac]*a.{1000}b")
    text = "".join(Random(1).choices("ac", k=3_000))
    tracemalloc.start()
    try:
        assert not pattern.search(text)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 30_000_000
