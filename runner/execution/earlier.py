"""Answers that were paid for before: what of them fits a request of this run.

Owns   the order of looking: the line's last finished run by key first (the same row keeps its own answer, and a
       failure that will not pass stays as it is), then the reply index (any run of the same API).
Knows  ledgers and the reply index, read-only. Copies nothing: the outcome it gives is recorded like any other, at no
       cost.
"""

from __future__ import annotations

from dataclasses import dataclass

from runner.clock import Clock
from runner.execution.judging import is_passing
from runner.ledger import Ledger, RowResult
from runner.ledger.reuse import ReplyIndex
from runner.message import parse_reply
from runner.types import Outcome, Reply, Request, Row, Step


@dataclass(frozen=True, slots=True)
class Earlier:
    """Where to look; close it on the thread that opened it.

    `own_run` is never looked into: equal requests of one run stay separate.
    """

    index: ReplyIndex | None
    previous: Ledger | None
    scope: str
    own_run: str
    clock: Clock

    def close(self) -> None:
        if self.index is not None:
            self.index.close()
        if self.previous is not None:
            self.previous.close()

    def find(self, step: Step, row: Row, request: Request) -> Outcome | None:
        """An outcome for this step that costs nothing, or None."""
        result = self.previous_result(row, request)
        if result is not None:
            return self._carried(step, result)
        found = self.index.find(self.scope, request.hash, but_not=self.own_run) if self.index is not None else None
        if found is None:
            return None
        return self._reused(step, request.hash, found.body, found.reply, found.request_id)

    def previous_result(self, row: Row, request: Request) -> RowResult | None:
        """What the last run knows of the same row with the same request, where that still stands."""
        result = self.last_of(row.key)
        if result is None or result.request_hash != request.hash or result.status not in ("succeeded", "failed"):
            return None
        return None if is_passing(result.failure) else result

    def last_of(self, key: str) -> RowResult | None:
        """The same row in the line's last finished run."""
        if self.previous is None:
            return None
        index = self.previous.find(key)
        return None if index is None else self.previous.result(index)

    def _carried(self, step: Step, result: RowResult) -> Outcome | None:
        assert result.request_hash is not None
        if result.body:
            reply = parse_reply(result.body, result.request_id)
            return self._reused(step, result.request_hash, result.body, reply, result.request_id)
        now = self.clock.now()
        return Outcome(
            step, 1, "errored", "parallel", result.request_hash, now, now, failure=result.failure,
            request_id=result.request_id, reused=True
        )  # fmt: skip

    def _reused(self, step: Step, request_hash: bytes, body: bytes, reply: Reply, request_id: str | None) -> Outcome:
        now = self.clock.now()
        return Outcome(
            step, 1, "succeeded", "parallel", request_hash, now, now, body=body, reply=reply, request_id=request_id,
            reused=True
        )  # fmt: skip
