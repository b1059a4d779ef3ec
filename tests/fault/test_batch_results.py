"""Results that come cut, twice, mangled, under wrong names or not at all: no row is lost, swapped or taken twice.

Every id is accounted for, and a batch closes only when ids and tallies agree: what the API then still withholds stops
the run, which says what to do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from support.api import SimulatedApi
from support.batch_forks import CLOCK_AHEAD_S, Forks
from support.batch_jobs import (
    A_BATCH,
    ROWS,
    Records,
    batch_project,
    batches_of,
    bought,
    check,
    check_ledger,
    of_these,
    stopped_by,
    undisturbed,
)
from support.harness import Project, stable

pytestmark = pytest.mark.fault

BATCHES = -(-ROWS // A_BATCH)
CUT = ("results_cut", "results_cut_length", "results_cut_line", "results_cut_line_length", "results_short",
       "results_short_line", "results_reset", "html", "reset", "404", "500", "529", "429")  # fmt: skip
"""A download that is broken: it is made again."""
HARMLESS = ("results_doubled", "results_unknown_ids", "results_blank_lines", "results_crlf", "results_surrogate",
            "results_no_type", "wrong_type", "results_long_line")  # fmt: skip
"""Odd, and complete all the same. The long line is 16 MB."""
BROKEN = ("results_missing", "results_nan", "results_bad_utf8", "results_not_json", "results_unknown_type",
          "results_conflict")  # fmt: skip
"""A line that cannot be used, or contradicts another one."""
QUICK = ("results_cut_length", "results_short_line", "results_reset", "html", "404", "results_unknown_ids",
         "results_long_line", "results_missing", "results_conflict")  # fmt: skip
AS_TEXT = {"output:\n  fields:\n    label: [good, bad]\n": ""}
"""The job without a schema, whose replies are taken as they are."""
DAYS = 86_400.0


@pytest.mark.parametrize("kind", of_these([*CUT, *HARMLESS, *BROKEN], QUICK))
def test_results_that_are_wrong_once_are_made_good(
    fork: Forks, tmp_path: Path, api: SimulatedApi, kind: str, expected: Records
) -> None:
    api.fault(kind, path="batch_results", nth=2)
    project = batch_project(tmp_path / "x", api, replaced=AS_TEXT if kind == "results_surrogate" else None)
    done = fork.runner(project, "run", "jobs/x.yaml", "--format", "json")
    assert (done.status, done.summary["rows"]["succeeded"]) == (0, ROWS), done.stderr
    if kind == "results_surrogate":  # what the reply says is another text, half a character longer
        check_half_characters(project, expected, 1)
    else:
        check(project, api, expected)
    assert bought(api) == ROWS


@pytest.mark.parametrize("kind", of_these(HARMLESS[:5], ("results_doubled", "results_surrogate")))
def test_results_that_are_always_odd_are_taken_all_the_same(
    fork: Forks, tmp_path: Path, api: SimulatedApi, kind: str, expected: Records
) -> None:
    api.fault(kind)
    project = batch_project(tmp_path / "x", api, replaced=AS_TEXT if kind == "results_surrogate" else None)
    done = fork.runner(project, "run", "jobs/x.yaml", "--format", "json")
    assert done.status == 0, done.stderr
    if kind == "results_surrogate":
        check_half_characters(project, expected, BATCHES)
    else:
        check(project, api, expected)


def check_half_characters(project: Project, expected: Sequence[Mapping[str, Any]], lines: int) -> None:
    """What cannot be written as UTF-8 is written as U+FFFD; the ledger has it as it came."""
    records = project.records()
    assert [record["key"] for record in records] == [record["key"] for record in expected]
    assert sum(record["output"].startswith("\ufffd") for record in records) == lines
    check_ledger(project)


@pytest.mark.parametrize(
    "kind",
    of_these(
        ("results_missing", "results_not_json", "results_unknown_type", "bad_tallies"),
        ("results_missing", "bad_tallies"),
    ),
)
def test_results_that_stay_wrong_stop_the_run_and_buy_nothing(
    fork: Forks, tmp_path: Path, api: SimulatedApi, kind: str, expected: Records
) -> None:
    """What is there is kept; once the API has the rest, resuming takes it."""
    api.fault(kind, text="text number 0")
    api.fault(kind, path="batch" if kind == "bad_tallies" else "batch_results")
    project = batch_project(tmp_path / "x", api)
    done = fork.runner(project, "run", "jobs/x.yaml", "--format", "json")
    assert (done.status, stopped_by(done)) == (4, "results_incomplete"), done.stderr
    assert bought(api) == ROWS
    check_ledger(project)
    again = fork.resume(project)
    assert (again.status, bought(api)) == (4, ROWS), again.stderr
    if kind == "bad_tallies":
        return  # the API says so for ever: the user's word closes it
    api.clear_faults()
    done = fork.resume(project)
    assert done.status == 0, done.stderr
    check(project, api, expected)
    assert bought(api) == ROWS


def test_results_that_never_come_are_sent_again_on_the_users_word_and_told(
    fork: Forks, tmp_path: Path, api: SimulatedApi, expected: Records
) -> None:
    api.fault("results_missing")
    project = batch_project(tmp_path / "x", api)
    done = fork.runner(project, "run", "jobs/x.yaml", "--format", "json")
    assert (done.status, stopped_by(done)) == (4, "results_incomplete"), done.stderr
    missing = done.summary["rows"]["open"]
    assert missing == BATCHES, "one line of each batch"
    api.clear_faults()
    for batch in api.batches():
        api.fault("results_missing", text=batch["id"])
    done = fork.resume(project, "--resend", environ={CLOCK_AHEAD_S: "4000"})
    assert done.status == 0, done.stderr
    assert stable(project.records()) == expected
    api.end_batches()
    account = api.accounts()
    assert (account["most_repeated"], bought(api)) == (2, ROWS + missing), "what was lost was paid again, as asked for"
    check_ledger(project)


@pytest.mark.parametrize("share", [0.05, pytest.param(0.5, marks=pytest.mark.campaign)])
def test_errored_and_expired_rows_are_sent_again_and_no_other(
    fork: Forks, tmp_path: Path, api: SimulatedApi, share: float
) -> None:
    rows = 60
    expected = undisturbed(fork, tmp_path / "undisturbed", api, rows=rows)
    api.fault("529", path="batch_row", rate=share)
    api.fault("expired", rate=share)
    project = batch_project(
        tmp_path / "x", api, rows=rows, replaced={"max_attempts: 5": "max_attempts: 30"},
        RUNNER_BATCH_MAX_REQUESTS="25",
    )  # fmt: skip
    done = fork.runner(project, "run", "jobs/x.yaml", "--format", "json")
    assert (done.status, done.summary["rows"]["succeeded"]) == (0, rows), done.stderr
    check(project, api, expected)
    assert bought(api) > rows, "something was sent again"
    assert api.accounts()["requests"] == rows, "every row was billed once"
    assert sum(record["attempts"] for record in project.records()) == bought(api)


def test_rows_that_the_api_refuses_fail_and_are_not_sent_again(fork: Forks, tmp_path: Path, api: SimulatedApi) -> None:
    api.fault("400", path="batch_row", text="text number 3")
    project = batch_project(tmp_path / "x", api)
    done = fork.runner(project, "run", "jobs/x.yaml", "--format", "json")
    assert (done.status, done.summary["failures"]) == (5, {"invalid_request_error": 1}), done.stderr
    assert bought(api) == ROWS


def test_a_billing_error_in_the_results_stops_the_run_and_its_rows_stay_open(
    fork: Forks, tmp_path: Path, api: SimulatedApi, expected: Records
) -> None:
    api.fault("billing_error", path="batch_row", text="text number 3")
    project = batch_project(tmp_path / "x", api)
    done = fork.runner(project, "run", "jobs/x.yaml", "--format", "json")
    assert done.status == 4, done.stderr
    assert done.summary["rows"]["open"] >= 1
    assert done.summary["rows"]["failed"] == 0
    api.clear_faults()
    done = fork.resume(project)
    assert done.status == 0, done.stderr
    check(project, api, expected)


def test_a_batch_that_never_ends_is_told_and_waited_for(
    fork: Forks, tmp_path: Path, api: SimulatedApi, expected: Records
) -> None:
    """Not ended two hours after it should have expired: stuck. Nothing is sent again before it ends: then its rows,
    which have expired."""
    api.fault("stuck", text="text number 3", share=0.0, times=1)
    project = batch_project(tmp_path / "x", api)
    assert fork.runner(project, "run", "jobs/x.yaml", "--detach", "--format", "json").status == 6
    settle_all_but_stuck(api)
    late = {CLOCK_AHEAD_S: str(27 * 3600)}
    api.advance(27 * 3600)
    done = fork.resume(project, environ=late)
    assert (done.status, stopped_by(done)) == (4, "stuck"), done.stderr
    assert [batch.state for batch in batches_of(project)] == ["stuck", "closed", "closed"]
    assert done.summary["rows"]["open"] == A_BATCH
    assert bought(api) == ROWS
    api.fault("slow", path="batch", seconds=DAYS)  # so that it cannot be done while it is being left
    api.end_batches()
    done = fork.resume(project, environ=late)
    assert (done.status, bought(api)) == (6, ROWS + A_BATCH), done.stderr
    api.end_batches()
    done = fork.resume(project, environ=late)
    assert done.status == 0, done.stderr
    check(project, api, expected)


def settle_all_but_stuck(api: SimulatedApi) -> None:
    for batch in api.batches()[1:]:
        api.end_batches(batch["id"])


def test_results_that_the_api_has_dropped_are_lost_and_sent_again_only_on_the_users_word(
    fork: Forks, tmp_path: Path, api: SimulatedApi, expected: Records
) -> None:
    api.fault("slow", path="batch", seconds=DAYS)  # so that none is done while it is being left
    project = batch_project(tmp_path / "x", api)
    assert fork.runner(project, "run", "jobs/x.yaml", "--detach", "--format", "json").status == 6
    api.clear_faults()
    api.end_batches()
    api.advance(30 * DAYS)
    late = {CLOCK_AHEAD_S: str(30 * DAYS)}
    done = fork.resume(project, environ=late)
    assert (done.status, done.summary["failures"]) == (5, {"results_lost": ROWS}), done.stderr
    assert bought(api) == ROWS
    assert fork.runner(project, "run", "jobs/x.yaml", "--format", "json", environ=late).status == 5
    assert bought(api) == ROWS, "running again does not pay again for what was lost"
    done = fork.runner(project, "retry", project.runs()[-1], "--kind", "results_lost", "--format", "json", environ=late)
    assert done.status == 0, done.stderr
    assert stable(project.records()) == expected
    assert bought(api) == 2 * ROWS
    check_ledger(project)
