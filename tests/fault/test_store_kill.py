"""Killed while records go to a store: a reader of the target always finds the old content or the new, and running again
delivers what an undisturbed run would have."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.api import SimulatedApi, simulated_api
from support.harness import Project, stable
from support.kill_moments import KillMoments
from support.stores import S3Store, SftpServer

pytestmark = [pytest.mark.fault, pytest.mark.slow]
KILLS = 12
ROWS = 400


@pytest.fixture
def api(tmp_path: Path) -> Iterator[SimulatedApi]:
    with simulated_api(tmp_path / "api") as running:
        yield running


def parsed(data: bytes | None) -> list[dict[str, object]]:
    return [json.loads(line) for line in (data or b"").splitlines()]


def job(project: Project, url: str) -> None:
    project.job("x", rows=ROWS, replaced={"[out/x.jsonl]": f'["{url}"]'})


def kill_at_random_moments(project: Project, seed: int, whole: Callable[[], object]) -> None:
    """Exports the finished run again and again, kills it somewhere, and looks at the target each time."""
    began = time.monotonic()
    with project.start("export", "latest") as child:  # like those that are killed: a fork would start sooner
        child.communicate()
        assert child.returncode == 0
    # What is before that part is the start of the program.
    moments = KillMoments(random.Random(seed), time.monotonic() - began, from_part=0.4)
    kills = exports = 0
    while kills < KILLS:
        exports += 1
        assert exports < 4 * KILLS + 8, "the kills no longer hit the export"
        with project.start("export", "latest") as child:
            time.sleep(moments.next_s())
            child.kill()
            child.communicate()
        kills += moments.note(child.returncode == -signal.SIGKILL)
        whole()


def test_an_object_is_old_or_new_at_any_moment(tmp_path: Path, api: SimulatedApi, s3: S3Store) -> None:
    project = Project.make(tmp_path / "project", api)
    job(project, s3.url("out/x.jsonl"))
    assert project.run("jobs/x.yaml")["exit_status"] == 0
    expected = stable(parsed(s3.get("out/x.jsonl")))
    assert len(expected) == ROWS

    kill_at_random_moments(project, 1, lambda: stable(parsed(s3.get("out/x.jsonl"))) == expected or pytest.fail("half"))
    s3.client.delete_object(Bucket=s3.bucket, Key="out/x.jsonl")
    assert project.runner("export", "latest").status == 0
    assert stable(parsed(s3.get("out/x.jsonl"))) == expected
    assert s3.names() == ["out/x.jsonl"]


def test_a_file_over_sftp_is_old_or_new_at_any_moment(
    tmp_path: Path, api: SimulatedApi, sftp: SftpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"password": "made-up", "allow_agent": False, "look_for_keys": False}
    monkeypatch.setenv("FSSPEC_SFTP", json.dumps(options))
    project = Project.make(tmp_path / "project", api)
    job(project, sftp.url("out/x.jsonl"))
    assert project.run("jobs/x.yaml")["exit_status"] == 0
    target = sftp.folder / "out/x.jsonl"
    expected = stable(parsed(target.read_bytes()))
    assert len(expected) == ROWS

    kill_at_random_moments(project, 2, lambda: stable(parsed(target.read_bytes())) == expected or pytest.fail("half"))
    assert project.runner("export", "latest").status == 0
    assert stable(parsed(target.read_bytes())) == expected
    assert [path.name for path in target.parent.iterdir()] == ["x.jsonl"]
