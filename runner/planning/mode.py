"""In which mode a job runs.

Owns   the choice, and the reason that a person is told. It is made once, before the first request, and stored with
       the run.
"""

from __future__ import annotations

from dataclasses import dataclass

from runner.errors import Location, PlanError
from runner.spec.job import Job
from runner.types import Mode


@dataclass(frozen=True, slots=True)
class Choice:
    """`why` completes the sentence "parallel mode, because …"."""

    mode: Mode
    why: str


def choose(job: Job, where: Location | None = None) -> Choice:
    """Choose the mode of a job. `where` is the place of its `mode`.

    Raises:
        PlanError: the job asks for batch mode, which this version does not have.
    """
    if job.mode == "batch":
        raise PlanError(
            "batch mode is not supported yet",
            hint="write `mode: parallel`, or leave `mode` out",
            code="not-supported-yet",
            where=where,
        )
    if job.mode == "parallel":
        return Choice("parallel", "the job says so")
    return Choice("parallel", "this version has no batch mode yet")
