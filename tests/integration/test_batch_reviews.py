"""The main job over real text in batch mode: nothing lost, nothing twice, the same records as in parallel mode.

The oracles are the dataset as this test reads it, the stand-in's echo of each prompt, and its books.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.reviews import JOB, REVIEWS, ROWS, RUBRIC
from runner.simulator.prompt import echo_of
from support.api import SimulatedApi
from support.batch_forks import Forks
from support.batch_jobs import KEY, SETTINGS, batch_api, check_ledger
from support.harness import Project

pytestmark = pytest.mark.slow

A_BATCH = 500
SAME = ("key", "output", "text", "stop_reason", "row")


@pytest.fixture
def api(tmp_path: Path) -> Iterator[SimulatedApi]:
    with batch_api(tmp_path / "api", batch_latency="500ms") as api:
        yield api


def reviews(root: Path, api: SimulatedApi) -> Project:
    project = Project.make(root, api, **{**SETTINGS, "RUNNER_BATCH_MAX_REQUESTS": str(A_BATCH)})
    project.write("jobs/reviews.yaml", JOB)
    project.write("templates/rubric.md.j2", RUBRIC)
    project.write("data/amazon_reviews.csv", REVIEWS.read_text(encoding="utf-8"))
    return project


def test_every_review_is_judged_once_in_batches_as_in_parallel(
    fork: Forks, tmp_path: Path, api: SimulatedApi, dataset: list[dict[str, str]]
) -> None:
    project = reviews(tmp_path / "batch", api)
    done = fork.runner(project, "run", "jobs/reviews.yaml", "--mode", "batch", "--format", "json")
    assert (done.status, done.summary["rows"]["succeeded"]) == (0, ROWS), done.stderr
    records = project.records("out/reviews.jsonl")
    assert [record["key"] for record in records] == [row["sentence_id"] for row in dataset]
    assert [record["row"] for record in records] == dataset
    for record in records:
        prompt = f"Judge this sentence of a review:\n\n{record['row']['text']}"
        assert record["output"]["why"].endswith(echo_of(prompt)), record["key"]
    account = api.accounts()
    assert (account["requests"], account["batch_requests"], account["batches_repeated"]) == (ROWS, ROWS, 0)
    assert round(done.summary["cost_usd"] * 10**12) == account["cost_pico"], "the bill is the API's"
    check_ledger(project)
    assert KEY not in done.stdout + done.stderr

    api.reset()
    in_parallel = reviews(tmp_path / "parallel", api)
    assert fork.runner(in_parallel, "run", "jobs/reviews.yaml", "--mode", "parallel").status == 0
    others = in_parallel.records("out/reviews.jsonl")
    assert [{name: record[name] for name in SAME} for record in records] == [
        {name: record[name] for name in SAME} for record in others
    ]
