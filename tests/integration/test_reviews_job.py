"""The main job over real text: every row of a published dataset, a cached rubric, a schema, 200 requests in flight.

The oracle is the stand-in's account and its echo of each prompt, held against the dataset as this test reads it: rows
lost, sent twice, put out of order or given another row's answer would all show.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.simulator.prompt import echo_of
from support.api import SimulatedApi, simulated_api
from support.harness import ROOT, Project

pytestmark = pytest.mark.slow

REVIEWS = ROOT.parent / "shared" / "data" / "amazon_reviews.csv"
ROWS = 3_708
DISTINCT_TEXTS = 3_697
"""11 sentences have the text of an earlier one, under another key."""
SLOTS = 200
LATENCY = "50ms"
SLOW_S = 5.0
"""How much longer the first 200 replies take, a quarter of it before they begin: without an order the other 199 would
have left by then, and each would have bought its own write."""
RUBRIC_TOKENS = 1_024
"""The least that the issue asks of the shared block."""

JOB = f"""\
name: reviews
mode: parallel
model: claude-haiku-5-5
params: {{max_tokens: 300}}
system:
  - {{template: rubric.md.j2, cache: true}}
prompt: "Judge this sentence of a review:\\n\\n{{{{ row.text }}}}"
dataset: {{path: data/amazon_reviews.csv, key: sentence_id}}
output:
  fields:
    label: [positive, negative, neutral]
    score: number
    why: string
limits: {{max_concurrency: {SLOTS}, max_cost_usd: 50}}
sinks: [out/reviews.jsonl]
"""


def rubric() -> str:
    """A text of more than `RUBRIC_TOKENS` tokens: 7,000 bytes, of which four make a token."""
    rules = (
        f"Rule {number}: a sentence that names fault {number} of a product is negative, one that denies it is positive."
        for number in range(1, 61)
    )
    return "You label sentences of product reviews by these rules.\n\n" + "\n".join(rules) + "\n"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[SimulatedApi]:
    with simulated_api(tmp_path / "api", latency=LATENCY) as api:
        yield api


@pytest.fixture
def project(tmp_path: Path, api: SimulatedApi, dataset: list[dict[str, str]]) -> Project:
    assert len(dataset) == ROWS
    project = Project.make(tmp_path / "project", api)
    project.write("jobs/reviews.yaml", JOB)
    project.write("templates/rubric.md.j2", rubric())
    project.write("data/amazon_reviews.csv", REVIEWS.read_text(encoding="utf-8"))
    return project


def test_every_review_is_judged_once_in_order_and_the_rubric_is_written_to_the_cache_at_most_twice(
    project: Project, api: SimulatedApi, dataset: list[dict[str, str]]
) -> None:
    api.fault("slow", times=SLOTS, seconds=SLOW_S)
    summary = project.run("jobs/reviews.yaml")

    assert (summary["exit_status"], summary["status"]) == (0, "finished")
    assert summary["rows"] == {
        "total": ROWS, "succeeded": ROWS, "failed": 0, "expired": 0, "canceled": 0, "open": 0, "reused": 0,
    }  # fmt: skip
    records = project.records("out/reviews.jsonl")
    check_rows(records, dataset)
    check_answers(records, dataset)
    check_account(api, dataset)
    account = api.accounts()
    assert round(summary["cost_usd"] * 10**12) == account["cost_pico"], "the bill is the API's"
    assert round(sum(record["cost_usd"] for record in records) * 10**12) == account["cost_pico"]
    assert api.traffic()["max_in_flight"] == SLOTS


def check_rows(records: list[dict[str, Any]], dataset: list[dict[str, str]]) -> None:
    """One record a row, in the dataset's order, with the row as it was."""
    assert [record["key"] for record in records] == [row["sentence_id"] for row in dataset]
    assert [record["index"] for record in records] == list(range(ROWS))
    assert [record["row"] for record in records] == dataset


def check_answers(records: list[dict[str, Any]], dataset: list[dict[str, str]]) -> None:
    """Each answer is to its own row's prompt, and fits the schema."""
    for record, row in zip(records, dataset, strict=True):
        answer = record["output"]
        assert answer["why"].endswith(echo_of(prompt_of(row))), record["key"]
        assert answer["label"] in ("positive", "negative", "neutral")
        assert isinstance(answer["score"], int | float)


def check_account(api: SimulatedApi, dataset: list[dict[str, str]]) -> None:
    """Nothing was lost or sent twice: the requests that repeat are those of the sentences that do."""
    account, entries = api.accounts(), api.requests()
    assert (account["requests"], account["delivered"], account["distinct"]) == (ROWS, ROWS, DISTINCT_TEXTS)
    assert Counter(entry["echo"] for entry in entries) == Counter(echo_of(prompt_of(row)) for row in dataset)
    assert 1 <= account["cache_writes"] <= 2
    for entry in entries:
        cached = entry["cache_read_input_tokens"] + entry["ephemeral_5m_input_tokens"]
        assert cached > RUBRIC_TOKENS, "every request writes or reads the whole rubric"


def prompt_of(row: dict[str, str]) -> str:
    return f"Judge this sentence of a review:\n\n{row['text']}"
