"""How a run stands: counted from its ledger, never assumed.

Owns   the summary object of `--format json` and the exit status that follows from it.
Knows  the ledger's contract. A summary can be made of any run at any time, also while another process advances it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, Literal

from msgspec import Struct, field

from runner.catalog.prices import Prices
from runner.clock import to_rfc3339
from runner.engines import StopReason
from runner.execution.reasons import FailureReason, reasons_of
from runner.execution.records import to_usd
from runner.execution.standing import GONE, OVER
from runner.ledger import Batch, Counts, Delivery, Ledger, Money
from runner.planning.priming import CacheBill, cache_saving
from runner.spec.values import Share
from runner.types import Mode, Usage

FORMAT = 1
RunStatus = Literal["finished", "waiting", "stopped", "canceled", "interrupted", "running"]
"""How a command left a run; `running` only where another process is looked at."""

FINISHED, CANNOT_GO_ON, TOO_MANY_FAILED, WAITING, INTERRUPTED, TERMINATED = 0, 4, 5, 6, 130, 143
"""Exit statuses that come from counting; those of errors stand with their classes in `errors`."""
_ENDED: frozenset[RunStatus] = frozenset({"finished", "canceled"})
SIGNALLED = frozenset({"interrupted", "terminated"})
"""Kinds of `StopReason` that a signal gives: SIGINT, SIGTERM."""


class Summary(Struct, frozen=True):
    """One run's end, or its state so far. Counts are rows unless they say otherwise; money is in pico-dollars."""

    run_id: str
    job: str
    status: RunStatus
    stopped_by: StopReason | None
    exit_status: int
    mode: Mode
    counts: Counts
    money: Money
    usage: Usage
    estimated_cost_pico: int | None
    elapsed_s: float
    sinks: Sequence[Delivery]
    simulated: bool
    batches: Sequence[Batch] = ()
    """Those that the API has or may have, in the order in which they were made."""
    cache: CacheBill | None = None
    """What caching cost and saved; None where nothing was cached or the price is not known."""
    warnings: Sequence[str] = ()
    resume: str | None = None
    nothing_to_do: bool = False
    meta: Mapping[str, Any] = field(default_factory=dict)
    reasons: Sequence[FailureReason] = ()
    """Why rows failed: the commonest kinds, most frequent first."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of `--format json`; its fields stay what they are: programs read them."""
        counts, money = self.counts, self.money
        return {
            "format": FORMAT,
            "run_id": self.run_id,
            "job": self.job,
            "status": self.status,
            "stopped_by": _stopped_by(self.stopped_by),
            "exit_status": self.exit_status,
            "mode": self.mode,
            "rows": {
                "total": counts.total,
                "succeeded": counts.succeeded,
                "failed": counts.failed,
                "expired": counts.expired,
                "canceled": counts.canceled,
                "open": counts.open,
                "reused": counts.reused,
            },
            "failures": dict(counts.failures),
            "requests": counts.requests,
            "attempts": counts.attempts,
            "usage": self.usage.to_dict(),
            "cost_usd": to_usd(money.spent) if not money.unpriced else None,
            "overhead_usd": to_usd(money.overhead),
            "estimated_cost_usd": to_usd(self.estimated_cost_pico),
            "elapsed_s": round(self.elapsed_s, 3),
            "batches": [_batch(batch) for batch in self.batches],
            "sinks": [
                {
                    "kind": sink.kind,
                    "target": sink.target,
                    "records": sink.records,
                    "status": sink.state,
                    "error": sink.error,
                }
                for sink in self.sinks
            ],
            "warnings": list(self.warnings),
            "resume": self.resume,
            "simulated": self.simulated,
            "limited_by": self.meta.get("limited_by"),
            "failure_reasons": [reason.to_dict() for reason in self.reasons],
        }


def _batch(batch: Batch) -> dict[str, Any]:
    """`status` is the ledger's word: the API's own until it has ended, `closed` once all of it is collected."""
    return {
        "id": batch.batch_id,
        "status": batch.state,
        "requests": batch.steps,
        "expires_at": to_rfc3339(batch.expires_at) if batch.expires_at is not None else None,
    }


