"""Facts of models, fresh from the API where it can be asked, else from what was learned before.

Owns   when the Models API is asked: at most once a day for each address, before a run or a plan. It never stands in
       the way: without an answer the snapshot serves, and a person is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from runner.catalog.models import Catalog
from runner.catalog.snapshot import SNAPSHOT_DATE
from runner.clock import Clock
from runner.errors import Problem, SetupError
from runner.execution.api import Api
from runner.execution.folders import StateFolder
from runner.types import Failure

FRESH = timedelta(days=1)
"""Models come and go by the month; a day is short enough to hear of a retirement in time."""


def refreshed(state: StateFolder, api: Api, clock: Clock) -> tuple[Catalog, list[Problem]]:
    """The catalog for an API, and what is worth a warning. The stand-in's own models are never asked for: the
    snapshot is."""
    if api.simulated:
        return Catalog(), []
    state.create()
    catalog = Catalog(state.catalog_path(api.address))
    if catalog.fetched_at is not None and clock.now() - catalog.fetched_at < FRESH:
        return catalog, []
    try:
        api.require_credential()  # without one, importing the SDK would be two seconds for nothing
        models = asyncio.run(ask_models(api, clock))
    except SetupError:
        return catalog, []  # no credential: who needs one says so
    if isinstance(models, Failure):
        return catalog, [_unanswered(api, models)]
    catalog.update(models, at=clock.now())
    return catalog, []


async def ask_models(api: Api, clock: Clock) -> list[Mapping[str, Any]] | Failure:
    """What the Models API says. Raises SetupError without a usable credential."""
    provider = api.connect(max_concurrency=1, clock=clock)
    try:
        return await provider.models()
    finally:
        await provider.aclose()


def _unanswered(api: Api, failure: Failure) -> Problem:
    return Problem(
        "no-models-api",
        f"the Models API of {api.address} did not answer ({failure.kind}: {failure.message}); "
        f"facts of models are those of {SNAPSHOT_DATE}",
        severity="warning",
    )
