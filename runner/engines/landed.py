"""Reading a landed result file: from its bytes to groups of lines that the ledger can book, and a census of its ids.

Owns   the line reader (linear, in bounded memory), whose line is whose, and the count of what a file holds.
Knows  the provider's reading of one line, the judge, custom ids, a price. Nothing of the network, the ledger or tasks:
       it is synchronous, and runs on a thread of its own.

Results come in any order (batch guide), and neighbours in the ledger's tables share pages: rows that lie side by side
are booked in a quarter of the time of rows that are spread over the batch. So a large part of the file, mostly all of
it, is read before its first lines are given away in the order of their rows. Nearly all lines are replies that answer
their rows; they are judged as they are read, and only nine numbers are kept of each. To keep what else was read takes
longer than reading it.

Invariants
  * Every line is accounted for: it is in a group, or counted as blank, unreadable, foreign or repeated.
  * A line in a group is of this run and this batch by its id; each id is in one group once: the first line that can be
    read counts.
  * Memory holds one block of raw lines, the lines of one window that are not accepted, and eleven numbers for each
    other line.

Sources: reliability 3.4 for what a line may be.
"""

from __future__ import annotations

import re
import threading
from array import array
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

from msgspec import Struct, field
from msgspec.structs import replace

from runner.engines import Accept, Judge
from runner.engines.custom_ids import base36, id_head, read_custom_id
from runner.engines.parallel import Price
from runner.ledger import ACCEPTED_COLUMNS, NONE_ACCEPTED, UNPRICED, AcceptedLines, Landed
from runner.providers import BatchLine
from runner.types import AttemptEnd, Failure, Step, Usage

GROUP_LINES: Final = 5_000
"""The most that the ledger takes in one transaction (reliability 3.4)."""
WINDOW_LINES: Final = 100_000
"""Accepted lines that are put in order at a time: a batch has no more (batch guide), and they take 8 MB."""
WINDOW_BYTES: Final = 256 << 20
"""Raw bytes that a window is read of, so that a batch of very long replies is booked as it is read."""
OTHERS_BYTES: Final = 16 << 20
"""Raw bytes of the other lines in a window, which are kept as values."""
MAX_LINE_BYTES: Final = 64 << 20
"""The longest line that is read (reliability 3.4)."""
ENDS: Final[tuple[AttemptEnd, ...]] = ("succeeded", "errored", "canceled", "expired")
"""The ends that the API counts, by its own names."""

_CODE: Final = {end: code for code, end in enumerate(ENDS)}
_PLAIN_ROW: Final = "(0|[1-9a-z][0-9a-z]{0,11})"
"""What follows `id_head` in the id of a row's first step."""
_VALUE_BYTES: Final = 500
"""About what a line that is kept as a value takes besides its own bytes."""
_BLOCK_BYTES: Final = 1 << 20
_SKIP_BYTES: Final = 1 << 20
_NOTHING_USED: Final = Usage()

ReadResult = Callable[[bytes], BatchLine]
ModelOf = Callable[[Step], str | None]
"""The model that a step was asked of, where that is another than the job's."""
T = TypeVar("T")


def no_other_model(_step: Step) -> str | None:
    """Of a job that asks one model only."""
    return None


class LandedGroup(Struct, frozen=True):
    """Lines to book in one transaction. `accepted` are replies that answer their rows' first steps; `lines` the
    others."""

    lines: list[Landed]
    accepted: AcceptedLines

    def __len__(self) -> int:
        return len(self.lines) + len(self.accepted)


class Census(Struct):
    """What was found in a file. `first_at` holds, for each id of this batch, where its first line begins and how it
    ended, in one number: memory is the point. The id of a row's first step stands there as the row."""

    head: str = ""
    """What all ids of the batch begin with."""
    lines: int = 0
    unreadable: int = 0
    why_unreadable: str | None = None
    """What is wrong with the first unreadable line."""
    foreign: int = 0
    """Lines with an id that is not of this run and batch."""
    repeated: int = 0
    """Lines whose id was there before, with the same content."""
    conflicting: int = 0
    """Lines whose id was there before, with other content; the first one counts."""
    first_at: dict[int | str, int] = field(default_factory=dict)

    def ends(self) -> Mapping[str, AttemptEnd]:
        """How each id of this batch ended."""
        return {
            self.head + base36(key) if isinstance(key, int) else key: ENDS[place & 3]
            for key, place in self.first_at.items()
        }

    def tallies(self) -> dict[AttemptEnd, int]:
        """How many ids ended how."""
        counts = [0, 0, 0, 0]
        for place in self.first_at.values():
            counts[place & 3] += 1
        return dict(zip(ENDS, counts, strict=True))


