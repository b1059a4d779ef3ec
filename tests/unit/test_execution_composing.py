"""Asking again, in parallel mode and in this process: what is sent, what it costs, and what a later run makes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.cli.report import plan_lines
from runner.encoding import decode
from runner.execution.asked import RunOptions
from runner.execution.planned import plan_job
from runner.execution.showing import read_row
from runner.ledger.audit import audit
from runner.ledger.sqlite import SqliteLedger
from runner.planning.identity import request_identity
from runner.providers import Sent
from runner.rounds import Rounds
from runner.types import Request, Step
from support.execution_fakes import (
    INPUT_TOKENS,
    JOB,
    OUTPUT_TOKENS,
    Bench,
    Counted,
    EchoProvider,
    folder_in_memory,
    killed,
    refused,
    replied,
)

GOOD = '{"label":"a"}'
BAD = '{"label":"z"}'
OUTPUT = """\
output:
  labels: [a, b]
  repair: 2
  on_truncation: {max_tokens: [100, 200]}
  on_refusal: {model: claude-sonnet-5-5}
"""


class Pupil(EchoProvider):
    """Answers by a script of what comes for a text, one entry a request, whatever the request says; at last well.

    It keeps all requests, and checks that each is named by what it says.
    """

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Request] = []

    async def send(self, request: Request, *, on_begin: Callable[[], None] | None = None) -> Sent:
        body = decode(request.body)
        assert request.hash == request_identity(body, request.betas)
        self.requests.append(request)
        text = body["messages"][0]["content"][0]["text"]
        self.received.append(text)
        waiting = self.script.get(text)
        sent = waiting.pop(0) if waiting else replied(GOOD)
        if sent.reply is not None:
            self._bill(text)
        return sent

    def bodies(self, text: str) -> list[dict[str, Any]]:
        bodies = [decode(request.body) for request in self.requests]
        return [body for body in bodies if body["messages"][0]["content"][0]["text"] == text]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with folder_in_memory(tmp_path) as folder:
        yield bench_at(folder / "project")


def bench_at(root: Path, *, output: str = OUTPUT, rows: int = 6) -> Bench:
    bench = Bench(root, rows=rows, job=JOB.replace("sinks:", output + "sinks:"))
    bench.provider = Pupil()
    return bench


def pupil(bench: Bench) -> Pupil:
    assert isinstance(bench.provider, Pupil)
    return bench.provider


def cut_off() -> Sent:
    return replied('{"lab', stop_reason="max_tokens")


def declined() -> Sent:
    return replied("", stop_reason="refusal")


def record_of(bench: Bench, number: int) -> dict[str, Any]:
    return bench.records()[number]


def audited(bench: Bench) -> None:
    for info in bench.runs():
        assert audit(info.folder) == []


def test_an_invalid_reply_is_asked_for_again_at_once(bench: Bench) -> None:
    bench.provider.script["text 1"] = [replied(BAD), replied("not json")]
    summary = bench.run("limits.max_concurrency=1")
    assert (summary.exit_status, summary.counts.succeeded, summary.counts.requests) == (0, 6, 8)
    record = record_of(bench, 1)
    assert (record["status"], record["output"], record["attempts"]) == ("succeeded", {"label": "a"}, 3)
    assert record["usage"]["input_tokens"] == 3 * INPUT_TOKENS
    assert record["usage"]["output_tokens"] == 3 * OUTPUT_TOKENS
    assert record["cost_usd"] == pytest.approx(3 * record_of(bench, 0)["cost_usd"])
    last = pupil(bench).bodies("text 1")[-1]["messages"]
    assert [message["role"] for message in last] == ["user", "assistant", "user", "assistant", "user"]
    assert 'expected one of "a", "b", found' in last[2]["content"][0]["text"]
    assert "not JSON" in last[4]["content"][0]["text"]
    assert bench.provider.received.index("text 5") > 4, "row 1 did not wait for the last row"
    audited(bench)


def test_a_row_that_stays_invalid_fails_with_its_last_reply(bench: Bench) -> None:
    bench.provider.script["text 1"] = [replied(BAD)] * 9
    summary = bench.run()
    assert (summary.counts.succeeded, summary.counts.failures) == (5, {"schema_mismatch": 1})
    record = record_of(bench, 1)
    assert (record["status"], record["text"], record["attempts"]) == ("failed", BAD, 3)
    audited(bench)


def test_a_cut_off_reply_is_asked_for_with_larger_limits_and_never_mended(bench: Bench) -> None:
    bench.provider.script["text 2"] = [cut_off(), cut_off(), replied(BAD)]
    bench.run()
    bodies = pupil(bench).bodies("text 2")
    assert [body["max_tokens"] for body in bodies] == [50, 100, 200, 200]
    assert [len(body["messages"]) for body in bodies] == [1, 1, 1, 3], "the limit holds for what follows"
    assert (record_of(bench, 2)["status"], record_of(bench, 2)["attempts"]) == ("succeeded", 4)


def test_what_is_cut_off_at_the_largest_limit_is_truncated(bench: Bench) -> None:
    bench.provider.script["text 2"] = [cut_off()] * 9
    assert bench.run().counts.failures == {"truncated": 1}
    assert (record_of(bench, 2)["text"], record_of(bench, 2)["attempts"]) == ('{"lab', 3)


def test_what_one_model_refuses_another_is_asked(bench: Bench) -> None:
    bench.provider.script["text 3"] = [declined(), replied(BAD)]
    summary = bench.run()
    assert summary.counts.succeeded == 6
    requests = [request for request in pupil(bench).requests if b"text 3" in request.body]
    assert [request.model for request in requests] == ["claude-haiku-5-5", "claude-sonnet-5-5", "claude-sonnet-5-5"]
    cheap, dear = record_of(bench, 0)["cost_usd"], record_of(bench, 3)["cost_usd"]
    assert dear > 10 * cheap, "each attempt is priced as the model that was asked"
    bench.provider.script["text 4"] = [declined()] * 9
    assert bench.run(new=True, reuse=False).counts.failures == {"refusal": 1}
    audited(bench)


def test_a_passing_error_of_a_later_request_is_retried_where_it_is(bench: Bench) -> None:
    bench.provider.script["text 1"] = [replied(BAD), refused(), refused(), replied(GOOD)]
    assert bench.run().exit_status == 0
    assert [len(body["messages"]) for body in pupil(bench).bodies("text 1")] == [1, 3, 3, 3]


def test_the_cap_holds_for_what_is_asked_again(bench: Bench) -> None:
    bench.rows(["text 1"])
    bench.provider.script["text 1"] = [replied(BAD)]
    first = bench.run("limits.max_cost_usd=0.00033")
    assert (first.status, first.counts.open) == ("stopped", 1)
    assert first.stopped_by is not None
    assert first.stopped_by.kind == "budget"
    second = bench.run("limits.max_cost_usd=5")
    assert (second.status, second.counts.succeeded, second.counts.attempts) == ("finished", 1, 2)
    audited(bench)


def test_a_later_run_comes_to_the_same_end_and_pays_nothing(bench: Bench) -> None:
    """Step by step, invalid replies and all; a row that failed stays as it is."""
    bench.provider.script |= {
        "text 1": [replied(BAD), cut_off(), replied(GOOD)],
        "text 2": [replied(BAD)] * 3,
        "text 3": [declined(), declined()],
    }
    first = bench.run()
    outputs = [(record["status"], record["output"], record["text"]) for record in bench.records()]
    assert first.counts.failures == {"schema_mismatch": 1, "refusal": 1}
    bench.rows(f"text {number}" for number in range(7))
    billed = bench.provider.billed.total()
    second = bench.run()
    assert second.counts.failures == first.counts.failures
    assert (second.counts.requests, bench.provider.billed.total()) == (1, billed + 1)
    assert [(record["status"], record["output"], record["text"]) for record in bench.records()][:6] == outputs
    assert all(record["cost_usd"] == 0 for record in bench.records()[:6])
    audited(bench)


def test_a_job_that_asks_more_often_goes_on_where_the_last_run_ended(bench: Bench) -> None:
    """The replies that were no answer are not paid for again."""
    bench.provider.script["text 2"] = [replied(BAD), replied(BAD)]
    assert bench.run("output.repair=1").counts.failures == {"schema_mismatch": 1}
    assert bench.run("output.repair=2").exit_status == 0
    assert bench.provider.billed["text 2"] == 3


def test_a_retry_begins_the_conversation_again(bench: Bench) -> None:
    """What was asked again led nowhere: its replies count, and are not what decides."""
    bench.provider.script["text 1"] = [replied(BAD)] * 3
    summary = bench.run()
    info = bench.state.find(summary.run_id)
    bench.provider.script["text 1"] = [replied('{"label": 5}'), replied(GOOD)]
    with SqliteLedger.open(info.folder) as ledger:
        ledger.set_meta({"state": "open"})
        assert ledger.reopen() == 1
        assert [opened.step for opened in ledger.open_steps(None, 9)] == [Step(1, round=Rounds(restarts=1).number)]
    bench.go_on(info, lambda _: None)
    record = record_of(bench, 1)
    assert (record["status"], record["attempts"], record["usage"]["input_tokens"]) == ("succeeded", 5, 5 * INPUT_TOKENS)
    bodies = pupil(bench).bodies("text 1")
    assert [len(body["messages"]) for body in bodies] == [1, 3, 5, 1, 3]
    assert "found 5" in bodies[-1]["messages"][2]["content"][0]["text"]
    audited(bench)


def test_a_retry_of_a_request_that_had_no_reply_asks_it_alone_again(bench: Bench) -> None:
    bench.provider.script["text 1"] = [replied(BAD), *[refused()] * 3]
    summary = bench.run()
    assert summary.counts.failures == {"overloaded_error": 1}
    info = bench.state.find(summary.run_id)
    with SqliteLedger.open(info.folder) as ledger:
        ledger.set_meta({"state": "open"})
        assert ledger.reopen() == 1
        assert [opened.step for opened in ledger.open_steps(None, 9)] == [Step(1, round=1)]
    bench.go_on(info, lambda _: None)
    assert record_of(bench, 1)["status"] == "succeeded"
    audited(bench)


def test_what_is_kept_counts_as_it_is(tmp_path: Path) -> None:
    output = "output: {labels: [a, b], on_truncation: keep, on_refusal: keep}\n"
    bench = bench_at(tmp_path / "project", output=output)
    bench.provider.script |= {"text 1": [cut_off()], "text 2": [declined()]}
    assert bench.run().exit_status == 0
    records = bench.records()
    assert [record["status"] for record in records[:3]] == ["succeeded"] * 3
    assert (records[1]["output"], records[1]["text"], records[1]["stop_reason"]) == (None, '{"lab', "max_tokens")
    assert (records[2]["output"], records[2]["text"], records[2]["stop_reason"]) == (None, "", "refusal")


def test_without_a_schema_what_is_kept_is_the_output(tmp_path: Path) -> None:
    bench = bench_at(tmp_path / "project", output="output: {on_truncation: keep}\n")
    bench.provider.script |= {"text 1": [cut_off()], "text 2": [declined()]}
    assert bench.run().counts.failures == {"refusal": 1}
    assert (bench.records()[1]["output"], bench.records()[1]["text"]) == ('{"lab', None)


def test_a_process_that_is_killed_anywhere_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """SIGKILL before and after each write: a reply that is durable is never paid again, its next step never lost."""
    scripted: dict[str, list[str | None]] = {"text 1": [BAD, BAD], "text 2": [None]}
    with folder_in_memory(tmp_path) as folder:
        count, kill_at = 1, 0
        while kill_at < count:
            kill_at += 1
            bench = bench_at(folder / f"project-{kill_at}", rows=4)
            account = folder / f"account-{kill_at}"
            account.touch()
            info = bench.begin()
            bench.provider = Remembering(scripted, account)

            def going_on(bench: Bench = bench, info: Any = info, kill_at: int = kill_at) -> None:
                bench.go_on(info, Counted(kill_at))

            assert killed(going_on) or kill_at > 1
            counted = Counted()
            summary = bench.go_on(info, counted)
            if kill_at == 1:
                count = len(counted.steps)
            assert summary.counts.succeeded == 4, f"killed at step {kill_at}"
            billed = account.read_text().splitlines()
            in_doubt = 4  # max_concurrency: what was in flight may be asked for again
            assert len(billed) <= 4 + 3 + in_doubt
            assert sum(record["attempts"] for record in bench.records()) >= 4 + 3
            assert audit(info.folder) == []


class Remembering(Pupil):
    """Answers by what was said before in the conversation, so that it goes on well after a kill."""

    def __init__(self, scripted: dict[str, list[str | None]], account: Path) -> None:
        super().__init__()
        self.scripted = scripted
        self.account = account

    async def send(self, request: Request, *, on_begin: Callable[[], None] | None = None) -> Sent:
        body = decode(request.body)
        text = body["messages"][0]["content"][0]["text"]
        place = len(body["messages"]) // 2 + (body["max_tokens"] > 50)
        said = self.scripted.get(text, [])
        words = said[place] if place < len(said) else GOOD
        self._bill(text)
        return cut_off() if words is None else replied(words)


def test_a_row_is_shown_with_what_was_said_and_each_attempt_by_its_name(bench: Bench) -> None:
    bench.provider.script["text 1"] = [replied(BAD), cut_off(), replied(GOOD)]
    summary = bench.run()
    shown = read_row(bench.state.find(summary.run_id), bench.load().settings, "k1")
    words = shown.text()
    assert "-- assistant\n" + BAD in words
    assert "-- user\nYour reply cannot be used:" in words
    assert "larger limit (1), repair 1: 1. " in words
    assert [attempt["step"] for attempt in shown.to_dict()["attempts"]] == [
        "first request", "repair 1", "larger limit (1), repair 1"
    ]  # fmt: skip


def test_a_plan_says_what_asking_again_may_add(bench: Bench) -> None:
    planned = plan_job(bench.root / "jobs" / "x.yaml", RunOptions(environ={}))
    assert planned.further is not None
    assert planned.further.requests == 6 * (2 + 2 + 1), "two repairs, two limits, one other model"
    upper, first = planned.further.cost["parallel"], planned.estimate.cost["parallel"].upper
    assert upper is not None
    assert first is not None
    assert upper > 5 * first
    assert any("up to 30 requests on top, where a reply is no answer" in line for line in plan_lines(planned))
    bench.write("jobs/x.yaml", JOB)
    assert plan_job(bench.root / "jobs" / "x.yaml", RunOptions(environ={})).further is None
