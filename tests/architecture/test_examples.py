"""The starter project keeps what its pages promise."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from runner.spec.load import load

EXAMPLES = Path(__file__).parents[2] / "runner" / "examples"
JOBS = sorted((EXAMPLES / "jobs").glob("*.yaml"))


def test_these_are_the_jobs_to_copy() -> None:
    names = ["complaints", "orders", "questions", "receipts", "replies", "sentiment", "summaries_ja", "tickets"]
    assert [job.stem for job in JOBS] == names


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.stem)
def test_every_job_names_its_schema_for_editors(job: Path) -> None:
    first = job.read_text(encoding="utf-8").splitlines()[0]
    assert first == "# yaml-language-server: $schema=job.schema.json"
    assert (EXAMPLES / "jobs" / "job.schema.json").is_file()


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.stem)
def test_every_job_has_a_cap(job: Path) -> None:
    assert "max_cost_usd:" in job.read_text(encoding="utf-8")


def test_the_readme_of_the_project_names_every_job() -> None:
    readme = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert [job.name for job in JOBS if f"`jobs/{job.name}`" not in readme] == []


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.stem)
def test_every_job_loads_without_a_warning(job: Path) -> None:
    assert load(job, environ={}).warnings == ()


def test_the_job_in_the_readme_loads_without_a_warning(tmp_path: Path) -> None:
    readme = (EXAMPLES.parents[1] / "README.md").read_text(encoding="utf-8")
    (job,) = re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL)
    project = tmp_path / "project"
    shutil.copytree(EXAMPLES, project)
    (project / "jobs" / "readme.yaml").write_text(job, encoding="utf-8")
    loaded = load(project / "jobs" / "readme.yaml", environ={})
    assert loaded.warnings == ()
    assert len(job.splitlines()) <= 13
