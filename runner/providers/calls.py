"""One call of the API beside the messages, once, and whatever happens as a value.

Owns   how long a call may take, and what is made of one without an answer.
Knows  HTTP, through a `Wire`. Nothing of batches and files: their calls are made of these two.

No wait is without an end: a body has a wall deadline and has to move on, a question has a deadline.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping
from typing import Any, TypeVar

from runner.clock import Clock
from runner.providers import failures
from runner.providers.exchange import Reading, Response, Wire
from runner.providers.upload import Upload
from runner.types import Failure

UPLOAD_BYTES_PER_S = 125_000
"""The slowest line that a body is sent over: 1 Mbit/s, an assumption. 230 MB get half an hour there."""

STALL_S = 120.0
"""How long a transfer may stand still: an assumption, well above what a changed route takes to come back. A piece of
an upload (256 KiB) or 64 KiB of a download have to pass within it, so that a trickle is no progress."""

QUESTION_S = 60.0
"""How long a question (retrieve, list, cancel) may take: an assumption, generous for a few hundred kilobytes."""

T = TypeVar("T")


class Calls:
    """`reply_s`: how long the API may think about a body that it has whole; `stall_s`: how long a transfer may stand
    still."""

    def __init__(self, wire: Wire, *, clock: Clock, secrets: tuple[str, ...], reply_s: float, stall_s: float) -> None:
        self.wire = wire
        self.reading = Reading(wire, clock, secrets)
        self.stall_s = stall_s
        self._reply_s = reply_s

    async def send(
        self,
        path: str,
        headers: Mapping[str, str],
        chunks: AsyncIterable[bytes],
        size_bytes: int,
        read: Callable[[Any], T],
    ) -> T | Failure:
        """POST a body of `size_bytes`, piece by piece, once; what `read` makes of the answer's JSON.

        A failure says `may_be_billed` wherever the whole body had left and no refusal came back. Raises WrongSize where
        `chunks` are of another size, and what `chunks` raise; to close them is the caller's.
        """
        wall_s = size_bytes / UPLOAD_BYTES_PER_S + self._reply_s
        deadline = asyncio.timeout(wall_s)
        upload = Upload(chunks, size_bytes, deadline, stall_s=self.stall_s, reply_s=self._reply_s)
        try:
            async with deadline:
                sized = {**headers, "content-length": str(size_bytes)}
                response = await self.wire.post(path, sized, wall_s, upload)
        except (*self.wire.errors, *self.wire.credential_errors) as error:
            answer: T | Failure = self._no_answer(error, upload, deadline)
        else:
            answer = self.reading.object_of(response, read, media_type="application/json")
        finally:
            await upload.close()
        if upload.raised is not None:
            raise upload.raised
        return failures.of_create(answer, whole=upload.whole) if isinstance(answer, Failure) else answer

    async def ask(self, send: Callable[[float], Awaitable[Response]], read: Callable[[Any], T]) -> T | Failure:
        """A question that may be asked again, since it buys nothing; `send` is told how long it may take."""
        deadline_s = min(QUESTION_S, self._reply_s)
        try:
            async with asyncio.timeout(deadline_s) as deadline:
                response = await send(deadline_s)
        except (*self.wire.errors, *self.wire.credential_errors) as error:
            passed = deadline.expired()
            failure = failures.deadline_passed(deadline_s) if passed else self.reading.failure_of(error)
            return failures.of_question(failure)
        answer = self.reading.object_of(response, read)
        return failures.of_question(answer) if isinstance(answer, Failure) else answer

    def _no_answer(self, error: Exception, upload: Upload, deadline: asyncio.Timeout) -> Failure:
        if not deadline.expired():
            return self.reading.failure_of(error)
        if upload.whole:
            return failures.deadline_passed(self._reply_s)
        return failures.stood_still(self.stall_s)
