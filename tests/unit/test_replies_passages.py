"""Taking an output out of running text."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.replies.passages import (
    JsonPassage,
    NotFound,
    Passage,
    RegexPassage,
    TagPassage,
    TypesOf,
    json_values,
    unfenced,
)
from runner.spec.regexes import compile_regex

ANY = TypesOf(None)
SCORED = TypesOf({"properties": {"score": {"type": "number"}, "why": {"type": "string"}, "ok": {"type": "boolean"}}})
LABELLED = TypesOf({"type": "object", "properties": {"label": {"type": "string"}}}, "label")


def regex(pattern: str, types: TypesOf = ANY) -> RegexPassage:
    return RegexPassage(compile_regex(pattern), types)


# -- regular expressions -----------------------------------------------------------------------------------------------


def test_named_groups_make_an_object() -> None:
    found = regex(r"(?P<a>\w+) and (?P<b>\w+)").take("either this and that, or these and those")
    assert found == {"a": "this", "b": "that"}


def test_one_group_is_the_text_of_it_and_none_the_whole_match() -> None:
    assert regex(r"Answer: (\w+)").take("… Answer: yes.") == "yes"
    assert regex(r"\d+").take("about 42 of them") == "42"


def test_text_is_a_number_or_a_truth_value_where_the_schema_wants_one() -> None:
    taken = regex(r"(?P<score>[\d.]+)/(?P<why>\d+)/(?P<ok>\w+)", SCORED).take("3.5/4/true")
    assert taken == {"score": 3.5, "why": "4", "ok": True}
    assert regex(r"(?P<score>.+)", SCORED).take("much") == {"score": "much"}
    assert regex(r"\d+", TypesOf({"type": "integer"})).take("7 of 9") == 7


def test_a_group_that_takes_no_part_is_left_out() -> None:
    assert regex(r"(?P<a>x)(?P<b>y)?").take("x") == {"a": "x"}
    with pytest.raises(NotFound, match="matches nothing"):
        regex(r"x(y)?").take("x")


def test_the_text_of_labels_is_the_label() -> None:
    assert regex(r"Label: (\w+)", LABELLED).take("Label: spam") == {"label": "spam"}
    assert TagPassage("label", LABELLED).take("<label>\nspam\n</label>") == {"label": "spam"}


def test_text_that_does_not_match_is_told_with_the_expression() -> None:
    with pytest.raises(NotFound, match=r"the reply has no text that matches the regular expression Score: \(\\d\+\)"):
        regex(r"Score: (\d+)").take("no idea")


def test_an_expression_that_would_never_end_elsewhere_ends() -> None:
    with pytest.raises(NotFound):
        regex(r"(a+)+$").take("a" * 200_000 + "b")


def test_half_of_a_surrogate_pair_is_no_bug() -> None:
    with pytest.raises(NotFound, match="UTF-8"):
        regex("a").take("\ud83d a")


# -- JSON --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        '{"a": [1]}',
        '  {"a": [1]}\n',
        '```json\n{"a": [1]}\n```',
        'Here it is:\n\n```\n{"a": [1]}\n```\nAnything else?',
        'Sure! {"a": [1]} Hope that helps :-]',
        'A set {of braces} and "quotes"; then {"a": [1]}',
    ],
)
@pytest.mark.parametrize("choice", [True, "first", "last"])
def test_json_is_found_whatever_stands_around_it(text: str, choice: Any) -> None:
    assert JsonPassage(choice).take(text) == {"a": [1]}


def test_of_several_values_the_first_or_the_last_is_taken() -> None:
    text = 'First {"n": 1}, then {"n": 2}, at last [3].'
    assert JsonPassage("first").take(text) == {"n": 1}
    assert JsonPassage("last").take(text) == [3]
    with pytest.raises(NotFound, match="more than one"):
        JsonPassage(True).take(text)


@pytest.mark.parametrize("text", ["", "none", "{", '{"a": }', "[1, 2", "{'a': 1}", '{"a": NaN}'])
def test_text_without_json_is_told(text: str) -> None:
    with pytest.raises(NotFound, match="no JSON object or list"):
        JsonPassage(True).take(text)


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 200_000, "[1," * 50_000 + "NaN", '["' * 100_000])
def test_brackets_that_never_close_are_given_up(text: str) -> None:
    with pytest.raises(NotFound, match="too many brackets"):
        JsonPassage("last").take(text)


def test_brackets_that_begin_no_json_cost_nothing() -> None:
    text = "[a link](https://example.org) and {a place} " * 20_000
    assert JsonPassage(True).take(text + '{"n": 1}') == {"n": 1}


documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
containers = st.lists(documents, max_size=3) | st.dictionaries(st.text(max_size=3), documents, max_size=3)
prose = st.text(st.characters(exclude_characters='{}[]`"', codec="utf-8"), max_size=20)


@given(st.lists(st.tuples(prose, containers), max_size=4), prose, st.booleans())
def test_every_value_in_a_text_is_found_in_order(parts: list[tuple[str, Any]], end: str, ascii_only: bool) -> None:
    text = "".join(words + json.dumps(value, ensure_ascii=ascii_only) for words, value in parts) + end
    assert list(json_values(text)) == [value for _, value in parts]


broken = st.sampled_from(["{", "[", "]", "}", '"', ",", ":", " ", "\n", "1", "-", "t", "true", "null", "N", "x"])


@given(st.lists(broken, max_size=14).map("".join))
def test_only_brackets_that_begin_no_json_are_passed_over(text: str) -> None:
    decoder, found, at = json.JSONDecoder(), [], 0
    while at < len(text):
        if text[at] in "{[":
            with suppress(ValueError):
                value, at = decoder.raw_decode(text, at)
                found.append(value)
                continue
        at += 1
    assert list(json_values(text)) == found


# -- tags --------------------------------------------------------------------------------------------------------------


def test_the_text_within_the_last_tag_is_taken() -> None:
    text = "<answer>no</answer> On second thought: <answer id='2'>\n yes \n</answer>."
    assert TagPassage("answer", ANY).take(text) == "yes"


def test_a_tag_within_its_own_is_the_inner_one() -> None:
    assert TagPassage("a", ANY).take("I put it into <a>: <a>x</a>") == "x"


def test_json_between_tags_is_read_where_the_schema_wants_no_text() -> None:
    wants = TypesOf({"type": "object"})
    assert TagPassage("a", wants).take('<a>{"n": 1}</a>') == {"n": 1}
    assert TagPassage("a", wants).take('<a>\n```json\n{"n": 1}\n```\n</a>') == {"n": 1}
    assert TagPassage("a", ANY).take('<a>{"n": 1}</a>') == '{"n": 1}'


@pytest.mark.parametrize(
    "text", ["", "<answer>", "</answer>", "</answer><answer>", "<answers>x</answers>", "<answer x</answer>"]
)
def test_text_without_the_tag_is_told(text: str) -> None:
    with pytest.raises(NotFound, match="the reply has no <answer>…</answer>"):
        TagPassage("answer", ANY).take(text)


# -- whatever the text -------------------------------------------------------------------------------------------------

PASSAGES: list[Passage] = [
    regex(r"(?P<score>\d+)|(?P<why>a*)b", SCORED),
    regex(r"(.*)"),
    JsonPassage(True),
    JsonPassage("first"),
    JsonPassage("last"),
    TagPassage("a", TypesOf({"type": ["object", "null"]})),
]
pieces = st.sampled_from(
    ["{", "}", "[", "]", '"', ":", ",", "1", "-", "e", "\\", "a", "<a>", "</a>", "```", "\n", "\ud800", "é", " "]
)


@given(st.lists(pieces, max_size=60).map("".join) | st.text(max_size=60))
def test_any_text_has_an_output_that_is_json_or_none(text: str) -> None:
    for passage in PASSAGES:
        with suppress(NotFound):
            json.dumps(passage.take(text), allow_nan=False)


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("```json\n[1]\n```", "[1]"),
        (" ```\n\n [1] ``` ", "[1]"),
        ("```c++\na\n```b\n```", "a\n```b"),
        ("```\n```", ""),
        ("```json [1]```", "```json [1]```"),
        ("```a b\n[1]\n```", "```a b\n[1]\n```"),
        ("````", "````"),
        ("x ```\n[1]\n```", "x ```\n[1]\n```"),
    ],
)
def test_a_text_that_is_one_fenced_block_is_what_stands_in_it(text: str, inside: str) -> None:
    assert unfenced(text) == inside


@pytest.mark.timeout(120)  # an expression took minutes for the first of these, and hours for the second
@pytest.mark.parametrize("text", ["```" + "\n" * 10_000 + "x", "```json\n{" + "\n" * 300_000])
def test_a_reply_of_nothing_but_line_breaks_keeps_nobody_busy(text: str) -> None:
    with pytest.raises(NotFound):
        JsonPassage(True).take(text)
