"""What a job asks of replies, from the job and from a run's folder, in every mode."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.execution.assemble import stored_rule
from runner.execution.reply_checks import RowLookup, check_of, stored_check
from runner.message import parse_reply
from runner.planning.compile import compile_job
from runner.types import Outcome, Step
from support.execution_batches import BatchBench
from support.execution_fakes import JOB, Bench, folder_in_memory, reply_body
from support.ledgers import NOON, new_ledger

RULES = """
output:
  rules:
    - rule: output == "echo of " ~ row.text and key != "k3"
      message: not the answer to this row
    - {rule: 'not output.endswith("1")' , severity: warn}
vars: {most: 3}
"""
RULED = JOB + RULES.replace('not output.endswith("1")', 'output | last != "1"')


@pytest.fixture(params=["parallel", "batch"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    with folder_in_memory(tmp_path) as folder:
        made = BatchBench if request.param == "batch" else Bench
        yield made(folder / "project", 8, job=RULED)


def test_a_rule_that_looks_at_the_row_decides_in_either_mode(bench: Any) -> None:
    summary = bench.run()
    records = bench.records()
    statuses = [record["status"] for record in records]
    (failed,) = [record for record in records if record["status"] == "failed"]
    assert statuses.count("succeeded") == len(records) - 1
    assert failed["key"] == records[3]["key"]
    assert failed["error"]["kind"] == "schema_mismatch"
    assert failed["error"]["message"].startswith("/: not the answer to this row (the rule `output == ")
    assert failed["output"] is None
    assert failed["text"].startswith("echo of ")
    assert summary.counts.failures == {"schema_mismatch": 1}


def test_a_rule_that_warns_is_counted_and_leaves_the_row(bench: Any) -> None:
    summary = bench.run()
    assert 'the rule `output | last != "1"` does not hold for 1 row' in summary.warnings
    assert "warnings" not in bench.records()[1]


def test_a_column_may_show_the_warnings(tmp_path: Path) -> None:
    columns = "sinks: [{path: out/x.csv, columns: {id: key, flags: warnings | join(' ')}}]"
    bench = Bench(tmp_path / "project", 3, job=RULED.replace("sinks: [out/x.jsonl]", columns))
    bench.run()
    lines = (bench.root / "out/x.csv").read_text().splitlines()
    assert lines[1].endswith(",")
    assert "does not hold" in lines[2]


def outcome(row: int, text: str) -> Outcome:
    body = reply_body(text)
    return Outcome(Step(row), 1, "succeeded", "parallel", bytes(32), NOON, NOON, body=body, reply=parse_reply(body))


def test_the_folder_alone_gives_the_same_check(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "project", 4, job=RULED)
    bench.run()
    (info,) = bench.runs()
    rule = stored_rule(info.folder)
    records = bench.records()
    for number in (0, 1, 2):
        assert rule(outcome(number, f"echo of {records[number]['row']['text']}")).state == "succeeded"
        assert rule(outcome(number, "echo of another row")).state == "failed"
    assert rule(outcome(3, f"echo of {records[3]['row']['text']}")).state == "failed"


@pytest.mark.parametrize(
    ("output", "text", "taken"),
    [
        ("{extract: {regex: 'n=(?P<n>[0-9]+)'}, fields: {n: integer}}", "so n=4", {"n": 4}),
        ("{extract: {json: last}}", "[1] and [2]", [2]),
        ("{extract: {xml_tag: label}, labels: [a, b]}", "<label>b</label>", {"label": "b"}),
        ("{extract: {xml_tag: a}, schema: {type: array, items: {type: integer}}}", "<a>[1, 2]</a>", [1, 2]),
        ("{fields: {n: integer}}", '{"n": 1}', {"n": 1}),
    ],
)
def test_each_part_of_output_is_in_the_check(tmp_path: Path, output: str, text: str, taken: Any) -> None:
    bench = Bench(tmp_path / "project", 1, job=JOB + f"output: {output}\n")
    loaded = bench.load()
    loaded.store(tmp_path / "run" / "inputs")
    for check in (check_of(loaded), stored_check(tmp_path / "run")):
        assert check is not None
        assert check.structured
        assert check.problems(parse_reply(reply_body(text))) == []
        assert check.answer([{"type": "text", "text": text}]).output == taken
        assert check.problems(parse_reply(reply_body("nothing"))) != []


def test_a_job_that_takes_any_text_has_no_check(tmp_path: Path) -> None:
    loaded = Bench(tmp_path / "project", 1).load()
    assert check_of(loaded) is None


def test_with_extract_no_structured_output_is_asked_of_the_model(tmp_path: Path) -> None:
    job = JOB + "output: {labels: [a, b], extract: {json: true}}\n"
    bench = Bench(tmp_path / "project", 1, job=job)
    bench.run()
    (record,) = bench.records()
    assert record["error"]["message"] == "the reply has no JSON object or list"
    assert "output_config" not in compile_job(bench.load(), mode="parallel").shared


def test_rows_are_looked_up_from_any_thread(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "run", 50) as ledger:
        lookup = RowLookup(tmp_path / "run")
        found: dict[int, str] = {}

        def look(start: int) -> None:
            for number in range(start, 50, 4):
                found[number] = lookup(number).key

        threads = [threading.Thread(target=look, args=(start,)) for start in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        assert found == {number: ledger.row(number).key for number in range(50)}
        lookup.close()
        assert lookup(7).key == ledger.row(7).key
        lookup.close()
