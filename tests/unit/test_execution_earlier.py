"""Answers that were paid for before: where they are looked for, in which order, and what is not carried over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from runner.execution.earlier import Earlier
from runner.ledger.sqlite import SqliteLedger
from runner.types import Outcome, Request, Row, Step
from support.execution_fakes import Bench, folder_in_memory, refused, replied


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with folder_in_memory(tmp_path) as folder:
        yield Bench(folder / "project", rows=4)


def found(bench: Bench, number: int, *, key: str | None = None, reuse: bool = True) -> Outcome | None:
    """What a new run of the job finds for row `number`, before it sends anything. `key` is another row's."""
    info = bench.runs()[-1]
    with SqliteLedger.open(info.folder) as ledger:
        run = bench.assembled(replace(info, meta={**info.meta, "run_id": "new", "reuse": reuse}), ledger)
        earlier = run.open_earlier()
        if earlier is None:
            return None
        row = ledger.row(number)
        try:
            return look(earlier, row if key is None else replace(row, key=key), run.compiled.request(row))
        finally:
            earlier.close()


def look(earlier: Earlier, row: Row, request: object) -> Outcome | None:
    assert isinstance(request, Request)
    outcome = earlier.find(Step(row.index), row, request)
    if outcome is not None:
        assert (outcome.cost_pico, outcome.reused, outcome.attempt) == (0, True, 1), "it costs nothing"
        assert outcome.usage.prompt_tokens == 0
        assert outcome.request_hash == request.hash
    return outcome


def second_run(bench: Bench) -> None:
    """A run after a finished one that has not sent anything: it only has another row."""
    bench.rows(f"text {number}" for number in range(5))
    bench.run("limits.max_cost_usd=0.000000001", reuse=False)


def test_the_same_row_keeps_its_own_answer(bench: Bench) -> None:
    """Rows with equal texts have answers of their own: each finds its own again, by its key."""
    bench.rows(["same", "same"])
    bench.provider.script["same"] = [replied("first"), replied("second")]
    bench.run("limits.max_concurrency=1")
    first, second = [record["output"] for record in bench.records()]
    assert {first, second} == {"first", "second"}
    bench.run("limits.max_cost_usd=0.000000001", "limits.max_concurrency=1", reuse=False)
    for number, text in enumerate((first, second)):
        outcome = found(bench, number)
        assert outcome is not None
        assert outcome.reply is not None
        assert outcome.reply.content[0]["text"] == text


def test_another_row_with_the_same_request_finds_it_in_the_index(bench: Bench) -> None:
    bench.run()
    second_run(bench)
    outcome = found(bench, 2, key="a new key")
    assert outcome is not None
    assert outcome.reply is not None
    assert outcome.reply.content[0]["text"] == "echo of text 2"


def test_a_request_that_was_never_answered_is_not_found(bench: Bench) -> None:
    bench.run()
    second_run(bench)
    assert found(bench, 4) is None


def test_a_changed_request_of_the_same_row_is_not_found(bench: Bench) -> None:
    bench.run()
    bench.rows(["another text"])
    bench.run("limits.max_cost_usd=0.000000001", reuse=False)
    assert found(bench, 0) is None


def test_a_failure_that_stays_is_carried_by_its_row_alone(bench: Bench) -> None:
    bench.provider.script["text 1"] = [replied("no", stop_reason="refusal")]
    bench.provider.script["text 2"] = [refused("invalid_request_error", retryable=False, http_status=400)]
    bench.run()
    second_run(bench)
    refusal, bad_request = found(bench, 1), found(bench, 2)
    assert refusal is not None
    assert refusal.reply is not None
    assert refusal.reply.stop_reason == "refusal", "its reply is judged again, and comes to the same"
    assert bad_request is not None
    assert bad_request.failure is not None
    assert (bad_request.failure.kind, bad_request.failure.http_status) == ("invalid_request_error", 400)
    assert found(bench, 1, key="a new key") is None, "failures are not in the index"


@pytest.mark.parametrize("kind", ["overloaded_error", "api_error", "timeout", "connection_error"])
def test_a_failure_that_passes_is_not_carried(bench: Bench, kind: str) -> None:
    broke_off = kind == "connection_error"  # one that never stood would be no try, and the row would stay open
    bench.provider.script["text 1"] = [refused(kind, may_be_billed=broke_off)] * 3
    assert bench.run().counts.failed == 1
    second_run(bench)
    assert found(bench, 1) is None


def test_a_run_does_not_find_its_own_answers(bench: Bench) -> None:
    """Equal requests of one run stay separate, also when it is gone on with."""
    bench.rows(["same", "same", "same"])
    bench.provider.script["same"] = [replied("one"), refused("billing_error", scope="job", retryable=False)]
    assert bench.run("limits.max_concurrency=1").status == "stopped"
    assert bench.run("limits.max_concurrency=1").counts.reused == 0
    assert bench.provider.billed["same"] == 3


def test_an_answer_of_an_older_run_is_found_behind_a_failure_of_the_last(bench: Bench) -> None:
    """The last run paid again and was overloaded; what was paid for before is still there."""
    bench.run()
    bench.provider.script["text 1"] = [refused()] * 3
    assert bench.run(reuse=False).counts.failed == 1
    bench.provider.script.clear()
    summary = bench.run()
    assert (summary.exit_status, summary.counts.reused) == (0, 4)


def test_without_reuse_nothing_is_opened(bench: Bench) -> None:
    bench.run()
    second_run(bench)
    assert found(bench, 1, reuse=False) is None


def test_a_previous_run_that_was_deleted_is_none(bench: Bench) -> None:
    bench.run()
    second_run(bench)
    bench.state.discard(bench.runs()[0].folder)
    (bench.root / "out" / "x.jsonl").unlink()  # whose it was went with the run
    assert found(bench, 1) is None
