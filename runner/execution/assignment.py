"""What a worker is told when it starts: everything it needs to send its part of a run, and nothing that it may write.

Owns   `Assignment`, and which part of the job's limits is one worker's.
Knows  the run's folder, settings and API by their values. It goes over a socket pair between two processes of one
       user, because it holds the credential: never through arguments, a file or the environment of a process.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from runner.catalog.models import ModelFacts
from runner.engines import Prepared
from runner.execution.api import Api
from runner.settings import Settings
from runner.spec.job import Job


@dataclass(frozen=True, slots=True)
class Assignment:
    """One worker's part. `number` counts from 0 to `of` - 1; `tells_begun`: it says when its first reply has begun,
    because the others wait for it."""

    number: int
    of: int
    run_id: str
    folder: Path
    settings: Settings = field(repr=False)
    api: Api = field(repr=False)
    facts: ModelFacts | None
    tells_begun: bool
    collects_after: tuple[int, int, int]
    """`gc.get_threshold()` of the process that holds the run: what is tuned there holds for its workers."""
    warm_up: Prepared | None = None
    """What this worker sends before its rows, to fill the cache."""


def portable(settings: Settings, api: Api) -> tuple[Settings, Api]:
    """The two with plain dictionaries in them: the views that they hold cannot be pickled."""
    plain = replace(settings, origins=dict(settings.origins), environment=dict(settings.environment))
    return plain, replace(api, environ=dict(api.environ))


def with_part_of_limits(job: Job, number: int, of: int) -> Job:
    """The job as one worker sees it: its part of what the job allows at once. The parts add up to the whole.

    Ceilings a minute are whole: all workers keep to them together, see `make_limits`.
    """
    part = part_of(job.limits.max_concurrency, number, of)
    return job.model_copy(update={"limits": job.limits.model_copy(update={"max_concurrency": part})})


def part_of(whole: int, number: int, of: int) -> int:
    """The first parts are larger by one where it does not divide evenly."""
    return whole // of + (number < whole % of)
