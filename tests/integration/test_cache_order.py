"""Cached prefixes in parallel mode, against the stand-in's own account: each is written once, whatever is in flight.

The job asks several questions about each of some documents, behind a system prompt that all rows share. The least
possible bill is one write of the prompt, one of each document (which reads the prompt), and readings of the rest.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from runner.ledger.audit import audit
from support.api import SimulatedApi, simulated_api
from support.harness import Project

DOCUMENTS = 40
QUESTIONS = 6
ROWS = DOCUMENTS * QUESTIONS

JOB = """\
name: x
model: claude-haiku-5-5
params: {{max_tokens: 400, thinking: {{type: disabled}}}}
system:
  - {{file: docs/rules.md, cache: true}}
messages:
  - role: user
    content:
      - {{text: "{{{{ row.document }}}}", cache: true}}
      - "{{{{ row.question }}}}"
dataset: {{path: data/rows.csv, key: id}}
limits: {{max_concurrency: {slots}, max_cost_usd: 5}}
retry: {{initial_interval: 10ms, maximum_interval: 20ms}}
"""
SCHEMA = "output: {fields: {label: [good, bad]}}\n"
"""With structured output the API refuses a warm-up, so that the first row leads."""

Row = tuple[int, int]
"""Document and question."""

LAYOUTS: dict[str, list[Row]] = {
    "by document": [(document, question) for document in range(DOCUMENTS) for question in range(QUESTIONS)],
    "by question": [(document, question) for question in range(QUESTIONS) for document in range(DOCUMENTS)],
}
LAYOUTS["shuffled"] = random.Random(7).sample(LAYOUTS["by question"], ROWS)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedApi]:
    with simulated_api(tmp_path_factory.mktemp("api"), latency="60ms") as api:
        yield api


@pytest.fixture
def api(server: SimulatedApi) -> SimulatedApi:
    server.reset()
    return server


def make(root: Path, api: SimulatedApi, *, slots: int, rows: Sequence[Row] = LAYOUTS["by question"]) -> Project:
    project = Project.make(root, api)
    project.write("docs/rules.md", "Answer in a word. " * 200)
    project.write("jobs/x.yaml", JOB.format(slots=slots))
    with project.write("data/rows.csv", "").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "document", "question"])
        writer.writerows(
            (f"d{document}q{question}", f"Document {document:04}. " + "Some words of it. " * 250, f"Why {question}?")
            for document, question in rows
        )
    return project


def add(project: Project, text: str) -> None:
    path = project.root / "jobs/x.yaml"
    path.write_text(path.read_text() + text)


def written(api: SimulatedApi) -> list[int]:
    """The tokens of each write, in ascending order."""
    return sorted(entry["ephemeral_5m_input_tokens"] for entry in api.requests() if entry["ephemeral_5m_input_tokens"])


def one_write_each(api: SimulatedApi, *, warmed_up: bool) -> None:
    """A write of each document, and one of the prompt: with the first document's where no warm-up has written it."""
    writes = written(api)
    document = writes[len(writes) // 2]
    assert writes.count(document) == DOCUMENTS if warmed_up else DOCUMENTS - 1
    (prompt,) = (tokens for tokens in writes if tokens != document)
    assert len(writes) == DOCUMENTS + warmed_up
    assert 512 < prompt - (0 if warmed_up else document) < document


def check_bill(project: Project, api: SimulatedApi, summary: dict[str, Any]) -> None:
    """The ledger adds up, and says what the stand-in says."""
    (run_id,) = project.runs()
    assert audit(project.root / ".runner/runs" / run_id) == []
    assert round(summary["cost_usd"] * 10**12) == api.accounts()["cost_pico"]
    in_order = [record["key"] for record in project.records()]
    assert in_order == [line.split(",")[0] for line in (project.root / "data/rows.csv").read_text().splitlines()[1:]]
    assert not (project.root / ".runner/runs" / run_id / "grouping.db").exists()


@pytest.mark.parametrize("slots", [3, 50, 400])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_document_is_written_once_and_read_by_all_its_other_questions(
    tmp_path: Path, api: SimulatedApi, layout: str, slots: int
) -> None:
    project = make(tmp_path, api, slots=slots, rows=LAYOUTS[layout])
    summary = project.run("jobs/x.yaml")
    assert (summary["exit_status"], summary["rows"]["succeeded"]) == (0, ROWS)
    assert api.accounts()["requests"] == ROWS + 1
    one_write_each(api, warmed_up=True)
    assert summary["overhead_usd"] > 0
    check_bill(project, api, summary)


@pytest.mark.parametrize("slots", [7, 400])
def test_without_a_warm_up_the_first_row_writes_the_prompt_with_its_document(
    tmp_path: Path, api: SimulatedApi, slots: int
) -> None:
    project = make(tmp_path, api, slots=slots)
    add(project, SCHEMA)
    summary = project.run("jobs/x.yaml")
    assert (summary["exit_status"], api.accounts()["requests"]) == (0, ROWS)
    one_write_each(api, warmed_up=False)
    check_bill(project, api, summary)
