"""Reading a landed file: every line is accounted for, in order, in bounded groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.engines import landed
from runner.engines.custom_ids import custom_id
from runner.engines.landed import Census, LandedReader
from runner.engines.parallel import Price
from runner.execution.judging import make_judge
from runner.ledger import UNPRICED, AcceptedLines, Landed
from runner.providers.results import read_result
from runner.types import Failure, Step, Usage
from support.engine_fakes import output_price
from support.tracking_fakes import MARK, ended, errored, jsonl, name, succeeded

CANCELED = Failure("canceled", "by a test")


def reader_of(path: Path, number: int = 1, price: Price = output_price) -> LandedReader:
    judge = make_judge(None)
    return LandedReader(
        path, mark=MARK, number=number, read_result=read_result, judge=judge, price=price, canceled=CANCELED
    )


def read(path: Path, number: int = 1) -> tuple[list[list[Landed]], Census]:
    """The groups, accepted lines as values like the others, and behind them."""
    reader = reader_of(path, number)
    groups: list[list[Landed]] = []
    try:
        while group := reader.next_group():
            groups.append([*group.lines, *as_values(group.accepted)])
            assert len(groups[-1]) == len(group) > 0
        assert not reader.next_group()
    finally:
        reader.close()
    return groups, reader.census


def as_values(accepted: AcceptedLines) -> Iterator[Landed]:
    for place in range(len(accepted)):
        row, cost, *usage, offset, length = accepted.part(place, place + 1).numbers
        yield Landed(Step(row), "succeeded", offset, length, None, None, Usage(*usage), cost, None)


def read_bytes(path: Path, data: bytes) -> tuple[list[Landed], Census]:
    """All lines of a file, in the order of their steps."""
    path.write_bytes(data)
    groups, census = read(path)
    return sorted([line for group in groups for line in group], key=lambda line: line.step), census


def test_each_end_of_a_request_is_read_with_its_place(tmp_path: Path) -> None:
    raw = [succeeded(name(0)), errored(name(1)), ended(name(2), "canceled"), ended(name(3), "expired")]
    lines, census = read_bytes(tmp_path / "x", jsonl(*raw))
    assert [line.end for line in lines] == ["succeeded", "errored", "canceled", "expired"]
    assert [line.step for line in lines] == [Step(row) for row in range(4)]
    data = (tmp_path / "x").read_bytes()
    assert [data[line.offset : line.offset + line.length] for line in lines] == raw
    assert (lines[0].cost_pico, lines[0].usage, lines[1].cost_pico) == (15, Usage(10, 5), 0)
    assert lines[2].failure is CANCELED
    assert lines[3].failure is not None
    assert lines[3].failure.retryable
    assert all(hash(line.step) == hash(Step(row)) and type(line) is Landed for row, line in enumerate(lines))
    assert census.tallies() == {"succeeded": 1, "errored": 1, "canceled": 1, "expired": 1}


@pytest.mark.parametrize("step", [Step(7, 1), Step(7, 0, 2), Step(7, 0, 0, 3), Step(36**12 - 1), Step(0, 9, 9, 9)])
def test_a_step_of_any_kind_finds_its_way_back(tmp_path: Path, step: Step) -> None:
    lines, _ = read_bytes(tmp_path / "x", jsonl(succeeded(custom_id(MARK, 1, step))))
    assert [line.step for line in lines] == [step]


@pytest.mark.parametrize("foreign", [
    "m4rk-2-0", "m4rk-11-0", "other-1-0", "m4rk-1-", "m4rk-1-01", "m4rk-1-A", "m4rk-1-0 ", "m4rk-1-٣", "m4rk-1-1_0",
    "m4rk-1-0-x", "m4rk-1-zzzzzzzzzzzzz", "", "-", "m4rk",
])  # fmt: skip
def test_an_id_of_another_run_or_batch_is_left_aside(tmp_path: Path, foreign: str) -> None:
    lines, census = read_bytes(tmp_path / "x", jsonl(succeeded(foreign), succeeded(name(0))))
    assert [line.step.row for line in lines] == [0]
    assert (census.foreign + census.unreadable, census.tallies()["succeeded"]) == (1, 1)


@pytest.mark.parametrize("bad", [
    b"{", b"[]", b"null", b'"x"', b'{"custom_id":"m4rk-1-0"}', b"\xff\xfe", b"<html>login</html>", b"NaN",
    b'{"custom_id":"m4rk-1-0","result":{"type":"paused"}}', b"[" * 100_000,
])  # fmt: skip
def test_what_is_no_result_is_counted(tmp_path: Path, bad: bytes) -> None:
    lines, census = read_bytes(tmp_path / "x", jsonl(bad, succeeded(name(0))))
    assert (len(lines), census.unreadable, census.lines) == (1, 1, 2)
    assert census.why_unreadable


def test_a_line_that_is_too_long_is_passed_over_in_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landed, "MAX_LINE_BYTES", 1_000)
    monkeypatch.setattr(landed, "_SKIP_BYTES", 100)
    long, fits = succeeded(name(1), "x" * 5_000), succeeded(name(2), "x" * 700)
    lines, census = read_bytes(tmp_path / "x", jsonl(succeeded(name(0)), long, fits) + long)
    assert [line.step.row for line in lines] == [0, 2]
    assert (census.unreadable, census.why_unreadable) == (2, "longer than 0 MiB")


def test_groups_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    path.write_bytes(jsonl(*(succeeded(name(row)) for row in range(25))))
    monkeypatch.setattr(landed, "GROUP_LINES", 10)
    assert [len(group) for group in read(path)[0]] == [10, 10, 5]


def test_many_lines_of_others_do_not_look_like_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landed, "_BLOCK_BYTES", 100)
    monkeypatch.setattr(landed, "WINDOW_BYTES", 100)
    foreign = [succeeded("foreign")] * 50
    lines, census = read_bytes(tmp_path / "x", jsonl(*foreign, succeeded(name(0)), *foreign))
    assert (len(lines), census.foreign) == (1, 100)


# -- any mixture ---------------------------------------------------------------------------------------------------

ODD = [b"", b"   ", b"\r", b"{", succeeded("foreign"), succeeded(name(3, 2)), b"null", b"\xff"]
LINES = st.one_of(
    st.tuples(st.integers(0, 5), st.sampled_from(["a", "b"])).map(lambda it: succeeded(name(it[0]), it[1])),
    st.integers(0, 5).map(lambda row: errored(name(row))),
    st.integers(0, 5).map(lambda row: ended(name(row), "expired")),
    st.sampled_from(ODD),
)


@settings(deadline=None)
@given(st.lists(st.tuples(LINES, st.sampled_from([b"\n", b"\r\n"])), max_size=30), st.booleans())
def test_any_mixture_of_lines_is_accounted_for(
    tmp_path_factory: pytest.TempPathFactory, parts: list[tuple[bytes, bytes]], cut_last_end: bool
) -> None:
    data = b"".join(line + end for line, end in parts)
    if cut_last_end:
        data = data.removesuffix(b"\n")
    lines, census = read_bytes(tmp_path_factory.getbasetemp() / "mixture", data)
    first: dict[str, bytes] = {}
    for line, _ in parts:
        result = _result(line)
        if result is not None:
            first.setdefault(result.custom_id, line)
    expected = {key: line for key, line in first.items() if key.startswith(f"{MARK}-1-")}
    assert {custom_id(MARK, 1, line.step): data[line.offset : line.offset + line.length] for line in lines} == expected
    assert len(lines) == len(expected)
    assert Counter(census.ends().values()) == Counter({end: n for end, n in census.tallies().items() if n})
    counted = len(lines) + census.unreadable + census.foreign + census.repeated + census.conflicting
    assert counted == census.lines == sum(1 for line, _ in parts if line.strip())


def _result(line: bytes) -> Any:
    try:
        return read_result(line)
    except ValueError:
        return None


@settings(deadline=None)
@given(
    st.permutations(range(40)),
    st.sampled_from(["WINDOW_BYTES", "WINDOW_LINES", "OTHERS_BYTES"]),
    st.sampled_from([1, 7, 1_000, 5_000, 1 << 20]),
    st.booleans(),
)
def test_lines_come_in_the_order_of_their_rows_a_window_at_a_time(
    tmp_path_factory: pytest.TempPathFactory, rows: list[int], bound: str, value: int, fails: bool
) -> None:
    data = jsonl(*(errored(name(row)) if fails else succeeded(name(row)) for row in rows))
    path = tmp_path_factory.getbasetemp() / "windows"
    path.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(landed, "_BLOCK_BYTES", 10)
        patch.setattr(landed, bound, value)
        groups, _ = read(path)
    found = [line.step.row for group in groups for line in group]
    assert sorted(found) == list(range(40))
    is_bound = bound != ("WINDOW_LINES" if fails else "OTHERS_BYTES")
    if value == 1 << 20 or not is_bound:
        assert found == list(range(40))
    elif value == 1:
        assert found == rows
    assert all(group == sorted(group, key=lambda line: line.step) for group in groups)


def test_an_id_counts_once_over_all_windows_and_the_first_line_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = b'{"result":{"type":"expired"},"custom_id":"m4rk-1-0"}'
    raw = [odd, succeeded(name(1), "a"), succeeded(name(0), "late"), succeeded(name(1), "b"), succeeded(name(1), "a")]
    for window_bytes in (1, 1 << 20):
        monkeypatch.setattr(landed, "WINDOW_BYTES", window_bytes)
        monkeypatch.setattr(landed, "_BLOCK_BYTES", window_bytes)
        lines, census = read_bytes(tmp_path / "x", jsonl(*raw))
        assert [(line.step.row, line.end, line.offset) for line in lines] == [
            (0, "expired", 0),
            (1, "succeeded", len(odd) + 1),
        ]
        assert (census.repeated, census.conflicting) == (1, 2)
        assert census.ends() == {name(0): "expired", name(1): "succeeded"}


def test_only_replies_that_answer_their_row_are_accepted_as_they_are_read(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(
        jsonl(succeeded(name(2)), succeeded(name(1), "  "), succeeded(name(0)), succeeded(f"{name(3)}-r1"))
    )
    with closing(reader_of(tmp_path / "x")) as reader:
        group = reader.next_group()
    assert list(group.accepted.rows) == [0, 2]
    assert [line.step for line in group.lines] == [Step(1), Step(3, round=1)]
    assert all(line.reply is not None and line.cost_pico == 15 for line in group.lines)


def test_a_reply_without_a_known_price_is_accepted_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(jsonl(succeeded(name(0))))
    with closing(reader_of(tmp_path / "x", price=lambda *_: None)) as reader:
        assert list(reader.next_group().accepted.costs_pico) == [UNPRICED]


def test_nothing_more_is_read_once_reading_was_given_up(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(jsonl(succeeded(name(0))))
    reader = reader_of(tmp_path / "x")
    reader.give_up()
    assert not reader.next_group()
    reader.close()
    assert reader.census.lines == 0
