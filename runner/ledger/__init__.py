"""The ledger: what has happened to every row of a run. This module is the contract of the folder.

Owns   the states of rows, steps, attempts, batches and deliveries, and the money: spent, reserved, in doubt.
Knows  steps and outcomes. Nothing of jobs, engines, providers or sinks.

A run's folder holds `ledger.db` (the index), `rows/` (the input, as it was when the run began) and `spool/` (the log of
outcomes). A frame in the spool is durable before the ledger speaks of it; opening the ledger takes up frames that it
does not know yet and cuts only a torn last one (docs/decisions/0001).

Money, in pico-dollars: `spent` is billed for what the ledger knows, `reserved` the upper bounds of what is leased or
in an open batch, `doubtful` the upper bounds of attempts that may have been billed though their reply never came.
Their sum never passes the cap that a lease is given.

The folder, in the order to read it in:

    sqlite          `SqliteLedger`, which keeps the contract by what follows
      folder          a run's folder: private, on a local disk, with one owner
      database        its SQLite connection
      schema          the tables
      recovery        what opening does about the end of the last owner
      refusals        the errors that several of these raise
    enrolment       every selected row goes into the run
      rows            the run's own copy of its input
      bulk            statements over thousands of rows
      twins           rows of the same request
    steps           which are open, and the leases of those under way
    recording       outcomes become durable, are ruled on and booked
      spool           the log of outcomes
      frames          an outcome as bytes
      settlement      what durable outcomes do to the tables
      sampling        rows with several samples
      totals          running totals: rows by status, money, tokens
      tool_results    what functions gave to a reply's calls
    batches         their states, and the moves between them
      landings        what a batch brought, as the API sent it
      collecting      its lines become outcomes
    results         every row with what became of it
    failures        those that ended without success, and why
      rejudging       ruled on again, by another rule
      reopening       `runner retry`
      canceling       `runner cancel`
    deliveries      how far each sink is
      journal         what a sink that takes parts was given
    audit           do the tables agree with each other?
    reuse           the reply index: which run holds an answer that was paid for before
      holders         the runs that it names
    uploads         the index of uploaded files
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Protocol

from msgspec import Struct, field

from runner.tools import ToolResult
from runner.types import Attempt, AttemptEnd, Failure, Mode, Outcome, Reply, Row, RowStatus, Step, Usage

StepState = Literal["open", "leased", "answered", "succeeded", "failed", "expired", "canceled"]
"""`answered`: an outcome is durable and waits to be decided (only after a crash)."""

BatchState = Literal[
    "intent",
    "sending",
    "rejected",
    "not_sent",
    "in_doubt",
    "in_progress",
    "canceling",
    "ended",
    "closed",
    "unseen",
    "stuck",
    "archived",
]

CancelCause = Literal["deadline", "user"]
"""Why we asked for a batch's cancellation: what becomes of its canceled rows follows it (docs/batch.md)."""


class EnrolledRow(NamedTuple):
    """A row on its way into the run, with its origin, so that a clash of keys can be named with file and line."""

    row: Row
    file: str
    line: int | None


class Counts(Struct, frozen=True):
    """Rows by status, and failed ones by error kind. `total` is the sum of the five; `reused` overlaps them: rows that
    cost nothing, because an earlier run has paid for their answer, or a row whose twin they are."""

    total: int = 0
    open: int = 0
    succeeded: int = 0
    failed: int = 0
    expired: int = 0
    canceled: int = 0
    reused: int = 0
    failures: Mapping[str, int] = field(default_factory=dict)
    attempts: int = 0
    requests: int = 0
    """Steps that have had at least one attempt which was sent (reused ones were not)."""
    twins: int = 0
    """Rows that have no requests of their own: each ends as the row does whose twin it is."""
    open_twins: int = 0

    @property
    def shared(self) -> int:
        """Twins that have ended."""
        return self.twins - self.open_twins

    @property
    def asking(self) -> int:
        """Rows that have requests of their own."""
        return self.total - self.twins

    @property
    def open_asking(self) -> int:
        """Those of them that are open."""
        return self.open - self.open_twins


