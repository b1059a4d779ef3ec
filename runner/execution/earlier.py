"""Answers that were paid for before: what of them fits a request of this run.

Owns   the order of looking: the line's last finished run by key first (the same row keeps its own answer, and a
       failure that will not pass stays as it is), then the reply index (any run of the same API).
Knows  ledgers and the reply index, read-only. Copies nothing: the outcome it gives is recorded like any other, at no
       cost.
"""

from __future__ import annotations

from msgspec import Struct

from runner.clock import Clock
from runner.execution.judging import is_passing
from runner.ledger import Ledger
from runner.ledger.reuse import ReplyIndex
from runner.message import parse_reply
from runner.rounds import Rounds
from runner.types import Outcome, Reply, Request, Row, Step


class Earlier(Struct, frozen=True):
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
        """An outcome for this step that costs nothing, or None. A row that was begun again wants a new one."""
        if Rounds.of(step.round).restarts:
            return None
        carried = self._of_last_run(step, row, request)
        if carried is not None:
            return carried
        if self.index is None:
            return None
        found = self.index.find(self.scope, request.hash, sample=step.sample, but_not=self.own_run)
        if found is None:
            return None
        return self._reused(step, request.hash, found.body, found.reply, found.request_id)

    def _of_last_run(self, step: Step, row: Row, request: Request) -> Outcome | None:
        """What the last run knows of the same request of the same row, where that still stands: replies, also those
        that were no answer, and failures that will not pass. So a conversation comes to where it ended, step by step.
        """
        index = None if self.previous is None else self.previous.find(row.key)
        if index is None or self.previous is None:
            return None
        earlier = self.previous.earlier_reply(index, step.sample, request.hash)
        if earlier is None:
            return None
        if earlier.body:
            reply = parse_reply(earlier.body, earlier.request_id)
            return self._reused(step, request.hash, earlier.body, reply, earlier.request_id)
        if earlier.end in ("canceled", "expired") or earlier.failure is None or is_passing(earlier.failure):
            return None
        now = self.clock.now()
        return Outcome(
            step, 1, "errored", "parallel", request.hash, now, now, failure=earlier.failure,
            request_id=earlier.request_id, reused=True
        )  # fmt: skip

    def has_other(self, row: Row, request: Request) -> bool:
        """Whether the last run asked something else of the same row."""
        index = None if self.previous is None else self.previous.find(row.key)
        if index is None or self.previous is None:
            return False
        return self.previous.earlier_reply(index, 0, request.hash) is None

    def _reused(self, step: Step, request_hash: bytes, body: bytes, reply: Reply, request_id: str | None) -> Outcome:
        now = self.clock.now()
        return Outcome(
            step, 1, "succeeded", "parallel", request_hash, now, now, body=body, reply=reply, request_id=request_id,
            reused=True
        )  # fmt: skip