class LandedReader:
    """Reads one landed file of one batch, once. Close it.

    `canceled` is what a canceled request of this batch counts as: its cause decides. `one_sample`: an accepted reply
    to a row's first step ends the row, where the row has no other samples.
    """

    def __init__(
        self,
        path: Path,
        *,
        mark: str,
        number: int,
        read_result: ReadResult,
        judge: Judge,
        price: Price,
        canceled: Failure,
        model_of: ModelOf = no_other_model,
        one_sample: bool = True,
    ) -> None:
        self._head = id_head(mark, number)
        self._plain_id = re.compile(re.escape(self._head) + _PLAIN_ROW).fullmatch
        self.census = Census(self._head)
        self._path = path
        self._read_result = read_result
        self._judge = judge
        self._price = price
        self._model_of = model_of
        self._one_sample = one_sample
        self._canceled = canceled
        self._offset = 0
        self._others: list[Landed] = []
        """Lines of the window that are not accepted, the next to give last."""
        self._numbers = array("q")
        """The accepted lines of the window as they came, `ACCEPTED_COLUMNS` for each."""
        self._order: list[int] = []
        """Their places in the order of their rows, the next to give last."""
        self._file: BinaryIO | None = None
        self._closed = False
        self._gate = threading.Lock()
        """Whoever gives up reading may do so while a thread still reads."""

    def give_up(self) -> None:
        """Read no more: a group that is being read ends with the block at hand."""
        self._closed = True

    def close(self) -> None:
        """Give up, and close the file once no thread reads it."""
        self.give_up()
        with self._gate:
            if self._file is not None:
                self._file.close()

    def next_group(self) -> LandedGroup:
        """The next lines of this batch; empty only at the end of the file, or once closed. Raises OSError."""
        with self._gate:
            if self._closed:
                return LandedGroup([], NONE_ACCEPTED)
            while not (self._others or self._order) and self._read_window():
                pass
            lines = _taken(self._others, GROUP_LINES)
            return LandedGroup(lines, self._accepted(_taken(self._order, GROUP_LINES - len(lines))))

    def _accepted(self, places: Iterable[int]) -> AcceptedLines:
        numbers, all_numbers = array("q"), self._numbers
        for place in places:
            start = place * ACCEPTED_COLUMNS
            numbers.extend(all_numbers[start : start + ACCEPTED_COLUMNS])
        return AcceptedLines(numbers)

    # -- a window --------------------------------------------------------------------------------------------------

    def _read_window(self) -> bool:
        """Read the next lines and put them in order; False at the end of the file."""
        if self._file is None:
            self._file = self._path.open("rb")
        begun_at, self._numbers = self._offset, array("q")
        while not self._closed and self._has_room(begun_at):
            block = self._file.read(_BLOCK_BYTES)
            if not block:
                break
            if not block.endswith(b"\n"):
                block += self._file.readline(MAX_LINE_BYTES + 1)
            self._read_block(block, self._file)
        self._others.sort(key=_step_of, reverse=True)
        rows = self._numbers[::ACCEPTED_COLUMNS]
        self._order = sorted(range(len(rows)), key=rows.__getitem__, reverse=True)
        return self._offset > begun_at

    def _has_room(self, begun_at: int) -> bool:
        return (
            len(self._numbers) < WINDOW_LINES * ACCEPTED_COLUMNS
            and self._offset - begun_at < WINDOW_BYTES
            and sum([line.length + _VALUE_BYTES for line in self._others]) < OTHERS_BYTES
        )

    def _read_block(self, block: bytes, file: BinaryIO) -> None:
        """Read whole lines; the last may have no end because the file, or what is read of a line, has one."""
        lines, start = block.split(b"\n"), self._offset
        self._offset += len(block)
        if not lines[-1]:
            lines.pop()
        self.census.lines += len(lines)
        if len(block) > MAX_LINE_BYTES:
            if len(lines[-1]) > MAX_LINE_BYTES and not block.endswith(b"\n"):
                self._offset += _skip_line(file)
            self._read_some(lines, start)
        elif b"\r" in block:
            self._read_some(lines, start)
        else:
            self._read_lines(lines, start)

    def _read_some(self, lines: Iterable[bytes], start: int) -> None:
        """Read lines of which some may be too long, or end with a return."""
        for line in lines:
            if len(line) > MAX_LINE_BYTES:
                self._note_unreadable(f"longer than {MAX_LINE_BYTES >> 20} MiB")
            else:
                self._read_lines([line.rstrip(b"\r")], start)
            start += len(line) + 1

    def _read_lines(self, lines: Iterable[bytes], at: int) -> None:
        """Read lines that stand side by side from a place in the file on."""
        # One loop with everything in locals: it runs a hundred thousand times a batch.
        read_result, judge, price, first_at = self._read_result, self._judge, self._price, self.census.first_at
        plain_id, add, one_sample = self._plain_id, self._numbers.extend, self._one_sample
        following = at
        for line in lines:
            at = following
            length = len(line)
            following += length + 1
            try:
                result = read_result(line)
            except ValueError as error:
                self._note_unread(line, error)
                continue
            named, reply = plain_id(result.custom_id), result.reply
            if named is None or reply is None or result.request_id is not None:
                self._keep(result, line, at)
                continue
            row = int(named[1], 36)
            place = at << 2
            if first_at.setdefault(row, place) != place:
                self._compare(first_at[row] >> 2, line)
                continue
            usage = reply.usage
            cost = price(reply.model, usage, "batch")
            step = Step(row)
            if one_sample and isinstance(judge(step, reply), Accept):
                add(
                    (
                        row,
                        UNPRICED if cost is None else cost,
                        usage.input_tokens,
                        usage.output_tokens,
                        usage.cache_read_input_tokens,
                        usage.ephemeral_5m_input_tokens,
                        usage.ephemeral_1h_input_tokens,
                        at,
                        length,
                    )
                )
            else:
                self._others.append(Landed(step, "succeeded", at, length, reply, None, usage, cost, None))

    def _keep(self, result: BatchLine, line: bytes, at: int) -> None:
        """Keep a line as a value: one without a reply, or of another step than a row's first."""
        step = self._step_of(result.custom_id)
        if step is None:
            self.census.foreign += 1
            return
        end, reply, failure = result.end, result.reply, result.failure
        usage = reply.usage if reply is not None else _NOTHING_USED
        cost = self._price(self._model_of(step) or reply.model, usage, "batch") if reply is not None else 0
        place = at << 2 | (0 if reply is not None else _code_of(end, failure))
        key: int | str = step.row if step == Step(step.row) else result.custom_id
        first_at = self.census.first_at
        if first_at.setdefault(key, place) != place:
            self._compare(first_at[key] >> 2, line)
            return
        if end == "canceled":
            failure = self._canceled
        elif end == "expired" and failure is not None and not failure.retryable:
            failure = replace(failure, retryable=True)
        self._others.append(Landed(step, end, at, len(line), reply, failure, usage, cost, result.request_id))

    def _step_of(self, custom_id: str) -> Step | None:
        """The step of an id; None where it is not of this batch."""
        read = read_custom_id(custom_id) if custom_id.startswith(self._head) else None
        return None if read is None else read[2]

    def _compare(self, first_at: int, line: bytes) -> None:
        """Count a line whose id was there before."""
        with self._path.open("rb") as file:
            file.seek(first_at)
            first = file.readline(MAX_LINE_BYTES).rstrip(b"\r\n")
        if first == line:
            self.census.repeated += 1
        else:
            self.census.conflicting += 1

    def _note_unread(self, line: bytes, error: ValueError) -> None:
        if line.strip():
            self._note_unreadable(str(error))
        else:
            self.census.lines -= 1  # a blank one is no line

    def _note_unreadable(self, why: str) -> None:
        self.census.unreadable += 1
        self.census.why_unreadable = self.census.why_unreadable or why


def _skip_line(file: BinaryIO) -> int:
    """Read on to the end of a line that is too long; returns the bytes."""
    skipped = 0
    while part := file.readline(_SKIP_BYTES):
        skipped += len(part)
        if part.endswith(b"\n"):
            break
    return skipped


def _taken(stack: list[T], most: int) -> list[T]:
    """Take the last items off a list, the last one first."""
    start = max(0, len(stack) - most)
    taken = stack[start:]
    del stack[start:]
    taken.reverse()
    return taken


def _step_of(line: Landed) -> Step:
    return line.step


def _code_of(end: AttemptEnd, failure: Failure | None) -> int:
    """How the API counts a request that has no reply for us."""
    # Only `succeeded` is billed (batch guide): a failure that may have been is a reply that cannot be read.
    return 0 if failure is not None and failure.may_be_billed else _CODE[end]
