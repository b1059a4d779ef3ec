"""The mode of a job, and the reason that is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.errors import Location, PlanError
from runner.planning.mode import Choice, choose
from support.job_project import JOB, load_job


def test_auto_means_parallel_until_there_is_a_batch_mode(tmp_path: Path) -> None:
    assert choose(load_job(tmp_path, JOB).job) == Choice("parallel", "this version has no batch mode yet")


def test_a_job_that_says_parallel_is_taken_at_its_word(tmp_path: Path) -> None:
    assert choose(load_job(tmp_path, JOB + "mode: parallel\n").job) == Choice("parallel", "the job says so")


def test_batch_mode_is_refused_not_ignored(tmp_path: Path) -> None:
    job = load_job(tmp_path, JOB).job.model_copy(update={"mode": "batch"})
    with pytest.raises(PlanError) as caught:
        choose(job, Location("jobs/reviews.yaml", 3))
    assert caught.value.code == "not-supported-yet"
    assert caught.value.where == Location("jobs/reviews.yaml", 3)
