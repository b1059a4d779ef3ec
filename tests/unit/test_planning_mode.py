"""The mode of a run, and the reason that is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runner.catalog.models import ModelFacts
from runner.errors import Location, PlanError
from runner.planning.mode import Choice, can_fall_back, choose, modes_of
from runner.spec.job import Job
from support.job_project import JOB, load_job

NO_BATCHES = ModelFacts("claude-haiku-5-5", "Haiku", batch=False)
LONG = JOB.replace("1024}", "1024, betas: [output-300k-2026-03-24]}") + "mode: batch\n"


def job(folder: Path, more: str = "") -> Job:
    return load_job(folder, JOB + more).job


def chosen(of: Job, **facts: Any) -> Choice:
    known: dict[str, Any] = {
        "requests": 5000,
        "batch_min_rows": 1000,
        "facts": None,
        "provider_batches": True,
        "trial": False,
    }
    return choose(of, **{**known, **facts})


def test_many_requests_go_in_batches(tmp_path: Path) -> None:
    why = "5,000 requests are enough for batches, which take half off every price"
    assert chosen(job(tmp_path)) == Choice("batch", why)
    assert chosen(job(tmp_path), requests=1000).mode == "batch"


def test_few_requests_go_in_parallel(tmp_path: Path) -> None:
    why = "999 requests are fewer than the 1,000 from which batches are used"
    assert chosen(job(tmp_path), requests=999) == Choice("parallel", why)
    assert chosen(job(tmp_path), requests=999, batch_min_rows=999).mode == "batch"


def test_a_trial_goes_in_parallel_however_large(tmp_path: Path) -> None:
    assert chosen(job(tmp_path), trial=True) == Choice("parallel", "a trial is to answer at once")


def test_a_deadline_below_two_hours_leaves_no_room_for_batches(tmp_path: Path) -> None:
    near = job(tmp_path, "limits: {deadline: 119m}\n")
    assert chosen(near) == Choice("parallel", "the deadline is in less than 2 hours")
    assert chosen(job(tmp_path, "limits: {deadline: 2h}\n")).mode == "batch"


def test_auto_takes_what_model_and_api_have(tmp_path: Path) -> None:
    assert chosen(job(tmp_path), provider_batches=False) == Choice("parallel", "this API has no batches")
    assert chosen(job(tmp_path), facts=NO_BATCHES) == Choice("parallel", "claude-haiku-5-5 takes no batches")
    assert chosen(job(tmp_path), facts=ModelFacts("claude-haiku-5-5", "Haiku")).mode == "batch"


@pytest.mark.parametrize("mode", ["parallel", "batch"])
def test_a_job_that_names_its_mode_is_taken_at_its_word(tmp_path: Path, mode: str) -> None:
    said = job(tmp_path, f"mode: {mode}\nlimits: {{deadline: 1h}}\n")
    for facts in ({"requests": 1}, {"requests": 5000}, {"trial": True}):
        assert chosen(said, **facts) == Choice(mode, "the job says so")  # type: ignore[arg-type]  # one of the two


@pytest.mark.parametrize("facts", [{"provider_batches": False}, {"facts": NO_BATCHES}])
def test_batch_mode_that_cannot_be_had_is_refused_not_ignored(tmp_path: Path, facts: dict[str, Any]) -> None:
    with pytest.raises(PlanError, match="batch mode cannot be had") as caught:
        chosen(job(tmp_path, "mode: batch\n"), where=Location("jobs/reviews.yaml", 3), **facts)
    assert caught.value.code == "no-batches"
    assert caught.value.where == Location("jobs/reviews.yaml", 3)


def test_what_only_batches_have_cannot_fall_back(tmp_path: Path) -> None:
    assert can_fall_back(job(tmp_path, "mode: batch\n"))
    assert not can_fall_back(load_job(tmp_path, LONG).job)


def test_a_job_may_be_sent_in_its_mode_and_in_what_it_falls_back_to(tmp_path: Path) -> None:
    assert modes_of(job(tmp_path)) == ("parallel", "batch")
    assert modes_of(job(tmp_path, "mode: parallel\n")) == ("parallel",)
    assert modes_of(job(tmp_path, "mode: batch\n")) == ("batch", "parallel")
    assert modes_of(load_job(tmp_path, LONG).job) == ("batch",)
