"""A small job in batch mode, in a project of its own, and what must be true of it in the end.

Owns   the job and the settings that make it quick: seven requests a batch, polls every few hundredths of a second; and
       the oracles of the campaign. They ask the stand-in's books, the dataset, an undisturbed run and the ledger's
       tables, never what the runner says of itself.

    project = batch_project(tmp_path / "x", api)
    ...
    check(project, api, expected)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from runner.ledger import Batch
from runner.ledger.audit import audit
from runner.ledger.sqlite import SqliteLedger
from support.api import SimulatedApi, simulated_api
from support.batch_forks import CLOCK_AHEAD_S, Forks
from support.harness import Done, Project, stable

Records = list[dict[str, Any]]

ROWS = 20
A_BATCH = 7
SETTINGS = {
    "RUNNER_BATCH_MAX_REQUESTS": str(A_BATCH),
    "RUNNER_BATCH_POLL_FIRST_S": "0.6",
    "RUNNER_BATCH_POLL_LONGEST_S": "1",
    "RUNNER_BATCH_RESEND_ROWS": "0",
}
KEY = "canary-7c1e90"
"""The credential: it must stand in nothing that a run leaves."""
BATCH_API = {"key": KEY, "batch_latency": "150ms"}
"""How its stand-in is started: batches take a moment."""
LIST_LAG_S = 3_700.0
"""Beyond the time after which an absent batch may be sent again on the user's word."""

JOB = """\
name: x
mode: batch
model: claude-haiku-5-5
params: {max_tokens: 200}
prompt: "Judge this: {{ row.text }}"
dataset: {path: data/rows.csv, key: id}
output:
  fields:
    label: [good, bad]
limits: {max_concurrency: 8, max_cost_usd: 5}
retry: {max_attempts: 5, initial_interval: 10ms, maximum_interval: 50ms}
sinks: [out/x.jsonl]
"""


@contextmanager
def batch_api(folder: Path, **options: Any) -> Iterator[SimulatedApi]:
    """A stand-in of the test's own, where the one that a file's tests share will not do."""
    with simulated_api(folder, **{**BATCH_API, **options}) as api:
        yield api


def of_these(cases: Sequence[str], quick: Sequence[str]) -> list[Any]:
    """Parameters of a test: the `quick` ones always, the others in the campaign."""
    assert set(quick) <= set(cases)
    return [case if case in quick else pytest.param(case, marks=pytest.mark.campaign) for case in cases]


def batch_project(
    root: Path, api: SimulatedApi, *, rows: int = ROWS, replaced: Mapping[str, str] | None = None, **environ: str
) -> Project:
    project = Project.make(root, api, **{**SETTINGS, **environ})
    text = JOB
    for old, new in (replaced or {}).items():
        assert old in text, f"{old!r} is not in the job"
        text = text.replace(old, new)
    project.write("jobs/x.yaml", text)
    project.rows(rows)
    return project


def undisturbed(fork: Forks, root: Path, api: SimulatedApi, **options: Any) -> Records:
    """What the job's records are when nothing goes wrong; the stand-in is clean afterwards."""
    api.reset()
    project = batch_project(root, api, **options)
    done = fork.runner(project, "run", "jobs/x.yaml", "--format", "json")
    assert done.status == 0, done.stderr
    records = stable(project.records())
    api.reset()
    return records


def go_on(
    fork: Forks, project: Project, *arguments: str, tries: int = 12, environ: Mapping[str, str] | None = None
) -> list[Done]:
    """Run the job, as a user would who sees it end early, until it has ended; all that was run.

    A batch that stays in doubt is given up, on the user's word, once an hour has passed: the ledger must have said that
    it is in doubt, and the stand-in's books tell afterwards whether that bought anything twice.
    """
    all_done: list[Done] = []
    for _ in range(tries):
        done = fork.runner(project, "run", "jobs/x.yaml", *arguments, "--format", "json", environ=environ)
        all_done.append(done)
        if done.status in (0, 5):
            return all_done
        if stopped_by(done) == "in_doubt":
            assert done.status == 4, done.stderr
            late = {**(environ or {}), CLOCK_AHEAD_S: str(LIST_LAG_S)}
            done = fork.resume(project, "--resend", environ=late)
            all_done.append(done)
            if done.status in (0, 5):
                return all_done
    last = all_done[-1]
    statuses = [done.status for done in all_done]
    raise AssertionError(f"the run does not end: {statuses}\n{last.stdout}{last.stderr}")


def stopped_by(done: Done) -> str | None:
    """What stopped the run, by the summary's word; None where nothing did, or it said nothing."""
    reason = done.summary["stopped_by"] if done.stdout else None
    return None if reason is None else str(reason["kind"])


# -- the oracles -------------------------------------------------------------------------------------------------------


def check(
    project: Project, api: SimulatedApi, expected: Sequence[Mapping[str, Any]], *, doubtful_pico: int | None = 0
) -> None:
    """Everything but the exit status (O1 to O6 of the campaign): money, rows, content, the ledger, the credential.

    `doubtful_pico` is what may stay in doubt, None where anything may.
    """
    records = stable(project.records())
    assert [record["key"] for record in records] == [record["key"] for record in expected], "a row is lost, or twice"
    assert records == expected
    check_money(project, api, doubtful_pico)
    check_ledger(project)
    check_canary(project)


def check_money(project: Project, api: SimulatedApi, doubtful_pico: int | None = 0) -> None:
    """No request was bought twice, and the ledger's bill is the stand-in's."""
    api.end_batches()  # whatever was bought is in its books then
    account = api.accounts()
    assert account["batches_repeated"] == 0, "one batch was accepted twice"
    assert account["most_repeated"] <= 1, f"a request was billed {account['most_repeated']} times"
    with opened(project) as ledger:
        money = ledger.money()
    assert money.reserved == 0
    assert doubtful_pico is None or money.doubtful == doubtful_pico, money
    assert money.spent == account["cost_pico"], (money, account)


def check_ledger(project: Project) -> None:
    for run in project.runs():
        wrong = audit(project.root / ".runner" / "runs" / run)
        assert not wrong, wrong


def check_canary(project: Project) -> None:
    """The credential is in no file that the run has left."""
    for path in project.root.rglob("*"):
        if path.is_file():
            assert KEY.encode() not in path.read_bytes(), f"the credential stands in {path}"


@contextmanager
def opened(project: Project) -> Iterator[SqliteLedger]:
    """The ledger of the last run, to read."""
    with SqliteLedger.open(project.root / ".runner" / "runs" / project.runs()[-1], read_only=True) as ledger:
        yield ledger


def batches_of(project: Project) -> Sequence[Batch]:
    with opened(project) as ledger:
        return ledger.batches()


def bought(api: SimulatedApi) -> int:
    """How many requests the stand-in has accepted in batches."""
    accepted: int = api.accounts()["batch_requests"]
    return accepted
