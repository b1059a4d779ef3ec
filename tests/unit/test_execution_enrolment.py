"""Enrolment: the selected rows of a dataset are in the run, and nothing reads the source again."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import pytest

from runner.errors import InputError, LedgerError, SpecError
from runner.execution.enrolment import Trial, enrol, enrolled_aside, enrolled_rows
from runner.ledger.sqlite import SqliteLedger
from support.execution_fakes import JOB, Bench

DATASET = "dataset: {path: data/rows.csv, key: id}"


def bench_with(root: Path, dataset: str = DATASET, *, rows: int = 10) -> Bench:
    return Bench(root / "project", rows=rows, job=JOB.replace(DATASET, dataset))


def enrolled(bench: Bench, trial: Trial | None = None, *sets: str) -> list[str]:
    return [found.row.key for found in enrolled_rows(bench.load(*sets), trial or Trial())]


def keys(*numbers: int) -> list[str]:
    return [f"k{number}" for number in numbers]


def test_rows_are_copied_in_order_with_their_columns(tmp_path: Path) -> None:
    bench = bench_with(tmp_path, rows=3)
    with SqliteLedger.create(tmp_path / "run", {}) as ledger:
        assert enrol(bench.load(), ledger, Trial()) == 3
        bench.rows(["another source"])
        assert [(row.key, row.index, row.values["text"]) for row in ledger.rows()] == [
            ("k0", 0, "text 0"),
            ("k1", 1, "text 1"),
            ("k2", 2, "text 2"),
        ]
        assert ledger.meta["columns"] == ["id", "text"]


def test_columns_are_those_of_all_rows_as_they_first_appear(tmp_path: Path) -> None:
    bench = bench_with(tmp_path, "dataset: data/rows.jsonl")
    bench.write("data/rows.jsonl", '{"b": 1, "text": "x"}\n{"a": 1, "text": "y"}\n{"b": 2, "text": "z"}\n')
    with SqliteLedger.create(tmp_path / "run", {}) as ledger:
        enrol(bench.load(), ledger, Trial())
        assert ledger.meta["columns"] == ["b", "text", "a"]


def test_a_key_that_appears_twice_is_told_and_leaves_no_rows(tmp_path: Path) -> None:
    bench = bench_with(tmp_path)
    bench.write("data/rows.csv", "id,text\na,1\nb,2\na,3\n")
    with SqliteLedger.create(tmp_path / "run", {}) as ledger:
        with pytest.raises(InputError):
            enrol(bench.load(), ledger, Trial())
        assert ledger.counts().total == 0


def test_the_job_selects_and_the_trial_narrows(tmp_path: Path) -> None:
    where = 'dataset: {path: data/rows.csv, key: id, where: row.id != "k2", limit: 5}'
    bench = bench_with(tmp_path, where)
    assert enrolled(bench) == keys(0, 1, 3, 4, 5)
    assert enrolled(bench, Trial(limit=2)) == keys(0, 1)
    assert enrolled(bench, Trial(limit=99)) == keys(0, 1, 3, 4, 5), "a trial never widens"
    assert enrolled(bench, Trial(keys=("k4", "k0"))) == keys(0, 4)


def test_rows_at_the_beginning_may_be_left_out(tmp_path: Path) -> None:
    bench = bench_with(tmp_path, 'dataset: {path: data/rows.csv, key: id, where: row.id != "k2", offset: 3, limit: 4}')
    assert enrolled(bench) == keys(4, 5, 6, 7)
    assert enrolled(bench, Trial(limit=1)) == keys(4)
    assert enrolled(bench, None, "dataset.offset=99") == []


def test_where_sees_variables(tmp_path: Path) -> None:
    bench = bench_with(tmp_path, "dataset: {path: data/rows.csv, key: id, where: row.id == vars.one}\nvars: {one: k3}")
    assert enrolled(bench) == keys(3)
    assert enrolled(bench, None, "vars.one=k4") == keys(4)


def test_the_path_may_be_rendered_from_variables(tmp_path: Path) -> None:
    bench = bench_with(tmp_path, 'dataset: {path: "data/{{ vars.name }}.csv", key: id}\nvars: {name: rows}')
    assert len(enrolled(bench)) == 10


def test_a_column_that_is_not_there_is_told_before_a_row_is_read(tmp_path: Path) -> None:
    bench = bench_with(tmp_path, "dataset: {path: data/rows.csv, key: ident}")
    with pytest.raises(SpecError) as caught:
        enrolled(bench)
    assert "ident" in caught.value.message


@pytest.mark.parametrize("trial", [Trial(), Trial(limit=0), Trial(keys=("k1",))])
def test_what_narrows_is_a_trial(trial: Trial) -> None:
    assert trial.narrows == (trial != Trial())


def test_a_state_folder_that_cannot_be_written_is_told_with_a_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = bench_with(tmp_path)
    bench.state.create()

    def refused(*_: object, **__: object) -> str:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(bench.state.path / "aside-1"))

    monkeypatch.setattr(tempfile, "mkdtemp", refused)  # whoever runs tests as root may write everywhere
    with pytest.raises(LedgerError) as caught, enrolled_aside(bench.load(), bench.state, Trial()):
        pass
    assert (caught.value.code, "writable" in str(caught.value.hint)) == ("cannot-write", True)


def test_rows_enrolled_aside_leave_nothing(tmp_path: Path) -> None:
    bench = bench_with(tmp_path)
    with enrolled_aside(bench.load(), bench.state, Trial()) as ledger:
        assert ledger.counts().total == 10
    assert not [path for path in bench.state.path.iterdir() if path.name.startswith("aside-")]
    assert bench.runs() == []
