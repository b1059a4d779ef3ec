"""Reading a landed result file: from its bytes to groups of lines that the ledger can book, and a census of its ids.

Owns   the line reader (linear, in bounded memory), whose line is whose, and the count of what a file holds.
Knows  the provider's reading of one line, custom ids, a price. Nothing of the network, the ledger or tasks: it is
       synchronous, and runs on a thread of its own.

Results come in any order (batch guide), and neighbours in the ledger's tables share pages: a group of rows that lie
side by side is booked in a third of the time of one that is spread over the batch. So a window of the file is read at a
time and put in the order of its rows, by the ids alone, before its lines are read and grouped.

Invariants
  * Every line is accounted for: it is in a group, or counted as blank, unreadable, foreign or repeated.
  * A line in a group is of this run and this batch by its id; each id is in one group once: the first line that can be
    read counts.
  * Memory holds one window of raw lines, one group, and a number for each id.

Sources: reliability 3.4 for what a line may be.
"""

from __future__ import annotations

import re
import threading
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Final

from runner.engines.custom_ids import base36, id_head, read_custom_id
from runner.engines.parallel import Price
from runner.ledger import Landed
from runner.providers import BatchLine
from runner.types import AttemptEnd, Failure, Reply, Step, Usage, plain_step

GROUP_LINES: Final = 5_000
"""The most that the ledger takes in one transaction (reliability 3.4)."""
GROUP_BYTES: Final = 16 << 20
"""A group of very long replies is smaller, so that memory does not grow with them."""
WINDOW_BYTES: Final = 16 << 20
"""What is put in order at a time, raw: at 800 bytes a line a fifth of a full batch, so that a page of the ledger gets
several rows of each window."""
MAX_LINE_BYTES: Final = 64 << 20
"""The longest line that is read (reliability 3.4)."""
ENDS: Final[tuple[AttemptEnd, ...]] = ("succeeded", "errored", "canceled", "expired")
"""The ends that the API counts, by its own names."""

_CODE: Final = {end: code for code, end in enumerate(ENDS)}
_PLAIN_ROW: Final = re.compile(r"0|[1-9a-z][0-9a-z]{0,11}")
"""What follows `id_head` in the id of a row's first step."""
_USUAL_START: Final = rb'\s*\{\s*"custom_id"\s*:\s*"%s(0|[1-9a-z][0-9a-z]{0,11})"'
"""How a line begins whose row is told by a look at its start; another line has to be read for it."""
_LINE_OVERHEAD: Final = 150
"""Bytes that a line in a window takes besides its own."""
_PLACE_BITS: Final = 30
"""Of a line's number in its window; there are far fewer."""
_PLACE: Final = (1 << _PLACE_BITS) - 1
_SKIP_BYTES: Final = 1 << 20
_NOTHING_USED: Final = Usage()

ReadResult = Callable[[bytes], BatchLine]


