"""`SqliteLedger`: the ledger contract over a run's folder.

Owns   which transaction each method is, and how durable: the parts below write inside it.
Knows  the parts: `database`, `enrolment`, `steps`, `settlement`, `recovery`, `results`, `batches`, `landings`,
       `failures`, `collecting`, `reopening`, `canceling`, `twins`, `spool`.

Durable (FULL) are promises the outside world acts on: leases, batch intents and marks, meta, deliveries, reopening.
NORMAL are outcomes, since their frames are synced before, and releases, since a lost one only leaves a bound in
doubt; within `together` they are as durable as what shares their transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from runner.clock import Clock, SystemClock
from runner.encoding import decode, encode
from runner.errors import LedgerError
from runner.ledger import (
    NONE_ACCEPTED,
    AcceptedLines,
    Batch,
    BatchFacts,
    BatchState,
    BatchStep,
    Counts,
    Delivery,
    EarlierReply,
    EnrolledRow,
    FailedRow,
    Landed,
    Lease,
    Money,
    OpenStep,
    Rejudged,
    RowResult,
    Rule,
    Ruling,
    Settled,
    StepReply,
    batches,
    deliveries,
    failures,
    landings,
    tool_results,
)
from runner.ledger.canceling import cancel_open
from runner.ledger.collecting import settle
from runner.ledger.database import Database, create_database, fetch, fetch_value
from runner.ledger.enrolment import enrol, key_hash, samples_of
from runner.ledger.folder import DATABASE, ROWS, SPOOL, Lock, make_private, refuse_network
from runner.ledger.frames import to_millis
from runner.ledger.recording import Recorder
from runner.ledger.recovery import recover
from runner.ledger.rejudging import rejudge
from runner.ledger.reopening import reopen
from runner.ledger.results import ResultReader
from runner.ledger.rows import RowReader
from runner.ledger.settlement import read_mark, settle_answered
from runner.ledger.spool import SEGMENT_BYTES, SpoolReader, SpoolWriter
from runner.ledger.steps import Known, affordable, open_step, open_steps, release, take_leases
from runner.ledger.totals import read_counts, read_money, read_usage
from runner.ledger.twins import first_of, note_twins, settled_rows, spread, with_twins, without_twins
from runner.tools import ToolResult
from runner.types import Attempt, Outcome, Row, Step, Usage

_DECIDED_A_TRANSACTION = 500


class SqliteLedger:
    """One run's ledger in its folder. Make it with `create` or `open`; close it, or use it in a `with` statement."""

    def __init__(
        self, folder: Path, lock: Lock | None, *, clock: Clock | None = None, segment_bytes: int = SEGMENT_BYTES
    ) -> None:
        """With a lock the ledger is opened to write, and owns the lock from here on."""
        self._folder = folder
        self._lock = lock
        self._clock = clock or SystemClock()
        self._writer: SpoolWriter | None = None
        self._recorder: Recorder | None = None
        self._spool = SpoolReader(folder / SPOOL)
        self._database = Database(folder / DATABASE, read_only=lock is None)
        self._connection = self._database.connection
        self._rows = RowReader(self._connection, folder / ROWS)
        self._results = ResultReader(self._connection, self._rows, self._spool)
        if lock is not None:
            try:
                end = recover(self._database, folder / SPOOL, self._spool)
                self._writer = SpoolWriter(folder / SPOOL, end, segment_bytes)
                self._recorder = Recorder(self._database, self._writer, samples_of(self._connection))
            except BaseException:
                self._database.close()
                raise

    @classmethod
    def create(
        cls, folder: Path, meta: Mapping[str, Any], *, clock: Clock | None = None, segment_bytes: int = SEGMENT_BYTES
    ) -> Self:
        """Make a new run's ledger. The folder may be there already, a ledger in it may not.

        Raises LedgerError: `exists`, `locked`, `network-disk`, `cannot-write`, `disk-full`.
        """
        lock = _own(folder)
        try:
            if (folder / DATABASE).exists():
                raise LedgerError(f"{folder} holds a ledger already", code="exists")
            create_database(
                folder / DATABASE, [(_SET_META, _meta_columns(name, value)) for name, value in meta.items()]
            )
            return cls(folder, lock, clock=clock, segment_bytes=segment_bytes)
        except BaseException:
            lock.close()
            raise

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        read_only: bool = False,
        clock: Clock | None = None,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> Self:
        """Open a run's ledger. To write: take up what the spool holds beyond it, and end attempts whose owner is gone
        as lost.

        Read-only it neither locks nor changes anything, and every call sees what was last committed.

        Raises LedgerError: `no-ledger`, `locked`, `damaged`, `newer-version`, `foreign-file`, `network-disk`,
        `cannot-write`.
        """
        if not (folder / DATABASE).exists():
            raise LedgerError(
                f"{folder} holds no ledger", code="no-ledger", hint="`runner list` shows the runs there are"
            )
        if read_only:
            return cls(folder, None, clock=clock)
        lock = _own(folder)
        try:
            return cls(folder, lock, clock=clock, segment_bytes=segment_bytes)
        except BaseException:
            lock.close()
            raise

    def close(self) -> None:
        """Give up the folder. Steps that are still leased are ended as lost by the next opening."""
        if self._writer is not None:
            self._writer.close()
        self._spool.close()
        self._database.close()
        if self._lock is not None:
            self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def together(self) -> AbstractContextManager[None]:
        return self._database.together()

    # -- the run ---------------------------------------------------------------------------------------------------
    @property
    def meta(self) -> Mapping[str, Any]:
        return {name: decode(value) for name, value in fetch(self._connection, "SELECT * FROM meta ORDER BY name")}

    def set_meta(self, values: Mapping[str, Any]) -> None:
        with self._database.transaction(durable=True) as connection:
            connection.executemany(_SET_META, [_meta_columns(name, value) for name, value in values.items()])

    # -- enrolment -------------------------------------------------------------------------------------------------
    def enrol(self, rows: Iterable[EnrolledRow], *, samples: int = 1) -> int:
        count = enrol(self._database, self._folder / ROWS, rows, samples)
        if self._recorder is not None:
            self._recorder.samples = samples
        return count

    def note_twins(self, digests: Iterable[bytes | None]) -> int:
        self._forget()
        with self._database.transaction(durable=True) as connection:
            return note_twins(connection, digests)

    def first_of(self, row: int) -> int:
        return first_of(self._connection, row)

    def with_twins(self, rows: Iterable[int], most: int) -> Sequence[int] | None:
        return with_twins(self._connection, rows, most)

    def spread(self, most: int) -> Sequence[int]:
        return spread(self._connection, most)

    def rows(self, start: int = 0, *, twins: bool = True) -> Iterator[Row]:
        rows = self._rows.rows(start)
        return rows if twins or not self.counts().twins else without_twins(self._connection, rows, start)

    def row(self, index: int) -> Row:
        """Raises IndexError where there is no such row."""
        return self._rows.row(index)

    def find(self, key: str) -> int | None:
        index: int | None = fetch_value(self._connection, "SELECT idx FROM rows WHERE key_hash = ?", (key_hash(key),))
        return index

    def settled_rows(self, start: int, limit: int) -> Sequence[int]:
        return settled_rows(self._connection, start, limit)

    # -- steps -----------------------------------------------------------------------------------------------------
    def open_steps(self, after: Step | None, limit: int) -> Sequence[OpenStep]:
        return open_steps(self._connection, after, limit)

    def open_step(self, step: Step) -> OpenStep | None:
        return open_step(self._connection, step)

    def lease(self, leases: Sequence[Lease], cap_pico: int | None) -> int:
        known: Known = {}
        with self._database.transaction(durable=True) as connection:
            fitting = affordable(connection, leases, cap_pico)
            if fitting:
                now_millis = to_millis(self._clock.now())
                take_leases(connection, fitting, batch=None, now_millis=now_millis, known=known)
        if self._recorder is not None:
            self._recorder.known |= known
        return len(fitting)

    def release(self, steps: Sequence[Step]) -> None:
        self._forget()
        with self._database.transaction(durable=False) as connection:
            release(connection, steps)

    def _forget(self) -> None:
        """Steps are about to be changed by something else than their outcomes."""
        if self._recorder is not None:
            self._recorder.known.clear()

    def record(self, outcomes: Sequence[Outcome], rule: Rule) -> Sequence[Ruling]:
        if self._recorder is None:
            raise _read_only(self._folder)
        return self._recorder.record(outcomes, rule)

    def settle_answered(self, rule: Rule) -> int:
        self._forget()
        total = 0
        while True:
            with self._database.transaction(durable=False) as connection:
                count = settle_answered(connection, self._spool, rule, _DECIDED_A_TRANSACTION, samples_of(connection))
            total += count
            if count < _DECIDED_A_TRANSACTION:
                return total

    def reopen(self, *, kinds: Sequence[str] = (), keys: Sequence[str] = ()) -> int:
        self._forget()
        found = [self.first_of(index) for index in map(self.find, keys) if index is not None]
        with self._database.transaction(durable=True) as connection:
            return reopen(connection, kinds, found if keys else None)

    def rejudge(self, rule: Rule, label: str) -> Rejudged:
        if self._recorder is None:
            raise _read_only(self._folder)
        self._forget()
        return rejudge(self._database, self._results, rule, label)

    # -- what is known ---------------------------------------------------------------------------------------------
    def counts(self) -> Counts:
        return read_counts(self._connection)

    def money(self) -> Money:
        return read_money(self._connection)

    def usage(self) -> Usage:
        return read_usage(self._connection)

    def results(self, start: int = 0) -> Iterator[RowResult]:
        return self._results.results(start)

    def result(self, index: int) -> RowResult:
        """Raises IndexError where there is no such row."""
        return self._results.result(index)

    def failed_rows(self, kinds: Sequence[str] = ()) -> Iterator[FailedRow]:
        return failures.failed_rows(self._connection, self._rows, kinds)

    def first_failed(self, kinds: Sequence[str]) -> Mapping[str, FailedRow]:
        return failures.first_failed(self._connection, self._rows, kinds)

    def attempts(self, row: int) -> Sequence[Attempt]:
        return self._results.attempts(row)

    def replies(self, row: int) -> Sequence[StepReply]:
        return self._results.replies(row)

    def replies_before(self, step: Step) -> Sequence[StepReply]:
        return self._results.replies_before(step)

    def earlier_reply(self, row: int, sample: int, request_hash: bytes) -> EarlierReply | None:
        return self._results.earlier_reply(row, sample, request_hash)

    def progress(self) -> object:
        return read_mark(self._connection)

    # -- results of tools -------------------------------------------------------------------------------------------
    def keep_tool_results(self, step: Step, results: Sequence[ToolResult]) -> None:
        with self._database.transaction(durable=True) as connection:
            tool_results.keep(connection, step, results)

    def tool_results(self, step: Step) -> Mapping[str, ToolResult]:
        return tool_results.results_of(self._connection, step)

    # -- sinks -----------------------------------------------------------------------------------------------------
    def deliveries(self) -> Sequence[Delivery]:
        return deliveries.read(self._connection)

    def set_delivery(self, delivery: Delivery) -> None:
        with self._database.transaction(durable=True) as connection:
            deliveries.write(connection, delivery)

    # -- batches ---------------------------------------------------------------------------------------------------
    def intend_batch(
        self,
        leases: Sequence[Lease],
        *,
        body_sha256: bytes,
        watermark: str | None,
        cap_pico: int | None,
        now: datetime,
        priming: bool = False,
    ) -> Batch | None:
        with self._database.transaction(durable=True) as connection:
            if len(affordable(connection, leases, cap_pico)) < len(leases):
                return None
            return batches.intend(
                connection, leases, body_sha256=body_sha256, watermark=watermark, now=now, priming=priming
            )

    def mark_batch(self, number: int, state: BatchState, facts: BatchFacts | None = None) -> Batch:
        with self._database.transaction(durable=True) as connection:
            return batches.mark(connection, number, state, facts or BatchFacts())

    def batches(self) -> Sequence[Batch]:
        return batches.read_batches(self._connection)

    def batch(self, number: int) -> Batch:
        """Raises LedgerError `no-batch`."""
        return batches.read_batch(self._connection, number)

    def batch_steps(self, number: int, after: Step | None, limit: int) -> Sequence[BatchStep]:
        return batches.batch_steps(self._connection, number, after, limit)

    def landing_path(self, number: int) -> Path:
        return landings.landing_path(self._folder / SPOOL, self.batch(number).number)

    def land(self, number: int) -> Path:
        """Raises LedgerError `no-batch`, `cannot-write`, `disk-full`, `disk-error`."""
        return landings.land(self._database, self._folder / SPOOL, self.batch(number).number)

    def landed(self, number: int) -> Path | None:
        landing = landings.last_landing(self._database, number)
        return None if landing is None else landings.landed_path(self._folder / SPOOL, landing)

    def settle_batch(
        self, number: int, lines: Sequence[Landed], rule: Rule, now: datetime, accepted: AcceptedLines = NONE_ACCEPTED
    ) -> Settled:
        """Raises LedgerError `no-batch`, and `not-landed` where no file of this batch has landed.

        The outcomes that the rule is given have no `body`: the line has it.
        """
        batch, landing = self.batch(number), landings.last_landing(self._database, number)
        if landing is None:
            raise LedgerError(f"no results of batch {number} have landed", code="not-landed")
        return settle(self._database, batch, landing, lines, rule, now, accepted, samples_of(self._connection))

    def cancel_open(self) -> int:
        self._forget()
        return cancel_open(self._database, samples_of(self._connection))


_SET_META = "INSERT INTO meta VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value"


def _meta_columns(name: str, value: Any) -> tuple[str, str]:
    return name, encode(value).decode()


def _read_only(folder: Path) -> LedgerError:
    return LedgerError(f"the ledger in {folder} was opened to read", code="read-only")


def _own(folder: Path) -> Lock:
    make_private(folder)
    refuse_network(folder)
    lock = Lock(folder)
    make_private(folder / ROWS)
    make_private(folder / SPOOL)
    return lock
