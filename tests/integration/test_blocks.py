"""Rows with PDFs, images and texts of real sizes, in both modes, through the command line and the stand-in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.simulator.prompt import echo_of, last_user_text
from support.api import SimulatedApi, simulated_api
from support.harness import Project, stable
from support.here import Here
from support.media import pdf, picture

pytestmark = pytest.mark.slow

JOB = """\
name: claims
model: claude-haiku-5-5
params: {max_tokens: 300}
system: You judge claims.
messages:
  - role: user
    content:
      - {document: docs/rules.pdf, title: The rules, cache: true}
      - {document: "{{ row.pdf }}", title: "Claim {{ row.id }}", context: "from {{ row.sender }}", optional: true}
      - {document: "notes/{{ row.id }}.txt", optional: true}
      - {image: "{{ row.photos }}", if: row.photos is not none}
      - {each: row.remarks, if: item.weight > 1, text: "Remark: {{ item.text }}"}
      - "Is claim {{ row.id }} justified?"
dataset: {path: data/claims.jsonl, key: id}
sinks: [out/x.jsonl]
"""


PROMPT = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedApi]:
    with simulated_api(tmp_path_factory.mktemp("api"), latency="20ms", batch_latency="200ms") as running:
        yield running


def write(project: Project, path: str, data: bytes) -> None:
    target = project.root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)


def claims(root: Path, api: SimulatedApi, job: str = JOB) -> Project:
    """Six claims: with and without a PDF, a note and photos."""
    project = Project.make(root, api)
    write(project, "docs/rules.pdf", pdf(12))
    rows = []
    for number in range(6):
        photos = [f"photos/{number}-{place}.bin" for place in range(number % 3)]
        for place, photo in enumerate(photos):
            kind = ("PNG", "JPEG", "WEBP", "GIF")[(number + place) % 4]
            write(project, photo, picture(1200, 900, kind, seed=number))
        if number % 2:
            write(project, f"notes/{number}.txt", f"Note on claim {number}: größer als gedacht\n".encode() * 500)
        if number != 4:
            write(project, f"pdf/{number}", pdf(3 + number, seed=number, compressed=number % 2 == 0))
        remarks = [{"text": f"remark {place}", "weight": place} for place in range(number)]
        path = f"pdf/{number}" if number != 4 else None
        rows.append({"id": str(number), "pdf": path, "sender": "us", "photos": photos or None, "remarks": remarks})
    project.write("data/claims.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    project.write("jobs/claims.yaml", job)
    return project


def test_documents_and_images_are_answered_alike_in_both_modes(tmp_path: Path, api: SimulatedApi, here: Here) -> None:
    project = claims(tmp_path, api)
    assert here.runner(project, "check", "--data").status == 0
    plan = json.loads(here.runner(project, "plan", "jobs/claims.yaml", "--format", "json").stdout)
    parallel = here.runner(project, "run", "jobs/claims.yaml", "--mode", "parallel", "--format", "json")
    assert (parallel.status, parallel.summary["rows"]["succeeded"]) == (0, 6), parallel.stderr
    first = project.records()
    bodies = [json.loads(line) for line in here.runner(project, "render", "jobs/claims.yaml").stdout.splitlines()]
    for record, body in zip(first, bodies, strict=True):
        assert record["output"].startswith(f"[echo {echo_of(last_user_text(body))}]"), "an answer to another row"
    shown = here.runner(project, "show", "latest", "--key", "1").stdout
    assert "[document 'The rules': application/pdf, " in shown
    assert "[image: image/jpeg, " in shown
    batch = here.runner(
        project, "run", "jobs/claims.yaml", "--mode", "batch", "--new", "--no-reuse", "--format", "json"
    )
    assert (batch.status, batch.summary["rows"]["succeeded"]) == (0, 6), batch.stderr
    second = project.records()
    assert {record["mode"] for record in second} == {"batch"}
    used = sum(sum(record["usage"][kind] for kind in PROMPT) for record in second)
    assert used <= plan["input_tokens_upper"]
    assert used / 2 <= plan["input_tokens"] <= used * 2, "an estimate is near what the API counts"
    assert stable(first) == stable(second)
    assert [record["request_hash"] for record in first] == [record["request_hash"] for record in second]


def test_a_file_that_changed_is_another_request_and_one_that_came_back_is_sent(
    tmp_path: Path, api: SimulatedApi, here: Here
) -> None:
    project = claims(tmp_path, api)
    lost = project.root / "pdf/2"
    kept = lost.read_bytes()
    lost.unlink()
    job = JOB.replace('context: "from {{ row.sender }}", optional: true', 'context: "from {{ row.sender }}"')
    job = job.replace('{document: "{{ row.pdf }}"', '{if: row.pdf is not none, document: "{{ row.pdf }}"')
    project.write("jobs/claims.yaml", job)
    first = here.runner(project, "run", "jobs/claims.yaml", "--mode", "parallel", "--format", "json")
    assert (first.status, first.summary["failures"]) == (5, {"input_error": 1}), first.stderr
    before = project.records()
    assert "there is no file 'pdf/2'" in before[2]["error"]["message"]

    lost.write_bytes(kept)
    retried = here.runner(project, "retry", "latest", "--format", "json")
    assert (retried.status, retried.summary["rows"]["succeeded"], retried.summary["requests"]) == (0, 6, 6)
    again = here.runner(project, "run", "jobs/claims.yaml", "--mode", "parallel", "--format", "json")
    assert again.status == 0
    assert len(project.runs()) == 1, "nothing changed, so there is nothing to do"

    write(project, "pdf/3", pdf(2, seed=99))
    changed = here.runner(project, "run", "jobs/claims.yaml", "--mode", "parallel", "--format", "json")
    assert (changed.status, changed.summary["rows"]["reused"]) == (0, 5), changed.stderr
    after = project.records()
    assert [one["request_hash"] == two["request_hash"] for one, two in zip(before[3:], after[3:], strict=True)] == [
        False,
        True,
        True,
    ]


def test_an_unfinished_run_keeps_replies_under_what_was_really_sent(
    tmp_path: Path, api: SimulatedApi, here: Here
) -> None:
    project = claims(tmp_path, api, JOB + "limits: {max_failures: 0, max_concurrency: 1}\n")
    api.fault("400", text="remark 3")
    stopped = here.runner(project, "run", "jobs/claims.yaml", "--mode", "parallel", "--format", "json")
    api.clear_faults()
    assert stopped.status in (4, 5), stopped.stderr
    answered = {one["key"]: one["request_hash"] for one in export(project, here) if one["status"] == "succeeded"}
    for number in range(6):
        write(project, f"notes/{number}.txt", b"Another note.")
    resumed = here.runner(project, "retry", "latest", "--format", "json")
    assert resumed.status == 0, resumed.stderr
    hashes = {one["key"]: one["request_hash"] for one in project.records()}
    assert {key: hashes[key] for key in answered} == answered


def export(project: Project, here: Here) -> list[dict[str, Any]]:
    assert here.runner(project, "export", "latest", "--to", "out/so-far.jsonl").status == 0
    return project.records("out/so-far.jsonl")


def test_several_processes_send_the_same_requests(tmp_path: Path, api: SimulatedApi, here: Here) -> None:
    project = claims(tmp_path, api)
    assert here.runner(project, "run", "jobs/claims.yaml", "--mode", "parallel").status == 0
    one = project.records()
    again = here.runner(
        project, "run", "jobs/claims.yaml", "--mode", "parallel", "--new", "--no-reuse", RUNNER_WORKERS="2"
    )
    assert again.status == 0, again.stderr
    assert [record["request_hash"] for record in project.records()] == [record["request_hash"] for record in one]


def test_what_is_wrong_with_a_row_is_told_before_a_run(tmp_path: Path, api: SimulatedApi, here: Here) -> None:
    project = claims(tmp_path, api)
    write(project, "pdf/3", b"PK\x03\x04\x14\x00 a Word file")
    write(project, "photos/2-0.bin", b"no image")
    checked = here.runner(project, "check", "--data")
    assert checked.status == 3
    assert "'pdf/3' is a ZIP archive, as Word, Excel and PowerPoint files are" in checked.stderr + checked.stdout
    plan = json.loads(here.runner(project, "plan", "jobs/claims.yaml", "--format", "json").stdout)
    assert (plan["failures"], plan["rows"]["unsendable"]) == ({"input_error": 2}, 2)
