"""Engines: when a request is sent. This module is the contract of the plugin folder.

An engine drains open steps: it takes prepared steps from the feed, reserves and leases them in the book before it
sends, and hands every outcome to the book, which makes it durable and decides. It does not know why a step is open,
what a reply is worth, or where records go.

    feed  ──Prepared──▶  engine  ──lease──▶  book  (reserve, durable, before the send)
                           │ ▲
                      Provider.send
                           │
                           └──Outcome──▶  book  (durable, then decided)  ──Decision──▶  engine

The folder, in the order to read it in:

    parallel        many single requests at once
      backlog         steps that are not leased: from the feed, or waiting for their next try
      order           the first request of a cached prefix leads, the others follow
      limits          whether one more may leave now
        width           how many may be in flight
        pacing          how fast they may leave: a gauge for each quantity that is limited a minute
        costs           what one will take of the limits
        limit_headers   what the API says of them
        shared_pool     a key's limits, shared by all processes of a user on this machine
          pool_file       the file that holds them
    batch           the same steps in batches, each sent at most once
      filling         from the feed into staged batches
        packing         what goes into one
        custom_ids      what brings a result back to its step
        staging         bodies on disk, until they are sent
      purse           what the cap leaves for the next one
      priming         one request first, so that the others find its prefix cached
      submitting      staged batches on their way, one after the other
        sending         one create, and what is certain about it afterwards
      doubts          creates whose reply never came, of one sitting
        reconcile       which batch at the API is whose
    tracking        all batches that are at the API, until each is closed
      following       one of them, a step at a time
        polling         when to look again, and what a look means
        deadline        until when it may be waited for
        collect         its results downloaded, read, booked and checked
          landed          the file as it came
    retry           when a failed attempt may be made again
    pauses          waiting that ends when the run stops
    halt            how a run is told to stop
    outage          whether anything answers at all
      heeding         what calls about batches and files say of that
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from runner.ledger import AcceptedLines, Batch, BatchFacts, BatchState, BatchStep, Landed, Lease, Settled
from runner.rounds import Why
from runner.types import Failure, Outcome, Reply, Request, RowStatus, Step


class Accept(Struct, frozen=True):
    """The reply answers the step."""


class Ask(Struct, frozen=True):
    """The reply asks for another request: `step` becomes open (a repair round, the next turn), for the reason `why`.
    `failure` is what is wrong with the reply, None where nothing is."""

    step: Step
    why: Why
    failure: Failure | None = None


class Fail(Struct, frozen=True):
    """The reply is no answer and asking again unchanged would not help."""

    failure: Failure


Verdict = Accept | Ask | Fail


class Judge(Protocol):
    """Pure: what a reply is worth for a step."""

    def __call__(self, step: Step, reply: Reply, /) -> Verdict: ...


class Prepared(Struct, frozen=True):
    """A step ready to be sent. `attempts` counts those made so far, `tries` those among them that count towards
    `max_attempts`; `bound_pico` is the upper bound of what one attempt costs (None where the price is unknown, which
    a cap refuses)."""

    step: Step
    request: Request
    attempts: int
    bound_pico: int | None
    tries: int = 0


class Decision(Struct, frozen=True):
    """What the book made of an outcome: the row's status. `open`: this step is to be tried again or, where there is a
    `next_step`, that one is open now."""

    status: RowStatus
    failure: Failure | None = None
    next_step: Step | None = None


class StopReason(Struct, frozen=True):
    """Why a run stops before all its steps are answered.

    kind: `credentials`, `permission`, `not_found`, `spend_limit`, `api_refused`, `unreachable` (nothing answers),
    `storage_full`, `budget`, `max_failures`, `disk`, `interrupted` (SIGINT), `terminated` (SIGTERM), `worker_died` (one
    of several processes), `bug`; of batches: `in_doubt` (a create whose reply never came), `results_incomplete`,
    `canceled_elsewhere`, `stuck`, and `waiting`: nothing is wrong, work is at the API.
    """

    kind: str
    message: str
    hint: str | None = None
    failure: Failure | None = None


class Feed(Protocol):
    """Steps that are ready, in the order in which they should be sent; bounded, filled by the feeder's thread."""

    async def take(self, limit: int) -> Sequence[Prepared]:
        """At least one and at most `limit` prepared steps; empty when there are no more."""
        ...

    async def peek_is_empty(self) -> bool:
        """True when the feed is exhausted: nothing more will come, but for steps that are told to it yet."""
        ...

    def follow_up(self, step: Step) -> None:
        """A step that was opened by the outcome of another: it comes soon, before fresh ones."""
        ...


class Book(Protocol):
    """The ledger as an engine sees it: awaitable, grouped and written by the writer's thread."""

    async def lease(self, prepared: Sequence[Prepared]) -> int:
        """Reserve and lease the longest prefix of `prepared` that the cap allows; durable when it returns its
        length."""
        ...

    async def record(self, outcome: Outcome) -> Decision:
        """Make the outcome durable, decide it, and return the decision."""
        ...

    async def record_all(self, outcomes: Sequence[Outcome]) -> Sequence[Decision]:
        """The same of outcomes that came together; the decisions in their order. Once this has begun they are in the
        book's hands, whatever becomes of who awaits it, and a lease that is asked for from then on is made after them,
        or at the same moment."""
        ...

    async def release(self, steps: Sequence[Step]) -> None:
        """Give back leases of steps that were not sent: no attempt is counted, the reservation is freed."""
        ...


class BatchBook(Book, Protocol):
    """The ledger as the batch engine sees it: each call is the ledger's method of that name, on the writer's thread,
    with the run's cap, rule and clock."""

    async def left_pico(self) -> int | None:
        """What the cap still admits: it less spent, reserved and doubtful; None without a cap."""
        ...

    async def intend_batch(
        self, leases: Sequence[Lease], *, body_sha256: bytes, watermark: str | None, priming: bool = False
    ) -> Batch | None: ...

    async def mark_batch(self, number: int, state: BatchState, facts: BatchFacts | None = None) -> Batch: ...

    async def batches(self) -> Sequence[Batch]: ...

    async def batch_steps(self, number: int, after: Step | None, limit: int) -> Sequence[BatchStep]: ...

    async def landing_path(self, number: int) -> Path: ...

    async def land(self, number: int) -> Path: ...

    async def landed(self, number: int) -> Path | None: ...

    async def settle_batch(self, number: int, lines: Sequence[Landed], accepted: AcceptedLines) -> Settled: ...


class Engine(Protocol):
    async def drain(self) -> StopReason | None:
        """Send until the feed is exhausted and nothing is in flight (None), or until the run has to stop (the
        reason)."""
        ...
