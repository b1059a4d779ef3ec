"""Everything worth saying about a job before it is sent: by its model, and by who serves it."""

from __future__ import annotations

from runner.catalog.models import ModelFacts
from runner.clock import Clock
from runner.errors import Problem
from runner.execution.api import options_of
from runner.planning.advice import advise
from runner.planning.capable import Served, block_problems
from runner.planning.requests import CompiledJob
from runner.spec.load import LoadedJob


def advice_on(loaded: LoadedJob, compiled: CompiledJob, facts: ModelFacts | None, clock: Clock) -> list[Problem]:
    """Errors are what every request would be refused for; warnings, what is dearer or worse than meant."""
    options = options_of(loaded.job.provider)
    served = Served(options.label, options.offers.urls, options.offers.files)
    return [
        *advise(compiled, facts, locate=loaded.locate, today=clock.now().date()),
        *block_problems(loaded.job, facts, served, loaded.locate),
    ]
