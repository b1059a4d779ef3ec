"""The prices of a run: today's when it begins, and those for as long as it lives.

Owns   `inputs/prices.json` of a run's folder. A resume never prices anew.
"""

from __future__ import annotations

import json
import os
from fractions import Fraction
from pathlib import Path

from runner.catalog.price_list import prices_for_models
from runner.catalog.price_overrides import load_overrides
from runner.catalog.prices import Prices
from runner.clock import Clock
from runner.encoding import encode
from runner.errors import BudgetError
from runner.execution.api import options_of
from runner.ledger.folder import open_private, sync_entries
from runner.ledger.refusals import disk_errors
from runner.spec.job import Job
from runner.spec.load import LoadedJob
from runner.spec.reply import OtherModel

PRICES = "inputs/prices.json"


def load_run_prices(loaded: LoadedJob, clock: Clock) -> Prices:
    """Today's prices of the job's models, the user's own first."""
    overrides = load_overrides(loaded.settings.prices) if loaded.settings.prices is not None else None
    params, options = loaded.job.params, options_of(loaded.job.provider)
    return prices_for_models(
        models_of(loaded.job),
        at=clock.now(),
        overrides=overrides,
        inference_geo=params.get("inference_geo"),
        speed=params.get("speed"),
        price_list=options.offers.prices,
        factor=Fraction(*options.price_factor(loaded.environ)),
    )


def models_of(job: Job) -> list[str]:
    """All models that a job may ask, its own first."""
    refused = job.output.on_refusal if job.output is not None else None
    return [job.model, refused.model] if isinstance(refused, OtherModel) else [job.model]


def store_prices(folder: Path, prices: Prices) -> None:
    """Keep the prices with the run: a resume never prices anew. All its inputs are durable then. Raises LedgerError."""
    with disk_errors(folder):
        with os.fdopen(open_private(folder / PRICES, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") as file:
            file.write(encode(prices.to_json()))
            file.flush()
            os.fsync(file.fileno())
        sync_entries(folder / "inputs")
        sync_entries(folder)


def stored_prices(folder: Path) -> Prices:
    return Prices.from_json(json.loads((folder / PRICES).read_bytes()))


def require_price(loaded: LoadedJob, prices: Prices) -> None:
    """A cap on what nobody can price would cap nothing."""
    job = loaded.job
    unknown = [model for model in models_of(job) if not prices.knows(model)]
    if job.limits.max_cost_usd is not None and unknown:
        raise BudgetError(
            f"limits.max_cost_usd is set, but the price of {unknown[0]} is not known",
            code="unknown-price",
            hint="give its price in the file that the setting `prices` names, or take the cap out",
        )
