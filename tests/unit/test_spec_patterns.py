"""Patterns mean what ECMA-262 says, not what Python would."""

from __future__ import annotations

import pytest

from runner.spec.patterns import BadPattern, compile_pattern


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("^a$", "a"),
        (r"^\s$", "\u2003"),
        (r"[\s]", "\xa0"),
        (r"(?<y>a)\k<y>", "aa"),
        ("[$]", "$"),
        (r"[\s\S]", "\n"),
        ("[^]", "\n"),
        (r"^\u{1F600}$", "😀"),
        (r"a\/b", "a/b"),
        ("[[a]", "["),
        (r"\cJ", "\n"),
        (r"(?<=a)b", "ab"),
        (r"\$", "$"),
    ],
)
def test_what_matches_there_matches_here(pattern: str, text: str) -> None:
    assert compile_pattern(pattern).search(text)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [("^a$", "a\n"), (r"^\d$", "৪"), (r"^\w$", "é"), ("[]", "a"), (r"\S", "\u2003"), (r"\Z", "")],
)
def test_what_does_not_match_there_does_not_match_here(pattern: str, text: str) -> None:
    assert not compile_pattern(pattern).search(text)


@pytest.mark.parametrize("pattern", ["(", "[a", r"\p{L}", r"\u{110000}", "a**", "(" * 5_000])
def test_what_is_no_pattern_is_told(pattern: str) -> None:
    with pytest.raises(BadPattern):
        compile_pattern(pattern)
