"""`upload: once` through the command line and the stand-in: what is sent once, and what is sent again."""

from __future__ import annotations

import hashlib
import json
import threading
import urllib.request
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from runner.clock import SystemClock
from runner.ledger.uploads import UploadIndex
from support.api import SimulatedApi
from support.harness import Done, Project
from support.here import Here
from support.uploads import DOCUMENTS, QUESTIONS, project_at, sent_once, write_job

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def api_options() -> dict[str, str]:
    return {"batch_latency": "50ms"}


@pytest.fixture
def project(tmp_path: Path, api: SimulatedApi) -> Project:
    return project_at(tmp_path, api)


def run(here: Here, project: Project, *arguments: str, name: str = "x", **environ: str) -> Done:
    done = here.runner(project, "run", f"jobs/{name}.yaml", "--format", "json", *arguments, **environ)
    assert done.status == 0, done.stderr
    assert done.summary["rows"]["succeeded"] == done.summary["rows"]["total"]
    return done


@pytest.mark.parametrize("mode", ["parallel", "batch"])
def test_questions_over_few_documents_send_each_document_once(
    project: Project, api: SimulatedApi, here: Here, mode: str
) -> None:
    run(here, project, "--mode", mode)
    sent_once(project, api)
    assert api.accounts()["requests"] == QUESTIONS
    write_job(project, tail=" Be brief.")
    run(here, project, "--mode", mode)
    assert api.accounts()["requests"] == 2 * QUESTIONS, "other questions"
    sent_once(project, api)
    other = "parallel" if mode == "batch" else "batch"
    write_job(project, "other", tail=" Be long.")
    run(here, project, "--mode", other, name="other")
    sent_once(project, api)


def test_what_was_asked_with_a_document_within_is_not_asked_again_with_an_uploaded_one(
    project: Project, api: SimulatedApi, here: Here
) -> None:
    write_job(project, upload=False)
    run(here, project, "--mode", "parallel")
    assert api.uploads() == []
    write_job(project)
    assert run(here, project, "--mode", "parallel").summary["rows"]["succeeded"] == QUESTIONS
    assert api.accounts()["requests"] == QUESTIONS
    assert api.uploads() == [], "so nothing had to be uploaded either"


def test_a_batch_of_them_is_small(project: Project, api: SimulatedApi, here: Here) -> None:
    sizes = {}
    for upload in (True, False):
        write_job(project, upload=upload)
        done = here.runner(project, "render", "jobs/x.yaml")
        sizes[upload] = len(done.stdout)
    assert sizes[True] < QUESTIONS * 500
    assert sizes[False] > 20 * sizes[True]


def test_each_uploaded_document_is_written_to_the_cache_once(project: Project, api: SimulatedApi, here: Here) -> None:
    job = (project.root / "jobs" / "x.yaml").read_text()
    project.write("jobs/x.yaml", job.replace("upload: once", "upload: once, cache: true"))
    run(here, project, "--mode", "parallel")
    sent_once(project, api)
    assert api.accounts()["cache_writes"] == DOCUMENTS


def test_a_document_that_all_rows_share_is_sent_once(project: Project, api: SimulatedApi, here: Here) -> None:
    job = (project.root / "jobs" / "x.yaml").read_text()
    shared = "{document: pdf/0.pdf, title: The rules, cache: true, upload: once}"
    project.write("jobs/x.yaml", job.replace("    content:\n", f"    content:\n      - {shared}\n"))
    for mode in ("parallel", "batch"):
        run(here, project, "--mode", mode, "--new", "--no-reuse")
        sent_once(project, api)
    assert [batch["requests"] for batch in api.batches()] == [1, QUESTIONS - 1], "primed"
    assert api.accounts()["modes"]["parallel"]["cache_writes"] == 1, "no warm-up, and one leader"