@dataclass(slots=True)
class _Window:
    """Raw lines with their places in the file. `order` has their numbers behind their rows, the next to read last."""

    lines: list[bytes] = field(default_factory=list)
    offsets: array[int] = field(default_factory=lambda: array("q"))
    order: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Census:
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

    `canceled` is what a canceled request of this batch counts as: its cause decides.
    """

    def __init__(
        self, path: Path, *, mark: str, number: int, read_result: ReadResult, price: Price, canceled: Failure
    ) -> None:
        self._head = id_head(mark, number)
        self.census = Census(self._head)
        self._usual_row = re.compile(_USUAL_START % re.escape(self._head).encode()).match
        self._path = path
        self._read_result = read_result
        self._price = price
        self._canceled = canceled
        self._offset = 0
        self._window = _Window()
        self._file: BinaryIO | None = None
        self._closed = False
        self._gate = threading.Lock()
        """Whoever gives up reading may do so while a thread still reads."""

    def close(self) -> None:
        """Close the file, after the group that is being read; nothing is read any more."""
        with self._gate:
            self._closed = True
            if self._file is not None:
                self._file.close()

    def next_group(self) -> list[Landed]:
        """The next lines of this batch; empty only at the end of the file, or once closed. Raises OSError."""
        with self._gate:
            return [] if self._closed else self._next_group()

    def _next_group(self) -> list[Landed]:
        group: list[Landed] = []
        while not group:
            if not self._window.order:
                self._window = _Window()  # first: there is only one in memory
                self._window = self._next_window()
                if not self._window.order:
                    break
            self._read_group(self._window, group)
        return group

    def _read_group(self, window: _Window, group: list[Landed]) -> None:
        # One loop with everything in locals: it runs a hundred thousand times a batch.
        add, next_in_order, read_result = group.append, window.order.pop, self._read_result
        lines, offsets, price, canceled = window.lines, window.offsets, self._price, self._canceled
        head, head_length, plain_row = self._head, len(self._head), _PLAIN_ROW.fullmatch
        first_at = self.census.first_at
        size, in_group = 0, len(window.order)
        until = max(0, in_group - GROUP_LINES)
        while in_group > until and size < GROUP_BYTES:
            in_group -= 1
            at = next_in_order() & _PLACE
            line, offset = lines[at], offsets[at]
            try:
                result = read_result(line)
            except ValueError as error:
                self._note_unreadable(str(error))
                continue
            custom_id, end, reply, failure = result.custom_id, result.end, result.reply, result.failure
            tail = custom_id[head_length:]
            if custom_id[:head_length] == head and plain_row(tail):
                row = int(tail, 36)
                key: int | str = row
                step = plain_step(row)
            else:
                read = self._step_of(custom_id)
                if read is None:
                    self.census.foreign += 1
                    continue
                key, step = custom_id, read
            if reply is not None:
                place = offset << 2
                usage = reply.usage
                cost = price(reply.model, usage, "batch")
            else:
                place = offset << 2 | _code_of(end, failure)
                usage, cost = _NOTHING_USED, 0
                if end == "canceled":
                    failure = canceled
                elif end == "expired" and failure is not None and not failure.retryable:
                    failure = replace(failure, retryable=True)
            if first_at.setdefault(key, place) != place:
                self._compare(first_at[key] >> 2, line)
                continue
            length = len(line)
            size += length
            landed = _LandedInTheMaking(step, end, offset, length, reply, failure, usage, cost, result.request_id)
            landed.__class__ = Landed  # type: ignore[assignment]  # see the classes in the making
            add(landed)  # type: ignore[arg-type]

    def _next_window(self) -> _Window:
        """The next lines in the order of their rows; empty only at the end of the file."""
        file = self._file
        if file is None:
            file = self._file = self._path.open("rb", buffering=1 << 20)
        window, readline, usual_row = _Window(), file.readline, self._usual_row
        lines, offsets, order = window.lines, window.offsets, window.order
        start, room, count = self._offset, WINDOW_BYTES, 0
        try:
            while room > 0:
                raw = readline(MAX_LINE_BYTES + 1)
                if not raw:
                    break
                offset = start
                start += len(raw)
                if len(raw) > MAX_LINE_BYTES and raw[-1:] != b"\n":
                    start += self._skip_line(readline)
                    continue
                line = raw.rstrip(b"\r\n")
                if not line or line.isspace():
                    continue
                count += 1
                usual = usual_row(line)
                row = int(usual[1], 36) if usual is not None else self._row_of(line)
                if row is None:
                    continue
                order.append(row << _PLACE_BITS | len(lines))
                lines.append(line)
                offsets.append(offset)
                room -= len(line) + _LINE_OVERHEAD
        finally:
            self._offset = start
            self.census.lines += count
        order.sort(reverse=True)
        return window

    def _row_of(self, line: bytes) -> int | None:
        """The row of a line that begins in another way than usual; None, and counted, where it is none of this
        batch's."""
        try:
            custom_id = self._read_result(line).custom_id
        except ValueError as error:
            self._note_unreadable(str(error))
            return None
        step = self._step_of(custom_id)
        if step is None:
            self.census.foreign += 1
            return None
        return step.row

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

    def _skip_line(self, readline: Callable[[int], bytes]) -> int:
        """Read on to the end of a line that is too long; returns the bytes."""
        skipped = 0
        while part := readline(_SKIP_BYTES):
            skipped += len(part)
            if part.endswith(b"\n"):
                break
        self.census.lines += 1
        self._note_unreadable(f"longer than {MAX_LINE_BYTES >> 20} MiB")
        return skipped

    def _note_unreadable(self, why: str) -> None:
        self.census.unreadable += 1
        self.census.why_unreadable = self.census.why_unreadable or why


def _code_of(end: AttemptEnd, failure: Failure | None) -> int:
    """How the API counts a request that has no reply for us."""
    # Only `succeeded` is billed (batch guide): a failure that may have been is a reply that cannot be read.
    return 0 if failure is not None and failure.may_be_billed else _CODE[end]


class _LandedInTheMaking:
    """Made for each line; as a frozen dataclass it would cost more than all else here: see the classes in the making
    in `runner.message`."""

    __slots__ = Landed.__slots__

    def __init__(
        self,
        step: Step,
        end: AttemptEnd,
        offset: int,
        length: int,
        reply: Reply | None,
        failure: Failure | None,
        usage: Usage,
        cost_pico: int | None,
        request_id: str | None,
    ) -> None:
        self.step = step
        self.end = end
        self.offset = offset
        self.length = length
        self.reply = reply
        self.failure = failure
        self.usage = usage
        self.cost_pico = cost_pico
        self.request_id = request_id
