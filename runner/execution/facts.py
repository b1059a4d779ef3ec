"""Facts of models, fresh from the API where it can be asked, else from what was learned before.

Owns   when the Models API is asked: at most once a day (setting `models_max_age_s`) for each address, before a run or a
       plan. It never stands in the way: without an answer the snapshot serves, and a person is told.

A job is read by what is known before anything is asked (`facts_for_reading`): what the API says then is advice, which
stops a run as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any

from runner.catalog.models import Catalog, ModelFacts
from runner.catalog.snapshot import SNAPSHOT_DATE
from runner.clock import Clock
from runner.errors import Problem, SetupError, SpecError
from runner.execution.api import Api, cache_address
from runner.execution.folders import StateFolder
from runner.settings import Settings
from runner.spec.job import ProviderSpec
from runner.spec.load import FactsOf
from runner.types import Failure

MODELS_MAX_AGE_S = 86_400.0
"""The setting's default."""
PATIENCE_S = 10.0
"""Many times what the API takes to answer, and as long as a person waits for a run to begin without wondering. The
provider's own deadline is that of a long reply."""


def facts_for_reading(clock: Clock | None = None) -> FactsOf:
    """What the Models API said of a job's model, as far as it was kept: no connection. With a `clock` only what is not
    too old counts, because it can be asked again; `runner check` takes what there is."""

    def facts_of(settings: Settings, values: Mapping[str, Any]) -> ModelFacts | None:
        model = values.get("model")
        if not isinstance(model, str):
            return None
        served_by = values.get("provider", {})
        try:
            address = cache_address(ProviderSpec(**served_by), settings.environment)
        except (SpecError, ValueError, TypeError):
            return None  # what is wrong with the provider is told
        catalog = Catalog(StateFolder(settings.state_dir).catalog_path(address))
        if clock is not None and not is_fresh(catalog, settings.models_max_age_s, clock):
            return None
        return catalog.facts(model)

    return facts_of


def is_fresh(catalog: Catalog, max_age_s: float, clock: Clock) -> bool:
    """Whether the API need not be asked again yet."""
    return catalog.fetched_at is not None and clock.now() - catalog.fetched_at < timedelta(seconds=max_age_s)


def refreshed(
    state: StateFolder, api: Api, clock: Clock, *, max_age_s: float = MODELS_MAX_AGE_S
) -> tuple[Catalog, list[Problem]]:
    """The catalog for an API, and what is worth a warning. The stand-in's own models are never asked for, nor is a
    platform that has no list: there it is the snapshot."""
    if api.simulated or not api.offers.models:
        return Catalog(), []
    state.create()
    catalog = Catalog(state.catalog_path(api.address))
    if is_fresh(catalog, max_age_s, clock):
        return catalog, []
    try:
        api.require_credential()  # without one, importing the SDK would be two seconds for nothing
        models = asyncio.run(ask_models(api, clock))
    except SetupError:
        return catalog, []  # no credential: who needs one says so
    if isinstance(models, Failure):
        return catalog, [_unanswered(api, models, catalog)]
    with suppress(OSError):  # what could not be kept is asked for again
        catalog.update(models, at=clock.now())
    return catalog, []


async def ask_models(api: Api, clock: Clock, *, patience_s: float = PATIENCE_S) -> list[Mapping[str, Any]] | Failure:
    """What the Models API says, if it says it soon. Raises SetupError without a usable credential."""
    provider = api.connect(max_concurrency=1, clock=clock)
    try:
        async with asyncio.timeout(patience_s):
            return await provider.models()
    except TimeoutError:
        return Failure("timeout", f"no answer within {patience_s:g} s", retryable=True)
    finally:
        await provider.aclose()


def _unanswered(api: Api, failure: Failure, catalog: Catalog) -> Problem:
    known = f"{catalog.fetched_at:%Y-%m-%d}" if catalog.fetched_at is not None else SNAPSHOT_DATE
    return Problem(
        "no-models-api",
        f"the Models API of {api.address} did not answer ({failure.kind}: {failure.message}); "
        f"facts of models are those of {known}",
        severity="warning",
    )
