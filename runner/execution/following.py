"""Following a run's batches to their end without sending anything: to cancel them, or before a new run takes its place.

Owns   `runner cancel`, and collecting what an old run has at the API before `run --new`.
Knows  the tracker by name. A batch in doubt is looked for once; one that is not proven ours is never touched: it is
       named and left.

That a run is to be canceled is noted (`canceling` in its meta) before the first call: whoever goes on with it then, a
`resume` or the next `run` of the job, ends it and sends nothing more.
"""

from __future__ import annotations

from runner.engines import BatchBook, StopReason
from runner.engines.halt import Halt, waiting_at_api
from runner.engines.heeding import HeedingBatches
from runner.engines.reconcile import Reconciler
from runner.engines.sending import facts_of
from runner.engines.tracking import Tracker
from runner.execution import batching, doubt
from runner.execution.advance import Ended
from runner.execution.loop import on_loop
from runner.execution.outages import outage_of
from runner.execution.passes import follower_of
from runner.execution.signals import signals
from runner.execution.standing import doubtful, name_of, open_batches, waiting_requests
from runner.execution.under_way import Advance
from runner.ledger import Batch, BatchFacts, BatchState, CancelCause
from runner.providers import BatchProvider
from runner.types import PICO_PER_USD

_SENT: frozenset[BatchState] = frozenset({"in_progress", "canceling", "ended", "unseen", "stuck", "archived"})


def cancel(run: Advance) -> Ended:
    """Cancel what is at the API, keep what finished, and end every row that is open; what is in doubt is left."""
    run.ledger.set_meta({"canceling": True})
    run.ledger.cancel_open()
    told = {batch.number for batch in open_batches(run.ledger)}
    stopped_by = _follow(run, "user")
    while run.sitting.resend and stopped_by is not None and doubt.give_up_results(run, stopped_by, told):
        stopped_by = _follow(run, "user")
    if stopped_by is None:
        if run.sitting.resend:
            doubt.give_up(run, StopReason("in_doubt", ""), told)
        run.ledger.cancel_open()  # what came back open has nobody to send it any more
        stopped_by = _doubt(run, f"`runner resume {run.run_id} --resend` gives it up, and the run ends")
    return ("open", stopped_by) if stopped_by is not None else ("canceled", None)


def collect(run: Advance) -> Ended:
    """Collect what is at the API; nothing is canceled, and nothing sent again."""
    looks = f"`runner resume {run.run_id}` looks for it, and with --resend sends its rows again"
    stopped_by = _follow(run, None) or _doubt(run, looks)
    return "open", stopped_by


def _follow(run: Advance, cause: CancelCause | None) -> StopReason | None:
    if not open_batches(run.ledger):
        return None
    return on_loop(_followed(run, cause))


async def _followed(run: Advance, cause: CancelCause | None) -> StopReason | None:
    halt, outage = Halt(), outage_of(run)
    provider = HeedingBatches(batching.batches_of(run.connect()), outage, halt)
    try:
        if run.sitting.resend:
            doubt.require_late_enough(run, provider)
        with signals(halt, run.clock):
            plan = batching.plan_of(run, with_deadline=False)
            writer = follower_of(run)
            writer.start()
            try:
                async with batching.tracking(run, plan, provider, writer, halt, outage) as tracker:
                    for batch in await _left_by_others(writer):
                        tracker.follow(batch)
                    found = await _found(run, provider, writer, plan.mark)
                    if cause is not None:
                        await tracker.cancel_all(cause)
                    for batch in found:  # it has ended, so there is nothing left to cancel
                        tracker.follow(batch)
                    return batching.told_honestly(await _until_closed(run, tracker, halt), outage)
            finally:
                await writer.close()
    finally:
        await provider.aclose()


async def _left_by_others(book: BatchBook) -> list[Batch]:
    """The batches to follow, once what an earlier sitting was about to send is put right."""
    found = []
    for batch in await book.batches():
        if batch.state == "intent":
            await book.mark_batch(batch.number, "not_sent")
        elif batch.state == "sending":
            note = BatchFacts(note="the runner ended before the reply to its create came")
            await book.mark_batch(batch.number, "in_doubt", note)
        elif batch.state in _SENT:
            found.append(batch)
    return found


async def _found(run: Advance, provider: BatchProvider, book: BatchBook, mark: str) -> list[Batch]:
    """Batches in doubt that the API's list and their own results prove ours: what they answered is paid for."""
    in_doubt = [batch for batch in await book.batches() if batch.state == "in_doubt"]
    if not in_doubt:
        return []
    look = await Reconciler(provider, book, mark=mark, known_ids=run.known_ids).look(in_doubt)
    return [await book.mark_batch(number, "in_progress", facts_of(remote)) for number, remote in look.proven.items()]


async def _until_closed(run: Advance, tracker: Tracker, halt: Halt) -> StopReason | None:
    if run.sitting.detach:
        await tracker.look_once()
    while tracker.open and tracker.reason is None and halt.reason is None and not run.sitting.detach:
        await tracker.changed()
    if halt.reason is not None or tracker.reason is not None:
        return halt.reason or tracker.reason
    if not tracker.open:
        return None
    hint = f"`runner resume {run.run_id}` collects what has ended by then"
    return waiting_at_api(tracker.open, tracker.queued_requests, hint)


def _doubt(run: Advance, cure: str) -> StopReason | None:
    """The reason for leaving a run open that has batches in doubt; they are reserved still, and named."""
    batches = doubtful(open_batches(run.ledger))
    if not batches:
        return None
    named = ", ".join(name_of(batch) for batch in batches)
    bound = sum(batch.reserved_pico for batch in batches) / PICO_PER_USD
    return StopReason(
        "in_doubt",
        f"the reply to the create of {named} never came: {waiting_requests(batches):,} rows, at most ${bound:,.4f}, "
        "may have been bought",
        f"`runner show {run.run_id}` tells of it; {cure}",
    )
