"""Export: sinks written again, beside a run that goes on too, and one file for a person."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.execution.exporting import export_run
from runner.execution.folders import RunInfo
from runner.ledger import Delivery
from runner.ledger.sqlite import SqliteLedger
from runner.settings import load_settings
from support.execution_fakes import JOB, Bench, folder_in_memory


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with folder_in_memory(tmp_path) as folder:
        yield Bench(folder / "project", rows=4)


def exported(bench: Bench, info: RunInfo, *, to: Path | None = None, as_: str | None = None) -> Delivery:
    to_text = str(to) if to is not None else None
    (delivery,) = export_run(info, bench.state, load_settings(bench.root), to=to_text, as_=as_)
    return delivery


def last(bench: Bench) -> RunInfo:
    return bench.runs()[-1]


def test_the_sinks_of_a_finished_run_are_written_again(bench: Bench) -> None:
    bench.run()
    before = bench.records()
    (bench.root / "out" / "x.jsonl").unlink()
    assert exported(bench, last(bench)).state == "delivered"
    assert bench.records() == before


def test_rows_without_an_answer_are_open_in_the_export_of_an_unfinished_run(bench: Bench) -> None:
    info = bench.begin()
    assert exported(bench, info).records == 4
    assert [record["status"] for record in bench.records()] == ["open"] * 4
    assert last(bench).unfinished, "an export ends no run"
    assert bench.run().exit_status == 0
    assert [record["status"] for record in bench.records()] == ["succeeded"] * 4


def test_a_run_is_exported_while_another_process_is_at_it(bench: Bench) -> None:
    info = bench.begin()
    with bench.state.own(bench.line, trial=False), SqliteLedger.open(info.folder):
        assert exported(bench, info).state == "delivered"
        assert exported(bench, info).state == "delivered", "its own export, though the ledger could not note it"


def test_a_file_that_the_user_names_is_no_sink_of_the_job(bench: Bench) -> None:
    bench.run()
    target = bench.root / "elsewhere.csv"
    target.write_text("anything")
    delivery = exported(bench, last(bench), to=target)
    assert (delivery.kind, delivery.state, delivery.records) == ("csv", "delivered", 4)
    assert target.read_text().startswith("key,id,text,output,status")
    with SqliteLedger.open(last(bench).folder, read_only=True) as ledger:
        assert [kept.target for kept in ledger.deliveries()] == ["out/x.jsonl"]


def test_the_format_may_be_another_than_the_name_says(bench: Bench) -> None:
    bench.run()
    target = bench.root / "records.txt"
    assert exported(bench, last(bench), to=target, as_="tsv").kind == "tsv"
    assert target.read_text().startswith("key\tid")


def test_a_foreign_file_in_the_place_of_a_sink_is_refused(bench: Bench) -> None:
    bench.run()
    bench.write("out/x.jsonl", "somebody else's\n")
    delivery = exported(bench, last(bench))
    assert delivery.state == "failed"
    assert "this job did not write it" in str(delivery.error)
    assert (bench.root / "out" / "x.jsonl").read_text() == "somebody else's\n"


def test_two_exports_at_a_time_do_not_take_one_another_s_files(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "project", rows=1_500, job=JOB.replace("max_concurrency: 4", "max_concurrency: 100"))
    info = bench.begin()
    targets = [tmp_path / f"{number}.jsonl" for number in range(6)]
    ended: list[str] = []

    def export(target: Path) -> None:
        ended.extend(exported(bench, info, to=target).state for _ in range(3))

    threads = [threading.Thread(target=export, args=(target,)) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ended == ["delivered"] * 18
    first = targets[0].read_bytes()
    assert first.count(b"\n") == 1_500
    assert all(target.read_bytes() == first for target in targets)
    assert not list(info.folder.glob("exported*")), "nothing is left"
