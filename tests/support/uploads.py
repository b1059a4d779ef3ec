"""A job whose rows share documents that are uploaded once: 200 questions over 20 PDFs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from support.api import SimulatedApi
from support.harness import Project
from support.media import pdf

QUESTIONS, DOCUMENTS = 200, 20
JOB = """\
name: {name}
model: claude-haiku-5-5
params: {{max_tokens: 1024}}
messages:
  - role: user
    content:
      - {{document: "{{{{ row.pdf }}}}", title: "{{{{ row.pdf }}}}", upload: once}}
      - "{{{{ row.question }}}}{tail}"
dataset: {{path: data/questions.jsonl, key: id}}
limits: {{max_concurrency: 8}}
retry: {{initial_interval: 1ms, maximum_interval: 10ms}}
sinks: [out/{name}.jsonl]
"""
SETTINGS = "batch_poll_first_s = 0.02\nbatch_poll_longest_s = 0.05\n"


def project_at(root: Path, api: SimulatedApi, *, questions: int = QUESTIONS, documents: int = DOCUMENTS) -> Project:
    project = Project.make(root, api)
    project.write("runner.toml", SETTINGS)
    (root / "pdf").mkdir()
    for number in range(documents):
        (root / "pdf" / f"{number}.pdf").write_bytes(pdf(2 + number % 3, seed=number))
    rows = [
        {"id": f"q{number}", "pdf": f"pdf/{number % documents}.pdf", "question": f"Question {number}?"}
        for number in range(questions)
    ]
    project.write("data/questions.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    write_job(project)
    return project


def write_job(project: Project, name: str = "x", tail: str = "", *, upload: bool = True) -> None:
    job = JOB.format(name=name, tail=tail)
    project.write(f"jobs/{name}.yaml", job if upload else job.replace(", upload: once", ""))


def sent_once(project: Project, api: SimulatedApi) -> None:
    """Each document is at the API, and was sent a single time."""
    sent = [upload["sha256"] for upload in api.uploads()]
    there = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (project.root / "pdf").iterdir()]
    assert sorted(sent) == sorted(there)
