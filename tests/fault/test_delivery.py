"""SIGKILL before and after each step of a delivery: the next attempt leaves what an undisturbed one would.

The steps are those of the sinks and of the ledger that notes them, each taken in turn, so every window between two of
them is hit. What is delivered over differs: nothing, the run's own earlier output, an earlier run's, somebody else's.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from runner.errors import DeliveryError
from runner.execution.exporting import export_run
from runner.ledger.sqlite import SqliteLedger
from runner.settings import load_settings
from runner.sinks import folders
from support.execution_fakes import JOB, Bench, Counted, folder_in_memory, killed, replied

pytestmark = pytest.mark.fault

TWO_SINKS = JOB.replace("[out/x.jsonl]", "[out/x.jsonl, out/x.csv.gz]")
PARTITIONED = JOB.replace("[out/x.jsonl]", "[{path: out/x.parquet, partition_by: status, rows: all}]")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with folder_in_memory(tmp_path) as folder:
        yield folder


def steps_of(sinks: int) -> list[str]:
    """From the first sink's opening to the run's end."""
    each = ["seal", "set_delivery", "commit", "set_delivery"]
    return [*["open"] * sinks, *["write"] * sinks, *each * sinks, "set_meta"]


def delivered(bench: Bench) -> dict[str, bytes]:
    out = bench.root / "out"
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def answered(root: Path, *, before: str, job: str = JOB) -> Bench:
    """A run whose rows are all answered, killed just before its delivery, over what was there `before`."""
    bench = Bench(root, rows=5, job=job)
    bench.provider.script["text 3"] = [replied("no", stop_reason="refusal")]
    if before == "an earlier run's output":
        bench.run()
        bench.rows(f"text {number}" for number in range(7))
        bench.provider.script["text 3"] = []
        info = bench.begin("reuse=false")
    elif before == "its own earlier output":
        bench.run()
        (info,) = bench.runs()
        with SqliteLedger.open(info.folder) as ledger:
            ledger.set_meta({"state": "open"})
            assert ledger.reopen()
    else:
        info = bench.begin()
    assert killed(lambda: bench.go_on(info, kill_before_delivery))
    return bench


def kill_before_delivery(step: str) -> None:
    if step == "before open":
        Counted(1)(step)


@pytest.mark.parametrize(
    ("before", "job", "sinks"),
    [
        ("nothing", JOB, 1),
        ("its own earlier output", TWO_SINKS, 2),
        ("an earlier run's output", JOB, 1),
        ("its own earlier output", PARTITIONED, 1),
        ("an earlier run's output", PARTITIONED, 1),
    ],
    ids=["nothing", "own", "earlier", "own-folder", "earlier-folder"],
)
def test_killed_at_any_step_a_delivery_ends_as_if_it_never_was(folder: Path, before: str, job: str, sinks: int) -> None:
    ready = answered(folder / "ready", before=before, job=job)
    undisturbed = copied(ready, folder / "undisturbed")
    counted = Counted()
    undisturbed.go_on(undisturbed.runs()[-1], counted)
    expected = delivered(undisturbed)
    steps = [step.removeprefix("before ") for step in counted.steps if step.startswith("before ")]
    assert steps[-len(steps_of(sinks)) :] == steps_of(sinks)

    for number, step in enumerate(counted.steps, 1):
        bench = copied(ready, folder / str(number))
        assert killed(partial(go_on, bench, kill_at=number)), f"no longer killed {step}"
        summary = bench.run("reuse=false") if before == "an earlier run's output" else bench.run()
        assert (summary.status, [sink.state for sink in summary.sinks]) == ("finished", ["delivered"] * sinks)
        assert delivered(bench) == expected, f"killed {step}"
        assert not bench.provider.received, "all was answered"
        shutil.rmtree(bench.root)


def go_on(bench: Bench, *, kill_at: int) -> None:
    bench.go_on(bench.runs()[-1], Counted(kill_at))


def copied(bench: Bench, root: Path) -> Bench:
    shutil.copytree(bench.root, root)
    return Bench.at(root)


def test_a_foreign_file_is_replaced_at_no_time(folder: Path) -> None:
    ready = answered(folder / "ready", before="nothing", job=TWO_SINKS)
    (ready.root / "out").mkdir()
    (ready.root / "out" / "x.jsonl").write_text("somebody else's\n")
    with pytest.raises(DeliveryError):
        ready.run()
    assert (ready.root / "out" / "x.jsonl").read_text() == "somebody else's\n"
    assert not (ready.root / "out" / "x.csv.gz").exists()


def test_a_foreign_file_that_comes_while_the_run_goes_on_is_kept_and_told(folder: Path) -> None:
    bench = answered(folder / "ready", before="nothing", job=TWO_SINKS)

    def come(step: str) -> None:
        if step == "before commit" and not (bench.root / "out" / "x.jsonl").exists():
            bench.write("out/x.jsonl", "somebody else's\n")

    summary = bench.go_on(bench.runs()[-1], come)
    assert (summary.exit_status, [sink.state for sink in summary.sinks]) == (4, ["failed", "delivered"])
    assert (bench.root / "out" / "x.jsonl").read_text() == "somebody else's\n"


def test_what_was_exported_while_the_run_went_on_is_its_own_output(folder: Path) -> None:
    bench = Bench(folder / "project", rows=5)
    info = bench.begin()

    def export_beside(step: str) -> None:
        if step == "after record" and not (bench.root / "out" / "x.jsonl").exists():
            (delivery,) = export_run(info, bench.state, load_settings(bench.root))
            assert (delivery.state, delivery.records) == ("delivered", 5)

    summary = bench.go_on(info, export_beside)
    assert (summary.exit_status, [sink.state for sink in summary.sinks]) == (0, ["delivered"])
    assert {record["status"] for record in bench.records()} == {"succeeded"}


def test_an_output_stays_our_own_after_a_delivery_over_it_failed(folder: Path) -> None:
    """The failed delivery replaced the note of the earlier one, not the earlier file."""
    bench = Bench(folder / "project", rows=5)
    bench.provider.script["text 3"] = [replied("no", stop_reason="refusal")]
    bench.run()
    before = bench.records()
    (info,) = bench.runs()
    with SqliteLedger.open(info.folder) as ledger:
        ledger.set_meta({"state": "open"})
        ledger.reopen()

    def fail(step: str) -> None:
        if step == "before commit":
            raise DeliveryError("no space left", hint="make room")

    assert bench.go_on(info, fail).exit_status == 4
    assert bench.records() == before
    (delivery,) = export_run(info, bench.state, load_settings(bench.root))
    assert delivery.state == "delivered"
    assert bench.records()[3]["status"] == "succeeded"


@pytest.mark.parametrize("step", ["_put", "rmtree"])
def test_killed_while_folders_change_places_there_is_the_old_or_the_new(folder: Path, step: str) -> None:
    """Between the exchange and the end of the old folder too, which nothing outside of the sink sees."""
    bench = answered(folder / "ready", before="its own earlier output", job=PARTITIONED)
    undisturbed = copied(bench, folder / "undisturbed")
    undisturbed.go_on(undisturbed.runs()[-1], Counted())
    before, expected = delivered(bench), delivered(undisturbed)

    def publish() -> None:
        home = folders if step == "_put" else shutil
        act = getattr(home, step)

        def killed_behind(*args: Any, **kwargs: Any) -> None:
            act(*args, **kwargs)
            if "staged" in str(args[0]) and args[0].name == "parts":
                os.kill(os.getpid(), signal.SIGKILL)

        setattr(home, step, killed_behind)
        bench.go_on(bench.runs()[-1], Counted())

    assert killed(publish)
    assert delivered(bench) in (before, expected)
    assert bench.run().status == "finished"
    assert delivered(bench) == expected