class Money(Struct, frozen=True):
    """Pico-dollars. `overhead` is the part of `spent` that belongs to no row (warm-ups)."""

    spent: int = 0
    reserved: int = 0
    doubtful: int = 0
    overhead: int = 0
    unpriced: int = 0
    """Attempts that were billed at a price nobody knows."""


class OpenStep(Struct, frozen=True):
    """A step that waits to be sent. `tries` are the attempts that count towards `max_attempts` (lost ones do not)."""

    step: Step
    attempts: int
    tries: int


class Lease(Struct, frozen=True):
    """A step about to be sent, with the upper bound of its cost. The attempt's number is the ledger's to give."""

    step: Step
    request_hash: bytes
    bound_pico: int
    mode: Mode = "parallel"


class Ruling(Struct, frozen=True):
    """What is to become of a step after an outcome. `open` with `next_step` None: the same step again. With a
    `next_step` that one is open, and the attempt keeps the `failure`, if any, that was the reason."""

    state: StepState
    failure: Failure | None = None
    next_step: Step | None = None


Rule = Callable[[Outcome], Ruling]
"""Pure: given an outcome that is durable, what becomes of its step."""


class StepReply(Struct, frozen=True):
    """The last reply to a step: the message object as it came, JSON bytes. `failure` is what was made of it, None for
    an answer."""

    step: Step
    body: bytes
    failure: Failure | None


class RowResult(Struct, frozen=True):
    """All a record is made of, for one row: the deciding attempt's reply, the sums over all attempts of this run.

    The last step of a row decides it; of a row with several samples, the last step of the first sample that succeeded,
    or of the first one where none did. A twin's is its first row's, but for what it cost: it has had no attempts.
    """

    row: Row
    status: RowStatus
    failure: Failure | None
    body: bytes
    """The message object of the deciding attempt, JSON bytes; `b""` where there was none."""
    request_hash: bytes | None
    mode: Mode | None
    attempts: int
    reused: bool
    usage: Usage
    cost_pico: int | None
    request_id: str | None
    batch_id: str | None
    started_at: datetime | None
    ended_at: datetime | None
    step: Step | None = None
    """The deciding attempt's step; None where the row has had no attempt."""


class FailedRow(Struct, frozen=True):
    """A row that ended without success, and why: what a person asks first, without its values and its reply.

    `failure` is the deciding attempt's, as in `RowResult`; None where no attempt was made (`runner cancel`). `attempts`
    are those of this run.
    """

    key: str
    index: int
    status: RowStatus
    failure: Failure | None
    attempts: int


class EarlierReply(Struct, frozen=True):
    """What came last of a request: how the attempt ended, with its reply (`body`, empty where there was none) or its
    failure."""

    end: AttemptEnd
    body: bytes
    failure: Failure | None
    request_id: str | None


DeliveryState = Literal["pending", "staged", "delivered", "failed"]


class Delivery(Struct, frozen=True):
    """How far a sink is; `error` is the last failure's message. `pending`: what it has is not all yet."""

    sink: int
    kind: str
    target: str
    state: DeliveryState
    records: int = 0
    sha256: str | None = None
    error: str | None = None


class Batch(Struct, frozen=True):
    """A batch of this run, from its intent on. `steps` is its size; `watermark` the newest listed batch id before the
    send."""

    number: int
    state: BatchState
    batch_id: str | None
    steps: int
    body_sha256: bytes
    watermark: str | None
    reserved_pico: int
    created_at: datetime
    """When its intent was noted, by our clock."""
    expires_at: datetime | None
    priming: bool = False
    """Sent first and alone, so that the others find its shared blocks in the cache."""
    settled: int = 0
    """Steps of it that have their outcome."""
    began_at: datetime | None = None
    """When the API accepted it, and `ended_at` when it ended, both by the API's clock."""
    ended_at: datetime | None = None
    tallies: Mapping[str, int] | None = None
    """The API's request counts, once it has ended."""
    cause: CancelCause | None = None
    """Why we asked for its cancellation; None where we did not."""
    note: str | None = None
    """What was last wrong with it, for a person."""


