"""Revalidating: a changed job over the replies that are there, and what a run is like afterwards."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest

from runner.clock import SystemClock
from runner.errors import LedgerError, SpecError
from runner.execution.resuming import resume, retry
from runner.execution.revalidating import Revalidated, revalidate_run
from runner.ledger import rejudging
from runner.ledger.audit import audit
from runner.ledger.sqlite import SqliteLedger
from runner.replies.asking import repair_text
from runner.settings import load_settings
from support.crash_points import install
from support.execution_fakes import JOB, Bench, folder_in_memory, killed, refused, replied

OUTPUT = "output: {fields: {label: string, score: integer}, repair: 0}\n"
STRICT = "output: {fields: {label: {type: string, maxLength: 5}, score: integer}, repair: 0}\n"
OTHER = "output: {fields: {label: string}, repair: 0}\n"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with folder_in_memory(tmp_path) as folder:
        bench = Bench(folder / "project", rows=8, job=JOB + OUTPUT)
        texts = [json.dumps({"label": "x" * number, "score": number}) for number in range(8)]
        texts[2] = '{"label": "two"}'
        bench.provider.always = {f"text {number}": replied(text) for number, text in enumerate(texts)}
        bench.provider.always["text 3"] = refused("invalid_request_error", retryable=False)
        yield bench


def revalidated(bench: Bench, job: str | None = None, *sets: str) -> Revalidated:
    if job is not None:
        bench.write("jobs/x.yaml", JOB + job)
    info = bench.runs()[-1]
    settings = load_settings(bench.root)
    return revalidate_run(info, bench.state, settings, {}, sets=sets, observer=bench.events)


def statuses(bench: Bench) -> list[str]:
    return [record["status"] for record in bench.records()]


FIRST = ["succeeded", "succeeded", "failed", "failed", *["succeeded"] * 4]


def test_a_stricter_schema_fails_rows_and_a_looser_one_lets_them_succeed(bench: Bench) -> None:
    bench.run()
    assert statuses(bench) == FIRST
    done = revalidated(bench, STRICT)
    assert (done.came_to.replies, done.came_to.to_succeeded, done.came_to.to_failed) == (7, 0, 2)
    assert statuses(bench) == [*FIRST[:6], "failed", "failed"]
    assert done.summary.counts.failures == {"invalid_request_error": 1, "schema_mismatch": 3}
    assert done.summary.exit_status == 5
    assert "/label" in bench.records()[7]["error"]["message"]
    done = revalidated(bench, "output: {schema: {type: object, properties: {label: {type: string}}}}\n")
    assert (done.came_to.to_succeeded, done.came_to.to_failed) == (3, 0)
    assert bench.records()[2]["output"] == {"label": "two"}
    assert len(bench.provider.received) == 8, "nothing is sent"
    assert audit(bench.runs()[-1].folder) == []


def test_without_an_output_replies_are_texts_again(bench: Bench) -> None:
    bench.run()
    revalidated(bench, "")
    assert bench.records()[2]["output"] == '{"label": "two"}'


def test_sinks_follow_the_job_file_too(bench: Bench) -> None:
    bench.run()
    sinks = "sinks: [out/x.jsonl, {path: 'out/{{ job.name }}-short.csv', columns: {l: output.label}}]\n"
    bench.write(
        "jobs/x.yaml", JOB.replace("sinks: [out/x.jsonl]\n", sinks) + OTHER.replace("string", "optional string")
    )
    revalidated(bench)
    assert (bench.root / "out/x-short.csv").read_text().splitlines()[:2] == ["l", '""']


def test_what_has_no_part_in_it_is_told_and_left_aside(bench: Bench) -> None:
    bench.run()
    bench.write("jobs/x.yaml", JOB.replace("max_tokens: 50", "max_tokens: 60").replace("row.text", "row.id") + STRICT)
    done = revalidated(bench)
    assert done.left_aside == ["messages", "params.max_tokens"]
    stored = bench.runs()[-1].stored_job(load_settings(bench.root))
    assert stored.job.params == {"max_tokens": 50}


def test_another_schema_to_send_is_told(bench: Bench) -> None:
    bench.run()
    assert "asked for with another schema" in revalidated(bench, OTHER).summary.warnings[0]
    bench.write("jobs/x.yaml", JOB + OTHER)
    assert revalidated(bench).summary.warnings == []


def test_set_goes_over_the_job_file(bench: Bench) -> None:
    bench.run()
    done = revalidated(bench, None, "output.fields.label={type: string, maxLength: 5}")
    assert done.came_to.to_failed == 2


def test_running_the_job_again_has_nothing_to_do(bench: Bench) -> None:
    bench.run()
    revalidated(bench, STRICT)
    assert bench.run().nothing_to_do
    assert len(bench.provider.received) == 8


def test_a_retry_sends_what_was_judged_no_answer(bench: Bench) -> None:
    bench.run()
    revalidated(bench, STRICT)
    bench.provider.always["text 6"] = replied('{"label": "six", "score": 6}')
    info, settings = bench.runs()[-1], load_settings(bench.root)
    summary = retry(
        info, bench.state, settings, bench.api(), kinds=["schema_mismatch"], observer=bench.events, clock=SystemClock()
    )
    assert sorted(bench.provider.received[8:]) == ["text 2", "text 6", "text 7"]
    assert summary.counts.failed == 3
    assert statuses(bench)[6] == "succeeded"
    assert audit(info.folder) == []


def test_an_unfinished_run_goes_on_under_its_new_output(bench: Bench) -> None:
    bench.provider.always["text 4"] = refused("authentication_error", retryable=False, scope="job")
    assert bench.run("limits.max_concurrency=1").status == "stopped"
    done = revalidated(bench, STRICT)
    assert done.summary.counts.open
    assert not (bench.root / "out/x.jsonl").exists(), "a run that stopped early writes no target"
    del bench.provider.always["text 4"]
    bench.provider.always["text 4"] = replied('{"label": "four", "score": 4}')
    info, settings = bench.runs()[-1], load_settings(bench.root)
    resume(info, bench.state, settings, bench.api(), observer=bench.events, clock=SystemClock())
    assert statuses(bench) == [*FIRST[:6], "failed", "failed"]
    assert audit(info.folder) == []


@pytest.mark.parametrize(("output", "status"), [(OTHER, "succeeded"), (OUTPUT, "failed")], ids=["looser", "no repair"])
def test_a_reply_that_is_not_asked_about_any_more_is_not_sent_for_again(bench: Bench, output: str, status: str) -> None:
    """The run stopped with a repair to be sent. Under the new output the reply that was there is an answer, or is not
    mended: either way it is what the row comes to."""
    bench.write("jobs/x.yaml", JOB + OUTPUT.replace("repair: 0", "repair: 1"))
    repair = repair_text(["/: `score` is missing"])
    bench.provider.always[repair] = refused("authentication_error", retryable=False, scope="job")
    assert bench.run("limits.max_concurrency=1").status == "stopped"
    sent = len(bench.provider.received)
    assert repair in bench.provider.received
    revalidated(bench, output)
    info, settings = bench.runs()[-1], load_settings(bench.root)
    resume(info, bench.state, settings, bench.api(), observer=bench.events, clock=SystemClock())
    record = bench.records()[2]
    assert (record["status"], record["attempts"], record["usage"]["input_tokens"]) == (status, 2, 10)
    assert record["text"] == '{"label": "two"}'
    assert record["error"] is None or record["error"]["kind"] == "schema_mismatch"
    assert repair not in bench.provider.received[sent:]
    assert audit(info.folder) == []


def test_a_job_file_that_is_wrong_changes_nothing(bench: Bench) -> None:
    bench.run()
    with pytest.raises(SpecError):
        revalidated(bench, "output: {fields: {label: strin}}\n")
    assert not bench.runs()[-1].meta.get("revalidating")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("repair: 0", "repair: 0, rules: ['row.author != output.label']"),
        ("out/x.jsonl", "{path: out/x.csv, columns: {by: row.author}}"),
        ("out/x.jsonl", "{path: out/x.jsonl, include_row: [author]}"),
    ],
)
def test_a_column_that_the_run_does_not_have_changes_nothing(bench: Bench, old: str, new: str) -> None:
    bench.run()
    bench.write("jobs/x.yaml", (JOB + OUTPUT).replace(old, new))
    with pytest.raises(SpecError, match="no column `author`") as error:
        revalidated(bench)
    assert "equal requests keep their answers" in str(error.value.problems[0].hint)
    assert statuses(bench) == FIRST
    revalidated(bench, OUTPUT.replace("repair: 0", "repair: 0, rules: ['row.author is not defined']"))
    assert statuses(bench) == FIRST


def test_a_run_that_does_not_know_its_columns_is_judged_all_the_same(bench: Bench) -> None:
    bench.run()
    with closing(apsw.Connection(str(bench.runs()[-1].folder / "ledger.db"))) as connection:
        connection.execute("DELETE FROM meta WHERE name = 'columns'")
    revalidated(bench, OUTPUT.replace("repair: 0", "repair: 0, rules: ['row.author is not defined or row.author']"))
    assert statuses(bench) == FIRST


def test_a_run_that_is_at_work_is_left_alone(bench: Bench) -> None:
    bench.run()
    with SqliteLedger.open(bench.runs()[-1].folder), pytest.raises(LedgerError) as raised:
        revalidated(bench, STRICT)
    assert raised.value.code == "locked"


# -- killed in the middle ------------------------------------------------------------------------------------------

CALLS = [("set_meta", 1), ("set_meta", 2), ("rejudge", 1), ("set_delivery", 1), ("set_delivery", 2)]
POINTS = [
    *(f"{moment} {name} {nth}" for name, nth in CALLS for moment in ("before", "after")),
    *(f"after window {nth}" for nth in (1, 2)),
    *(f"before replace execution.folders {nth}" for nth in range(1, 6)),
]
ALL_JUDGED = {"after set_meta 2", *(point for point in POINTS if "set_delivery" in point)}
"""From then on another revalidation finds nothing to change."""


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_any_moment_it_is_done_when_it_is_run_again(bench: Bench, point: str) -> None:
    bench.run()
    bench.write("jobs/x.yaml", JOB + STRICT)
    assert killed(lambda: _die_at(bench, point)), f"{point} is never passed"
    info = bench.runs()[-1]
    assert audit(info.folder) == []
    done = revalidated(bench)
    assert statuses(bench) == [*FIRST[:6], "failed", "failed"]
    assert done.came_to.to_failed == (0 if point in ALL_JUDGED else 2)
    assert audit(info.folder) == []
    assert not bench.runs()[-1].meta["revalidating"]
    assert bench.run().nothing_to_do


def test_nothing_goes_on_with_a_run_that_is_half_revalidated(bench: Bench) -> None:
    bench.provider.always["text 4"] = refused("authentication_error", retryable=False, scope="job")
    bench.run("limits.max_concurrency=1")
    bench.write("jobs/x.yaml", JOB + STRICT)
    assert killed(lambda: _die_at(bench, "after window 1"))
    info, settings = bench.runs()[-1], load_settings(bench.root)
    with pytest.raises(LedgerError) as raised:
        resume(info, bench.state, settings, bench.api(), observer=bench.events, clock=SystemClock())
    assert raised.value.code == "half-revalidated"
    assert raised.value.hint == f"`runner revalidate {info.run_id}` does the rest"


def _die_at(bench: Bench, point: str) -> None:
    """In a child process that is killed there, which judges three rows at a time."""
    moment, *name, nth = point.split(" ")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(rejudging, "_WINDOW", 3)
        if name == ["window"]:
            begun = iter(range(int(nth), -1, -1))
            inner = rejudging._Work

            def counting() -> Any:
                if not next(begun):  # the window before this one is committed
                    os.kill(os.getpid(), signal.SIGKILL)
                return inner()

            patched.setattr(rejudging, "_Work", counting)
        else:
            install(f"{moment} {' '.join(name)} {nth}", None)
        revalidated(bench)


TURNS = 'turns: ["{{ row.id }}: why?"]\n' + OTHER.replace("0}", "0, on_truncation: keep}")


def again(bench: Bench) -> None:
    info, settings = bench.runs()[-1], load_settings(bench.root)
    retry(info, bench.state, settings, bench.api(), observer=bench.events, clock=SystemClock())


def test_an_earlier_turn_that_is_no_answer_any_more_is_asked_again_in_a_new_run(tmp_path: Path) -> None:
    """The last turn's reply alone is judged again, so the row is found out when its last turn is to be sent again."""
    with folder_in_memory(tmp_path) as folder:
        bench = Bench(folder / "project", rows=2, job=JOB + TURNS)
        bench.provider.script["text 1"] = [replied("a long st", stop_reason="max_tokens")]
        bench.provider.script["k1: why?"] = [replied("no json")]
        bench.provider.always = {f"k{number}: why?": replied('{"label": "a"}') for number in range(2)}
        bench.run()
        revalidated(bench, TURNS.replace("keep", "fail"))
        assert statuses(bench) == ["succeeded", "failed"]
        sent = len(bench.provider.received)
        again(bench)
        error = bench.records()[1]["error"]
        assert (error["kind"], "`runner run --new` and then `runner retry`" in error["message"]) == (
            "input_error",
            True,
        )
        bench.run(new=True)
        assert bench.records()[1]["error"]["kind"] == "truncated"
        assert len(bench.provider.received) == sent, "nothing is sent"
        again(bench)
        assert statuses(bench) == ["succeeded", "succeeded"]
        assert bench.provider.received[sent:] == ["text 1", "k1: why?"]