def test_several_workers_send_each_document_once(project: Project, api: SimulatedApi, here: Here) -> None:
    api.fault("slow", path="file_upload", seconds=0.2)
    run(here, project, "--mode", "parallel", RUNNER_WORKERS="3")
    sent_once(project, api)


def test_two_runs_at_once_send_each_document_once(project: Project, api: SimulatedApi) -> None:
    write_job(project, "y", tail=" Be brief.")
    api.fault("slow", path="file_upload", seconds=0.2)
    ends: list[Done] = []
    threads = [
        threading.Thread(target=lambda name=name: ends.append(project.runner("run", f"jobs/{name}.yaml")))
        for name in ("x", "y")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [end.status for end in ends] == [0, 0], [end.stderr for end in ends]
    sent_once(project, api)


@pytest.mark.parametrize("mode", ["parallel", "batch"])
@pytest.mark.parametrize("why", ["deleted", "expired"])
def test_files_that_are_gone_are_sent_again_and_no_row_fails(
    project: Project, api: SimulatedApi, here: Here, mode: str, why: str
) -> None:
    run(here, project, "--mode", mode)
    if why == "expired":
        api.advance(31 * 24 * 3_600)
    else:
        delete_all(project, api)
    write_job(project, tail=" Be brief.")
    run(here, project, "--mode", mode)
    assert len(api.uploads()) == 2 * DOCUMENTS


def delete_all(project: Project, api: SimulatedApi) -> None:
    """As somebody else would, behind the index's back."""

    for upload in api.uploads():
        request = urllib.request.Request(f"{api.base_url}/v1/files/{upload['id']}", method="DELETE")
        for name, value in {"x-api-key": api.api_key, "anthropic-version": "2026-10-21"}.items():
            request.add_header(name, value)
        urllib.request.urlopen(request, timeout=30).close()


def test_files_that_soon_expire_are_renewed(project: Project, api: SimulatedApi, here: Here) -> None:
    run(here, project, "--mode", "parallel")
    soon = SystemClock().now() + timedelta(hours=10)
    with UploadIndex(project.root / ".runner" / "uploads.db") as index:
        for upload in index.all():
            index.keep(replace(upload, expires_at=soon))
    write_job(project, tail=" Be brief.")
    run(here, project, "--mode", "parallel")
    assert len(api.uploads()) == DOCUMENTS, "for requests in parallel ten hours do"
    write_job(project, tail=" Be long.")
    run(here, project, "--mode", "batch")
    assert len(api.uploads()) == 2 * DOCUMENTS, "for a batch they do not"


@pytest.mark.parametrize("kind", ["reply_lost", "529", "reset"])
def test_uploads_that_fail_now_and_then_lose_no_row(project: Project, api: SimulatedApi, here: Here, kind: str) -> None:
    api.fault(kind, path="file_upload", rate=0.3)
    run(here, project, "--mode", "parallel")
    sent_once(project, api)


def test_a_document_that_cannot_be_uploaded_fails_its_rows_alone(
    project: Project, api: SimulatedApi, here: Here
) -> None:
    data = (project.root / "pdf" / "3.pdf").read_bytes()
    api.fault("413", path="file_upload", text=hashlib.sha256(data).hexdigest()[:32])
    done = here.runner(project, "run", "jobs/x.yaml", "--format", "json", "--mode", "parallel")
    assert done.status == 5, done.stderr
    failed = [record for record in project.records() if record["status"] == "failed"]
    assert len(failed) == QUESTIONS // DOCUMENTS
    assert {record["row"]["pdf"] for record in failed} == {"pdf/3.pdf"}
    assert {record["error"]["kind"] for record in failed} == {"too_large"}


@pytest.mark.parametrize("mode", ["parallel", "batch"])
def test_rows_that_are_asked_again_name_the_same_files(
    project: Project, api: SimulatedApi, here: Here, mode: str
) -> None:
    job = (project.root / "jobs" / "x.yaml").read_text()
    project.write("jobs/x.yaml", f"{job}output: {{fields: {{label: [good, bad]}}, repair: 3}}\n")
    wrong = (3, 17, 42, 43)
    for number in wrong:
        place = {"path": "batch_row"} if mode == "batch" else {}
        api.fault("off_schema", text=f"Question {number}?", times=1, **place)
    run(here, project, "--mode", mode)
    sent_once(project, api)
    assert api.accounts()["requests"] == QUESTIONS + len(wrong), "some were asked again"


@pytest.mark.parametrize("mode", ["parallel", "batch"])
def test_further_turns_and_samples_name_the_same_files(
    tmp_path: Path, api: SimulatedApi, here: Here, mode: str
) -> None:
    project = project_at(tmp_path / "small", api, questions=12, documents=3)
    job = (project.root / "jobs" / "x.yaml").read_text()
    project.write("jobs/x.yaml", f'{job}turns: ["Are you sure?"]\nsamples: 2\n')
    run(here, project, "--mode", mode)
    sent_once(project, api)
    assert api.accounts()["requests"] == 12 * 2 * 2


def test_a_full_storage_stops_the_run_and_says_how_to_make_room(
    project: Project, api: SimulatedApi, here: Here
) -> None:
    api.fault("storage_full", path="file_upload")
    done = here.runner(project, "run", "jobs/x.yaml", "--format", "json", "--mode", "parallel")
    assert (done.status, done.summary["stopped_by"]["kind"]) == (4, "storage_full")
    assert "runner files --delete" in done.summary["stopped_by"]["hint"]
    assert done.summary["rows"]["failed"] == 0


@pytest.mark.parametrize("workers", ["1", "3"])
def test_an_account_that_takes_no_file_stops_the_run_and_it_goes_on_later(
    project: Project, api: SimulatedApi, here: Here, workers: str
) -> None:
    api.fault("on_hold", path="file_upload")
    done = here.runner(project, "run", "jobs/x.yaml", "--format", "json", "--mode", "parallel", RUNNER_WORKERS=workers)
    assert done.status == 4, done.stderr
    assert done.summary["rows"]["failed"] == 0
    api.clear_faults()
    run(here, project, "--mode", "parallel")
    sent_once(project, api)


def test_render_and_plan_upload_nothing(project: Project, api: SimulatedApi, here: Here) -> None:
    rendered = here.runner(project, "render", "jobs/x.yaml", "--limit", "1")
    source = json.loads(rendered.stdout)["messages"][0]["content"][0]["source"]
    data = (project.root / "pdf" / "0.pdf").read_bytes()
    assert source == {"type": "file", "file_id": f"file_pending_{hashlib.sha256(data).hexdigest()}"}
    planned = here.runner(project, "plan", "jobs/x.yaml", "--format", "json")
    assert planned.status == 0, planned.stderr
    size = sum(path.stat().st_size for path in (project.root / "pdf").iterdir())
    forecast = {"files": DOCUMENTS, "size_bytes": size, "known": 0, "at_least": False}
    assert json.loads(planned.stdout)["uploads"] == forecast
    assert f"uploads  20 files, {size / 1e6:.1f} MB" in here.runner(project, "plan", "jobs/x.yaml").stdout
    assert api.uploads() == []
    run(here, project, "--limit", "5")
    write_job(project, tail=" Be brief.")
    planned = here.runner(project, "plan", "jobs/x.yaml", "--format", "json")
    told = json.loads(planned.stdout)["uploads"]
    assert (told["files"], told["known"]) == (DOCUMENTS - 5, 5)


def test_a_simulated_run_uploads_to_its_own_stand_in(project: Project, api: SimulatedApi, here: Here) -> None:
    run(here, project, "--mode", "parallel", "--simulate")
    run(here, project, "--mode", "parallel", "--simulate", "--no-reuse")
    assert api.uploads() == []
    listed = here.runner(project, "files", "--format", "json").stdout.splitlines()
    assert len(listed) == DOCUMENTS, "each was sent once there too"