class BatchFacts(Struct, frozen=True):
    """What becomes known of a batch along its way; None leaves a fact as it is."""

    batch_id: str | None = None
    expires_at: datetime | None = None
    began_at: datetime | None = None
    ended_at: datetime | None = None
    tallies: Mapping[str, int] | None = None
    cause: CancelCause | None = None
    note: str | None = None


class BatchStep(Struct, frozen=True):
    """A step of a batch that has no outcome yet, with what an outcome of it needs: `attempt` and `tries` are the
    `Outcome`'s own, this attempt counted."""

    step: Step
    attempt: int
    tries: int
    request_hash: bytes
    started_at: datetime


class Landed(Struct, frozen=True):
    """One line of a landed result file, read: what became of a step. `offset` and `length` are the line's, in bytes."""

    step: Step
    end: AttemptEnd
    offset: int
    length: int
    reply: Reply | None
    failure: Failure | None
    usage: Usage
    cost_pico: int | None
    request_id: str | None


UNPRICED: Final = -1
"""Stands in `AcceptedLines` for the cost of a reply whose model has no known price."""
ACCEPTED_COLUMNS: Final = 9


class AcceptedLines(Struct, frozen=True):
    """Lines of a landed result file whose replies answer their rows' first steps: nearly all of a batch.

    Numbers side by side, because a value for each would take longer to make than its line to book: `ACCEPTED_COLUMNS`
    for a line, which are its row, the cost, the five counts of `Usage` in its order, the line's offset and its length.
    The rows ascend, and none is there twice.
    """

    numbers: array[int] = field(default_factory=lambda: array("q"))

    def __len__(self) -> int:
        return len(self.numbers) // ACCEPTED_COLUMNS

    @property
    def rows(self) -> array[int]:
        return self.numbers[::ACCEPTED_COLUMNS]

    @property
    def costs_pico(self) -> array[int]:
        """`UNPRICED` where the price is not known."""
        return self.numbers[1::ACCEPTED_COLUMNS]

    @property
    def usage(self) -> Usage:
        """Of all lines together."""
        return Usage(*[sum(self.numbers[place::ACCEPTED_COLUMNS]) for place in range(2, 7)])

    def part(self, start: int, stop: int) -> AcceptedLines:
        """The lines from one place to before another."""
        return AcceptedLines(self.numbers[start * ACCEPTED_COLUMNS : stop * ACCEPTED_COLUMNS])


NONE_ACCEPTED: Final = AcceptedLines()


class Settled(Struct, frozen=True):
    """What a group of landed lines came to.

    `rulings` are in the order of the lines, `accepted` are those that were. A line that changed nothing has None, or
    is missing there: its step has its outcome already (`repeated` says how many) or is not of this batch (`unknown`).
    """

    rulings: Sequence[Ruling | None]
    accepted: AcceptedLines = NONE_ACCEPTED
    repeated: int = 0
    unknown: tuple[Step, ...] = ()


class Rejudged(Struct, frozen=True):
    """What another rule made of the replies of a run: how many were ruled on, and how many rows changed to what."""

    replies: int = 0
    to_succeeded: int = 0
    to_failed: int = 0

    def __add__(self, other: Rejudged) -> Rejudged:
        return Rejudged(
            self.replies + other.replies,
            self.to_succeeded + other.to_succeeded,
            self.to_failed + other.to_failed,
        )


