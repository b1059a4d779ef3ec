"""What a plan says of batch mode: how many batches, whether it primes, what waits for the cap and for the queue."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runner.cli.report import plan_lines
from runner.execution.asked import RunOptions
from runner.execution.planned import Plan, plan_job, render_job
from runner.types import Request
from support.frozen_clock import FrozenClock
from support.job_project import write_project

ROWS = 12
JOB = """\
name: reviews
model: claude-haiku-5-5
params: {max_tokens: 1024}
system: [{file: rubric.txt, cache: true}]
prompt: "Review: {{ row.text }}"
dataset: {path: data.csv, key: id}
"""
SETTINGS = "batch_min_rows = 10\nbatch_max_requests = 5\nprices = 'prices.toml'\n"
FILES = {
    "data.csv": "id,text\n" + "".join(f"{n},good\n" for n in range(ROWS)),
    "rubric.txt": "A rubric for reviews. " * 400,
    "prices.toml": '["claude-haiku-5-5"]\ninput = 1\noutput = 5\n',
}


def planned(folder: Path, more: str = "", settings: str = "", **options: Any) -> Plan:
    write_project(folder, {**FILES, "runner.toml": SETTINGS + settings, "jobs/reviews.yaml": JOB + more})
    return plan_job(folder / "jobs" / "reviews.yaml", RunOptions(environ={}, **options), FrozenClock())


def told(plan: Plan) -> dict[str, str]:
    """The facts of a plan as people read them, by label; the costs and other repeated labels joined."""
    found: dict[str, str] = {}
    for line in plan_lines(plan)[1:]:
        label, text = line[2:11].strip(), line[11:]
        found[label] = f"{found[label]}; {text}" if label in found else text
    return found


def test_a_run_of_many_requests_is_planned_in_batches(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    assert plan.mode == "batch"
    assert plan.why == "12 requests are enough for batches, which take half off every price"
    assert plan.priming is not None
    assert plan.priming.pays
    assert plan.estimate.primed
    assert told(plan)["batches"] == "1 of a single request first, then 3"
    assert told(plan)["priming"].startswith("yes: 11 requests can read about")
    assert "queue" not in told(plan)
    assert plan.to_dict()["batches"] == {
        "count": 3,
        "waves": 1,
        "queue_requests": 200_000,
        "all_at_once_usd": plan.to_dict()["cost_usd"]["batch"]["upper"],
        "priming": {"pays": True, "why": plan.priming.why, "saved_usd": pytest.approx(0.02, abs=0.02)},
    }


def test_a_plan_in_parallel_mode_speaks_of_no_batches(tmp_path: Path) -> None:
    plan = planned(tmp_path, "mode: parallel\n")
    assert plan.priming is None
    assert not plan.estimate.primed
    assert plan.to_dict()["batches"] is None
    assert not {"batches", "priming", "queue"} & told(plan).keys()


def test_a_plan_in_parallel_mode_tells_how_the_cache_is_filled(tmp_path: Path) -> None:
    plan = planned(tmp_path, "mode: parallel\n")
    assert told(plan)["warm-up"] == "no: for 12 requests the first row does as well, and costs nothing"
    many = {"data.csv": "id,text\n" + "".join(f"{n},good\n" for n in range(300))}
    write_project(tmp_path, many)
    plan = plan_job(tmp_path / "jobs" / "reviews.yaml", RunOptions(environ={}), FrozenClock())
    assert plan.warm_up is not None
    assert plan.warm_up.pays
    assert told(plan)["warm-up"].startswith("yes: 300 requests can read about")
    assert plan.to_dict()["cache"] == {"warm_up": {"pays": True, "why": plan.warm_up.why}, "row_prefixes": 0}
    assert "cache" not in told(plan)
    assert planned(tmp_path, "mode: batch\n").to_dict()["cache"] is None


def test_a_plan_counts_the_prefixes_that_rows_bring(tmp_path: Path) -> None:
    job = JOB.replace(
        'prompt: "Review: {{ row.text }}"',
        'messages: [{role: user, content: [{text: "{{ row.text }}", cache: true}, "Why {{ row.id }}?"]}]',
    )
    texts = {"data.csv": "id,text\n" + "".join(f"{n},{'abc'[n % 3] * 5_000}\n" for n in range(ROWS))}
    folder = write_project(tmp_path, {**FILES, **texts, "runner.toml": SETTINGS, "jobs/reviews.yaml": job})
    plan = plan_job(folder / "jobs" / "reviews.yaml", RunOptions(environ={}, limit=ROWS), FrozenClock())
    assert told(plan)["cache"] == "3 different prefixes of the rows' own, each written by its first row"
    assert plan.to_dict()["cache"]["row_prefixes"] == 3


@pytest.mark.parametrize("options", [{"limit": 11}, {"simulate": True}])
def test_a_trial_is_planned_in_parallel(tmp_path: Path, options: dict[str, Any]) -> None:
    assert planned(tmp_path, **options).why == "a trial is to answer at once"


def test_a_cap_that_does_not_cover_all_batches_is_told_with_the_one_that_does(tmp_path: Path) -> None:
    below = told(planned(tmp_path, "limits: {max_cost_usd: 0.1}\n"))
    assert below["note"].startswith("batches wait for one another under this cap; from $")
    assert "note" not in told(planned(tmp_path, "limits: {max_cost_usd: 100}\n"))


def test_more_than_the_queue_takes_is_told(tmp_path: Path) -> None:
    queue = told(planned(tmp_path, settings="batch_queue_requests = 11\n"))["queue"]
    assert queue == "takes 11 requests at once; the others wait until batches have ended"


def test_what_a_deadline_rules_out_is_told(tmp_path: Path) -> None:
    plan = planned(tmp_path, "mode: batch\nlimits: {deadline: 3h}\n")
    assert told(plan)["priming"] == "no: a deadline in less than 4 hours leaves no time for it"
    assert [problem.code for problem in plan.warnings] == ["dearer-in-batches"]


def test_a_deadline_makes_batches_smaller(tmp_path: Path) -> None:
    """Of 10 hours one batch may take an hour to be answered again: 1,800 requests, one at a time."""
    many = "id,text\n" + "".join(f"{n},good\n" for n in range(4_000))
    write_project(
        tmp_path, {**FILES, "data.csv": many, "jobs/reviews.yaml": JOB, "runner.toml": "prices = 'prices.toml'\n"}
    )
    for deadline, batches in (("10h", 3), ("100h", 1)):
        sets = [f"limits={{deadline: {deadline}, max_concurrency: 1}}"]
        options = RunOptions(environ={}, sets=sets)
        assert plan_job(tmp_path / "jobs" / "reviews.yaml", options, FrozenClock()).estimate.batches == batches


@pytest.mark.parametrize(("settings", "ttl"), [("", b'"ttl":"1h"'), ("batch_min_rows = 13\n", b'"ttl":"5m"')])
def test_requests_are_shown_as_the_mode_would_send_them(tmp_path: Path, settings: str, ttl: bytes) -> None:
    toml = "prices = 'prices.toml'\n" + (settings or "batch_min_rows = 10\n")
    write_project(tmp_path, {**FILES, "runner.toml": toml, "jobs/reviews.yaml": JOB})
    shown = list(render_job(tmp_path / "jobs" / "reviews.yaml", RunOptions(environ={})))
    assert len(shown) == ROWS
    assert all(isinstance(request, Request) and ttl in request.body for _, request in shown)


@pytest.mark.parametrize(
    ("deadline", "mode", "told_of"),
    [
        ("6h", "batch", None),
        ("25s", "batch", "the deadline leaves no time for batches"),
        ("5s", "batch", "12 requests are assumed to take 24 seconds in parallel, and the deadline is in 5 seconds"),
        ("5s", "parallel", "12 requests are assumed to take 24 seconds in parallel"),
        ("60s", "parallel", None),
    ],
)
def test_a_deadline_that_cannot_be_kept_is_told(tmp_path: Path, deadline: str, mode: str, told_of: str | None) -> None:
    plan = planned(tmp_path, f"mode: {mode}\nlimits: {{deadline: {deadline}, max_concurrency: 1}}\n")
    messages = [warning.message for warning in plan.warnings if warning.code == "short-deadline"]
    assert [message.startswith(told_of or "-") for message in messages] == ([] if told_of is None else [True])
