"""Properties of loading: comments and the order of keys change nothing that is sent."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

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
