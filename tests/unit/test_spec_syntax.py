from __future__ import annotations

import json

import pytest
import yaml

from runner.encoding import printable
from runner.errors import Location
from runner.spec.node import Source
from runner.spec.source import read_yaml
from runner.spec.syntax import eaten_template, half_in_json, syntax_problem, unquoted_template


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("a: b: c\n", "1:5", "`:` followed by a space"),
        ('a: "b\nc: 1\n', "1:4", "never closed"),
        ("a: [1, 2\nb: 2\n", "1:4", "bracket"),
        ("a: 1\nfoo\n", "2:1", "no `key: value`"),
        ("a: *bold* x\n", "1:4", "`*` begins an alias"),
        ("a: & b\n", "1:4", "`&` begins an anchor"),
        ("a: !<x\n", "1:4", "tags are not allowed"),
        ("a: | b\n", "1:4", "behind `|`"),
        ('a: "\\q"\n', "1:6", "`\\q` is no escape"),
        ('a: "\\x1"\n', "1:7", "more digits"),
        ("a: @b\n", "1:4", "cannot start with `@`"),
        ("a:\n    b: 1\n  c: 2\n", "3:3", "indentation"),
        ("a:\n\tb: 1\n", "2:1", "tab"),
        ("a: {{ x }} and {{ y }}\n", "1:4", "starts with `{{`"),
        ("a: {% if x %}\n", "1:4", "starts with `{%`"),
        ("a: {b: T #{{ x }}}\n", "1:10", "begins a comment"),
        ("a: b\x00c\n", "1:5", "U+0000"),
        ("a: b\n}\n", "2:1", ""),
    ],
)
def test_syntax_errors_name_the_place_and_the_cause(text: str, place: str, words: str) -> None:
    problem = read_yaml(text, "j").problems[-1]
    assert str(problem.where) == f"j:{place}"
    assert words in problem.message
    assert problem.hint


def test_a_message_of_the_parser_that_nobody_has_worded_is_shown_as_it_is() -> None:
    mark = yaml.Mark("j", 0, 0, 3, "a: b", 3)
    problem = syntax_problem(yaml.MarkedYAMLError("while", mark, "something new", mark), Source.of("j", "a: b"))
    assert problem.message == "something new"
    assert str(problem.where) == "j:1:4"


def test_a_comment_is_eaten_text_only_where_it_holds_a_template() -> None:
    source = Source.of("j", "a: b # note\nc: d # {{ x }}")
    assert eaten_template(source, 0, 4) is None
    assert eaten_template(source, 1, 4) is not None


def test_a_brace_alone_is_a_mapping() -> None:
    assert unquoted_template(Source.of("j", "a: { {b: 1}: 2 }"), 0, 3) is None


@pytest.mark.parametrize(
    ("text", "column"),
    [
        (r'"\ud83d\ude00"', None),
        (r'"\ud83d\ude00\n\ud83d\ude00"', None),
        (r'"\\ud83d"', None),
        (r'"\ud83d"', 2),
        (r'"a\ude00"', 3),
        (r'"\ude00\ude01"', 2),
        (r'"\ude00\ud83d"', 2),
        (r'"\ud83d\ud83d\ude00"', 2),
        (r'"\ud83d \ude00"', 2),
        (r'"\ud83d\ude00\ud83d\n"', 14),
    ],
)
def test_half_of_a_pair_is_found_in_json(text: str, column: int | None) -> None:
    found = half_in_json(Source.of("a.json", f"[1,\n{text}]"))
    assert found == (None if column is None else Location("a.json", 2, column, 6, f"{text}]"))
    assert (found is not None) == (printable(loaded := json.loads(text)) != loaded)