class Ledger(Protocol):
    """One run's truth. Written by one thread only; a read-only ledger may be opened beside it.

    Every writing method is atomic: after a crash its effect is there whole or not at all. Raises LedgerError.
    """

    # -- the run ---------------------------------------------------------------------------------------------------
    @property
    def meta(self) -> Mapping[str, Any]:
        """Small facts of the run (JSON values by name), as last committed."""
        ...

    def set_meta(self, values: Mapping[str, Any]) -> None: ...

    def together(self) -> AbstractContextManager[None]:
        """All that is written within becomes durable at once (FULL), at its end: one sync for all of it. Where any of
        it fails none of it is there, and this ledger takes no more: what reached the spool is taken up at the next
        opening."""
        ...

    def close(self) -> None: ...

    # -- enrolment -------------------------------------------------------------------------------------------------
    def enrol(self, rows: Iterable[EnrolledRow], *, samples: int = 1) -> int:
        """Copy all rows into the run, in order, and make each one's first step open, once for each sample; returns how
        many rows. A row ends when the last of its samples does.

        All or nothing: an interrupted enrolment leaves none. Raises InputError for a key that appears twice, naming
        both places (at most 20 clashes). Sets meta `rows_sha256`, a digest over keys and values in order.
        """
        ...

    def note_twins(self, digests: Iterable[bytes | None]) -> int:
        """Make each row a twin of the first one before it that has the same digest: it has no steps, and ends as that
        one does; returns how many there are. `digests` are those of all rows, in order; None is like no other.

        To be called once, between enrolment and the first lease. Rows with the same digest are asked for once, so what
        a row's replies are worth must depend on nothing that is not in it.
        """
        ...

    def first_of(self, row: int) -> int:
        """The row whose twin this is; the row itself where it is none."""
        ...

    def with_twins(self, rows: Iterable[int], most: int) -> Sequence[int] | None:
        """These rows and all their twins, in order; None where the twins are more than `most`."""
        ...

    def spread(self, most: int) -> Sequence[int]:
        """At most so many rows that have requests of their own, evenly over the run, in order."""
        ...

    def rows(self, start: int = 0, *, twins: bool = True) -> Iterator[Row]: ...

    def row(self, index: int) -> Row: ...

    def find(self, key: str) -> int | None:
        """The index of the row with this key."""
        ...

    def settled_rows(self, start: int, limit: int) -> Sequence[int]:
        """The next rows from `start` on that have their outcome, in order."""
        ...

    # -- steps -----------------------------------------------------------------------------------------------------
    def open_steps(self, after: Step | None, limit: int) -> Sequence[OpenStep]:
        """The next open steps in order; leased ones are not among them."""
        ...

    def open_step(self, step: Step) -> OpenStep | None:
        """This step, where it is open."""
        ...

    def lease(self, leases: Sequence[Lease], cap_pico: int | None) -> int:
        """Lease the longest prefix for which spent + reserved + doubtful stays within the cap; FULL durability."""
        ...

    def release(self, steps: Sequence[Step]) -> None: ...

    def record(self, outcomes: Sequence[Outcome], rule: Rule) -> Sequence[Ruling]:
        """Append the outcomes to the spool (one fsync), rule on each, then commit attempts, states, counts and money.

        An outcome whose step and attempt are already recorded changes nothing. Outcomes of steps that were never leased
        (reused replies, render errors) are taken as they are: nothing was reserved for them.
        """
        ...

    def settle_answered(self, rule: Rule) -> int:
        """Rule on steps whose outcome was taken up from the spool at opening; returns how many."""
        ...

    def reopen(self, *, kinds: Sequence[str] = (), keys: Sequence[str] = ()) -> int:
        """Make failed, expired and canceled rows open again with fresh tries (`runner retry`); returns how many. Twins
        go together.

        A step that has had no reply is open again. A turn whose last reply was no answer begins anew with its first
        request, since what was asked again of it led nowhere.
        """
        ...

    def rejudge(self, rule: Rule, label: str) -> Rejudged:
        """Rule again on the replies that decided rows (`runner revalidate`); nothing is opened, and no money moves.

        In steps: after a crash the same `label`, which names the rule, goes on where it was. What is told is of all
        steps together. Rows that no reply decided stay as they are.
        """
        ...

    # -- what is known ---------------------------------------------------------------------------------------------
    def counts(self) -> Counts: ...

    def money(self) -> Money: ...

    def usage(self) -> Usage: ...

    def results(self, start: int = 0) -> Iterator[RowResult]:
        """Every row in the dataset's order, with what became of it; bounded memory."""
        ...

    def result(self, index: int) -> RowResult: ...

    def failed_rows(self, kinds: Sequence[str] = ()) -> Iterator[FailedRow]:
        """Every row that failed, expired or was canceled, in the dataset's order; bounded memory. Of these `kinds` only
        (a status counts as one), where any are given: those that `reopen` would open."""
        ...

    def first_failed(self, kinds: Sequence[str]) -> Mapping[str, FailedRow]:
        """The first failed row of each kind of failure; a kind that no failed row has is missing."""
        ...

    # A twin has had what its first row has had.
    def attempts(self, row: int) -> Sequence[Attempt]: ...

    def replies(self, row: int) -> Sequence[StepReply]:
        """The last reply to each step of a row that has one, by sample, turn and round."""
        ...

    def replies_before(self, step: Step) -> Sequence[StepReply]:
        """The same, of the step's own sample and before it."""
        ...

    def earlier_reply(self, row: int, sample: int, request_hash: bytes) -> EarlierReply | None:
        """What came last of this request in this sample of a row; None where it was not sent."""
        ...

    def progress(self) -> object:
        """Another value after each outcome that was recorded."""
        ...

    # -- results of tools -------------------------------------------------------------------------------------------
    def keep_tool_results(self, step: Step, results: Sequence[ToolResult]) -> None:
        """Note what calls of the reply to a step came to; FULL durability, before a request that has them leaves."""
        ...

    def tool_results(self, step: Step) -> Mapping[str, ToolResult]:
        """The results that are known of calls of the reply to a step, by the call's id."""
        ...

    # -- sinks -----------------------------------------------------------------------------------------------------
    def deliveries(self) -> Sequence[Delivery]: ...

    def set_delivery(self, delivery: Delivery) -> None: ...

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
        """Reserve and lease all steps of a batch in one FULL transaction; None, and nothing, if the cap forbids it."""
        ...

    def mark_batch(self, number: int, state: BatchState, facts: BatchFacts | None = None) -> Batch:
        """Move a batch along its states, or note facts of one that stays where it is (FULL).

        `rejected` and `not_sent` free its steps and reservation; `closed` needs every one of its steps to have an
        outcome. A batch in doubt that is declared not sent may have been accepted all the same: its attempts end `lost`
        and its bound stays in doubt.

        Raises LedgerError for a move that is not allowed.
        """
        ...

    def batches(self) -> Sequence[Batch]: ...

    def batch(self, number: int) -> Batch: ...

    def batch_steps(self, number: int, after: Step | None, limit: int) -> Sequence[BatchStep]:
        """The steps of a batch that have no outcome yet, in order, a page at a time."""
        ...

    def landing_path(self, number: int) -> Path:
        """Where a batch's results are to be written: a file beside the spool that nothing reads until it has landed."""
        ...

    def land(self, number: int) -> Path:
        """Make the file at `landing_path` durable and part of the spool; returns where it is from then on. A batch may
        land more than once: what was settled from an earlier file keeps its place there."""
        ...

    def landed(self, number: int) -> Path | None:
        """The batch's last landed file; None where none has landed yet."""
        ...

    def settle_batch(
        self, number: int, lines: Sequence[Landed], rule: Rule, now: datetime, accepted: AcceptedLines = NONE_ACCEPTED
    ) -> Settled:
        """Rule on lines of the batch's last landed file and book them, in one transaction (at most some thousands).

        `accepted` are lines that the rule need not be asked about, because it would say `succeeded`. No step may be in
        both. The lines are durable already, so this is NORMAL: a crash before the commit reads them again. Settling a
        line again changes nothing. Outcomes given to the rule have no `body`; the file has it.

        Groups of lines whose steps lie side by side are booked several times faster than groups that are spread over
        the whole batch, as results come: who has many does well to put them in the order of their steps first.
        Raises LedgerError `no-batch`, and `not-landed` where no file of the batch has landed.
        """
        ...

    def cancel_open(self) -> int:
        """End all rows that are open and under way nowhere as `canceled`; returns how many."""
        ...


__all__ = [
    "ACCEPTED_COLUMNS", "NONE_ACCEPTED", "UNPRICED", "AcceptedLines", "Attempt", "AttemptEnd", "Batch", "BatchFacts",
    "BatchState", "BatchStep", "CancelCause", "Counts", "Delivery", "DeliveryState", "EarlierReply", "EnrolledRow",
    "FailedRow", "Landed", "Lease", "Ledger", "Mode", "Money", "OpenStep", "Rejudged", "RowResult", "Rule", "Ruling",
    "Settled", "StepReply", "StepState",
]  # fmt: skip
