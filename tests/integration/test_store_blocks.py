"""Images and documents that lie in a store: read by runner for rows and for the job itself, against a real server."""

from __future__ import annotations

import base64
import json

import pytest

from support.harness import Project
from support.media import pdf, picture
from support.stores import S3Store

JOB = """\
name: x
model: claude-haiku-5-5
params: {max_tokens: 100}
messages:
  - role: user
    content:
      - {document: "BUCKET/rules.pdf", cache: true}
      - {image: "{{ row.photo }}", optional: true}
      - "What is it?"
dataset: {path: data/rows.csv, key: id}
sinks: [out/x.jsonl]
"""


@pytest.fixture
def claims(project: Project, s3: S3Store) -> Project:
    s3.put("rules.pdf", pdf(1))
    s3.put("1.png", picture(40, 30))
    project.write("jobs/x.yaml", JOB.replace("BUCKET", s3.url("")[:-1]))
    project.write("data/rows.csv", f"id,photo\n1,{s3.url('1.png')}\n2,{s3.url('none.png')}\n")
    return project


def test_content_of_a_store_is_sent_as_bytes(claims: Project) -> None:
    done = claims.runner("render", "jobs/x.yaml", "--key", "1")
    document, image, _ = json.loads(done.stdout)["messages"][0]["content"]
    assert base64.b64decode(document["source"]["data"]) == pdf(1)
    assert base64.b64decode(image["source"]["data"]) == picture(40, 30)


def test_what_is_not_there_is_left_out_where_it_may_be(claims: Project) -> None:
    assert claims.run("jobs/x.yaml")["rows"]["succeeded"] == 2


def test_what_is_not_there_is_the_error_of_its_row(claims: Project, s3: S3Store) -> None:
    claims.write("jobs/x.yaml", (claims.root / "jobs/x.yaml").read_text().replace(", optional: true", ""))
    summary = claims.run("jobs/x.yaml")
    assert summary["failures"] == {"input_error": 1}
    assert f"there is no file {s3.url('none.png')}" in claims.records()[1]["error"]["message"]


def test_a_check_makes_no_connection(claims: Project) -> None:
    nowhere = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    done = claims.runner("check", "jobs/x.yaml", environ=nowhere)
    assert done.status == 0, done.stderr


def test_what_the_job_names_is_read_once_and_owned_by_the_run(claims: Project, s3: S3Store) -> None:
    assert claims.run("jobs/x.yaml")["exit_status"] == 0
    s3.put("rules.pdf", b"not a pdf any more")
    done = claims.runner("show", "latest", "--key", "1")
    assert done.status == 0, done.stderr


def test_a_store_that_does_not_answer_stops_a_run_before_anything_is_paid(claims: Project) -> None:
    done = claims.runner(
        "run", "jobs/x.yaml", environ={"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"}
    )
    assert done.status == 3
    assert "rules.pdf cannot be read" in done.stderr


def test_a_row_whose_store_does_not_answer_is_sent_again_the_next_time(claims: Project, s3: S3Store) -> None:
    text = (claims.root / "jobs/x.yaml").read_text()
    claims.write("jobs/x.yaml", text.replace(f'      - {{document: "{s3.url("rules.pdf")}", cache: true}}\n', ""))
    away = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"}
    assert claims.run("jobs/x.yaml", environ=away)["failures"] == {"connection_error": 2}
    summary = claims.run("jobs/x.yaml")
    assert summary["rows"]["succeeded"] == 2


def test_several_processes_read_from_a_store(claims: Project, s3: S3Store) -> None:
    lines = "".join(f"{number},{s3.url('1.png')}\n" for number in range(40))
    claims.write("data/rows.csv", f"id,photo\n{lines}")
    summary = claims.run("jobs/x.yaml", environ={"RUNNER_WORKERS": "2"})
    assert summary["rows"]["succeeded"] == 40, summary