def _stopped_by(reason: StopReason | None) -> dict[str, Any] | None:
    if reason is None:
        return None
    return {"kind": reason.kind, "message": reason.message, "hint": reason.hint}


def stop_note(reason: StopReason | None) -> dict[str, Any]:
    """What a ledger's meta keeps of why its run stopped, for who looks at it later."""
    return {"stopped_by": _stopped_by(reason)}


def tolerance_note(allow_failures: Share) -> dict[str, Any]:
    """What a ledger's meta keeps of how many failures are allowed, for the same reason."""
    fraction = allow_failures.fraction
    return {"allow_failures": [allow_failures.rows, None if fraction is None else str(fraction)]}


def _tolerance(meta: Mapping[str, Any]) -> Share:
    rows, fraction = meta.get("allow_failures", (0, None))
    return Share(rows, None if fraction is None else Fraction(fraction))


def exit_status(
    status: RunStatus,
    counts: Counts,
    deliveries: Sequence[Delivery],
    stopped_by: StopReason | None,
    allow_failures: Share,
    at_api: int = 0,
) -> int:
    """The exit status that the counts give: a row that is still open, or a sink that still waits, is never a
    success. `at_api` are the batches that something is still to be done about: only with one can a run wait."""
    if stopped_by is not None and stopped_by.kind in SIGNALLED:
        return TERMINATED if stopped_by.kind == "terminated" else INTERRUPTED
    if status == "waiting" and at_api:
        return WAITING
    undelivered = any(delivery.state != "delivered" for delivery in deliveries)
    if status not in _ENDED or counts.open or undelivered:
        return CANNOT_GO_ON
    failed = counts.total - counts.succeeded
    return TOO_MANY_FAILED if allow_failures.exceeded_by(failed, counts.total) else FINISHED


def summarise(
    ledger: Ledger,
    *,
    stopped_by: StopReason | None = None,
    allow_failures: Share | None = None,
    warnings: Sequence[str] = (),
    prices: Prices | None = None,
    with_reasons: bool = True,
) -> Summary:
    """Read a run's summary from its ledger; what is not given (why it stopped, how many failures are allowed) is as
    noted there. `with_reasons` looks for an example of each kind of failure, if there are any: in the worst case it
    goes through all rows once."""
    meta, counts, deliveries = ledger.meta, ledger.counts(), ledger.deliveries()
    if stopped_by is None and meta.get("stopped_by"):
        stopped_by = StopReason(**meta["stopped_by"])
    status = _status(str(meta["state"]), stopped_by)
    if allow_failures is None:
        allow_failures = _tolerance(meta)
    batches = [batch for batch in ledger.batches() if batch.state not in GONE]
    at_api = sum(batch.state not in OVER for batch in batches)
    usage = ledger.usage()
    return Summary(
        run_id=str(meta["run_id"]),
        job=str(meta["job"]),
        status=status,
        stopped_by=stopped_by,
        exit_status=exit_status(status, counts, deliveries, stopped_by, allow_failures, at_api),
        mode=meta["mode"],
        counts=counts,
        money=ledger.money(),
        usage=usage,
        estimated_cost_pico=meta.get("estimated_cost_pico"),
        elapsed_s=float(meta.get("elapsed_s", 0.0)),
        sinks=deliveries,
        simulated=bool(meta["simulated"]),
        batches=batches,
        cache=_cache_bill(meta, usage, prices, counts.requests),
        warnings=warnings,
        resume=f"runner resume {meta['run_id']}" if meta["state"] == "open" else None,
        meta=dict(meta),
        reasons=reasons_of(ledger, counts) if with_reasons else (),
    )


def _cache_bill(meta: Mapping[str, Any], usage: Usage, prices: Prices | None, requests: int) -> CacheBill | None:
    if prices is None:
        return None
    return cache_saving(usage, prices, str(meta["model"]), meta["mode"], requests=requests)


def _status(state: str, stopped_by: StopReason | None) -> RunStatus:
    if stopped_by is not None:
        if stopped_by.kind in SIGNALLED:
            return "interrupted"
        return "waiting" if stopped_by.kind == "waiting" else "stopped"
    match state:
        case "finished" | "canceled":
            return state
        case _:
            return "stopped"
