"""Jobs whose rows and records lie in stores: S3, the web, SFTP, an archive; the whole program against real servers."""

from __future__ import annotations

import gzip
import json
import zipfile

import pytest

from support.api import SimulatedApi
from support.harness import Project
from support.stores import S3Store, SftpServer, WebServer, cutting_proxy

ROWS = "id,text\n" + "".join(f"k{number},text number {number}\n" for number in range(12))
PATH = "{path: data/rows.csv, key: id}"
SINK = "[out/x.jsonl]"


def keys(data: bytes) -> list[str]:
    return [json.loads(line)["key"] for line in data.splitlines()]


def job(project: Project, path: str, sink: str = "out/x.jsonl") -> None:
    project.job("x", replaced={PATH: f'{{path: "{path}", key: id}}', SINK: f'["{sink}"]'})


def test_rows_come_from_s3_and_records_go_there(project: Project, s3: S3Store) -> None:
    s3.put("in/2.csv.gz", gzip.compress(ROWS.encode()))
    s3.put("in/1.csv.gz", gzip.compress(b"id,text\nfirst,the first\n"))
    job(project, s3.url("in/*.csv.gz"), s3.url("out/{{ job.name }}.jsonl.gz"))
    summary = project.run("jobs/x.yaml")
    assert summary["exit_status"] == 0, summary
    assert summary["sinks"][0]["target"] == s3.url("out/x.jsonl.gz")
    found = keys(gzip.decompress(s3.get("out/x.jsonl.gz") or b""))
    assert found == ["first", *(f"k{number}" for number in range(12))]

    again = project.runner("run", "jobs/x.yaml")
    assert again.status == 0
    assert "nothing to do" in (again.stdout + again.stderr).lower()
    s3.client.delete_object(Bucket=s3.bucket, Key="out/x.jsonl.gz")
    assert project.run("jobs/x.yaml")["requests"] == 0
    assert keys(gzip.decompress(s3.get("out/x.jsonl.gz") or b"")) == found


def test_an_object_of_somebody_else_stops_a_run_before_anything_is_paid(
    project: Project, api: SimulatedApi, s3: S3Store
) -> None:
    s3.put("out/x.jsonl", b"theirs")
    job(project, "data/rows.csv", s3.url("out/x.jsonl"))
    done = project.runner("run", "jobs/x.yaml")
    assert done.status == 4
    assert "did not write it" in done.stderr
    assert s3.get("out/x.jsonl") == b"theirs"
    assert api.requests() == []


def test_a_trial_writes_beside(project: Project, s3: S3Store) -> None:
    job(project, "data/rows.csv", s3.url("out/x.jsonl"))
    assert project.run("jobs/x.yaml", "--limit", "2")["exit_status"] == 0
    assert s3.names() == ["out/x.trial.jsonl"]


def test_a_check_makes_no_connection(project: Project, web: WebServer) -> None:
    job(project, web.url("rows.csv"), "s3://nowhere/x.jsonl")
    done = project.runner("check", "jobs/x.yaml")
    assert done.status == 0, done.stderr
    assert web.requests == []


def test_a_sink_that_cannot_be_written_is_an_error_of_check(project: Project) -> None:
    job(project, "data/rows.csv", "https://host/x.jsonl")
    done = project.runner("check", "jobs/x.yaml")
    assert done.status == 3
    assert "read-only-target" in done.stderr


def test_rows_of_the_web_survive_a_lost_connection(project: Project, web: WebServer) -> None:
    web.files["rows.csv"] = ROWS.encode()
    web.cuts.extend([100, 50, 30])
    job(project, web.url("rows.csv?signature=secret"))
    done = project.runner("run", "jobs/x.yaml", "--format", "json")
    assert done.summary["rows"]["succeeded"] == 12
    told = done.stdout + done.stderr + "".join(path.read_text() for path in project.root.rglob("log.jsonl"))
    assert "secret" not in told


@pytest.mark.parametrize("path", ["missing.csv", "missing.csv?signature=secret"])
def test_a_file_that_is_not_there_is_told(project: Project, web: WebServer, path: str) -> None:
    job(project, web.url(path))
    done = project.runner("run", "jobs/x.yaml")
    assert done.status == 3
    assert "error[file-not-found]" in done.stderr
    assert "missing.csv" in done.stderr
    assert "secret" not in done.stderr + done.stdout


def test_rows_come_from_sftp_and_records_go_there(project: Project, sftp: SftpServer) -> None:
    (sftp.folder / "rows.csv").write_text(ROWS)
    job(project, sftp.url("rows.csv"), sftp.url("out/x.jsonl"))
    options = {"FSSPEC_SFTP": json.dumps({"password": "made-up", "allow_agent": False, "look_for_keys": False})}
    done = project.runner("run", "jobs/x.yaml", environ=options)
    assert done.status == 0, done.stderr
    assert len(keys((sftp.folder / "out/x.jsonl").read_bytes())) == 12
    everything = b"".join(path.read_bytes() for path in project.root.rglob("*") if path.is_file())
    assert b"made-up" not in everything
    assert "made-up" not in done.stdout + done.stderr


def test_rows_come_from_an_archive(project: Project) -> None:
    with zipfile.ZipFile(project.root / "all.zip", "w") as archive:
        archive.writestr("deep/rows.csv", ROWS)
    job(project, "zip://deep/rows.csv::all.zip")
    assert project.run("jobs/x.yaml")["rows"]["succeeded"] == 12


def test_a_run_is_exported_to_a_url(project: Project, s3: S3Store) -> None:
    assert project.run("jobs/x.yaml")["exit_status"] == 0
    done = project.runner("export", "latest", "--to", s3.url("copy.csv"))
    assert done.status == 0, done.stderr
    assert (s3.get("copy.csv") or b"").startswith(b"key,")
    assert project.runner("export", "latest", "--to", s3.url("copy.data"), "--as", "jsonl").status == 0
    assert keys(s3.get("copy.data") or b"") == [f"k{number}" for number in range(12)]


def test_a_store_that_is_away_at_the_end_costs_nothing_but_an_export(
    project: Project, api: SimulatedApi, s3: S3Store
) -> None:
    """The store is there when the run begins, and gone when it has ended."""
    with cutting_proxy(s3.endpoint) as proxy:
        job(project, "data/rows.csv", s3.url("out/x.jsonl"))
        away = {"AWS_ENDPOINT_URL": proxy.address, "AWS_MAX_ATTEMPTS": "1"}
        proxy.way, proxy.cut_after, proxy.times = "up", 4_000, 1_000  # the questions pass, the object does not
        done = project.runner("run", "jobs/x.yaml", "--format", "json", environ=away)
    assert done.status == 4
    assert done.summary["rows"]["succeeded"] == 12
    assert done.summary["sinks"][0]["status"] == "failed"
    assert "cannot be written" in done.summary["sinks"][0]["error"]
    assert s3.names() == []
    paid = len(api.requests())
    assert project.runner("export", "latest").status == 0
    assert keys(s3.get("out/x.jsonl") or b"") == [f"k{number}" for number in range(12)]
    assert len(api.requests()) == paid
