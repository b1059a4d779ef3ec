"""Conversations as users have them: several roles, and messages that a row holds, in both modes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.api import SimulatedApi
from support.harness import Project, stable

CHATS = """\
name: chats
model: claude-haiku-5-5
params: {{max_tokens: 200}}
messages:
  - content: We speak of one parcel.
  - {{role: assistant, content: Ask me.}}
  - {{expand: "{{{{ row.history }}}}"}}
  - content: "{{{{ row.question }}}}"
dataset: {{path: data/chats.jsonl, key: id}}
mode: {mode}
sinks: [out/{mode}.jsonl]
"""


def history(number: int) -> list[dict[str, Any]]:
    return [
        turn
        for place in range(number % 4)
        for turn in (
            {"role": "user", "content": f"Question {place} of {number}?"},
            {"role": "assistant", "content": [{"type": "text", "text": f"Answer {place}."}]},
        )
    ]


@pytest.fixture
def chats(project: Project) -> Project:
    rows = [{"id": f"c{n}", "history": history(n), "question": f"And now, {n}?"} for n in range(12)]
    rows[5]["history"] = [{"role": "user", "content": "Hi"}, {"role": "robot", "content": "Beep"}]
    project.write("data/chats.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    for mode in ("parallel", "batch"):
        project.write(f"jobs/{mode}.yaml", CHATS.format(mode=mode))
    return project


def test_a_row_s_history_is_sent_where_the_job_says(chats: Project) -> None:
    (body,) = map(json.loads, chats.runner("render", "jobs/parallel.yaml", "--key", "c2").stdout.splitlines())
    texts = [(turn["role"], turn["content"][0]["text"]) for turn in body["messages"]]
    assert texts == [
        ("user", "We speak of one parcel."),
        ("assistant", "Ask me."),
        ("user", "Question 0 of 2?"),
        ("assistant", "Answer 0."),
        ("user", "Question 1 of 2?"),
        ("assistant", "Answer 1."),
        ("user", "And now, 2?"),
    ]


def test_both_modes_answer_the_same_and_name_the_row_that_is_no_conversation(chats: Project, api: SimulatedApi) -> None:
    summaries = {mode: chats.run(f"jobs/{mode}.yaml", "--no-reuse") for mode in ("parallel", "batch")}
    for mode, summary in summaries.items():
        assert (summary["exit_status"], summary["failures"]) == (5, {"input_error": 1})
        (failed,) = [record for record in chats.records(f"out/{mode}.jsonl") if record["status"] != "succeeded"]
        assert failed["key"] == "c5"
        assert "messages.2.expand: item 1: the role must be `user` or `assistant`" in failed["error"]["message"]
    assert stable(chats.records("out/parallel.jsonl")) == stable(chats.records("out/batch.jsonl"))
    assert api.accounts()["requests"] >= 22
