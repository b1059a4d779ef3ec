"""All that one run needs to go on, put together by `assemble`: what passes, a cancel and delivery share.

Owns   the values only. Everything that is done with them is elsewhere: `advance`, `passes`, `following`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from pathlib import Path

from msgspec import Struct

from runner.catalog.models import ModelFacts
from runner.catalog.prices import Prices
from runner.clock import Clock
from runner.engines import Judge, StopReason
from runner.engines.limits import Limits
from runner.engines.retry import RetryPolicy
from runner.errors import Problem
from runner.events import Observer
from runner.execution.api import Api
from runner.execution.delivery import PartTarget, Target
from runner.execution.earlier import Earlier
from runner.execution.judging import make_judge, make_rule
from runner.execution.records import RecordMaker
from runner.execution.reply_checks import RowLookup
from runner.execution.uploading import UploadPlan
from runner.ledger import Ledger, Rule
from runner.planning.requests import CompiledJob
from runner.providers import Provider
from runner.replies.asking import Asking
from runner.replies.reply_check import ReplyCheck
from runner.settings import Settings
from runner.spec.job import Job, Retry
from runner.tools import Tool
from runner.types import Mode


class Sitting(Struct, frozen=True):
    """How one command goes on with a run; the run itself remembers none of it but `detach`.

    `detach`: submit what can be submitted, look once, and leave the rest at the API. `resend`: the user's word that
    what is in doubt, or missing in results, is sent again.
    """

    detach: bool = False
    resend: bool = False


ATTENDED = Sitting()
"""Follow everything to its end."""


class Drained(Struct, frozen=True):
    """How a pass ended; `too_late`: the point of no return has come; `held` batches at the API may be one in doubt."""

    stopped_by: StopReason | None
    too_late: bool = False
    held: int = 0


class Advance(Struct, frozen=True):
    """All that one run needs to go on. The ledger is open for writing; `connect` makes the provider on the loop that
    uses it."""

    run_id: str
    folder: Path
    ledger: Ledger
    job: Job
    settings: Settings
    compiled: CompiledJob
    """For the run's own mode."""
    compiled_for: Callable[[Mode], CompiledJob]
    """The same job for a mode: what a batch run sends in parallel differs in cache marks, not in identity."""
    check: ReplyCheck | None
    row_of: RowLookup
    """A row by its number, for rules that look at it."""
    asking: Asking
    """What is done about a reply that is no answer."""
    tools: Sequence[Tool]
    prices: Prices
    api: Api
    connect: Callable[[], Provider]
    make_limits: Callable[[Observer], Limits]
    """How fast the rows of one pass in parallel may leave."""
    open_earlier: Callable[[], Earlier | None]
    make_targets: Callable[[], Sequence[Target | PartTarget]]
    """Called when there is something to deliver: what was exported while the run went on is known then."""
    make_live: Callable[[Callable[[float], bool]], Sequence[PartTarget]]
    """The sinks that are given records while the run goes on; they wait by what they are given."""
    upload_plan: Callable[[Mode], UploadPlan]
    """How a pass in a mode uploads. Raises SetupError without a credential."""
    known_ids: Callable[[], AbstractSet[str]]
    """The ids of all batches in ledgers of this state folder: what another run made is not taken for this one's."""
    records: RecordMaker
    observer: Observer
    clock: Clock
    facts: ModelFacts | None
    warnings: Sequence[Problem]
    """What is worth saying about the job before anything is sent."""
    resumed: bool
    sitting: Sitting = ATTENDED
    on_settled: Callable[[Sequence[int]], None] | None = None
    """Told of rows that may have got their outcome, where somebody wants to know; on the writer's thread."""

    @property
    def mode(self) -> Mode:
        mode: Mode = self.ledger.meta["mode"]
        return mode

    @property
    def created_at(self) -> datetime:
        return datetime.fromisoformat(self.ledger.meta["created_at"])

    @property
    def deadline_at(self) -> datetime | None:
        """When all rows must have their answer; noted when the run began."""
        noted = self.ledger.meta.get("deadline_at")
        return None if noted is None else datetime.fromisoformat(noted)

    @property
    def samples(self) -> int:
        """How many conversations each row has; noted when the run began."""
        return int(self.ledger.meta.get("samples", 1))

    @property
    def retry(self) -> RetryPolicy:
        return retry_policy(self.job.retry)

    @property
    def judge(self) -> Judge:
        return make_judge(self.check, self.asking, len(self.job.turns), row_of=self.row_of)

    @property
    def rule(self) -> Rule:
        return make_rule(self.judge, self.retry, uploads=self.compiled.uploads)


def retry_policy(retry: Retry) -> RetryPolicy:
    """What a job's `retry` means."""
    return RetryPolicy(retry.max_attempts, retry.initial_interval, retry.backoff_coefficient, retry.maximum_interval)
