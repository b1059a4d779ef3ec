"""What goes into one batch: how many requests, how many bytes, how much money, and in what order.

Owns   the envelope of a batch's body, the exact count of its bytes, and `Leases`: its steps, in little memory.
Knows  prepared steps and the limits. Pure: no file, clock or network.

    {"requests":[{"custom_id":"<mark>-<number>-<tail>","params":<body>},…]}

The API admits 100,000 requests and 256 MB a batch, whichever comes first (batch guide); `BatchSizes` stays below both.
The batch's number is not known while it is packed (a batch that was refused is sent again under the next one), so a
pack leaves room for the longest; `body_bytes` is exact once the number is known.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import Final, Literal, overload

from msgspec import Struct

from runner.engines import Prepared
from runner.engines.custom_ids import MAX_NUMBER_DIGITS, id_head, id_tail
from runner.ledger import Lease
from runner.types import Step

BEGIN: Final = b'{"requests":['
OPEN_ITEM: Final = b'{"custom_id":"'
AFTER_ID: Final = b'","params":'
CLOSE_ITEM: Final = b"}"
END: Final = b"]}"

_ENVELOPE_BYTES: Final = len(BEGIN) + len(END) - 1
"""Less one, since there is one comma fewer than there are requests."""
_ITEM_BYTES: Final = len(OPEN_ITEM) + len(AFTER_ID) + len(CLOSE_ITEM) + 1
_HASH_BYTES: Final = 32


class BatchSizes(Struct, frozen=True):
    """Requests and bytes of one batch, and how many requests the organisation may have queued (rate limit page)."""

    max_requests: int = 95_000
    max_bytes: int = 230_000_000
    queue_requests: int = 200_000


class Leases(Sequence[Lease]):
    """The leases of a batch, in about 50 bytes each instead of 300; a `Lease` is made when it is looked at."""

    __slots__ = ("_bounds", "_hashes", "_later", "_rows", "_tried")

    def __init__(self) -> None:
        self._rows = array("q")
        self._bounds = array("q")
        self._hashes = bytearray()
        self._later: dict[int, Step] = {}
        """Steps that are more than a row, by their place."""
        self._tried: dict[int, tuple[int, int]] = {}
        """Attempts and tries so far, by place, of steps that had any."""

    def add(self, prepared: Prepared, request_hash: bytes) -> None:
        step, rows = prepared.step, self._rows
        if len(request_hash) != _HASH_BYTES:
            raise ValueError(f"the identity of {step} has {len(request_hash)} bytes, not {_HASH_BYTES}")
        if step.turn or step.sample or step.round:
            self._later[len(rows)] = step
        if prepared.attempts:
            self._tried[len(rows)] = (prepared.attempts, prepared.tries)
        rows.append(step.row)
        self._bounds.append(prepared.bound_pico or 0)
        self._hashes += request_hash

    def tried(self, place: int) -> tuple[int, int]:
        """Attempts at the step so far, and those among them that count as tries."""
        return self._tried.get(place, (0, 0))

    def admitted_by(self, left_pico: int) -> int:
        """How many, from the first on, cost at most this much together."""
        for count, bound in enumerate(self._bounds):
            left_pico -= bound
            if left_pico < 0:
                return count
        return len(self)

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, place: int) -> Lease: ...
    @overload
    def __getitem__(self, place: slice) -> Leases: ...
    def __getitem__(self, place: int | slice) -> Lease | Leases:
        if isinstance(place, slice):
            return self._part(range(*place.indices(len(self))))
        at = range(len(self))[place]
        step = self._later.get(at) or Step(self._rows[at])
        request_hash = bytes(self._hashes[at * _HASH_BYTES : (at + 1) * _HASH_BYTES])
        return Lease(step, request_hash, self._bounds[at], "batch")

    def __iter__(self) -> Iterator[Lease]:
        hashes, later = bytes(self._hashes), self._later
        for at, (row, bound) in enumerate(zip(self._rows, self._bounds, strict=True)):
            step = later[at] if at in later else Step(row)
            yield Lease(step, hashes[at * _HASH_BYTES : (at + 1) * _HASH_BYTES], bound, "batch")

    def _part(self, places: range) -> Leases:
        if places.step != 1:
            raise ValueError("leases are parted into runs of their own order only")
        begin, end = places.start, max(places.start, places.stop)
        part = Leases()
        part._rows = self._rows[begin:end]
        part._bounds = self._bounds[begin:end]
        part._hashes = self._hashes[begin * _HASH_BYTES : end * _HASH_BYTES]
        part._later = {place - begin: step for place, step in self._later.items() if begin <= place < end}
        part._tried = {place - begin: tried for place, tried in self._tried.items() if begin <= place < end}
        return part


Verdict = Literal["added", "full", "too_large", "unaffordable"]
"""What became of a step that was offered to a pack: `full` belongs to the next batch, `too_large` to none,
`unaffordable` has to wait for money."""


class Pack:
    """One batch in the making. `left_pico` is the money for it, None without a cap."""

    def __init__(self, sizes: BatchSizes, mark: str, left_pico: int | None) -> None:
        self._max_requests = sizes.max_requests
        self._max_bytes = sizes.max_bytes
        self._left_pico = left_pico
        self._head_bytes = len(id_head(mark, 0)) - 1
        self._longest_item = _ITEM_BYTES + self._head_bytes + MAX_NUMBER_DIGITS
        self._worst_bytes = _ENVELOPE_BYTES
        self._requests = 0
        self.leases = Leases()
        self.betas: tuple[str, ...] = ()

    @property
    def requests(self) -> int:
        return self._requests

    @property
    def size_bytes(self) -> int:
        """What the body will have at most."""
        return self._worst_bytes

    def offer(self, prepared: Prepared) -> tuple[Verdict, bytes]:
        """Add a step if it may be added; with the end of its custom id."""
        request = prepared.request
        tail = id_tail(prepared.step).encode()
        worst = self._longest_item + len(tail) + len(request.body)
        whole = self._worst_bytes + worst
        if whole > self._max_bytes or self._requests >= self._max_requests:
            alone = _ENVELOPE_BYTES + worst <= self._max_bytes
            return ("full" if alone else "too_large"), tail
        if request.betas != self.betas:
            if self._requests:
                return "full", tail  # betas are a header, so they are the whole batch's
            self.betas = request.betas
        if self._left_pico is not None:
            bound = prepared.bound_pico
            if bound is None or bound > self._left_pico:
                return "unaffordable", tail
            self._left_pico -= bound
        self.leases.add(prepared, request.hash)
        self._requests += 1
        self._worst_bytes = whole
        return "added", tail


def body_bytes(own_bytes: int, requests: int, mark: str, number: int) -> int:
    """The exact size of a batch's body: `own_bytes` are those of all request bodies and ends of custom ids."""
    return _ENVELOPE_BYTES + own_bytes + requests * (_ITEM_BYTES + len(id_head(mark, number)))
