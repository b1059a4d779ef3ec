"""Reading a landed result file: from its bytes to groups of lines that the ledger can book, and a census of its ids.

Owns   the line reader (linear, in bounded memory), whose line is whose, and the count of what a file holds.
Knows  the provider's reading of one line, custom ids, a price. Nothing of the network, the ledger or tasks: it is
       synchronous, and runs on a thread of its own.

Invariants
  * Every line is accounted for: it is in a group, or counted as blank, unreadable, foreign or repeated.
  * A line in a group is of this run and this batch by its id; each id is in one group once: the first line counts.
  * Memory holds one group, one line, and a number for each id.

Sources: reliability 3.4 for what a line may be; batch guide: the order of results is not that of the requests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from runner.engines.custom_ids import id_head, read_custom_id
from runner.engines.parallel import Price
from runner.ledger import Landed
from runner.providers import BatchLine
from runner.types import AttemptEnd, Failure, Usage

GROUP_LINES: Final = 5_000
"""The most that the ledger takes in one transaction (reliability 3.4)."""
GROUP_BYTES: Final = 16 << 20
"""A group of very long replies is smaller, so that memory does not grow with them."""
MAX_LINE_BYTES: Final = 64 << 20
"""The longest line that is read (reliability 3.4)."""
ENDS: Final[tuple[AttemptEnd, ...]] = ("succeeded", "errored", "canceled", "expired")
"""The ends that the API counts, by its own names."""

_CODE: Final = {end: code for code, end in enumerate(ENDS)}
_SKIP_BYTES: Final = 1 << 20
_NOTHING_USED: Final = Usage()

ReadResult = Callable[[bytes], BatchLine]


@dataclass(slots=True)
class Census:
    """What was found in a file. `first_at` holds, for each id of this batch, where its first line begins and how it
    ended, in one number: memory is the point."""

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
    first_at: dict[str, int] = field(default_factory=dict)

    def ends(self) -> Mapping[str, AttemptEnd]:
        """How each id of this batch ended."""
        return {custom_id: ENDS[place & 3] for custom_id, place in self.first_at.items()}

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
        self.census = Census()
        self._path = path
        self._head = id_head(mark, number)
        self._read_result = read_result
        self._price = price
        self._canceled = canceled
        self._offset = 0
        self._file = path.open("rb", buffering=1 << 20)

    def close(self) -> None:
        self._file.close()

    def next_group(self) -> list[Landed]:
        """The next lines of this batch; empty at the end of the file."""
        group: list[Landed] = []
        until = self._offset + GROUP_BYTES
        readline, take = self._file.readline, self._take
        while len(group) < GROUP_LINES and self._offset < until:
            raw = readline(MAX_LINE_BYTES + 1)
            if not raw:
                break
            start = self._offset
            self._offset += len(raw)
            if len(raw) > MAX_LINE_BYTES and not raw.endswith(b"\n"):
                self._skip_line()
                continue
            landed = take(raw.rstrip(b"\r\n"), start)
            if landed is not None:
                group.append(landed)
            elif not group:
                until = self._offset + GROUP_BYTES  # a group is empty only where the file ends
        return group

    def _take(self, line: bytes, start: int) -> Landed | None:
        census = self.census
        if not line or line.isspace():
            return None
        census.lines += 1
        try:
            result = self._read_result(line)
        except ValueError as error:
            self._note_unreadable(str(error))
            return None
        custom_id = result.custom_id
        if not custom_id.startswith(self._head) or (read := read_custom_id(custom_id)) is None:
            census.foreign += 1
            return None
        end, reply, failure = result.end, result.reply, result.failure
        # Only `succeeded` is billed (batch guide): a failure that may have been is a reply that cannot be read.
        billed = failure is not None and failure.may_be_billed
        place = start << 2 | (0 if billed else _CODE[end])
        first = census.first_at.setdefault(custom_id, place)
        if first != place:
            self._compare(first >> 2, line)
            return None
        if end == "canceled":
            failure = self._canceled
        elif end == "expired" and failure is not None and not failure.retryable:
            failure = replace(failure, retryable=True)
        usage = _NOTHING_USED if reply is None else reply.usage
        cost = 0 if reply is None else self._price(reply.model, usage, "batch")
        return Landed(read[2], end, start, len(line), reply, failure, usage, cost, result.request_id)

    def _compare(self, first_at: int, line: bytes) -> None:
        """Count a line whose id was there before."""
        with self._path.open("rb") as file:
            file.seek(first_at)
            first = file.readline(MAX_LINE_BYTES).rstrip(b"\r\n")
        if first == line:
            self.census.repeated += 1
        else:
            self.census.conflicting += 1

    def _skip_line(self) -> None:
        while part := self._file.readline(_SKIP_BYTES):
            self._offset += len(part)
            if part.endswith(b"\n"):
                break
        self.census.lines += 1
        self._note_unreadable(f"longer than {MAX_LINE_BYTES >> 20} MiB")

    def _note_unreadable(self, why: str) -> None:
        self.census.unreadable += 1
        self.census.why_unreadable = self.census.why_unreadable or why
