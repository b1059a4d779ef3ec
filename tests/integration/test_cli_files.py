"""`runner files`: what is kept at the API, and its deletion, through the command line and the stand-in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runner.ledger.uploads import UploadIndex
from support.api import SimulatedApi
from support.harness import Done, Project
from support.here import Here
from support.uploads import project_at


@pytest.fixture(scope="module")
def api_options() -> dict[str, str]:
    return {"key": "*", "batch_latency": "10min"}


@pytest.fixture
def project(tmp_path: Path, api: SimulatedApi) -> Project:
    return project_at(tmp_path, api, questions=4, documents=2)


def objects(done: Done) -> list[dict[str, object]]:
    assert done.status == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_project_without_uploads_has_no_files(project: Project, here: Here) -> None:
    assert "no files are kept" in here.runner(project, "files").stdout
    assert "no files to delete" in here.runner(project, "files", "--delete").stdout
    assert not (project.root / ".runner" / "uploads.db").exists(), "and none is made by looking"


def test_files_are_listed_and_deleted(project: Project, api: SimulatedApi, here: Here) -> None:
    assert here.runner(project, "run", "jobs/x.yaml", "--mode", "parallel").status == 0
    listed = objects(here.runner(project, "files", "--format", "json"))
    assert [file["file_id"] for file in listed] == [upload["id"] for upload in api.uploads()]
    assert all(file["here"] and file["noted"] and file["named_by"] == [] for file in listed)
    assert "application/pdf" in here.runner(project, "files").stdout
    one = str(listed[0]["file_id"])
    (deleted,) = objects(here.runner(project, "files", one, "--delete", "--format", "json"))
    assert deleted == {"file_id": one, "end": "deleted", "message": ""}
    assert len(objects(here.runner(project, "files", "--format", "json"))) == 1
    assert here.runner(project, "files", "--delete").stdout == f"{listed[1]['file_id']}  deleted\n"
    assert objects(here.runner(project, "files", "--format", "json")) == []
    assert here.runner(project, "run", "jobs/x.yaml", "--no-reuse", "--mode", "parallel").status == 0
    assert len(api.uploads()) == 4, "what was deleted is sent again where it is wanted"


def test_files_that_a_batch_at_the_api_names_are_kept(project: Project, api: SimulatedApi, here: Here) -> None:
    assert here.runner(project, "run", "jobs/x.yaml", "--mode", "batch", "--detach").status == 6
    (run_id,) = project.runs()
    ends = objects(here.runner(project, "files", "--delete", "--format", "json"))
    assert [end["end"] for end in ends] == ["in_use"] * 2
    assert run_id in str(ends[0]["message"])
    (by_name,) = objects(here.runner(project, "files", str(ends[0]["file_id"]), "--delete", "--format", "json"))
    assert by_name["end"] == "in_use"
    api.end_batches()
    assert here.runner(project, "resume").status == 0
    ends = objects(here.runner(project, "files", "--delete", "--format", "json"))
    assert [end["end"] for end in ends] == ["deleted"] * 2


def test_files_that_arrived_unheard_are_found_and_deleted(project: Project, api: SimulatedApi, here: Here) -> None:
    assert here.runner(project, "run", "jobs/x.yaml", "--mode", "parallel").status == 0
    with UploadIndex(project.root / ".runner" / "uploads.db") as index:
        index._connection.execute("DELETE FROM files WHERE number = 1")
    assert len(objects(here.runner(project, "files", "--format", "json"))) == 1
    found = objects(here.runner(project, "files", "--ask-api", "--format", "json"))
    assert [file["noted"] for file in found] == [True, False]
    ends = objects(here.runner(project, "files", "--delete", "--format", "json"))
    assert {end["file_id"] for end in ends} == {upload["id"] for upload in api.uploads()}
    assert [end["end"] for end in ends] == ["deleted"] * 2


def test_a_file_that_is_just_being_uploaded_is_kept(project: Project, api: SimulatedApi, here: Here) -> None:
    assert here.runner(project, "run", "jobs/x.yaml", "--mode", "parallel").status == 0
    with UploadIndex(project.root / ".runner" / "uploads.db") as index:
        one, other = index.all()
        index._connection.execute("DELETE FROM files WHERE file_id = ?", (one.file_id,))
        assert index.claim(one.scope, one.content)  # as a process does that has sent it and has no answer yet
        index.intend(one.scope, one.content)
        ends = {end["file_id"]: end for end in objects(here.runner(project, "files", "--delete", "--format", "json"))}
    assert ends[one.file_id]["end"] == "in_use"
    assert "being uploaded" in str(ends[one.file_id]["message"])
    assert ends[other.file_id]["end"] == "deleted"
    (end,) = objects(here.runner(project, "files", "--delete", "--format", "json"))
    assert end == {"file_id": one.file_id, "end": "deleted", "message": ""}


def test_files_that_are_not_ours_are_left_alone(
    tmp_path: Path, project: Project, api: SimulatedApi, here: Here
) -> None:
    other = project_at(tmp_path / "other", api, questions=4, documents=2)
    assert here.runner(other, "run", "jobs/x.yaml", "--mode", "parallel").status == 0
    assert here.runner(project, "run", "jobs/x.yaml", "--mode", "parallel").status == 0
    theirs = [str(file["file_id"]) for file in objects(here.runner(other, "files", "--format", "json"))]
    (end,) = objects(here.runner(project, "files", theirs[0], "--delete", "--format", "json"))
    assert end["end"] == "unknown"
    assert len(objects(here.runner(project, "files", "--delete", "--format", "json"))) == 2
    assert len(objects(here.runner(other, "files", "--ask-api", "--format", "json"))) == 2


def test_files_of_another_credential_are_left_alone(project: Project, here: Here) -> None:
    assert here.runner(project, "run", "jobs/x.yaml", "--mode", "parallel").status == 0
    listed = objects(here.runner(project, "files", "--format", "json", ANTHROPIC_API_KEY="another"))
    assert [file["here"] for file in listed] == [False] * 2
    assert "no files to delete" in here.runner(project, "files", "--delete", ANTHROPIC_API_KEY="another").stdout
    name = str(listed[0]["file_id"])
    (end,) = objects(here.runner(project, "files", name, "--delete", "--format", "json", ANTHROPIC_API_KEY="another"))
    assert end["end"] == "elsewhere"


def test_a_deletion_that_fails_is_told(project: Project, api: SimulatedApi, here: Here) -> None:
    assert here.runner(project, "run", "jobs/x.yaml", "--mode", "parallel").status == 0
    api.fault("500", path="file_delete", times=1)
    done = here.runner(project, "files", "--delete")
    assert done.status == 4
    assert "FAILED: api_error" in done.stdout
    assert len(objects(here.runner(project, "files", "--format", "json"))) == 1


def test_ids_without_a_deed_are_an_error_of_use(project: Project, here: Here) -> None:
    done = here.runner(project, "files", "file_1")
    assert done.status == 2
    assert "add --delete" in done.stderr


def test_no_credential_is_in_the_index(project: Project, here: Here) -> None:
    key = "sk-ant-canary-0123456789"
    assert here.runner(project, "run", "jobs/x.yaml", "--mode", "parallel", ANTHROPIC_API_KEY=key).status == 0
    for path in (project.root / ".runner").rglob("*"):
        assert not path.is_file() or key.encode() not in path.read_bytes(), path
