"""Small projects on disk for tests: a job, a template and three rows."""

from __future__ import annotations

from pathlib import Path

JOB = """\
model: claude-haiku-5-5
params: {max_tokens: 100}
prompt: review.md.j2
dataset: data/reviews.csv
"""


def make_project(root: Path, *, job: str = JOB, name: str = "sentiment", files: dict[str, str] | None = None) -> Path:
    """Write a project and return the path of its job. `files` are added, or replace what is there."""
    texts = {
        f"jobs/{name}.yaml": job,
        "templates/review.md.j2": "{{ row.text }}\n",
        "data/reviews.csv": "id,text,stars\n1,Good,5\n2,Bad,1\n3,Fine,3\n",
        **(files or {}),
    }
    for path, text in texts.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return root / f"jobs/{name}.yaml"
