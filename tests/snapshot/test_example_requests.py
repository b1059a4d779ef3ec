"""What the example jobs send, byte for byte: a change of template, shape or encoding shows here first."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.json import JSONSnapshotExtension

from support.harness import ROOT, Project

EXAMPLES = ROOT / "runner" / "examples"
JOBS = sorted(path.stem for path in (EXAMPLES / "jobs").glob("*.yaml"))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    shutil.copytree(EXAMPLES, tmp_path / "starter")
    return Project.make(tmp_path / "starter")


@pytest.mark.parametrize("job", JOBS)
def test_the_first_requests_of_an_example(job: str, project: Project, snapshot: SnapshotAssertion) -> None:
    done = project.runner("render", f"jobs/{job}.yaml", "--limit", "2")
    assert (done.status, done.stderr) == (0, "")
    requests = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(requests) == 2
    assert requests == snapshot(extension_class=JSONSnapshotExtension)


def test_all_rows_share_one_cached_prefix(project: Project) -> None:
    for job in ("sentiment", "tickets", "questions"):
        done = project.runner("render", f"jobs/{job}.yaml")
        systems = {json.dumps(json.loads(line)["system"]) for line in done.stdout.splitlines()}
        assert len(systems) == 1
        assert "cache_control" in systems.pop()
