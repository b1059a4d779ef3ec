"""Collecting: whatever a server makes of the results, no row is lost, swapped or booked twice."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runner.engines.collect import Collection, Desk, canceled_failure, disk_errors
from runner.errors import LedgerError
from runner.execution.judging import make_judge
from runner.ledger import BatchFacts
from runner.ledger.audit import audit
from support.engine_fakes import output_price
from support.tracking_fakes import MARK, BatchAnswers, BatchRun, errored, jsonl, name, remote, succeeded

ROWS = 4
ID = "msgbatch_1"
FOREIGN = [succeeded("foreign"), succeeded(name(0, 2)), succeeded(name(77)), b"", b"{", b"\xff", b"null"]


def true_line(row: int) -> bytes:
    return errored(name(row), "invalid_request_error") if row == 3 else succeeded(name(row), f"truth {row}")


FILES = st.lists(
    st.lists(st.one_of(st.integers(0, ROWS - 1).map(true_line), st.sampled_from(FOREIGN)), max_size=12), max_size=5
)


@settings(max_examples=20, deadline=None)
@given(FILES, st.sampled_from([b"\n", b"\r\n"]), st.integers(0, 4))
@example([[], [true_line(0)], [true_line(1)], [true_line(2), true_line(3)], []], b"\n", 3)
def test_any_mixture_of_files_loses_swaps_and_doubles_nothing(
    tmp_path_factory: pytest.TempPathFactory, files: list[list[bytes]], end: bytes, restart_after: int
) -> None:
    folder = tmp_path_factory.mktemp("run", numbered=True) / "run"
    run = BatchRun(folder, ROWS)
    whole = jsonl(*(true_line(row) for row in reversed(range(ROWS))))
    downloads: list[Any] = [jsonl(*lines, end=end) for lines in files]
    tallies = remote(ID, "ended", succeeded=ROWS - 1, errored=1)
    batch = run.batch(range(ROWS), BatchAnswers([tallies], [*downloads, whole]))
    run.ledger.mark_batch(1, "ended", BatchFacts(tallies=tallies.tallies))

    async def attempt(times: int) -> None:
        async with run.tracker(follow=False):
            desk = Desk(run.api, run.writer, MARK, output_price, make_judge(None), run.listener)
            collection = Collection(desk)
            for _ in range(times):
                if run.state() != "closed":
                    attempted = await collection.attempt(run.ledger.batch(batch.number))
                    assert attempted.verdict in ("closed", "again", "recount")

    asyncio.run(attempt(restart_after))
    run = run.reopen()
    asyncio.run(attempt(ROWS + 4))
    assert run.state() == "closed"
    assert run.statuses() == ["succeeded"] * (ROWS - 1) + ["failed"]
    assert all(b'"truth %d"' % row in run.result(row).body for row in range(ROWS - 1))
    assert (run.ledger.counts().attempts, run.ledger.money().spent) == (ROWS, 15 * (ROWS - 1))
    run.ledger.close()
    assert audit(folder) == []


def test_a_download_is_private_and_written_in_pieces(tmp_path: Path) -> None:
    run = BatchRun(tmp_path / "run", 1)
    run.api.chunk_bytes = 7
    long = "x" * 3_000_000
    batch = run.batch([0], BatchAnswers([remote(ID, "ended", succeeded=1)], [jsonl(succeeded(name(0), long))]))

    async def collect() -> None:
        async with run.tracker(follow=False):
            await run.writer.mark_batch(1, "ended", BatchFacts(tallies={"succeeded": 1}))
            desk = Desk(run.api, run.writer, MARK, output_price, make_judge(None), run.listener)
            assert (await Collection(desk).attempt(run.ledger.batch(batch.number))).verdict == "closed"

    asyncio.run(collect())
    path = run.ledger.landed(1)
    assert path is not None
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert long.encode() in run.result(0).body


def test_a_full_disk_is_said_with_its_cure(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="no space left") as caught, disk_errors(tmp_path):
        raise OSError(28, os.strerror(28))
    assert caught.value.code == "disk-full"
    with pytest.raises(LedgerError, match="the disk failed") as caught, disk_errors(tmp_path):
        (tmp_path / "gone").read_bytes()
    assert caught.value.code == "disk-error"


@pytest.mark.parametrize(("cause", "retryable"), [("user", False), ("deadline", True), (None, True)])
def test_what_a_canceled_request_counts_as_follows_the_cause(cause: Any, retryable: bool) -> None:
    failure = canceled_failure(cause)
    assert (failure.kind, failure.retryable, failure.scope) == ("canceled", retryable, "row")
