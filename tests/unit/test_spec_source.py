from __future__ import annotations

from typing import Any

import pytest

from runner.errors import SpecError
from runner.spec.node import find, locate, plain
from runner.spec.source import MAX_BYTES, parse_yaml, read_yaml


def value_of(text: str) -> Any:
    return plain(parse_yaml(text, "j.yaml"))


def codes(text: str | bytes) -> list[str]:
    return [problem.code for problem in read_yaml(text, "j.yaml").problems]


def test_values_come_with_their_types() -> None:
    text = "a: [1, 2.5, true, null, text]\nb: {c: 'no', d: no}\ne: |\n  two\n  lines\n"
    assert value_of(text) == {"a": [1, 2.5, True, None, "text"], "b": {"c": "no", "d": "no"}, "e": "two\nlines\n"}


def test_keys_are_the_text_that_is_written() -> None:
    assert value_of("1: a\ntrue: b\nnull: c\n012: d\n") == {"1": "a", "true": "b", "null": "c", "012": "d"}


def test_quoted_scalars_are_text() -> None:
    assert value_of("a: '012'\nb: \"true\"\nc: '~'\n") == {"a": "012", "b": "true", "c": "~"}


def test_every_value_and_key_has_a_place() -> None:
    root = parse_yaml("# comment\na:\n  - b: 1\n    c: [x, yy]\n", "j.yaml")
    assert str(locate(root, ("a", 0, "c", 1))) == "j.yaml:4:12"
    assert locate(root, ("a", 0, "c", 1)).length == 2
    assert str(locate(root, ("a", 0, "c"), key=True)) == "j.yaml:4:5"


def test_what_does_not_exist_is_at_its_nearest_ancestor() -> None:
    root = parse_yaml("a:\n  b: 1\n", "j.yaml")
    assert str(locate(root, ("a", "zzz", 3))) == "j.yaml:2:3"
    assert find(root, ("a", "zzz")) is None


def test_columns_count_characters_not_bytes() -> None:
    root = parse_yaml("見出し: 値\n'😀': {x: 1}\n", "j.yaml")
    assert str(locate(root, ("見出し",))) == "j.yaml:1:6"
    assert str(locate(root, ("😀", "x"))) == "j.yaml:2:10"


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_lines_are_counted_with_any_line_break(newline: str) -> None:
    root = parse_yaml(newline.join(["a: 1", "b: 2", ""]), "j.yaml")
    assert str(locate(root, ("b",))) == "j.yaml:2:4"
    assert locate(root, ("b",)).source == "b: 2"


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    root = parse_yaml(b"\xef\xbb\xbfa: 1\n", "j.yaml")
    assert plain(root) == {"a": 1}
    assert str(locate(root, ("a",))) == "j.yaml:1:4"


def test_a_wrong_encoding_is_told_with_its_place() -> None:
    problem = read_yaml("a: 1\nb: é".encode("latin-1"), "j.yaml").problems[0]
    assert (problem.code, str(problem.where)) == ("not-utf8", "j.yaml:2:4")
    assert codes("a: 1".encode("utf-16")) == ["not-utf8"]


def test_a_text_of_more_than_a_mebibyte_is_refused_unread() -> None:
    assert codes(b"#" * (MAX_BYTES + 1)) == ["file-too-large"]
    assert codes(b"#" * MAX_BYTES) == []


def test_anchors_and_merges_are_followed() -> None:
    text = "x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}\nz: {<<: [*x, {c: 4, a: 9}]}\nw: *x\n"
    assert value_of(text) == {
        "x": {"a": 1, "b": 2},
        "y": {"a": 1, "b": 3},
        "z": {"a": 1, "b": 2, "c": 4},
        "w": {"a": 1, "b": 2},
    }


def test_what_is_merged_stands_where_its_anchor_is() -> None:
    root = parse_yaml("x: &x\n  a: 1\ny:\n  <<: *x\n", "j.yaml")
    assert str(locate(root, ("y", "a"))) == "j.yaml:2:6"


def test_a_quoted_merge_key_is_a_key() -> None:
    assert value_of("a: {'<<': 1}") == {"a": {"<<": 1}}


def test_bombs_are_defused() -> None:
    laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)
    )
    merges = "a0: &a0 {k: 1}\n" + "".join(
        f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 10)
    )
    assert codes(laughs) == ["too-many-nodes"]
    # Other loaders copy 9**9 keys here; this one merges each mapping once.
    assert value_of(merges)["a9"] == {"k": 1}


def test_aliases_count_as_often_as_they_are_used() -> None:
    hundred = ", ".join(["x"] * 100)
    assert codes(f"a: &a [{hundred}]\nb: [{', '.join(['*a'] * 97)}]\n") == []
    assert codes(f"a: &a [{hundred}]\nb: [{', '.join(['*a'] * 99)}]\n") == ["too-many-nodes"]


def test_fifty_levels_are_read_and_one_more_is_refused() -> None:
    assert codes("[" * 50 + "]" * 50) == []
    assert codes("[" * 51 + "]" * 51) == ["too-deep"]


def test_thousands_of_levels_do_no_harm() -> None:
    assert codes("[" * 100_000) in (["too-deep"], ["yaml-syntax"])


def test_problems_that_leave_the_rest_readable_come_all_at_once() -> None:
    text = "a: 012\na: 2\nb: !!str 3\nc: {{ x }}\nd: T #{{ x }}\n? [k]\n: 1\n"
    assert codes(text) == [
        "doubtful-number",
        "duplicate-key",
        "yaml-tag",
        "unquoted-template",
        "template-in-comment",
        "bad-key",
    ]


def test_a_template_that_yaml_took_for_something_else_is_read_as_it_was_meant() -> None:
    root = read_yaml("a: {{ row.x }}\nb: Ticket #{{ row.y }}\n", "j.yaml").root
    assert root is not None
    assert plain(root) == {"a": "{{ row.x }}", "b": "Ticket #{{ row.y }}"}


@pytest.mark.parametrize(
    "text",
    [
        "a: text # a comment\n",
        "a: 'Ticket #{{ x }}'\n",
        "# {{ x }}\na: 1\n",
        "a: |\n  Ticket #{{ x }}\n",
        "a: Ticket#{{ x }}\n",
        'a: "{{ x }}"  # {{ y }}\n',
        "a: {b: {c: 1}}\n",
    ],
)
def test_what_is_no_accident_is_left_alone(text: str) -> None:
    assert codes(text) == []


def test_an_empty_text_has_no_root() -> None:
    assert read_yaml("# nothing\n", "j.yaml").root is None
    with pytest.raises(SpecError, match="empty"):
        parse_yaml("", "j.yaml")


def test_parse_yaml_raises_all_problems() -> None:
    with pytest.raises(SpecError) as raised:
        parse_yaml("a: 012\nb: .nan\n", "j.yaml")
    assert [str(problem.where) for problem in raised.value.problems] == ["j.yaml:1:4", "j.yaml:2:4"]
