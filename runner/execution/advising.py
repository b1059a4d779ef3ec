"""Everything worth saying about a job before it is sent: by its model, by those that it may ask besides, and by who
serves them."""

from __future__ import annotations

from runner.catalog.models import Catalog
from runner.clock import Clock
from runner.errors import Problem
from runner.execution.api import options_of
from runner.execution.asking import asking_of
from runner.execution.twins import advice_on_twins
from runner.planning.advice import advise, advise_on_others
from runner.planning.capable import Served, block_problems
from runner.planning.requests import CompiledJob
from runner.spec.load import LoadedJob


def advice_on(loaded: LoadedJob, compiled: CompiledJob, catalog: Catalog, clock: Clock) -> list[Problem]:
    """Errors are what every request would be refused for; warnings, what is dearer or worse than meant."""
    options = options_of(loaded.job.provider)
    served = Served(options.label, options.offers.urls, options.offers.files)
    facts, today = catalog.facts(loaded.job.model), clock.now().date()
    others = asking_of(loaded).models
    return [
        *advise(compiled, facts, locate=loaded.locate, today=today),
        *advise_on_others(compiled, others, catalog.facts, locate=loaded.locate, today=today),
        *block_problems(loaded.job, facts, served, loaded.locate),
        *advice_on_twins(loaded),
    ]
