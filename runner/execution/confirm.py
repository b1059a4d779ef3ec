"""The bill, before it is run up: what a run without a cap may cost, and a person's word where that is a lot.

Owns   the estimate that a new run begins with and the question that follows (setting
       `confirm_above_usd`).

The estimate is exact up to `EXACT_ROWS` rows; of more it is made from rows spread evenly over the run, and scaled to
all of them, so it is quick for millions. `runner plan` renders every row instead.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from msgspec import Struct

from runner.errors import BudgetError
from runner.execution.earlier import Earlier
from runner.execution.records import to_usd
from runner.execution.under_way import Advance
from runner.planning.estimate import Estimator
from runner.settings import Settings
from runner.types import PICO_PER_USD, Request, Step

EXACT_ROWS = 2_000
SAMPLE_ROWS = 500
"""Of more than those. Where rows differ by as much as they are long, their mean is then 5% off, which is lost beside
the guess of tokens from bytes; it takes 20 ms before the first request."""

Confirm = Callable[[str], bool]
"""Asks a person a yes-or-no question; None stands for a command that has nobody to ask."""


class Expected(Struct, frozen=True):
    """What the rows that have no answer yet may cost, in pico-dollars; None where a price or a bound is unknown."""

    cost_pico: int | None
    upper_pico: int | None


def confirm_cost(run: Advance, settings: Settings, confirm: Confirm | None, *, assume_yes: bool) -> None:
    """Note the estimate in the ledger, and ask where no cap is set, the upper estimate is high, and money is at stake:
    the stand-in takes none. Raises BudgetError."""
    expected = _expected(run)
    run.ledger.set_meta({"estimated_cost_pico": expected.cost_pico, "upper_cost_pico": expected.upper_pico})
    if run.job.limits.max_cost_usd is not None or assume_yes or run.ledger.meta["simulated"]:
        return
    threshold_pico = int(settings.confirm_above_usd * PICO_PER_USD)
    if expected.upper_pico is not None and expected.upper_pico <= threshold_pico:
        return
    most = "an unknown amount" if expected.upper_pico is None else f"up to ${to_usd(expected.upper_pico):,.2f}"
    likely = "" if expected.cost_pico is None else f" (likely ${to_usd(expected.cost_pico):,.2f})"
    if confirm is None:
        raise BudgetError(
            f"this run may cost {most}{likely}, and no cap is set",
            code="needs-confirmation",
            hint="set limits.max_cost_usd, or pass --yes",
        )
    if not confirm(f"This run may cost {most}{likely}, and no cap is set. Go on?"):
        raise BudgetError(
            "not confirmed; nothing was sent", code="not-confirmed", hint="limits.max_cost_usd sets a cap"
        )


def _expected(run: Advance) -> Expected:
    earlier = run.open_earlier()
    if earlier is None:
        return _sampled(run, None)
    with closing(earlier):
        return _sampled(run, earlier)


def _sampled(run: Advance, earlier: Earlier | None) -> Expected:
    asking = run.ledger.counts().asking
    estimator = Estimator(
        run.compiled, run.prices, run.facts, samples=run.job.samples, tool_rounds=run.asking.tool_rounds
    )
    sampled = 0
    for index in run.ledger.spread(asking if asking <= EXACT_ROWS else SAMPLE_ROWS):
        sampled += 1
        row = run.ledger.row(index)
        request = run.compiled.request(row)
        if isinstance(request, Request) and (earlier is None or earlier.find(Step(index), row, request) is None):
            estimator.add_row(row, request)
    cost = estimator.result(primed=bool(run.ledger.meta.get("priming"))).cost[run.mode]
    return Expected(_scaled(cost.expected, asking, sampled), _scaled(cost.upper, asking, sampled))


def _scaled(pico: int | None, total: int, sampled: int) -> int | None:
    return None if pico is None else (pico * total + sampled - 1) // sampled if sampled else 0
