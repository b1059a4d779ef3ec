"""A project in a folder, and jobs loaded from it, for tests that start from what a user writes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from runner.spec.load import load
from runner.spec.loaded import LoadedJob

JOB = """\
name: reviews
model: claude-haiku-5-5
params: {max_tokens: 1024}
prompt: "Review: {{ row.text }}"
dataset: {path: data.csv, key: id}
"""


def write_project(folder: Path, files: Mapping[str, str]) -> Path:
    """Write files into a project folder; there is always a dataset. Gives the folder back."""
    for name, text in {"runner.toml": "", "data.csv": "id,text\n1,good\n", **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def load_job(folder: Path, job: str = JOB, files: Mapping[str, str] | None = None) -> LoadedJob:
    """Load a job whose text is given, beside the project's files."""
    write_project(folder, {"jobs/reviews.yaml": job, **(files or {})})
    return load(folder / "jobs" / "reviews.yaml", environ={})
