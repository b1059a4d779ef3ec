"""Requests that wait for the ids of their files, between the feeder's rendering and its window.

Owns   the requests and their tickets, in order, without the files' bytes; how many may wait.
Knows  tickets. The feeder's thread alone uses it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from msgspec import Struct
from msgspec.structs import replace

from runner.execution.uploads import Ticket
from runner.ledger import OpenStep
from runner.types import Failure, Request


class _Waiting(Struct, frozen=True):
    ticket: Ticket
    open_step: OpenStep
    request: Request


class Parked:
    """Bounded by steps and bytes of bodies: beyond, the feeder waits."""

    def __init__(self, most_steps: int, most_bytes: int) -> None:
        self._most_steps = most_steps
        self._most_bytes = most_bytes
        self._waiting: list[_Waiting] = []
        self._bytes = 0

    @property
    def is_empty(self) -> bool:
        return not self._waiting

    @property
    def is_full(self) -> bool:
        return len(self._waiting) >= self._most_steps or self._bytes >= self._most_bytes

    @property
    def has_done(self) -> bool:
        return any(waiting.ticket.is_done for waiting in self._waiting)

    def add(self, ticket: Ticket, open_step: OpenStep, request: Request) -> None:
        # Whoever sends a content holds its bytes, once; each of these would hold them again.
        nameless = tuple(dataclasses.replace(file, load=bytes) for file in request.pending)
        self._waiting.append(_Waiting(ticket, open_step, replace(request, pending=nameless)))
        self._bytes += len(request.body)

    def take_done(self) -> Iterator[tuple[OpenStep, Request | Failure]]:
        """Those whose tickets are done, in order: ready to be sent, or why they cannot be. Raises what a bug raised."""
        if not self.has_done:
            return
        done = [waiting for waiting in self._waiting if waiting.ticket.is_done]
        self._waiting = [waiting for waiting in self._waiting if not waiting.ticket.is_done]
        for waiting in done:
            self._bytes -= len(waiting.request.body)
            yield waiting.open_step, _arrived(waiting)


def _arrived(waiting: _Waiting) -> Request | Failure:
    ticket = waiting.ticket
    if ticket.error is not None:
        raise ticket.error
    assert ticket.result is not None
    return ticket.result if isinstance(ticket.result, Failure) else waiting.request.with_ids(ticket.result)
