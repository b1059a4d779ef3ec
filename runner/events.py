"""What happens during a run, told to whoever looks: the display, the log, a test.

Owns   the event values and `Observer`. Engines and execution tell; an observer never answers back and must return at
       once (it is called on the loop's thread). Events carry ids and counts, never prompts, replies or credentials.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal, Protocol

from msgspec import Struct

from runner.types import Failure, Mode, RowStatus, Step, Usage

Task = Literal["send", "cancel", "collect"]
"""What a command does with a run."""


class RunStarted(Struct, frozen=True):
    """`spent_pico` is what earlier sittings of this run have cost: the cap counts it too. `why` completes "in batch
    mode, because …" where the mode was chosen and not asked for. Of a run that is canceled, or only collected, nothing
    more is sent."""

    run_id: str
    job: str
    mode: Mode
    rows: int
    open_rows: int
    cap_pico: int | None
    resumed: bool
    spent_pico: int = 0
    why: str = ""
    task: Task = "send"
    samples: int = 1
    """Conversations a row: each ends with an outcome of its own."""
    twins: int = 0
    """Of the rows, and of those that are open, how many are not sent, because they end as others do."""
    open_twins: int = 0


class Preparing(Struct, frozen=True):
    """Before a run starts, all its rows are gone through: `what` says for what, and `done` of so many `rows` how far
    that is. The last one has all of them done."""

    job: str
    what: str
    done: int
    rows: int


class StepSent(Struct, frozen=True):
    """A request has left; `in_flight` counts it."""

    step: Step
    attempt: int
    in_flight: int


class StepEnded(Struct, frozen=True):
    """An attempt's outcome is durable. `status` is the row's, `open` where it will be tried again.

    `in_flight` is None for an outcome that was never sent (an earlier answer, a row that cannot be rendered).
    """

    step: Step
    attempt: int
    status: RowStatus
    failure: Failure | None
    usage: Usage
    cost_pico: int | None
    reused: bool
    in_flight: int | None


class Packed(Struct, frozen=True):
    """Steps were rendered into the next batch, which now has `steps` requests and `size_bytes` of body."""

    number: int
    steps: int
    size_bytes: int


class BatchMoved(Struct, frozen=True):
    """A batch of this run has come to another state (a `runner.ledger.BatchState`); the move is durable."""

    number: int
    state: str
    batch_id: str | None
    steps: int
    began_at: datetime | None
    expires_at: datetime | None
    priming: bool = False
    note: str | None = None


class BatchSettled(Struct, frozen=True):
    """Some results of a batch are durable and decided: how many came to which status, and what they cost. Replies on
    which a next turn follows are not counted among `statuses`."""

    number: int
    statuses: Mapping[RowStatus, int]
    usage: Usage
    cost_pico: int
    unpriced: int = 0


class FileUploaded(Struct, frozen=True):
    """A file that requests name is at the API, after so many bytes were sent."""

    file_id: str
    size_bytes: int


class CoolingDown(Struct, frozen=True):
    """Admission pauses for `seconds`, because of `reason` (an API error type, or `retry_after`)."""

    seconds: float
    reason: str


class HeldBack(Struct, frozen=True):
    """What keeps further requests from leaving has changed; told once a second at most.

    `by`: a limit a minute (`requests`, `input_tokens`, `output_tokens`), `connections` (how many at a time), `pause` (a
    cool-down), `busy` (the API's own trouble), `unreachable` (nothing answers); None where nothing does. `limit` is its
    number where it is known; `own` says that it is the job's, not the API's.
    """

    by: str | None
    limit: int | None = None
    own: bool = False


class Warned(Struct, frozen=True):
    """Something a person should know; shown once."""

    code: str
    message: str


class Stopping(Struct, frozen=True):
    """The run stops before its end: no new requests; what is in flight is awaited."""

    reason: str
    message: str


class SinkDelivered(Struct, frozen=True):
    kind: str
    target: str
    records: int


class RunEnded(Struct, frozen=True):
    """`rows_done` are the rows, twins aside, that have their answer or failed, in all sittings of the run."""

    run_id: str
    status: str
    rows_done: int | None = None


Event = (
    Preparing | RunStarted | StepSent | StepEnded | Packed | BatchMoved | BatchSettled | FileUploaded | CoolingDown
    | HeldBack | Warned | Stopping | SinkDelivered | RunEnded
)  # fmt: skip


class Observer(Protocol):
    """One that needs not hear what nearly every row has, its departure and its good end, may say so by a class variable
    `hears_each_row = False`."""

    def notify(self, event: Event) -> None: ...


class Observers:
    """Several observers as one, told in order."""

    def __init__(self, *observers: Observer) -> None:
        # Flat, since two events of every row come through here.
        self._observers = tuple(
            inner
            for observer in observers
            for inner in (observer.each if isinstance(observer, Observers) else (observer,))
        )

        self._of_each_row = tuple(one for one in self._observers if getattr(one, "hears_each_row", True))

    @property
    def each(self) -> Sequence[Observer]:
        """Those that are told, none of them several."""
        return self._observers

    def notify(self, event: Event) -> None:
        kind = event.__class__
        usual = kind is StepSent or (kind is StepEnded and event.failure is None)  # type: ignore[union-attr]  # by its class
        for observer in self._of_each_row if usual else self._observers:
            observer.notify(event)
