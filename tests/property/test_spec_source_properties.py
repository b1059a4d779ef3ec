"""Properties of the YAML reader: what is written is read, every place lies in the text, nothing makes it fall over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from runner.spec import source
from runner.spec.node import ListNode, MapNode, Node, Span, plain
from runner.spec.source import read_yaml

# YAML has no form for control characters and half characters; NEL and the Unicode line breaks are folded like spaces.
TEXT = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\u2028\u2029\x85\ufeff\ufffe\uffff"), max_size=20
)
SCALARS = (
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | TEXT | st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT.filter(bool), inner, max_size=4),
    max_leaves=20,
)


class CoreDumper(yaml.SafeDumper):
    """Quotes every text, so that what is read does not hang on another dialect's rules."""


def _quoted(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style='"')


def _float(dumper: yaml.SafeDumper, value: float) -> yaml.ScalarNode:
    text = repr(value)
    # YAML 1.1, which the dumper follows, wants a dot before an exponent.
    return dumper.represent_scalar("tag:yaml.org,2002:float", text if "." in text else text.replace("e", ".0e"))


CoreDumper.add_representer(str, _quoted)
CoreDumper.add_representer(float, _float)
CoreDumper.ignore_aliases = lambda *_: True  # type: ignore[method-assign]  # equal values are no anchors


def spans(node: Node) -> Iterator[Span]:
    yield node.span
    if isinstance(node, ListNode):
        for item in node.items:
            yield from spans(item)
    if isinstance(node, MapNode):
        for entry in node.entries.values():
            yield entry.key
            yield from spans(entry.value)


@given(VALUES, st.booleans())
def test_what_is_written_is_read(value: Any, flow: bool) -> None:
    text = yaml.dump(value, Dumper=CoreDumper, allow_unicode=True, default_flow_style=flow)
    reading = read_yaml(text, "j")
    assert not reading.problems
    assert reading.root is not None
    assert plain(reading.root) == value


@given(VALUES, st.booleans())
def test_every_place_lies_in_the_text(value: Any, flow: bool) -> None:
    text = yaml.dump(value, Dumper=CoreDumper, allow_unicode=True, default_flow_style=flow)
    root = read_yaml(text, "j").root
    assert root is not None
    for span in spans(root):
        where = span.location()
        assert where.line is not None
        assert where.column is not None
        assert 1 <= where.line <= len(span.source.lines)
        assert 1 <= where.column <= len(span.source.line(span.line)) + 1


@given(st.text(st.sampled_from("ab:-#{}[]&*!|>'\"%@,? \n\t01.~<"), max_size=60))
def test_no_text_makes_it_fall_over(text: str) -> None:
    for problem in read_yaml(text, "j").problems:
        assert problem.message
        assert problem.where is not None


@given(st.binary(max_size=60))
def test_no_bytes_make_it_fall_over(data: bytes) -> None:
    read_yaml(data, "j")


@pytest.mark.skipif(not yaml.__with_libyaml__, reason="there is only one parser")
@given(VALUES, st.booleans())
def test_both_parsers_give_the_same_tree(value: Any, flow: bool) -> None:
    text = yaml.dump(value, Dumper=CoreDumper, allow_unicode=True, default_flow_style=flow)
    fast = read_yaml(text, "j").root
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "_PARSER", yaml.SafeLoader)
        slow = read_yaml(text, "j").root
    assert fast is not None
    assert slow is not None
    assert plain(fast) == plain(slow)
    assert [(span.line, span.column) for span in spans(fast)] == [(span.line, span.column) for span in spans(slow)]
