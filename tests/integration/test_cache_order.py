"""Cached prefixes in parallel mode, against the stand-in's own account: each is written once, whatever is in flight.

The job asks several questions about each of some documents, behind a system prompt that all rows share. The least
possible bill is one write of the prompt, one of each document (which reads the prompt), and readings of the rest.
"""

from __future__ import annotations

import csv
import random
import signal
import time  # noqa: TID251 - waits for another process
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from runner.ledger.audit import audit
from runner.simulator.prompt import echo_of
from support.api import SimulatedApi
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
def api_options() -> dict[str, str]:
    return {"latency": "60ms"}


def texts_of(document: int, question: int) -> tuple[str, str]:
    return f"Document {document:04}. " + "Some words of it. " * 250, f"Why {question}?"


def make(root: Path, api: SimulatedApi, *, slots: int, rows: Sequence[Row] = LAYOUTS["by question"]) -> Project:
    project = Project.make(root, api)
    project.write("docs/rules.md", "Answer in a word. " * 200)
    project.write("jobs/x.yaml", JOB.format(slots=slots))
    with project.write("data/rows.csv", "").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "document", "question"])
        writer.writerows((f"d{document}q{question}", *texts_of(document, question)) for document, question in rows)
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
    assert not list((project.root / ".runner/runs" / run_id).glob("grouping*"))


def test_a_documents_questions_are_asked_one_after_the_other(tmp_path: Path, api: SimulatedApi) -> None:
    slots = 4
    project = make(tmp_path, api, slots=slots, rows=LAYOUTS["shuffled"])
    assert project.run("jobs/x.yaml")["exit_status"] == 0
    place = {entry["echo"]: number for number, entry in enumerate(api.requests())}
    for document in range(DOCUMENTS):
        places = [place[echo_of("\n\n".join(texts_of(document, question)))] for question in range(QUESTIONS)]
        assert max(places) - min(places) <= QUESTIONS + 4 * slots


@pytest.mark.parametrize(
    ("layout", "slots"), [("by question", 3), ("by question", 50), ("shuffled", 400), ("by document", 400)]
)
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


def test_without_a_warm_up_the_first_row_writes_the_prompt_with_its_document(tmp_path: Path, api: SimulatedApi) -> None:
    project = make(tmp_path, api, slots=400)
    add(project, SCHEMA)
    summary = project.run("jobs/x.yaml")
    assert (summary["exit_status"], api.accounts()["requests"]) == (0, ROWS)
    one_write_each(api, warmed_up=False)
    check_bill(project, api, summary)


# -- faults ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "slots"), [("529", 7), ("reset", 400), ("stream_ends", 20), ("truncated", 400), ("reply_lost", 20)]
)
def test_a_leader_that_fails_costs_at_most_its_own_document_again(
    tmp_path: Path, api: SimulatedApi, kind: str, slots: int
) -> None:
    project = make(tmp_path, api, slots=slots)
    api.fault(kind, text="Document 0003.", times=1)
    api.fault(kind, text="Document 0021.", times=2)
    summary = project.run("jobs/x.yaml")
    assert (summary["exit_status"], summary["rows"]["succeeded"]) == (0, ROWS)
    writes = written(api)
    # What fails before it is billed wrote nothing. What is cut later was written, and is read from then on.
    lost = {"529": 0, "500": 0, "reset": 0}.get(kind, 3)
    assert len(writes) <= DOCUMENTS + 1 + (lost if kind == "reply_lost" else 0)
    assert api.accounts()["requests"] <= ROWS + 1 + lost


def test_the_first_of_all_may_fail_too(tmp_path: Path, api: SimulatedApi) -> None:
    project = make(tmp_path, api, slots=50)
    add(project, SCHEMA)
    api.fault("529", nth=1)
    summary = project.run("jobs/x.yaml")
    assert (summary["exit_status"], api.accounts()["requests"]) == (0, ROWS)
    one_write_each(api, warmed_up=False)
    check_bill(project, api, summary)


@pytest.mark.parametrize("kind", ["400", "529"])
def test_a_warm_up_that_fails_leaves_it_to_the_first_row(tmp_path: Path, api: SimulatedApi, kind: str) -> None:
    project = make(tmp_path, api, slots=50)
    api.fault(kind, nth=1)
    summary = project.run("jobs/x.yaml")
    assert (summary["exit_status"], api.accounts()["requests"]) == (0, ROWS)
    assert sum("fill the cache" in warning for warning in summary["warnings"]) == 1
    assert summary["overhead_usd"] == 0
    one_write_each(api, warmed_up=False)
    check_bill(project, api, summary)


def test_killed_and_resumed_it_does_not_warm_up_again_and_writes_little_twice(
    tmp_path: Path, api: SimulatedApi
) -> None:
    slots = 20
    project = make(tmp_path, api, slots=slots)
    api.fault("slow", rate=1.0, seconds=0.5)  # so that it cannot be done before the last kill
    kills = 0
    for received in (1, 60, 90):
        with project.start("run", "jobs/x.yaml") as child:
            while child.poll() is None and api.traffic()["received"] < received:
                time.sleep(0.002)
            child.send_signal(signal.SIGKILL)
            child.communicate()
            kills += child.returncode != 0
    assert kills == 3, "the kills no longer hit the run"
    api.clear_faults()
    summary = project.run("jobs/x.yaml")
    assert (summary["exit_status"], summary["rows"]["succeeded"]) == (0, ROWS)
    entries = api.requests()
    assert sum(entry["output_tokens"] == 0 for entry in entries) <= 1
    (run_id,) = project.runs()
    assert audit(project.root / ".runner/runs" / run_id) == []
    known = {record["message_id"] for record in project.records()}
    for document in range(DOCUMENTS):
        asked = {echo_of("\n\n".join(texts_of(document, question))) for question in range(QUESTIONS)}
        writes = [entry for entry in entries if entry["echo"] in asked and entry["ephemeral_5m_input_tokens"]]
        # A write that a kill cut off before its reply had begun is billed, and nothing can be read of it.
        again = [entry["message_id"] in known for entry in writes[:-1]]
        assert writes
        assert not any(again), "documents that were written are read after a kill"
    billed = sum(entry["cost_pico"] for entry in entries if entry["message_id"] in known)
    spent = round((summary["cost_usd"] - summary["overhead_usd"]) * 10**12)
    assert spent == billed


def test_after_a_pause_in_which_the_cache_ran_out_each_document_is_written_once_more_at_most(
    tmp_path: Path, api: SimulatedApi
) -> None:
    project = make(tmp_path, api, slots=20)
    add(project, SCHEMA)
    api.fault("slow", rate=1.0, seconds=0.5)  # so that it cannot be done before the signal
    with project.start("run", "jobs/x.yaml") as child:
        while child.poll() is None and api.traffic()["received"] < 100:
            time.sleep(0.002)
        child.send_signal(signal.SIGINT)
        child.communicate()
    assert child.returncode == 130
    api.clear_faults()
    before = len(written(api))
    api.advance(400.0)
    summary = project.run("jobs/x.yaml")
    assert (summary["exit_status"], api.accounts()["requests"]) == (0, ROWS)
    answered = {record["key"].partition("q")[0] for record in project.records()}
    assert len(answered) == DOCUMENTS
    # Documents that were under way when it stopped are written once more, and the prompt with the first of them.
    assert len(written(api)) <= DOCUMENTS + 20
    assert 0 < before < DOCUMENTS
    check_bill(project, api, summary)
