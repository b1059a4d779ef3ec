"""The user's word on what nobody can prove: `runner resume RUN --resend`.

Owns   what becomes of batches in doubt, of steps whose results are missing, and of batches that do not end, once a
       person says that they are to be sent again: their attempts end `lost`, their bounds stay in doubt, their steps
       are open.
Knows  the ledger and the provider's word on how long a new batch may be missing from its list. It is asked after a
       pass has looked once more and stopped for that very reason; nothing here is done unasked.

The word is about the batches that were open when it was given. One that was sent since, on that word, needs another:
an API that loses every reply would be paid again and again. Nor is it asked while a batch at the API may be the one in
doubt: that one's own results will say within a day, and it looks very much like it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import timedelta

from runner.clock import to_rfc3339
from runner.engines import StopReason
from runner.errors import LedgerError
from runner.events import Warned
from runner.execution.standing import doubtful, name_of, open_batches
from runner.execution.under_way import Advance
from runner.ledger import Batch, BatchStep, Ledger
from runner.providers import Provider
from runner.types import PICO_PER_USD, Failure, Outcome, Step

_PAGE = 1_000


def give_up(run: Advance, stopped_by: StopReason, numbers: Collection[int]) -> bool:
    """Open again what a pass, which has looked once more, could not settle of these batches; whether there was
    anything."""
    match stopped_by.kind:
        case "in_doubt" | "waiting":
            return _batches_in_doubt(run, numbers)
        case _:
            return give_up_results(run, stopped_by, numbers)


def give_up_results(run: Advance, stopped_by: StopReason, numbers: Collection[int]) -> bool:
    """The same, of batches whose results stay away alone."""
    # Where it stopped for either, every batch that is left is one or the other. Those that do not end may yet: they
    # are given up only where nothing else is left to be told.
    match stopped_by.kind:
        case "results_incomplete":
            return _missing_results(run, _lacking_results(run.ledger, numbers))
        case "stuck":
            lacking = _lacking_results(run.ledger, numbers)
            return _missing_results(run, lacking or _not_ended(run.ledger, numbers))
        case _:
            return False


def require_late_enough(run: Advance, provider: Provider) -> None:
    """Raise LedgerError while a batch in doubt may still turn up in the API's list."""
    lag_s = provider.capabilities.batch_list_lag_s
    for batch in doubtful(open_batches(run.ledger)):
        from_when = batch.created_at + timedelta(seconds=lag_s)
        if run.clock.now() < from_when:
            raise LedgerError(
                f"batch {batch.number} of run {run.run_id} may still turn up in the API's list: "
                f"it can be sent again from {to_rfc3339(from_when)} on",
                code="too-early",
                hint=f"`runner resume {run.run_id}` looks for it until then, and goes on if it is found",
            )


def _batches_in_doubt(run: Advance, numbers: Collection[int]) -> bool:
    lost = [batch for batch in open_batches(run.ledger) if batch.state == "in_doubt" and batch.number in numbers]
    for batch in lost:
        run.ledger.mark_batch(batch.number, "not_sent")
        _tell(run, batch, batch.steps, batch.reserved_pico)
    return bool(lost)


def _missing_results(run: Advance, lacking: list[Batch]) -> bool:
    """The remaining steps of these batches are opened, and they close."""
    for batch in lacking:
        reserved_pico = run.ledger.money().reserved
        missing = [_lost(run, batch, step) for step in _steps(run.ledger, batch)]
        for start in range(0, len(missing), _PAGE):
            run.ledger.record(missing[start : start + _PAGE], run.rule)
        if batch.state != "ended":
            run.ledger.mark_batch(batch.number, "archived")
        run.ledger.mark_batch(batch.number, "closed")
        _tell(run, batch, len(missing), reserved_pico - run.ledger.money().reserved)
    return bool(lacking)


def _lacking_results(ledger: Ledger, numbers: Collection[int]) -> list[Batch]:
    """Batches that have ended, landed, and still lack results."""
    ended = [batch for batch in open_batches(ledger) if batch.state == "ended" and batch.number in numbers]
    return [batch for batch in ended if ledger.landed(batch.number) is not None]


def _not_ended(ledger: Ledger, numbers: Collection[int]) -> list[Batch]:
    """Batches that should have ended hours ago, or that were deleted at the API."""
    return [batch for batch in open_batches(ledger) if batch.state == "stuck" and batch.number in numbers]


def _steps(ledger: Ledger, batch: Batch) -> Iterator[BatchStep]:
    after: Step | None = None
    while page := ledger.batch_steps(batch.number, after, _PAGE):
        yield from page
        after = page[-1].step


def _lost(run: Advance, batch: Batch, step: BatchStep) -> Outcome:
    message = f"batch {batch.batch_id} brought no result for it; sent again by --resend"
    failure = Failure("results_lost", message, retryable=True, may_be_billed=True)
    return Outcome(
        step.step, step.attempt, "lost", "batch", step.request_hash, step.started_at, run.clock.now(),
        failure=failure, batch_id=batch.batch_id, tries=step.tries - 1,  # a lost attempt is no try
    )  # fmt: skip


def _tell(run: Advance, batch: Batch, requests: int, bound_pico: int) -> None:
    money = f"up to ${bound_pico / PICO_PER_USD:,.4f} of it stays in doubt"
    run.observer.notify(Warned("sent-again", f"{name_of(batch)}: {requests:,} requests are sent again; {money}"))
