"""Turns: their texts, and that what a plan reckons with bounds what is really sent."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.catalog.models import snapshot_facts
from runner.catalog.price_list import prices_for_models
from runner.errors import PlanError
from runner.planning.compile import compile_job
from runner.planning.conversation import Conversations, Exchange
from runner.planning.estimate import Estimator
from runner.planning.requests import CompiledJob
from runner.planning.turns import later_requests, turn_text
from runner.rounds import NextTurn
from runner.types import Failure, Reply, Request, Row, Usage
from support.job_project import JOB, load_job

TURNS = JOB + (
    'turns: ["Why?", "{{ row.text }}: {{ replies | join(\' \') }}", {text: "{{ vars.tone }}?", cache: true}]\n'
    "vars: {tone: strict}\n"
    "output: {fields: {label: [good, bad]}}\n"
)
PRICES = prices_for_models(["claude-haiku-5-5"], at=datetime(2026, 11, 22, tzinfo=UTC))
ROW = Row("k", 0, {"id": "1", "text": "good"})


def job_of(root: Path, text: str = TURNS) -> CompiledJob:
    return compile_job(load_job(root, text), mode="parallel")


def first_of(job: CompiledJob) -> Request:
    request = job.request(ROW)
    assert isinstance(request, Request)
    return request


def after(*texts: str) -> list[Exchange]:
    return [
        Exchange(Reply("msg_1", None, "m", "end_turn", [{"type": "text", "text": text}], Usage()), NextTurn(number))
        for number, text in enumerate(texts, 1)
    ]


def test_what_no_row_and_no_reply_changes_is_rendered_once(tmp_path: Path) -> None:
    contents = [block.content for block in job_of(tmp_path).turns]
    assert [content if isinstance(content, str) else None for content in contents] == ["Why?", None, "strict?"]


def test_a_turn_that_is_empty_for_every_row_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PlanError) as raised:
        job_of(tmp_path, JOB + 'turns: ["{{ vars.nothing }}"]\nvars: {nothing: " "}\n')
    assert raised.value.code == "empty-text"
    (problem,) = raised.value.problems
    assert problem.where is not None
    assert "turns" in str(problem.where.source)


def test_a_turn_that_is_empty_for_a_row_is_a_render_error(tmp_path: Path) -> None:
    job = job_of(tmp_path, JOB + "turns: [\"{{ row.text if replies[0] == 'yes' else '' }}\"]\n")
    assert turn_text(job, 1, ROW, ["yes"]) == "good"
    failure = turn_text(job, 1, ROW, ["no"])
    assert isinstance(failure, Failure)
    assert failure.kind == "render_error"
    assert "the text is empty, which the API refuses; turn 2 of row 'k'" in failure.message


def test_the_marks_of_turns_count_for_the_dearest_write(tmp_path: Path) -> None:
    job = job_of(tmp_path)
    assert (job.cache.ttl["parallel"], job.cache.row_breakpoint) == ("5m", True)
    assert first_of(job).cache_ttl == "5m"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=40)
@given(replies=st.lists(st.text("abc é好", min_size=1, max_size=60), min_size=3, max_size=3))
def test_no_request_is_larger_than_its_bound_in_the_plan(tmp_path: Path, replies: list[str]) -> None:
    """Tokens are reckoned as bytes here: a reply has at most `max_tokens` of them."""
    (tmp_path / "runner.toml").touch()
    text = TURNS.replace("max_tokens: 1024", "max_tokens: 200")
    job = job_of(tmp_path, text)
    assert job.max_tokens == 200
    planned = later_requests(job, ROW, first_of(job), reply_bytes=1)
    for turn, later in enumerate(planned, 1):
        request = Conversations(job).request(ROW, after(*replies[:turn]))
        assert isinstance(request, Request)
        assert later.input_bound is not None
        assert request.input_bound is not None
        assert request.input_bound <= later.input_bound


def test_a_text_that_a_stand_in_for_a_reply_does_not_fit_is_reckoned_by_its_template(tmp_path: Path) -> None:
    job = job_of(tmp_path, JOB + 'turns: ["{{ replies[0] | int + 1 }}"]\n')
    (later,) = later_requests(job, ROW, first_of(job), reply_bytes=100)
    assert later.size_bytes > len(first_of(job).body) + 100


def test_an_estimate_counts_turns_and_samples(tmp_path: Path) -> None:
    job = job_of(tmp_path)
    estimator = Estimator(job, PRICES, snapshot_facts(job.model), samples=3)
    estimator.add_row(ROW, first_of(job))
    estimate = estimator.result()
    assert (estimate.requests, estimate.waves, estimate.batches) == (12, 4, 4)
    assert estimate.output_tokens_upper == 12 * job.max_tokens
    once: Any = Estimator(job, PRICES, snapshot_facts(job.model))
    once.add_row(ROW, first_of(job))
    assert estimate.input_tokens_upper is not None
    assert estimate.input_tokens_upper == 3 * once.result().input_tokens_upper
    assert estimate.input_tokens_upper > 12 * (first_of(job).input_bound or 0)
