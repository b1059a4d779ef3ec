"""Delivery in parts: a sink is given the records that it lacks, and only those.

Owns   one sink's delivery by its journal: what became of the part that a crash left under way, which records make the
       next one, and what is told of it.
Knows  the journal, sinks that take parts by their contract, and records as they are made.

    looked at (all rows, or those that were just settled) ─▶ not given yet as they are now ─▶ part: intended (durable)
    ─▶ sent ─▶ settled (durable)

Each record reaches its target once for what it says: again only where it says something else by then. A part whose
fate nobody knows is sent again under its number and id, with the records that still say the same. Either its target
knows the id and has them, or it gets them now; and the others are in a later part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Self

from runner.errors import DeliveryError, RunnerError
from runner.events import Observer, SinkDelivered, Warned
from runner.execution.delivery import PartTarget, left_out, row_weight, told
from runner.execution.versions import version_of
from runner.ledger import Delivery, DeliveryState
from runner.ledger.journal import BLOCK, Intended, Journal
from runner.sinks import DeliveryId, Part, Refused
from runner.types import Record

RecordAt = Callable[[int], Record]
"""The record of a row, as it is now."""

RECORD_BYTES = 512
"""What a record weighs beside its row and reply: names, ids and times, as JSON."""
MAX_TOLD = 20
"""Records that do not fit and are told one by one; the others are counted."""


class PartDelivery:
    """One sink that takes parts, on its way. Use it in a `with` statement: its connection is given up at the end."""

    def __init__(self, target: PartTarget, journal: Journal, run_id: str, owner: str, observer: Observer) -> None:
        self._target = target
        self._sink = target.sink
        self._journal = journal
        self._run_id = run_id
        self._owner = owner
        self._observer = observer
        self._records: list[Record] = []
        self._versions: list[int] = []
        self._bytes = 0
        self._block, self._given = -1, journal.versions(0)
        self._refused: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError, RunnerError):  # nothing depends on it: what was delivered is delivered
            self._sink.close()

    # -- to begin ------------------------------------------------------------------------------------------------------

    def begin(self, record_at: RecordAt) -> None:
        """Take the target up where it is. Raises DeliveryError."""
        held = self._sink.begin(self._id)
        if held is not None and held > self._journal.last_part:
            raise DeliveryError(
                f"{self._sink.target} has more of this run than its folder knows of: another copy of the folder was"
                " delivered from, or it was restored from a backup",
                hint="deliver from that copy; or clear the target and begin a new run: runner run JOB --new",
                code="other-delivery",
            )
        if held is not None and held < self._journal.last_settled:
            self._tell("sink-emptied", f"{self._sink.target} has lost what it was given: all of it is delivered anew")
            self._start_anew()
        self._settle_open(held, record_at)

    def _settle_open(self, held: int | None, record_at: RecordAt) -> None:
        """Decide on the part that was under way when somebody was here last."""
        intended = self._journal.intended
        if intended is None:
            return
        if held is not None and held >= intended.number:
            self._journal.settle(intended, self._left_out(intended, record_at))
            return
        records, rows, versions = [], [], []
        for row, version in zip(intended.rows, intended.versions, strict=True):
            record = record_at(row)
            if version_of(record)[0] == version and self._target.wants(record):
                records.append(record)
                rows.append(row)
                versions.append(version)
        if records:
            self._send(Intended(intended.number, rows, versions), records)
        else:
            self._journal.withdraw()

    def _left_out(self, intended: Intended, record_at: RecordAt) -> frozenset[int]:
        """Of a part that its target has, the rows that it has not: they are told, and offered again."""
        left_out: Sequence[Refused] = getattr(self._sink, "left_out", ())
        return self._rows_of(left_out, [record_at(row) for row in intended.rows])

    @property
    def _id(self) -> DeliveryId:
        return DeliveryId(f"{self._run_id}.{self._journal.name}", self._run_id, self._owner)

    def _start_anew(self) -> None:
        self._journal.start_anew()
        self._records, self._versions, self._bytes, self._block = [], [], 0, -1
        self._refused.clear()
        self._sink.begin(self._id)

    # -- records -------------------------------------------------------------------------------------------------------

    def offer(self, record: Record) -> bool:
        """Take a record where the target lacks it; sends a part when one is full. False where everything has to be
        offered anew from the first row, because the target is replaced as a whole. Raises DeliveryError."""
        if record.status == "open":
            return True
        if not self._target.wants(record):  # a table that is replaced holds it no more; from others nothing is taken
            return not (self._sink.is_replaced and self._given_version(record.index)) or self._anew()
        version, size = version_of(record)
        given = self._given_version(record.index)
        if version == given:
            return True
        if self._sink.is_replaced and (given or self._journal.is_finished):
            return self._anew()
        limits = self._sink.limits
        size += RECORD_BYTES + row_weight(record)
        if self._records and self._bytes + size > limits.size_bytes:
            self.flush()
        self._records.append(record)
        self._versions.append(version)
        self._bytes += size
        if len(self._records) >= limits.records:
            self.flush()
        return True

    def _anew(self) -> bool:
        self._start_anew()
        return False

    def flush(self) -> None:
        """Send what was taken. Raises DeliveryError."""
        if not self._records:
            return
        records, versions = self._records, self._versions
        self._records, self._versions, self._bytes = [], [], 0
        rows = [record.index for record in records]
        self._send(Intended(self._journal.intend(rows, versions), rows, versions), records)

    def complete(self, records: Callable[[], Iterable[Record]]) -> None:
        """Go over all records, and bring the target what it lacks of them. Raises DeliveryError."""
        while not all(self.offer(record) for record in records()):
            pass  # once: what was started anew is not finished, and has no earlier versions
        self.flush()
        if not self._journal.is_finished:
            self._sink.finish()
            self._journal.finish()

    def _given_version(self, row: int) -> int:
        block, place = divmod(row, BLOCK)
        if block != self._block:
            self._block, self._given = block, self._journal.versions(block)
        return self._given[place]

    def _send(self, part: Intended, records: Sequence[Record]) -> None:
        self._block = -1
        refused = self._sink.deliver(Part(part.number, f"{self._id.id}.{part.number}", records))
        self._journal.settle(part, self._rows_of(refused, records))

    def _rows_of(self, refused: Sequence[Refused], records: Sequence[Record]) -> frozenset[int]:
        if not refused:
            return frozenset()
        index = {record.key: record.index for record in records}
        for each in refused:
            if each.key not in self._refused and len(self._refused) < MAX_TOLD:
                self._tell("record-refused", f"{self._sink.target} cannot hold the record {each.key!r}: {each.message}")
            self._refused[each.key] = each.message
        return frozenset(index[each.key] for each in refused if each.key in index)

    # -- to end --------------------------------------------------------------------------------------------------------

    def ended(self) -> Delivery:
        """How it stands once all records were offered."""
        if not self._refused:
            self._observer.notify(SinkDelivered(self._sink.kind, self._sink.target, self._journal.records))
            return self._delivery("delivered")
        first = Refused(*next(iter(self._refused.items())))
        return self._delivery("failed", left_out(len(self._refused), self._journal.records, first))

    def failed(self, error: OSError | RunnerError) -> Delivery:
        why = told(error)
        self._tell("sink-failed", f"{self._sink.target} was not delivered: {why}")
        return self._delivery("failed", why)

    def pending(self) -> Delivery:
        """How a sink stands that gets the rest later."""
        return self._delivery("pending")

    def _delivery(self, state: DeliveryState, error: str | None = None) -> Delivery:
        records = self._journal.records
        return Delivery(self._target.number, self._sink.kind, self._sink.target, state, records, None, error)

    def _tell(self, code: str, message: str) -> None:
        self._observer.notify(Warned(code, message))
