"""Facts of models, fresh from the API where it can be asked, else from what was learned before.

Owns   when the Models API is asked: at most once a day for each address, before a run or a plan. It never stands in
       the way: without an answer the snapshot serves, and a person is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
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
PATIENCE_S = 10.0
"""Many times what the API takes to answer, and as long as a person waits for a run to begin without wondering. The
provider's own deadline is that of a long reply."""


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
