"""Rows of several turns or samples: what becomes of them, and what their records say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.clock import SystemClock
from runner.execution.exporting import export_run
from runner.execution.resuming import retry
from runner.execution.revalidating import revalidate_run
from runner.execution.showing import read_row
from runner.execution.summary import Summary
from runner.ledger.audit import audit
from runner.settings import load_settings
from support.execution_fakes import JOB, Bench, folder_in_memory, refused, replied

SAMPLES = JOB + "samples: 5\noutput: {fields: {label: string}, vote: label, repair: 0}\n"
TURNS = JOB + 'turns: ["{{ row.id }}: why?", "{{ row.id }} after {{ replies[1] }}?"]\n'


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with folder_in_memory(tmp_path) as folder:
        yield Bench(folder / "project", rows=2, job=SAMPLES)


def say(bench: Bench, text: str, *labels: str | None) -> None:
    """What the model answers to a text, one time after the other: labels, or what is no answer."""
    bench.provider.script[text] = [
        replied("no JSON" if label is None else json.dumps({"label": label})) for label in labels
    ]


def run(bench: Bench, *sets: str, **options: Any) -> Summary:
    summary = bench.run("limits.max_concurrency=1", *sets, **options)
    assert audit(bench.runs()[-1].folder) == []
    return summary


def retried(bench: Bench) -> Summary:
    info, settings = bench.runs()[-1], load_settings(bench.root)
    summary = retry(info, bench.state, settings, bench.api(), observer=bench.events, clock=SystemClock())
    assert audit(info.folder) == []
    return summary


# -- samples -------------------------------------------------------------------------------------------------------


def test_the_majority_of_the_valid_samples_is_the_answer(bench: Bench) -> None:
    say(bench, "text 0", "a", "b", None, "b", "b")
    say(bench, "text 1", "a", "b", "b", "a", None)
    summary = run(bench)
    assert (summary.exit_status, summary.counts.succeeded, summary.counts.requests) == (0, 2, 10)
    first, second = bench.records()
    assert (first["output"], first["text"], first["attempts"]) == ({"label": "b"}, '{"label": "b"}', 5)
    assert first["vote"] == {
        "field": "label",
        "value": "b",
        "share": 0.75,
        "counts": {"b": 3, "a": 1},
        "samples": 4,
        "asked": 5,
        "tie": False,
    }
    failed = [number for number, sample in enumerate(first["samples"]) if sample["status"] == "failed"]
    assert failed == [2]
    assert first["samples"][2]["error"]["kind"] == "schema_mismatch"
    assert (second["vote"]["value"], second["vote"]["share"], second["vote"]["tie"]) == ("a", 0.5, True)
    assert [first["error"], second["error"]] == [None, None]


def test_a_row_without_a_valid_sample_fails_as_its_first_one_did(bench: Bench) -> None:
    say(bench, "text 0", None, None, None, None, None)
    say(bench, "text 1", None, None, None, None, "z")
    summary = run(bench)
    assert (summary.counts.succeeded, summary.counts.failures) == (1, {"schema_mismatch": 1})
    failed, lonely = bench.records()
    assert (failed["status"], failed["error"]["kind"], failed["output"]) == ("failed", "schema_mismatch", None)
    assert (failed["vote"]["value"], failed["vote"]["samples"], failed["vote"]["asked"]) == (None, 0, 5)
    assert (lonely["vote"]["share"], lonely["vote"]["samples"], lonely["output"]) == (1.0, 1, {"label": "z"})


def test_a_retry_asks_the_samples_of_failed_rows_again(bench: Bench) -> None:
    say(bench, "text 0", None, None, None, None, None)
    say(bench, "text 1", *"aaaaa")
    run(bench)
    say(bench, "text 0", *"bbbbb")
    summary = retried(bench)
    assert summary.counts.succeeded == 2
    assert bench.records()[0]["vote"]["counts"]["b"] >= 1
    assert bench.provider.billed["text 1"] == 5


def test_without_a_vote_the_first_valid_sample_is_the_answer(bench: Bench) -> None:
    bench.write("jobs/x.yaml", SAMPLES.replace(", vote: label", ""))
    say(bench, "text 0", None, "b", "a", "a", "a")
    say(bench, "text 1", *"ccccc")
    run(bench)
    record = bench.records()[0]
    assert record["output"] == {"label": "b"}
    assert [sample["output"] for sample in record["samples"]][1:3] == [{"label": "b"}, {"label": "a"}]
    assert "vote" not in record


def test_a_paused_sample_whose_next_round_failed_has_no_vote(bench: Bench) -> None:
    """Nothing was wrong with the reply that paused, but it was no answer."""
    tools = "tools: [{type: web_search_20250305, max_uses: 1}]\n"
    bench.write("jobs/x.yaml", JOB.replace(", max_cost_usd: 5", "") + tools + "samples: 3\noutput: {vote: output}\n")
    bench.provider.script["text 0"] = [replied("half", stop_reason="pause_turn"), replied("a"), replied("b")]
    bench.provider.script["half"] = [refused("invalid_request_error", retryable=False)]
    run(bench, yes=True)
    record = bench.records()[0]
    assert record["vote"]["counts"] == {"a": 1, "b": 1}
    assert [sample["status"] for sample in record["samples"]] == ["failed", "succeeded", "succeeded"]
    assert record["samples"][0]["error"]["kind"] == "invalid_request_error"


def test_texts_are_voted_on_as_a_whole(bench: Bench) -> None:
    bench.write("jobs/x.yaml", JOB + "samples: 3\noutput: {vote: output}\n")
    bench.provider.script["text 0"] = [replied("42"), replied("17"), replied("42")]
    run(bench)
    assert bench.records()[0]["vote"]["counts"] == {"42": 2, "17": 1}
    assert bench.records()[0]["output"] == "42"


def test_revalidating_lets_other_samples_vote(bench: Bench) -> None:
    say(bench, "text 0", "aaaa", "aaaa", "b", "aaaa", "b")
    say(bench, "text 1", *["aaaa"] * 5)
    run(bench)
    assert bench.records()[0]["output"] == {"label": "aaaa"}
    shorter = SAMPLES.replace("label: string", "label: {type: string, maxLength: 2}")
    bench.write("jobs/x.yaml", shorter)
    info = bench.runs()[-1]
    done = revalidate_run(info, bench.state, load_settings(bench.root), {}, observer=bench.events)
    assert (done.came_to.replies, done.came_to.to_failed) == (10, 1)
    first, second = bench.records()
    assert (first["output"], first["vote"]["samples"], second["status"]) == ({"label": "b"}, 2, "failed")
    assert audit(info.folder) == []


def test_an_export_of_an_unfinished_run_tells_of_each_sample_how_it_stands(bench: Bench) -> None:
    say(bench, "text 0", "a")
    bench.provider.script["text 0"].append(refused("authentication_error", retryable=False, scope="job"))
    assert run(bench).status == "stopped"
    settings, info = load_settings(bench.root), bench.runs()[-1]
    export_run(info, bench.state, settings, to=str(bench.root / "part.jsonl"))
    first = bench.records("part.jsonl")[0]
    assert (first["status"], first["output"]) == ("open", None)
    assert first["samples"][0]["output"] == {"label": "a"}
    assert {sample["status"] for sample in first["samples"][1:]} == {"open"}


# -- turns ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def talk(bench: Bench) -> Bench:
    bench.write("jobs/x.yaml", TURNS)
    return bench


def test_each_turn_is_asked_with_the_replies_so_far(talk: Bench) -> None:
    run(talk)
    assert sorted(talk.provider.received) == sorted(
        text
        for number in range(2)
        for text in (f"text {number}", f"k{number}: why?", f"k{number} after echo of k{number}: why??")
    )
    record = talk.records()[0]
    assert record["output"] == "echo of k0 after echo of k0: why??"
    assert [turn["text"] for turn in record["turns"]] == ["echo of text 0", "echo of k0: why?", record["output"]]


def test_a_turn_that_fails_fails_its_row_and_a_retry_begins_with_it(talk: Bench) -> None:
    talk.provider.script["k0: why?"] = [replied("I will not", stop_reason="refusal")]
    summary = run(talk)
    assert summary.counts.failures == {"refusal": 1}
    record = talk.records()[0]
    assert [turn["stop_reason"] for turn in record["turns"]] == ["end_turn", "refusal"]
    assert run(talk).nothing_to_do, "a refusal stays as it is"
    retried(talk)
    assert talk.provider.billed["text 0"] == 1
    assert len(talk.records()[0]["turns"]) == 3


def test_a_passing_failure_in_a_turn_is_tried_again_there(talk: Bench) -> None:
    talk.provider.script["k0: why?"] = [refused(), refused()]
    assert run(talk).counts.succeeded == 2
    assert talk.provider.received.count("text 0") == 1


def test_a_turn_that_a_reply_does_not_allow_is_a_render_error_of_its_row(talk: Bench) -> None:
    talk.write("jobs/x.yaml", JOB + 'turns: ["{{ replies[0] | int }}"]\n')
    talk.provider.script["text 1"] = [replied("41")]
    summary = run(talk)
    assert summary.counts.failures == {"render_error": 1}
    error = talk.records()[0]["error"]["message"]
    assert "turn 2 of row 'k0'" in error
    assert talk.records()[1]["turns"][1]["text"] == "echo of 41"


def test_revalidating_judges_the_last_turn_and_tells_of_another_schema(talk: Bench) -> None:
    talk.write("jobs/x.yaml", TURNS + "output: {fields: {label: string}, repair: 0}\n")
    last = ["k0 after echo of k0: why??", "k1 after echo of k1: why??"]
    for text in last:
        talk.provider.always[text] = replied('{"label": "good"}')
    run(talk)
    assert [record["output"] for record in talk.records()] == [{"label": "good"}] * 2
    shorter = "output: {fields: {label: {type: string, enum: [bad]}}, repair: 0}\n"
    talk.write("jobs/x.yaml", TURNS + shorter)
    info = talk.runs()[-1]
    done = revalidate_run(info, talk.state, load_settings(talk.root), {}, observer=talk.events)
    assert (done.came_to.replies, done.came_to.to_failed) == (2, 2)
    assert "another schema" in done.summary.warnings[0]
    assert audit(info.folder) == []


def test_a_row_is_shown_with_all_that_was_said(talk: Bench) -> None:
    run(talk)
    info, settings = talk.runs()[-1], load_settings(talk.root)
    shown = read_row(info, settings, "k1").text()
    for said in ("text 1", "echo of text 1", "k1: why?", "echo of k1: why?", "k1 after echo of k1: why??"):
        assert said in shown


def test_the_cap_holds_over_all_turns(talk: Bench) -> None:
    """A later turn is reserved for by its own length: here the first turns fit under the cap and no second one does."""
    talk.write("jobs/x.yaml", JOB + f'turns: ["{{{{ row.id }}}} {"why " * 1_000}"]\n')
    summary = run(talk, "limits.max_cost_usd=0.0003")
    assert summary.status == "stopped"
    assert not any("why" in text for text in talk.provider.received)
    money = summary.money
    assert money.spent + money.reserved + money.doubtful <= 300_000_000
    assert run(talk, "limits.max_cost_usd=1").counts.succeeded == 2
    assert talk.provider.billed["text 0"] == 1
