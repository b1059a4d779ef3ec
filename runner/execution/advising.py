"""Advice on a whole job: on its own model, and on those that it may ask besides.

Owns   the one call that `check`, `plan` and a run share.
Knows  the loaded job and the catalog.
"""

from __future__ import annotations

from runner.catalog.models import Catalog
from runner.clock import Clock
from runner.errors import Problem
from runner.execution.judging import asking_of
from runner.planning.advice import advise, advise_on_others
from runner.planning.requests import CompiledJob
from runner.spec.load import LoadedJob


def advice_on(loaded: LoadedJob, compiled: CompiledJob, catalog: Catalog, clock: Clock) -> list[Problem]:
    """What is worth saying about a job, before anything is sent."""
    facts, today = catalog.facts(loaded.job.model), clock.now().date()
    others = asking_of(loaded).models
    return [
        *advise(compiled, facts, locate=loaded.locate, today=today),
        *advise_on_others(compiled, others, catalog.facts, locate=loaded.locate, today=today),
    ]
