"""Properties of loading: comments and the order of keys change nothing that is sent; no value is a crash."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runner.errors import SpecError
from runner.spec.load import load
from support.projects import make_project

JOB: dict[str, Any] = {
    "name": "order",
    "model": "claude-haiku-5-5",
    "params": {"max_tokens": 100},
    "system": ["You label reviews.", {"text": "Be brief.", "cache": "1h"}],
    "vars": {"tone": "strict"},
    "prompt": "review.md.j2",
    "dataset": {"path": "data/reviews.csv", "limit": 2},
    "output": {"labels": ["good", "bad"]},
    "limits": {"max_cost_usd": 1},
    "sinks": ["out/a.jsonl"],
}


@given(st.permutations(list(JOB)), st.lists(st.integers(0, len(JOB)), max_size=4))
@settings(max_examples=25)
def test_comments_and_the_order_of_keys_change_nothing(order: list[str], comments: list[int]) -> None:
    parts = [yaml.safe_dump({key: JOB[key]}) for key in order]
    for place in comments:
        parts.insert(place, "# a note\n\n")
    with tempfile.TemporaryDirectory() as folder:
        job = load(make_project(Path(folder), job="".join(parts)), environ={})
        straight = load(make_project(Path(folder), job=yaml.safe_dump(JOB)), environ={})
    assert job.resolved == straight.resolved
    assert job.templates.digest == straight.templates.digest
    assert job.schema == straight.schema


RICH: dict[str, Any] = {
    **JOB,
    "params": {"max_tokens": 2048, "thinking": {"type": "enabled", "budget_tokens": 1024}, "stop_sequences": ["END"]},
    "dataset": {"path": "data/reviews.csv", "key": "id", "where": "row.stars != ''", "sample": {"rows": 2, "seed": 7}},
    "output": {"labels": ["good", "bad"], "repair": 1, "on_truncation": {"max_tokens": [4096]}, "on_refusal": "keep"},
    "limits": {"max_cost_usd": 1, "deadline": "6h", "max_failures": "5%"},
    "sinks": ["out/a.jsonl", {"path": "out/b.csv", "columns": {"id": "key"}, "rows": "succeeded"}],
}
Place: TypeAlias = tuple[str | int, ...]


def places(value: Any, path: Place = ()) -> Iterator[Place]:
    """Every place of a job, from the outside to the inside."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in items:
        yield from places(item, (*path, name))


def put(value: Any, path: Place, other: Any) -> Any:
    """The same with another value at a place."""
    if not path:
        return other
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = put(value[path[0]], path[1:], other)
    return copy


scalars = (
    st.none() | st.booleans() | st.integers(-2, 2) | st.floats(-1, 1) | st.sampled_from(["", "text", "{{", "x.j2"])
)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["type", "a"]), inner),
    max_leaves=3,
)


@given(st.sampled_from(list(places(RICH))), anything)
@example(("output", "labels"), 3)
@example(("params", "thinking", "type"), [])
@settings(max_examples=60)
def test_any_value_anywhere_is_taken_or_told_in_our_own_words(place: Place, value: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            load(make_project(Path(folder), job=json.dumps(put(RICH, place, value))), environ={})
        except SpecError as error:
            told = [problem.message for problem in error.problems]
            assert told
            assert not [text for text in told if re.search(r"Input|should be|instance|literal\[|Value error", text)]
