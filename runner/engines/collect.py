"""Collecting one batch: its results downloaded, landed, read, booked, and checked against what the API said.

Owns   the order of these, and the verdict: when a batch is closed, when its results are fetched again, when it cannot
       be closed.
Knows  the provider, the book and the reader of landed files. Not when to try again: it says how the attempt ended.

    download ─▶ landing_path ─▶ land (durable) ─▶ lines ─▶ settle_batch (groups) ─▶ ids and tallies ─▶ closed

Invariants
  * Nothing is read before it is durable, and a reply that has landed is never lost again: a file that is landed later
    adds what was missing, and changes nothing that was there.
  * A batch closes only when each of its steps has an outcome, and the distinct ids found, counted by how they ended,
    are what the API counted. That a download looked whole proves nothing.
  * After a crash anywhere the landed file is read from its start; what was settled before changes nothing.

A file that lacks ids is fetched again, up to `MAX_REFETCHES` times; tallies that disagree while no id is lacking, once.
Then the batch stays `ended`: all that was found is kept, and the run says what is missing.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Literal

from msgspec import Struct

from runner.engines import BatchBook, Judge, StopReason
from runner.engines.custom_ids import custom_id
from runner.engines.halt import stop_reason
from runner.engines.landed import ENDS, Census, LandedGroup, LandedReader, ModelOf, no_other_model
from runner.engines.parallel import Price
from runner.engines.polling import NOT_FOUND
from runner.errors import LedgerError
from runner.events import BatchMoved, BatchSettled, Observer, Warned
from runner.ledger import UNPRICED, Batch, BatchFacts, BatchState, CancelCause, Landed, Ruling, Settled
from runner.providers import BatchProvider
from runner.types import AttemptEnd, Failure, RowStatus, Step

MAX_REFETCHES = 5
"""How often results that lack ids are fetched again before the run says so."""
_WRITE_BYTES = 1 << 20
"""Bytes of a download that are gathered before a thread writes them."""
_NAMED = 5
"""Missing requests that a message names."""

Verdict = Literal["closed", "again", "recount", "absent", "failed", "refused", "incomplete"]


class Attempted(Struct, frozen=True):
    """How one attempt at collecting ended.

    `again` and `recount`: the file was not whole, or its tallies were not the API's; `absent`: the API has no results
    (yet); `failed`: the download broke; `refused`: so would any other; `incomplete`: trying again will not help, see
    `reason`. `reopened` steps wait to be sent again; `decided` rows are final. `reason` may stand beside any verdict.
    """

    verdict: Verdict
    batch: Batch
    failure: Failure | None = None
    reason: StopReason | None = None
    reopened: int = 0
    decided: int = 0


class Desk(Struct, frozen=True):
    """What all batches of a run are collected with."""

    provider: BatchProvider
    book: BatchBook
    mark: str
    price: Price
    judge: Judge
    observer: Observer
    model_of: ModelOf = no_other_model
    one_sample: bool = True

    async def move(self, batch: Batch, state: BatchState, facts: BatchFacts | None = None) -> Batch:
        """Mark a batch, and tell of it where its state is another one now."""
        moved = await self.book.mark_batch(batch.number, state, facts)
        if moved.state != batch.state:
            self.observer.notify(
                BatchMoved(
                    moved.number,
                    moved.state,
                    moved.batch_id,
                    moved.steps,
                    moved.began_at,
                    moved.expires_at,
                    moved.priming,
                    moved.note,
                )
            )
        return moved

    async def tell(self, batch: Batch, code: str, message: str) -> Batch:
        """Say what is wrong with a batch, and keep it as its note."""
        moved = await self.book.mark_batch(batch.number, batch.state, BatchFacts(note=message))
        self.observer.notify(Warned(code, f"{name_of(batch)}: {message}"))
        return moved


def name_of(batch: Batch) -> str:
    return f"batch {batch.number} ({batch.batch_id})"


def canceled_failure(cause: CancelCause | None) -> Failure:
    """What a canceled request counts as as docs/batch.md has it: to be sent again, unless the user canceled the run."""
    match cause:
        case "user":
            return Failure("canceled", "canceled with `runner cancel`")
        case "deadline":
            return Failure("canceled", "its batch was canceled so that the deadline can be met", retryable=True)
        case None:
            return Failure("canceled", "its batch was canceled at the API, not by this run", retryable=True)


class Collection:
    """Collecting one batch, over as many attempts as it takes. The first reads a file that has landed before."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._read_before = False
        self._fetches = 0
        self._recounts = 0
        self._ends: dict[str, AttemptEnd] = {}
        """How ids ended in files that were not whole; ids in this one come on top."""
        self._told: set[str] = set()
        self._unknown: set[str] = set()
        self._elsewhere = 0
        self._stops: Failure | None = None
        self._reopened = 0
        self._decided = 0

    async def attempt(self, batch: Batch) -> Attempted:
        """Take up what there is. `batch` has ended, and its tallies are known. Raises what the book and the disk
        raise."""
        book = self._desk.book
        self._reopened = self._decided = 0
        path = None if self._read_before else await book.landed(batch.number)
        if path is None:
            failure = await self._download(batch)
            if failure is not None:
                return self._ended(_verdict_on(failure), batch, failure=failure)
            self._fetches += 1
            path = await book.land(batch.number)
        self._read_before = True
        census = await self._take_up(path, batch)
        return await self._judge(batch, census)

    async def take_up_landed(self, batch: Batch) -> Attempted | None:
        """Take up a file that landed before, where there is one: all that is left of results that are gone."""
        path = None if self._read_before else await self._desk.book.landed(batch.number)
        if path is None:
            return None
        self._read_before = True
        self._reopened = self._decided = 0
        await self._take_up(path, batch)
        return self._ended("again", batch)

    # -- downloading -----------------------------------------------------------------------------------------------

    async def _download(self, batch: Batch) -> Failure | None:
        path = await self._desk.book.landing_path(batch.number)
        assert batch.batch_id is not None, "a batch that has ended has an id"
        landing = _Landing(path)
        try:
            await _in_thread(landing.open)
            got = await self._desk.provider.download_results(batch.batch_id, landing.write)
            await landing.flush()
        finally:
            landing.close()
        return got if isinstance(got, Failure) else None

    # -- taking up -------------------------------------------------------------------------------------------------

    async def _take_up(self, path: Path, batch: Batch) -> Census:
        """Read and book a landed file, the next group being read while one is booked."""
        reader = self._reader(path, batch)
        ahead = asyncio.create_task(asyncio.to_thread(_next_group, reader, path))
        try:
            while group := await asyncio.shield(ahead):
                ahead = asyncio.create_task(asyncio.to_thread(_next_group, reader, path))
                settled = await self._desk.book.settle_batch(batch.number, group.lines, group.accepted)
                self._note(batch, group, settled)
        finally:
            reader.give_up()
            try:
                await asyncio.wait([ahead])  # bounded: one block of lines
            finally:
                reader.close()
        return reader.census

    def _reader(self, path: Path, batch: Batch) -> LandedReader:
        return LandedReader(
            path,
            mark=self._desk.mark,
            number=batch.number,
            read_result=self._desk.provider.read_result,
            judge=self._desk.judge,
            price=self._desk.price,
            canceled=canceled_failure(batch.cause),
            model_of=self._desk.model_of,
            one_sample=self._desk.one_sample,
        )

    def _note(self, batch: Batch, group: LandedGroup, settled: Settled) -> None:
        """Count what a group of lines came to, and tell of it."""
        statuses: Counter[RowStatus] = Counter()
        went_on = 0  # to a next turn, or after a pause: nothing is wrong with such a reply
        accepted = settled.accepted
        costs: list[int | None] = [None if cost == UNPRICED else cost for cost in accepted.costs_pico]
        usage = accepted.usage
        if accepted:
            statuses["succeeded"] = len(accepted)
        for landed, ruling in zip(group.lines, settled.rulings, strict=True):
            if ruling is None:
                continue
            statuses[_status(ruling)] += 1
            went_on += ruling.next_step is not None and ruling.failure is None
            if landed.reply is None:
                self._note_failed(landed, batch)
                continue
            usage += landed.usage
            costs.append(landed.cost_pico)
        self._reopened += statuses["open"]
        self._decided += statuses.total() - statuses["open"]
        if statuses:
            cost = sum([cost for cost in costs if cost is not None])
            told = dict(statuses - Counter({"open": went_on}))
            self._desk.observer.notify(BatchSettled(batch.number, told, usage, cost, costs.count(None)))
        self._unknown.update(custom_id(self._desk.mark, batch.number, step) for step in settled.unknown)

    def _note_failed(self, landed: Landed, batch: Batch) -> None:
        """Keep what a line without a reply says of the whole run."""
        failure = landed.failure
        if landed.end == "canceled" and batch.cause is None:
            self._elsewhere += 1
        if self._stops is None and failure is not None and failure.scope == "job":
            self._stops = failure

    # -- judging ---------------------------------------------------------------------------------------------------

    async def _judge(self, batch: Batch, census: Census) -> Attempted:
        """Close the batch, or say why it is not closed."""
        found = self._found(census)
        batch = await self._tell_oddities(batch, census)
        missing = await self._desk.book.batch_steps(batch.number, None, _NAMED)
        expected = {end: (batch.tallies or {}).get(end, 0) for end in ENDS}
        if not missing and found == expected:
            return self._ended("closed", await self._desk.move(batch, "closed"))
        self._keep(census)
        if missing:
            what = await self._missing(batch, [waiting.step for waiting in missing])
            if self._fetches <= MAX_REFETCHES:
                return self._ended("again", await self._tell_once(batch, "results-missing", what))
        else:
            what = f"the API counts {_words(expected)}, its results hold {_words(found)}"
            if sum(found.values()) < batch.steps and self._fetches <= MAX_REFETCHES:
                # Cut files, of which earlier ones were read before a restart: a whole one is needed to count.
                return self._ended("again", await self._tell_once(batch, "results-tallies", what))
            self._recounts += 1
            if self._recounts < 2 or self._fetches == 0:
                return self._ended("recount", await self._tell_once(batch, "results-tallies", what))
        batch = await self._desk.tell(batch, "results-incomplete", what)
        return self._ended("incomplete", batch, reason=_incomplete(batch, what))

    def _found(self, census: Census) -> dict[AttemptEnd, int]:
        """How many distinct ids of the batch ended how, in this file and those before it."""
        if not self._ends and not self._unknown:
            return census.tallies()
        ends = {**census.ends(), **self._ends}
        counts = Counter(end for name, end in ends.items() if name not in self._unknown)
        return {end: counts[end] for end in ENDS}

    def _keep(self, census: Census) -> None:
        self._ends = {**census.ends(), **self._ends}

    async def _tell_oddities(self, batch: Batch, census: Census) -> Batch:
        unknown = census.foreign + len(self._unknown)
        if census.unreadable:
            what = f"{census.unreadable} lines of its results cannot be read: {census.why_unreadable}"
            batch = await self._tell_once(batch, "results-unreadable", what)
        if unknown:
            what = f"{unknown} lines of its results are of requests that were not in it; they are left aside"
            batch = await self._tell_once(batch, "results-foreign", what)
        if census.repeated:
            what = f"{census.repeated} lines of its results are there twice"
            batch = await self._tell_once(batch, "results-repeated", what)
        if census.conflicting:
            what = f"{census.conflicting} lines of its results contradict an earlier one, which counts"
            batch = await self._tell_once(batch, "results-contradict", what)
        return batch

    async def _missing(self, batch: Batch, steps: Sequence[Step]) -> str:
        """Which requests have no result, for a person."""
        batch = await self._desk.book.mark_batch(batch.number, batch.state)
        count = batch.steps - batch.settled
        rows = ", ".join(str(step.row) for step in steps)
        more = ", …" if count > len(steps) else ""
        return f"{count} of its {batch.steps} requests have no result (rows {rows}{more})"

    async def _tell_once(self, batch: Batch, code: str, what: str) -> Batch:
        if code in self._told:
            return batch
        self._told.add(code)
        return await self._desk.tell(batch, code, what)

    def _ended(
        self, verdict: Verdict, batch: Batch, *, failure: Failure | None = None, reason: StopReason | None = None
    ) -> Attempted:
        if self._stops is not None:
            reason, self._stops = stop_reason(self._stops), None
        elif self._elsewhere:
            reason, self._elsewhere = _canceled_elsewhere(batch, self._elsewhere), 0
        return Attempted(verdict, batch, failure, reason, self._reopened, self._decided)


