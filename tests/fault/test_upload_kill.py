"""SIGKILL while files are uploaded: no row is lost, and little is sent twice."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.execution.uploads import AT_ONCE
from support.api import SimulatedApi, simulated_api
from support.harness import Project
from support.uploads import DOCUMENTS, QUESTIONS, project_at

pytestmark = pytest.mark.fault


@pytest.fixture
def api(tmp_path: Path) -> Iterator[SimulatedApi]:
    with simulated_api(tmp_path / "api", batch_latency="50ms") as running:
        yield running


@pytest.mark.parametrize("mode", ["parallel", "batch"])
@pytest.mark.parametrize("after", [(1,), (3, 9, 15), (DOCUMENTS,)], ids=["first", "again and again", "last"])
def test_killed_among_its_uploads_a_run_ends_as_if_it_never_was(
    tmp_path: Path, api: SimulatedApi, mode: str, after: tuple[int, ...]
) -> None:
    project = project_at(tmp_path / "project", api)
    api.fault("slow", path="file_upload", seconds=0.3)
    for uploads in after:
        kill_after(project, api, uploads, mode)
    api.clear_faults()
    done = project.runner("run", "jobs/x.yaml", "--mode", mode, "--format", "json")
    assert done.status == 0, done.stderr
    records = project.records()
    assert [record["key"] for record in records] == [f"q{number}" for number in range(QUESTIONS)]
    assert {record["status"] for record in records} == {"succeeded"}
    sent = [upload["sha256"] for upload in api.uploads()]
    assert len(set(sent)) == DOCUMENTS
    assert len(sent) <= DOCUMENTS + AT_ONCE * len(after), "those in flight at most"
    assert not list((project.root / ".runner" / "uploads.claims").iterdir())


@pytest.mark.parametrize("mode", ["parallel", "batch"])
def test_interrupted_while_an_upload_hangs_a_run_ends_soon_and_goes_on_later(
    tmp_path: Path, api: SimulatedApi, mode: str
) -> None:
    project = project_at(tmp_path / "project", api)
    api.fault("reply_hangs", path="file_upload")
    with project.start("run", "jobs/x.yaml", "--mode", mode) as child:
        while child.poll() is None and not api.uploads():
            time.sleep(0.01)
        child.send_signal(signal.SIGINT)
        started = time.monotonic()
        _, told = child.communicate()
        assert child.returncode == 130, told
        assert time.monotonic() - started < 25, "it waits for no upload"
    api.clear_faults()
    assert project.run("jobs/x.yaml", "--mode", mode)["rows"]["succeeded"] == QUESTIONS
    assert len(api.uploads()) == DOCUMENTS, "what had arrived is used"


def kill_after(project: Project, api: SimulatedApi, uploads: int, mode: str) -> None:
    with project.start("run", "jobs/x.yaml", "--mode", mode) as child:
        while child.poll() is None and len(api.uploads()) < uploads:
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
        child.communicate()
        assert child.returncode in (0, -signal.SIGKILL)
