"""Advice: what every request would be refused for, and what would be dearer or worse than meant."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from msgspec.structs import replace

from runner.catalog.models import ModelFacts, snapshot_facts
from runner.errors import Problem
from runner.planning.advice import advise, advise_on_cost
from runner.planning.compile import compile_job
from runner.planning.estimate import Cost, Estimate
from runner.types import Mode
from support.job_project import JOB, load_job

TODAY = date(2026, 11, 22)


def known(model: str) -> ModelFacts:
    facts = snapshot_facts(model)
    assert facts is not None
    return facts


def advice(tmp_path: Path, job: str, facts: ModelFacts | None, mode: Mode = "parallel") -> list[Problem]:
    loaded = load_job(tmp_path, job)
    return advise(compile_job(loaded, mode=mode), facts, locate=loaded.locate, today=TODAY)


def codes(problems: list[Problem]) -> list[tuple[str, str]]:
    return [(problem.code, problem.severity) for problem in problems]


def test_a_usual_job_needs_no_advice(tmp_path: Path) -> None:
    assert advice(tmp_path, JOB, known("claude-haiku-5-5")) == []


@pytest.mark.parametrize("prompt", ["review.md", '"review.md.j2 "', "What is the capital of {{ vars.country }}?"])
def test_a_job_that_asks_the_same_of_every_row_is_told(tmp_path: Path, prompt: str) -> None:
    job = JOB.replace('"Review: {{ row.text }}"', prompt) + "vars: {country: Peru}\n"
    (problem,) = advice(tmp_path, job, known("claude-haiku-5-5"))
    assert (problem.code, problem.severity) == ("same-for-every-row", "warning")
    assert problem.where is not None
    assert problem.where.line == 4


def test_a_model_that_nobody_knows_is_told_with_its_neighbour(tmp_path: Path) -> None:
    (problem,) = advice(tmp_path, JOB.replace("claude-haiku-5-5", "claude-haiku-55"), None)
    assert (problem.code, problem.severity) == ("unknown-model", "warning")
    assert problem.hint is not None
    assert "did you mean `claude-haiku-5-5`?" in problem.hint
    assert problem.where is not None
    assert problem.where.line == 2


def test_a_retired_model_is_an_error(tmp_path: Path) -> None:
    (problem,) = advice(tmp_path, JOB, known("claude-3-opus-20240229"))
    assert (problem.code, problem.severity) == ("retired-model", "error")
    assert problem.message == "claude-3-opus-20240229 is retired since 2026-01-05"
    assert problem.hint == "take `claude-opus-5-5`: requests to this one fail"


def test_a_model_that_is_soon_retired_is_told_from_60_days_before(tmp_path: Path) -> None:
    facts = known("claude-haiku-5-5")
    soon, later = replace(facts, retires_at=date(2027, 1, 21)), replace(facts, retires_at=date(2027, 1, 22))
    (problem,) = advice(tmp_path, JOB, replace(soon, successor="claude-next"))
    assert (problem.code, problem.severity) == ("retiring-model", "warning")
    assert problem.message == "claude-haiku-5-5 is to be retired on 2027-01-21"
    assert problem.hint == "move to `claude-next` before that day"
    assert advice(tmp_path, JOB, later) == []


def test_a_cached_block_below_the_minimum_is_told(tmp_path: Path) -> None:
    job = JOB + "system: [{text: You label reviews., cache: true}]\n"
    (problem,) = advice(tmp_path, job, known("claude-haiku-5-5"))
    assert (problem.code, problem.severity) == ("cache-too-short", "warning")
    assert "caches from 512" in problem.message


def test_a_cached_block_above_the_minimum_is_fine(tmp_path: Path) -> None:
    job = JOB + f"system: [{{text: {'word ' * 1_000}, cache: true}}]\n"
    assert advice(tmp_path, job, known("claude-haiku-5-5")) == []
    assert codes(advice(tmp_path, job, known("claude-opus-4-6"))) == [("cache-too-short", "warning")]


def test_little_room_for_a_model_that_thinks_is_told(tmp_path: Path) -> None:
    job = JOB.replace("1024", "200")
    assert codes(advice(tmp_path, job, known("claude-haiku-5-5"))) == [("little-room-to-think", "warning")]
    assert advice(tmp_path, job, known("claude-haiku-4-5")) == []
    off = job.replace("max_tokens: 200", "max_tokens: 200, thinking: {type: disabled}")
    assert advice(tmp_path, off, known("claude-haiku-5-5")) == []


def test_a_model_without_structured_outputs_is_told_where_they_are_asked_for(tmp_path: Path) -> None:
    facts = replace(known("claude-haiku-5-5"), structured_outputs=False)
    labels = JOB + "output: {labels: [a, b]}\n"
    (problem,) = advice(tmp_path, labels, facts)
    assert (problem.code, problem.severity) == ("no-structured-outputs", "error")
    assert problem.hint is not None
    assert "extract" in problem.hint
    assert advice(tmp_path, JOB, facts) == []
    assert advice(tmp_path, labels.replace("b]", "b], extract: {json: true}"), facts) == []


@pytest.mark.parametrize(
    ("mark", "mode", "told"), [("5m", "batch", True), ("1h", "batch", False), ("5m", "parallel", False)]
)
def test_minutes_in_batch_mode_are_told(tmp_path: Path, mark: str, mode: Mode, told: bool) -> None:
    system = f"system: [{{text: '{'rubric ' * 800}', cache: {mark}}}]\n"
    found = codes(advice(tmp_path, JOB + system, known("claude-haiku-5-5"), mode))
    assert found == ([("short-lived-cache", "warning")] if told else [])


@pytest.mark.parametrize(
    ("mode", "batch", "parallel", "told"),
    [("batch", 5, 4, True), ("batch", 4, 4, False), ("parallel", 5, 4, False), ("batch", None, None, False)],
)
def test_batches_that_cost_more_than_parallel_are_told(
    tmp_path: Path, mode: Mode, batch: int | None, parallel: int | None, told: bool
) -> None:
    estimate = Estimate(1, 1, 1, 1, 1, {"batch": Cost(batch, 9), "parallel": Cost(parallel, 9)})
    found = advise_on_cost(estimate, mode, locate=load_job(tmp_path, JOB).locate)
    assert codes(list(found)) == ([("dearer-in-batches", "warning")] if told else [])


def test_a_model_without_batches_is_told_where_they_are_asked_for(tmp_path: Path) -> None:
    without = replace(known("claude-haiku-5-5"), batch=False)
    (problem,) = advice(tmp_path, JOB + "mode: batch\n", without, "batch")
    assert (problem.code, problem.severity) == ("no-batches", "error")
    assert problem.where is not None
    assert problem.where.line == JOB.count("\n") + 1
    assert advice(tmp_path, JOB + "mode: parallel\n", without) == []


def test_fast_mode_that_ends_is_told_before_and_after(tmp_path: Path) -> None:
    job = JOB.replace("claude-haiku-5-5", "claude-opus-4-8").replace(
        "max_tokens: 1024", "max_tokens: 1024, speed: fast, betas: [fast-mode-2026-02-01]"
    )
    job += "mode: parallel\n"
    facts = known("claude-opus-4-8")
    ending = replace(facts, fast_until=date(2026, 11, 30))
    assert codes(advice(tmp_path, job, ending)) == [("retiring-model", "warning")]
    assert codes(advice(tmp_path, job, replace(facts, fast_until=date(2026, 1, 1)))) == [("refused-value", "error")]


def test_a_stop_sequence_beside_structured_output_is_warned_of(tmp_path: Path) -> None:
    job = JOB.replace("max_tokens: 1024", 'max_tokens: 1024, stop_sequences: ["}"]') + "output: {labels: [a, b]}\n"
    assert codes(advice(tmp_path, job, known("claude-haiku-5-5"))) == [("cut-json", "warning")]


def test_what_the_api_says_of_a_model_now_stands_above_what_a_job_was_read_by(tmp_path: Path) -> None:
    facts = replace(known("claude-haiku-5-5"), max_tokens=100)
    (problem,) = advice(tmp_path, JOB, facts)
    assert (problem.code, problem.severity) == ("out-of-range", "error")
    assert problem.where is not None
    assert problem.where.line == 3