def _status(ruling: Ruling) -> RowStatus:
    if ruling.next_step is not None:
        return "open"
    match ruling.state:
        case "succeeded" | "failed" | "expired" | "canceled":
            return ruling.state
        case _:
            return "open"


def _verdict_on(failure: Failure) -> Verdict:
    if failure.http_status in NOT_FOUND:
        return "absent"
    return "refused" if failure.scope == "job" or failure.http_status in (401, 403) else "failed"


def _words(tallies: Mapping[AttemptEnd, int]) -> str:
    return ", ".join(f"{count} {end}" for end, count in tallies.items() if count) or "nothing"


def _incomplete(batch: Batch, what: str) -> StopReason:
    return StopReason(
        "results_incomplete",
        f"{name_of(batch)}: {what}",
        "`runner resume` fetches the results again; `runner resume --resend` sends again what has none, "
        "and may pay for it twice",
    )


def _canceled_elsewhere(batch: Batch, count: int) -> StopReason:
    return StopReason(
        "canceled_elsewhere",
        f"{name_of(batch)} was canceled at the API, not by this run: {count} of its requests are open again",
        "find out who canceled it; `runner resume` sends them again",
    )


class _Landing:
    """The file that a download is written to, in big pieces and off the loop. Nobody else may read it (0600)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pieces: list[bytes] = []
        self._waiting_bytes = 0
        self._file: FileIO | None = None

    def open(self) -> None:
        with disk_errors(self._path):
            self._file = FileIO(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb")

    async def write(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._waiting_bytes += len(piece)
        if self._waiting_bytes >= _WRITE_BYTES:
            await self.flush()

    async def flush(self) -> None:
        pieces, self._pieces, self._waiting_bytes = self._pieces, [], 0
        if pieces:
            await _in_thread(partial(self._write, b"".join(pieces)))

    def _write(self, data: bytes) -> None:
        assert self._file is not None, "it is written to between open and close"
        rest = memoryview(data)
        with disk_errors(self._path):
            while rest:
                rest = rest[self._file.write(rest) :]

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


async def _in_thread(act: Callable[[], None]) -> None:
    """Run something on a thread, and be done with it also when canceled: a file is not closed under it."""
    task = asyncio.create_task(asyncio.to_thread(act))
    try:
        await asyncio.shield(task)
    finally:
        await asyncio.wait([task])


def _next_group(reader: LandedReader, path: Path) -> LandedGroup:
    with disk_errors(path):
        return reader.next_group()


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Raise LedgerError `disk-full` or `disk-error` where the system refuses to read or write a landed file."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise LedgerError(
                f"no space left for {path}", code="disk-full", hint="free some space, then go on with `runner resume`"
            ) from error
        raise LedgerError(
            f"the disk failed under {path}: {error.strerror}",
            code="disk-error",
            hint="check the disk, then go on with `runner resume`",
        ) from error
