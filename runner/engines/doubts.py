"""The batches in doubt of one sitting: looked for at the API until they are proven ours or nothing is left to wait for.

Owns   when the list is looked at again, and when looking on is pointless.
Knows  `reconcile`, which says what one look brings.

Looks come at growing intervals while there is other work. Where nothing else is to do, `LOOKS` empty ones in a row
are enough to stop and ask the user (the list may lag by an hour; nobody should sit and wait for that), while held
candidates are waited for, since each of them will have results by which it is proven ours or foreign.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from runner.engines import StopReason
from runner.engines.pauses import LONGEST_S as LONGEST_UNREAD_S
from runner.engines.pauses import Pauses
from runner.engines.reconcile import Reconciler
from runner.engines.retry import clamp_retry_after
from runner.ledger import Batch
from runner.providers import RemoteBatch
from runner.types import PICO_PER_USD, Failure

LOOKS: Final = 3
FIRST_S: Final = 2.0
LONGEST_S: Final = 300.0


class Doubts:
    """`adopt` is called for each batch that is proven ours; `changed` after every look."""

    def __init__(
        self,
        reconciler: Reconciler,
        pauses: Pauses,
        *,
        adopt: Callable[[Batch, RemoteBatch], Awaitable[None]],
        refused: Callable[[Failure], None],
        changed: Callable[[], None],
    ) -> None:
        self._reconciler = reconciler
        self._pauses = pauses
        self._adopt = adopt
        self._refused = refused
        self._changed = changed
        self._batches: dict[int, Batch] = {}
        self._fresh = asyncio.Event()
        self._empty_looks = 0
        self._looks = 0
        self.held = 0
        """Batches at the API that may be one of ours."""

    def __len__(self) -> int:
        return len(self._batches)

    def add(self, batch: Batch) -> None:
        self._batches[batch.number] = batch
        self._empty_looks = self._looks = 0
        self._pauses.reset()
        self._fresh.set()

    @property
    def has_looked(self) -> bool:
        """Whether the list has been read since the last batch was added."""
        return not self._batches or self._looks > 0

    @property
    def is_hopeless(self) -> bool:
        """Whether there are batches in doubt of which nothing was found, time after time."""
        return bool(self._batches) and not self.held and self._empty_looks >= LOOKS

    async def watch(self) -> None:
        """Look until the run stops."""
        while True:
            while not self._batches:
                self._fresh.clear()
                await self._fresh.wait()
            self._fresh.clear()
            longest_s, retry_after_s = await self._look()
            self._changed()
            wait_s = max(min(self._pauses.next_s(), longest_s), clamp_retry_after(retry_after_s))
            if not await self._pauses.wait(wait_s, self._fresh):
                return

    async def _look(self) -> tuple[float, float | None]:
        """How long the next pause may be at most, and the server's wish for it."""
        look = await self._reconciler.look(tuple(self._batches.values()))
        for number, remote in look.proven.items():
            await self._adopt(self._batches[number], remote)
            del self._batches[number]  # not before: a drain with nothing in doubt and nothing followed is over
        failure = look.failure
        if failure is not None and failure.scope == "job":
            self._refused(failure)
        elif look.held or failure is None or not failure.retryable:
            self._looks += 1
            self.held = look.held
            self._empty_looks = 0 if look.held else self._empty_looks + 1
        else:  # the list could not be read, which says nothing
            return LONGEST_UNREAD_S, failure.retry_after_s
        return LONGEST_S, failure.retry_after_s if failure is not None else None

    def reason(self) -> StopReason:
        """What the user is told where nothing resolved them."""
        told = "; ".join(_described(batch) for batch in self._batches.values())
        return StopReason(
            "in_doubt",
            f"the reply to a create never came, so nobody can say yet whether it was accepted: {told}",
            "look with `runner show RUN`; `runner resume RUN` looks for it again, `runner resume RUN --resend` sends "
            "these rows once more, at the risk of paying for them twice",
        )


def _described(batch: Batch) -> str:
    rows = "1 row" if batch.steps == 1 else f"{batch.steps:,} rows"
    dollars = batch.reserved_pico / PICO_PER_USD
    since = batch.created_at.strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"batch {batch.number} with {rows}, at most ${dollars:,.4f}, since {since}"
