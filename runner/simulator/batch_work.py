"""The stand-in at work on its batches: when one is due, its requests are answered, billed and its results written.

Owns   one task that waits for the next batch to be due and processes it, block by block; what ends a batch and when.
Knows  the store and `RowAnswers`. No HTTP: endpoints read the store, and `wake` this when something has changed.

Nothing is done before its time: until a batch is due it costs nothing. A block is small, so that the server answers
in between, and work steps back while bodies are being received. Each block is committed with its bill, and the files
are cut back to the last commit after a crash: a request is never billed twice.
"""

from __future__ import annotations

import asyncio
import os
import random
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from msgspec.structs import replace

from runner.clock import Clock, to_rfc3339
from runner.simulator.batch_rows import Cutoff, RowAnswers
from runner.simulator.batch_shapes import Shape, read_line, read_shapes
from runner.simulator.batch_store import Batch, BatchStore

_BLOCK = 64
"""Requests between two commits, and lines shuffled among themselves."""

_LONGEST_WAIT_S = 600.0
_STEP_BACK_S = 0.25
"""How long a block waits for an upload to end before it is done all the same."""


class BatchWork:
    def __init__(self, store: BatchStore, rows: RowAnswers, clock: Clock, *, cancel_s: float, seed: int) -> None:
        self._store = store
        self._rows = rows
        self._clock = clock
        self._cancel_s = cancel_s
        self._seed = seed
        self._changed = asyncio.Event()
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._receiving = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def wake(self) -> None:
        """Something has changed: a batch, or the clock."""
        self._changed.set()

    @contextmanager
    def stepped_back(self) -> Iterator[None]:
        """While a body is being received."""
        self._receiving += 1
        self._quiet.clear()
        try:
            yield
        finally:
            self._receiving -= 1
            if not self._receiving:
                self._quiet.set()

    def end_moment(self, batch: Batch) -> float:
        """When a batch ends (infinite: never), by what is known of it now."""
        if batch.end_now_at is not None:
            return batch.end_now_at
        canceled = float("inf") if batch.cancel_at is None else batch.cancel_at + self._cancel_s
        stuck = batch.traits.get("stuck")
        if stuck == "always":
            return float("inf")
        return canceled if stuck else min(batch.created_at + batch.latency_s, batch.expires_at, canceled)

    async def _run(self) -> None:
        try:
            await self._work()
        except Exception:  # noqa: BLE001 - whatever it is
            traceback.print_exc()
            raise SystemExit(70) from None  # a stand-in that no longer works must be seen not to

    async def _work(self) -> None:
        while True:
            self._changed.clear()
            now = self._clock.now().timestamp()
            open_batches = [batch for batch in self._store.all() if batch.state != "ended"]
            ends_at, batch = min(
                ((self.end_moment(batch), batch) for batch in open_batches), key=_by_end, default=_NONE
            )
            if batch is not None and ends_at <= now:
                try:
                    await self._process(batch, ends_at)
                except FileNotFoundError:
                    if self._store.get(batch.id) is not None:
                        raise  # else it was forgotten by a reset, with its files
                continue
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), min(ends_at - now, _LONGEST_WAIT_S))

    async def _process(self, batch: Batch, ends_at: float) -> None:
        begun = self._clock.monotonic()
        cutoff = self._cutoff(batch, ends_at)
        with self._store.shapes_file(batch.id).open("rb") as lines:
            shapes = read_shapes(lines)
        with _open_at(self._store.requests_file(batch.id), batch.requests_offset) as requests:
            partial = self._store.partial_file(batch.id)
            with _open_cut(partial, batch.results_bytes) as results:
                while batch.done < batch.total:
                    await self._step_back()
                    current = self._store.get(batch.id)
                    if current is None:
                        return  # forgotten by a reset
                    # A cancel that comes now is too late: every request is done already.
                    batch = self._block(current, cutoff, requests, shapes, results)
                    await asyncio.sleep(0)
        await asyncio.to_thread(_shuffle, partial, self._store.results_file(batch.id), f"{self._seed}{batch.id}")
        current = self._store.get(batch.id)
        if current is None:
            self._store.results_file(batch.id).unlink(missing_ok=True)
        else:
            took = self._clock.monotonic() - begun
            self._store.end(current, min(ends_at + took, self._clock.now().timestamp()))

    def _cutoff(self, batch: Batch, ends_at: float) -> Cutoff | None:
        if batch.end_now_at is not None and not batch.traits.get("stuck"):
            return None
        if batch.cancel_at is not None:
            return Cutoff(batch.cancel_at, "canceled")
        if ends_at >= batch.expires_at or batch.traits.get("stuck"):
            return Cutoff(ends_at, "expired")
        return None

    def _block(
        self, batch: Batch, cutoff: Cutoff | None, requests: BinaryIO, shapes: Sequence[Shape], results: BinaryIO
    ) -> Batch:
        """Process the next requests of a batch; returns it as committed."""
        indexes = range(batch.done, min(batch.done + _BLOCK, batch.total))
        at = to_rfc3339(self._clock.now())
        lines = (read_line(requests.readline(), shapes) for _ in indexes)
        done = [self._rows.process(line, batch, index, cutoff, at) for index, line in zip(indexes, lines, strict=True)]
        results.writelines(row.line for row in done)
        results.flush()
        ends = [row.end for row in done]
        return self._store.update(
            replace(
                batch,
                done=batch.done + len(done),
                requests_offset=requests.tell(),
                results_bytes=results.tell(),
                succeeded=batch.succeeded + ends.count("succeeded"),
                errored=batch.errored + ends.count("errored"),
                canceled=batch.canceled + ends.count("canceled"),
                expired=batch.expired + ends.count("expired"),
            ),
            (row.entry for row in done if row.entry is not None),
        )

    async def _step_back(self) -> None:
        if self._receiving:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._quiet.wait(), _STEP_BACK_S)


_NONE: tuple[float, Batch | None] = (float("inf"), None)


def _by_end(entry: tuple[float, Batch | None]) -> float:
    return entry[0]


def _open_at(path: Path, offset: int) -> BinaryIO:
    file = path.open("rb", buffering=1 << 18)
    file.seek(offset)
    return file


def _open_cut(path: Path, size: int) -> BinaryIO:
    """Open for appending after the first `size` bytes; what a crash left behind them is dropped."""
    file = path.open("ab")
    file.truncate(size)
    file.seek(0, os.SEEK_END)
    return file


def _shuffle(source: Path, target: Path, seed: str) -> None:
    """Write the lines in another order: blocks change places, and the lines in each of them.

    The order depends on the batch, not on the machine's speed. With more than one line it is never the order of the
    requests.
    """
    dice = random.Random(seed)
    starts = list(_block_starts(source))
    blocks = list(pairwise(starts))
    dice.shuffle(blocks)
    staged = target.with_suffix(".staged")
    with source.open("rb") as lines, staged.open("wb", buffering=1 << 20) as out:
        for start, end in blocks:
            lines.seek(start)
            block = lines.read(end - start).splitlines(keepends=True)
            before = list(block)
            dice.shuffle(block)
            out.writelines(block if block != before else reversed(block))
    staged.rename(target)


def _block_starts(source: Path) -> Iterator[int]:
    """Where each block begins, and the end of the file."""
    position = 0
    yield position
    with source.open("rb", buffering=1 << 20) as lines:
        for count, line in enumerate(lines, 1):
            position += len(line)
            if count % _BLOCK == 0:
                yield position
    if position and count % _BLOCK:
        yield position
