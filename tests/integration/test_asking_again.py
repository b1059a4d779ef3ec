"""Replies that are no answer, asked about again: in both modes, by several processes, and through SIGKILL.

One reply in ten is invalid, one in twenty cut off. All rows end valid within the rounds that the job gives them, and
what the records say of tokens and money is what the stand-in has in its books.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.message import parse_reply
from runner.rounds import Rounds
from runner.types import PICO_PER_USD
from support.api import SimulatedApi
from support.batch_forks import Forks
from support.batch_jobs import BATCH_API, batch_project, check_ledger, go_on, opened
from support.crash_points import CRASH_AT
from support.harness import Project

pytestmark = pytest.mark.slow

ROWS = 200
OUTPUT = {"    label: [good, bad]\n": "    label: [good, bad]\n  on_truncation: {max_tokens: [400, 2048]}\n"}
"""A cut-off reply needs 1,024 tokens at the stand-in, so both limits are tried."""
IN_PARALLEL = {**OUTPUT, "mode: batch": "mode: parallel"}
ROUNDS_OF_A_BATCH = 28
"""Requests a batch: several batches a wave, and several waves."""


@pytest.fixture(scope="module")
def api_options() -> dict[str, str]:
    return BATCH_API


@pytest.fixture
def api(api: SimulatedApi) -> SimulatedApi:
    for path in ("/v1/messages", "batch_row"):
        api.fault("cut_off", rate=0.05, path=path)
        api.fault("invalid", rate=0.1, path=path)
    return api


def project_of(root: Path, api: SimulatedApi, *, rows: int = ROWS, mode: str = "batch", **environ: str) -> Project:
    replaced = OUTPUT if mode == "batch" else IN_PARALLEL
    environ = {"RUNNER_BATCH_MAX_REQUESTS": str(ROUNDS_OF_A_BATCH), **environ}
    return batch_project(root, api, rows=rows, replaced=replaced, **environ)


def check_all_valid(project: Project, rows: int = ROWS) -> list[dict[str, Any]]:
    records = project.records()
    assert [record["key"] for record in records] == [f"k{number}" for number in range(rows)]
    assert {record["status"] for record in records} == {"succeeded"}
    assert {record["output"]["label"] for record in records} <= {"good", "bad"}
    return records


def check_bill(records: list[dict[str, Any]], api: SimulatedApi, *, lost: int = 0) -> None:
    """To the token, and to the pico-dollar. `lost` attempts were in a batch that the stand-in never had whole."""
    bill = api.accounts()
    for name in ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"):
        assert sum(record["usage"][name] for record in records) == _billed(bill, name), name
    assert sum(round(record["cost_usd"] * PICO_PER_USD) for record in records) == bill["cost_pico"]
    assert sum(record["attempts"] for record in records) - lost == bill["requests"]
    assert bill["most_repeated"] == 1, "nothing was asked twice in the same words"


def _billed(bill: dict[str, Any], name: str) -> int:
    if name == "cache_creation_input_tokens":
        return int(bill["ephemeral_5m_input_tokens"] + bill["ephemeral_1h_input_tokens"])
    return int(bill[name])


def asked_again(project: Project) -> Counter[str]:
    """How often each kind of further request was made, by the steps in the ledger."""
    counted: Counter[str] = Counter()
    with opened(project) as ledger:
        for row in ledger.rows():
            for attempt in ledger.attempts(row.index):
                rounds = Rounds.of(attempt.step.round)
                counted["repair"] += rounds.repairs > 0
                counted["longer"] += rounds.longer > 0
                counted["attempts"] += 1
    return counted


@pytest.mark.parametrize("mode", ["parallel", "batch", "workers"])
def test_all_rows_end_valid_and_the_records_are_the_bill(
    fork: Forks, tmp_path: Path, api: SimulatedApi, mode: str
) -> None:
    of_mode = "batch" if mode == "batch" else "parallel"
    project = project_of(tmp_path / "x", api, mode=of_mode, RUNNER_WORKERS="2" if mode == "workers" else "1")
    start = project.runner if mode == "workers" else lambda *words: fork.runner(project, *words)
    done = start("run", "jobs/x.yaml", "--format", "json")
    assert done.status == 0, done.stderr
    records = check_all_valid(project)
    check_bill(records, api)
    counted = asked_again(project)
    assert counted["repair"] > ROWS // 20
    assert counted["longer"] > ROWS // 40
    assert counted["attempts"] == done.summary["attempts"]
    assert {record["mode"] for record in records} == {of_mode}
    check_ledger(project)


def test_in_batch_mode_what_is_asked_again_goes_out_in_waves(fork: Forks, tmp_path: Path, api: SimulatedApi) -> None:
    """One wave for the rows; one each for what asks again, whatever its reason."""
    project = project_of(tmp_path / "x", api, RUNNER_BATCH_MAX_REQUESTS="1000")
    assert fork.runner(project, "run", "jobs/x.yaml").status == 0
    sizes = [batch["batch"]["request_counts"]["succeeded"] for batch in api.batches()]
    assert sizes[0] == ROWS
    assert len(sizes) <= 4, "at most: two limits, and a repair besides"
    check_all_valid(project)


def test_few_requests_that_are_left_go_out_in_parallel(fork: Forks, tmp_path: Path, api: SimulatedApi) -> None:
    project = project_of(tmp_path / "x", api, RUNNER_BATCH_MAX_REQUESTS="1000", RUNNER_BATCH_RESEND_ROWS="100")
    assert fork.runner(project, "run", "jobs/x.yaml").status == 0
    assert len(api.batches()) == 1
    records = check_all_valid(project)
    assert {record["mode"] for record in records} == {"batch", "parallel"}
    check_bill(records, api)


def test_another_model_that_is_asked_in_a_batch_has_its_own_price(
    fork: Forks, tmp_path: Path, api: SimulatedApi
) -> None:
    api.clear_faults()
    api.fault("refusal", path="batch_row", text="claude-haiku-5-5", rate=0.2)
    project = project_of(tmp_path / "x", api, rows=40)
    job = (project.root / "jobs/x.yaml").read_text()
    refused = "  on_truncation: {max_tokens: [400, 2048]}\n  on_refusal: {model: claude-sonnet-5-5}\n"
    project.write("jobs/x.yaml", job.replace("  on_truncation: {max_tokens: [400, 2048]}\n", refused))
    assert fork.runner(project, "run", "jobs/x.yaml").status == 0
    records = check_all_valid(project, 40)
    models = Counter(record["model"] for record in records)
    assert 0 < models["claude-sonnet-5-5"] < 40
    check_bill(records, api)


CRASHES = {
    "batch": [
        "before settle_batch 1", "after settle_batch 1", "after settle_batch 3", "after intend_batch 9",
        "before mark_batch:in_progress 9", "after land 8", "before settle_batch 9",
    ],
    "parallel": ["before record 2", "after record 2", "after record 6", "after lease 4"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("mode", "crash_at"), [(mode, crash_at) for mode, points in CRASHES.items() for crash_at in points]
)
def test_a_killed_run_loses_and_doubles_nothing(
    fork: Forks, tmp_path: Path, api: SimulatedApi, mode: str, crash_at: str
) -> None:
    """Between a reply and the request that follows on it as anywhere else."""
    project = project_of(tmp_path / "x", api, mode=mode)
    killed = fork.runner(project, "run", "jobs/x.yaml", "--format", "json", environ={CRASH_AT: crash_at})
    assert killed.status < 0, f"it passes no point {crash_at!r}: {killed.stderr}"
    done = go_on(fork, project)[-1]  # a create may have been under way, and is looked for then
    assert done.status == 0, done.stderr
    records = check_all_valid(project)
    check_ledger(project)
    with opened(project) as ledger:
        money = ledger.money()
    bill = api.accounts()
    if mode == "batch":
        # A batch is collected while the next one is created: a kill may leave that one in doubt.
        check_bill(records, api, lost=_lost(project))
        assert money.spent == bill["cost_pico"]
        return
    known = set(_message_ids(project))
    lost = [entry for entry in api.requests() if entry["message_id"] not in known]
    assert len(lost) <= 2 * 8, "at most two a slot (reliability)"
    assert money.spent == bill["cost_pico"] - sum(entry["cost_pico"] for entry in lost)
    assert sum(round(record["cost_usd"] * PICO_PER_USD) for record in records) == money.spent


def _lost(project: Project) -> int:
    """How many attempts came to nothing that anybody knows."""
    with opened(project) as ledger:
        return sum(attempt.end == "lost" for row in ledger.rows() for attempt in ledger.attempts(row.index))


def _message_ids(project: Project) -> Iterator[str]:
    """The message ids of all replies that the ledger has."""
    with opened(project) as ledger:
        for row in ledger.rows():
            for answered in ledger.replies(row.index):
                yield parse_reply(answered.body).message_id
