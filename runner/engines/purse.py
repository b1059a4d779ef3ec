"""What the cap leaves for the next batch, while another one is on its way to being reserved.

Owns   the one flag that says the cap refused the next step and nothing has come back since.
Knows  the book; a batch is packed only while none is staged, so there is never more than one to be reserved.
"""

from __future__ import annotations

import asyncio

from runner.engines import BatchBook
from runner.engines.staging import Staged


class Purse:
    """One per drain."""

    def __init__(self, book: BatchBook) -> None:
        self._book = book
        self._reserved = asyncio.Event()
        self._reserved.set()
        self._changes = 0
        self.is_empty = False
        """The cap refused the next step, and nothing has come back since."""

    @property
    def changes(self) -> int:
        """Grows whenever something has come back; hand it to `refused`."""
        return self._changes

    def note_change(self) -> None:
        self._changes += 1
        self.is_empty = False

    def refused(self, changes: int) -> None:
        """The cap refused the next step, when `changes` was what it was."""
        self.is_empty = changes == self._changes

    def reserve(self) -> None:
        """A batch is about to be reserved: until then nobody can say what is left for the next."""
        self._reserved.clear()

    def reserved(self) -> None:
        self._reserved.set()

    async def left_pico(self) -> int | None:
        """What the cap leaves for the next batch, once the one before it is reserved; None without a cap."""
        if await self._book.left_pico() is None:
            return None
        await self._reserved.wait()
        return await self._book.left_pico()

    async def admits(self, staged: Staged) -> int:
        """How many requests of this batch the cap admits now."""
        return staged.leases.admitted_by(await self._book.left_pico() or 0)
