"""The sinks of a run: where they write, and what is refused before anything is paid."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.errors import BudgetError, DeliveryError, SpecError
from runner.execution.targets import is_written, make_targets
from runner.ledger import Delivery
from support.execution_fakes import JOB, Bench

SINKS = "sinks: [out/x.jsonl]"


def bench_with(root: Path, sinks: str) -> Bench:
    return Bench(root / "project", rows=3, job=JOB.replace(SINKS, sinks))


def targets(bench: Bench) -> list[str]:
    info = bench.runs()[-1]
    return [target.sink.target for target in make_targets(info, bench.load(), bench.state)]


def test_paths_are_rendered_from_job_variables_and_run(tmp_path: Path) -> None:
    bench = bench_with(
        tmp_path,
        'sinks: ["out/{{ job.name }}-{{ vars.day }}.jsonl", "out/{{ run.id }}.csv"]\nvars: {day: monday}',
    )
    summary = bench.run()
    assert targets(bench) == ["out/x-monday.jsonl", f"out/{summary.run_id}.csv"]
    assert sorted(path.name for path in (bench.root / "out").iterdir()) == [f"{summary.run_id}.csv", "x-monday.jsonl"]


def test_a_trial_writes_beside_production_unless_it_is_to_deliver(tmp_path: Path) -> None:
    bench = bench_with(tmp_path, "sinks: [out/x.jsonl.gz, out/y.csv]")
    bench.run(limit=1)
    assert targets(bench) == ["out/x.trial.jsonl.gz", "out/y.trial.csv"]
    bench.run(limit=1, deliver=True)
    assert targets(bench) == ["out/x.jsonl.gz", "out/y.csv"]


def test_each_sink_gets_the_rows_it_wants_and_its_columns(tmp_path: Path) -> None:
    sinks = "sinks: [{path: out/x.csv, rows: succeeded, columns: {id: key}}, {path: out/f.jsonl, rows: failed}]"
    bench = bench_with(tmp_path, sinks)
    bench.rows(["one", "", "three"])
    bench.run()
    assert (bench.root / "out" / "x.csv").read_text().split() == ["id", "k0", "k2"]
    assert [record["key"] for record in bench.records("out/f.jsonl")] == ["k1"]


def test_a_foreign_target_is_refused_before_anything_is_paid(tmp_path: Path) -> None:
    bench = bench_with(tmp_path, SINKS)
    bench.write("out/x.jsonl", "somebody else's\n")
    with pytest.raises(DeliveryError) as caught:
        bench.run()
    assert caught.value.code == "foreign-target"
    assert (bench.provider.received, bench.runs()) == ([], [])


def test_a_foreign_target_may_be_given_up_by_its_owner(tmp_path: Path) -> None:
    bench = bench_with(tmp_path, "sinks: [{path: out/x.jsonl, overwrite: true}]")
    bench.write("out/x.jsonl", "somebody else's\n")
    assert bench.run().exit_status == 0


def test_an_output_of_an_earlier_run_is_replaced_and_one_that_was_edited_is_not(tmp_path: Path) -> None:
    bench = bench_with(tmp_path, SINKS)
    bench.run()
    bench.rows(["one", "two"])
    assert bench.run().exit_status == 0
    bench.rows(["one", "two", "three"])
    with (bench.root / "out" / "x.jsonl").open("a") as file:
        file.write("edited\n")
    with pytest.raises(DeliveryError):
        bench.run()


def test_columns_that_clash_are_told_before_anything_is_paid(tmp_path: Path) -> None:
    bench = bench_with(tmp_path, "sinks: [out/x.csv]")
    bench.write("data/rows.csv", "id,text,status\na,1,2\n")
    with pytest.raises(SpecError):
        bench.run()
    assert bench.provider.received == []


def test_a_cap_needs_a_price(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "project", rows=3, job=JOB.replace("claude-haiku-5-5", "somebody-else-1"))
    with pytest.raises(BudgetError) as caught:
        bench.run()
    assert caught.value.code == "unknown-price"
    assert bench.runs() == []


def test_a_run_keeps_the_prices_it_began_with(tmp_path: Path) -> None:
    """A price that changes while a run is unfinished changes neither its bill nor its cap."""
    bench = bench_with(tmp_path, SINKS)
    info = bench.begin()
    stored = (info.folder / "inputs" / "prices.json").read_bytes()
    prices = "claude-haiku-5-5: {input_mtok: 1000, output_mtok: 1000}\n"
    bench.write("runner.toml", 'prices = "prices.yaml"\n')
    bench.write("prices.yaml", prices)
    summary = bench.run()
    assert (info.folder / "inputs" / "prices.json").read_bytes() == stored
    assert 0 < summary.money.spent < 10**9


def test_a_delivered_file_that_is_gone_is_not_written(tmp_path: Path) -> None:
    delivery = Delivery(0, "jsonl", "out/x.jsonl", "delivered", 3, "00" * 32)
    assert not is_written(delivery, tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x.jsonl").touch()
    assert is_written(delivery, tmp_path)
    assert is_written(Delivery(0, "stdout", "-", "delivered", 3), tmp_path), "what has no digest is believed"
