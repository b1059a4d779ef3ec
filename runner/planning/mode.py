"""In which mode a job runs.

Owns   the choice, and the reason that a person is told. It is made once, before the first request, and stored with
       the run: a resume never makes it again.
Knows  the job, what is known of its model, and how many requests there are to send.
"""

from __future__ import annotations

from msgspec import Struct

from runner.catalog.models import ModelFacts
from runner.catalog.parameters import batch_only_betas
from runner.errors import Location, PlanError
from runner.spec.job import Job
from runner.types import Mode

SHORTEST_BATCH_DEADLINE_S = 2 * 3600.0
"""Most batches end within an hour (batch guide); a deadline below twice that leaves no room to finish in parallel what
a slow one has not answered."""


class Choice(Struct, frozen=True):
    """`why` completes the sentence "batch mode, because …"."""

    mode: Mode
    why: str


def choose(
    job: Job,
    *,
    requests: int,
    batch_min_rows: int,
    facts: ModelFacts | None,
    provider_batches: bool,
    trial: bool,
    where: Location | None = None,
) -> Choice:
    """Choose the mode of a run.

    Args:
        requests: how many there are to send: rows without an earlier answer.
        batch_min_rows: the setting of that name; `auto` takes batch mode from so many requests on.
        facts: what is known of the model; where nobody knows whether it takes batches, it is taken to.
        provider_batches: whether the API in use has batches at all.
        where: the place of the job's `mode`.

    Raises:
        PlanError: the job asks for batch mode, which its model or the API does not have.
    """
    missing = _missing(job, facts, provider_batches)
    if job.mode == "parallel":
        return Choice("parallel", "the job says so")
    if job.mode == "batch":
        if missing is not None:
            hint = "write `mode: parallel`, or take a model and an API that have batches"
            raise PlanError(f"batch mode cannot be had: {missing}", hint=hint, code="no-batches", where=where)
        return Choice("batch", "the job says so")
    if job.calls_functions:
        return Choice("parallel", "functions that the model calls can only be run there")
    if trial:
        return Choice("parallel", "a trial is to answer at once")
    if requests < batch_min_rows:
        few = "1 request is" if requests == 1 else f"{requests:,} requests are"
        return Choice("parallel", f"{few} fewer than the {batch_min_rows:,} from which batches are used")
    deadline_s = job.limits.deadline
    if deadline_s is not None and deadline_s < SHORTEST_BATCH_DEADLINE_S:
        return Choice("parallel", f"the deadline is in less than {SHORTEST_BATCH_DEADLINE_S / 3600:.0f} hours")
    if missing is not None:
        return Choice("parallel", missing)
    return Choice("batch", f"{requests:,} requests are enough for batches, which take half off every price")


def modes_of(job: Job) -> tuple[Mode, ...]:
    """The modes in which requests of a job may be sent, the one that it is most likely to run in first.

    What a batch leaves over is finished in parallel, where the requests can be sent so at all.
    """
    if job.mode == "parallel" or job.calls_functions:
        return ("parallel",)
    if job.mode == "batch":
        return ("batch", "parallel") if can_fall_back(job) else ("batch",)
    return ("parallel", "batch")


def can_fall_back(job: Job) -> bool:
    """Whether what a batch leaves over could be sent in parallel: it uses nothing that only batches have."""
    return not batch_only_betas(job.params)


def _missing(job: Job, facts: ModelFacts | None, provider_batches: bool) -> str | None:
    if not provider_batches:
        return "this API has no batches"
    if facts is not None and facts.batch is False:
        return f"{job.model} takes no batches"
    return None
