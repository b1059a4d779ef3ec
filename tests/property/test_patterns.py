"""A pattern occurs in a text where `re` finds it, for all patterns that the automaton takes; and long texts of which
`re` would never tell are told."""

from __future__ import annotations

import re

from hypothesis import example, given, settings
from hypothesis import strategies as st

from runner.spec.patterns import as_python, compile_pattern

ATOMS = [
    "a", "b", "é", ".", r"\d", r"\D", r"\w", r"\W", r"\s", r"\S", "[ab]", "[^a]", "[^]", "[]", r"[^\w\s]", r"[\D]",
    "[a-c1]", r"[^\S\n]", "[^[]", "[a[]", r"\n", r"\x61", r"\u{1F600}", "^", "$", r"\b", r"\B",
]  # fmt: skip
ENDINGS = ["*", "+", "?", "*?", "+?", "??", "{2}", "{0,2}", "{1,}", "{0}"]


def repeated(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(inner, st.sampled_from(ENDINGS)).map(lambda parts: f"(?:{parts[0]}){parts[1]}")


patterns = st.recursive(
    st.sampled_from(ATOMS),
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=4).map("".join),
        st.lists(inner | st.just(""), min_size=2, max_size=3).map(lambda ways: f"({'|'.join(ways)})"),
        repeated(inner),
        st.tuples(st.sampled_from(["(?=", "(?!"]), inner).map(lambda parts: f"{parts[0]}{parts[1]})"),
        st.tuples(st.sampled_from(["(?<=", "(?<!"]), st.sampled_from([*ATOMS, "ab", "a|b", r"\ba", "(?=a)b"])).map(
            lambda parts: f"{parts[0]}{parts[1]})"
        ),
    ),
    max_leaves=8,
)
texts = st.text(alphabet="aab1_ é\n\r\u2028😀-[", max_size=8)


@settings(max_examples=1_500, deadline=None)
@given(patterns, texts)
@example("(?:a|ab)(?:c|bcd)$", "abcd")
@example("(?!(?=a)a|b)c", "c")
@example("(?<=^a)b", "ab")
def test_a_pattern_occurs_where_python_finds_it(pattern: str, text: str) -> None:
    # Before Python 3.14, `\B` is not inside an empty text.
    if text or r"\B" not in pattern:
        assert compile_pattern(pattern).search(text) == bool(re.search(as_python(pattern), text, re.ASCII)), pattern


@settings(max_examples=300, deadline=None)
@given(patterns, texts, texts)
def test_what_was_searched_before_changes_nothing(pattern: str, earlier: str, text: str) -> None:
    compiled = compile_pattern(pattern)
    first = compiled.search(text)
    compiled.search(earlier)
    assert compiled.search(text) == first


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["(a+)+", "(a|a)*", "(a|aa)+", "(a*)*b?", "((a+)?)+", "(.*a){9}", "(?=(a+)+c)a"]))
def test_a_text_with_more_ways_than_there_is_time_for_is_told(part: str) -> None:
    assert not compile_pattern(f"^{part}-$").search("a" * 10_000)
