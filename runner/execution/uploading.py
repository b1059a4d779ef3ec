"""One content and its id at the API: found in the index, found at the API, or sent.

Owns   the order of looking and sending for a single content: index, claim, index again, the API's own list after an
       upload that nobody answered, and only then an upload, as often as the retry policy allows.
Knows  the index, a provider's files, a clock. Not who asks, nor how many at once.

The index and its claims are worked on by one thread of their own, so that no file or database call is in a coroutine.

Invariants
  * A content is sent only under its claim; another run or process that wants it waits for the claim, and finds the id.
  * An id is given out only where it will last for `lasts` from now on; one that is `doubted`, or was not seen for
    `trusted`, only after the API has said that it is there.
  * Before a run names a file, that it does so is noted.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from msgspec.structs import replace

from runner.clock import Clock
from runner.engines.retry import RetryPolicy, counts_as_try
from runner.events import FileUploaded, Observer
from runner.ledger.uploads import Content, Upload, UploadIndex
from runner.providers import FileProvider, RemoteFile
from runner.types import Failure, Mode, PendingFile

MAX_FILE_BYTES: Final = 500_000_000
"""500 MB, in the stricter reading. Source: the API's guide on files."""

LASTS: Final[Mapping[Mode, timedelta]] = {"parallel": timedelta(hours=2), "batch": timedelta(hours=28)}
"""How long an id has to last from the moment that a body is made with it: a request may wait for its turn; a batch is
worked on for up to 24 hours (batch guide), and may wait some hours between packing and sending."""
TRUSTED: Final[Mapping[Mode, timedelta | None]] = {"parallel": None, "batch": timedelta(hours=1)}
"""Since when the API must have said that a file is there. In parallel one that is not is found at once, and costs its
rows an attempt; in a batch it would cost them the hours until its end."""

CLAIM_POLL_S = 0.2
_MAX_PAGES = 50
"""Of the API's list of files, a thousand each, when one that arrived unheard is looked for."""
_CHUNK_BYTES = 256 * 1024

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class UploadPlan:
    """How one pass uploads. `owner` says whose files these are (`Api.files_owner`), `expires_in_s` how long they are
    kept at the API."""

    index_path: Path
    owner: bytes = field(repr=False)
    run_id: str
    expires_in_s: int
    mode: Mode
    retry: RetryPolicy

    @property
    def lasts(self) -> timedelta:
        """Files that are kept for a short time only are renewed at half of it."""
        return min(LASTS[self.mode], timedelta(seconds=self.expires_in_s / 2))


class Uploader:
    """Sees to one content after the other, or to several at once. Made and closed on the loop."""

    def __init__(
        self,
        plan: UploadPlan,
        provider: FileProvider,
        *,
        clock: Clock,
        observer: Observer,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._plan = plan
        self._provider = provider
        self._clock = clock
        self._observer = observer
        self._draw = draw
        self._scope = ""
        self._began_at = clock.now()
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, "runner-uploads")
        self._index: UploadIndex | None = None
        self._opening = asyncio.Lock()

    async def aclose(self) -> None:
        """Close the index, and give up every claim that is left."""
        if self._index is not None:
            await self._on_thread(self._index.close)
        self._thread.shutdown(wait=False)

    def lasts(self, expires_at: datetime | None) -> bool:
        """Whether a file that expires then may be named in a request that is made now."""
        return expires_at is None or expires_at - self._clock.now() > self._plan.lasts

    async def found_or_sent(self, file: PendingFile, *, doubted: bool) -> Upload | Failure:
        """The content at the API. A failure's scope is `job` where no other file would fare better."""
        content = Content(file.sha256, file.media_type)
        if file.size_bytes > MAX_FILE_BYTES:
            return Failure("too_large", f"a file has {file.size_bytes:,} bytes, and the API keeps {MAX_FILE_BYTES:,}")
        index = await self._opened()
        while True:
            held = await self._held_or_sent(index, content, file, doubted=doubted)
            if isinstance(held, Failure):
                return held
            if await self._on_thread(index.use, self._scope, held.file_id, self._plan.run_id):
                return held  # else somebody is deleting it

    async def _held_or_sent(
        self, index: UploadIndex, content: Content, file: PendingFile, *, doubted: bool
    ) -> Upload | Failure:
        while (held := await self._held(index, content, doubted=doubted)) is None:
            async with self._claimed(index, content) as claimed:
                if claimed:
                    # Whoever had the claim before may have sent it.
                    held = await self._held(index, content, doubted=doubted)
                    return held or await self._loaded_and_sent(index, content, file)
            await self._clock.sleep(CLAIM_POLL_S)
        return held

    async def _held(self, index: UploadIndex, content: Content, *, doubted: bool) -> Upload | None:
        """A file that the API has, and will have long enough."""
        found = await self._on_thread(index.find, self._scope, content)
        if found is None or not self.lasts(found.expires_at):
            return None
        if not (doubted and found.seen_at < self._began_at) and self._is_trusted(found):
            return found
        answer = await self._provider.retrieve_file(found.file_id)
        if isinstance(answer, Failure):
            if answer.http_status != 404:
                return found  # nobody said that it is gone; where it is, the request will tell
            await self._on_thread(index.forget, self._scope, found.file_id)
            return None
        await self._on_thread(index.saw, self._scope, found.file_id, self._clock.now())
        return found

    def _is_trusted(self, found: Upload) -> bool:
        trusted = TRUSTED[self._plan.mode]
        return trusted is None or self._clock.now() - found.seen_at < trusted

    # -- sending ---------------------------------------------------------------------------------------------------

    async def _loaded_and_sent(self, index: UploadIndex, content: Content, file: PendingFile) -> Upload | Failure:
        try:
            data = await self._on_thread(file.load)
        except (OSError, ValueError) as error:
            return Failure("input_error", f"a file cannot be read once more to be uploaded: {error}")
        if await self._on_thread(_digest, data) != content.sha256:
            return Failure("input_error", "a file has changed since the request that names it was made")
        return await self._sent(index, content, data)

    async def _sent(self, index: UploadIndex, content: Content, data: bytes) -> Upload | Failure:
        """Send a claimed content."""
        retry, scope = self._plan.retry, self._scope
        tries = attempts = 0
        unheard = await self._on_thread(index.is_doubtful, scope, content)
        while True:
            if unheard:
                found = await self._arrived_unheard(index, content, len(data))
                if found is not None:
                    return await self._noted(index, content, found)
            await self._on_thread(index.intend, scope, content)
            answer = await self._upload(index.name_of(content), content.media_type, data)
            if isinstance(answer, RemoteFile):
                self._observer.notify(FileUploaded(answer.file_id, len(data)))
                return await self._noted(index, content, answer)
            counted = counts_as_try(answer, attempts)
            tries += counted
            attempts += 1
            unheard = unheard or answer.may_be_billed
            if not retry.allows(answer, tries):
                if not unheard:
                    await self._on_thread(index.give_up, scope, content)
                # The rows are not sent again for it in this run; a later one tries what passes.
                return replace(answer, message=f"upload of a file: {answer.message}", retryable=False)
            # What does not count is still not asked for at a rush: a refused connection takes no time.
            after = tries if counted or answer.http_status is not None else attempts
            await self._clock.sleep(retry.delay_s(max(1, after), answer.retry_after_s, self._draw()))

    async def _upload(self, filename: str, media_type: str, data: bytes) -> RemoteFile | Failure:
        return await self._provider.upload_file(
            _in_chunks(data),
            len(data),
            filename=filename,
            media_type=media_type,
            expires_in_s=self._plan.expires_in_s,
        )

    async def _noted(self, index: UploadIndex, content: Content, file: RemoteFile) -> Upload:
        upload = Upload(
            self._scope, content, file.size_bytes, file.file_id, file.created_at, file.expires_at,
            self._clock.now(),
        )  # fmt: skip
        await self._on_thread(index.keep, upload)
        return upload

    async def _arrived_unheard(self, index: UploadIndex, content: Content, size_bytes: int) -> RemoteFile | None:
        """A file of this content at the API whose id nobody heard. Where the list cannot be had there is none: sending
        again costs nothing but the line."""
        name, page = index.name_of(content), None
        for _ in range(_MAX_PAGES):
            listed = await self._provider.list_files(page=page)
            if isinstance(listed, Failure):
                return None
            for file in listed.files:
                if file.filename == name and file.size_bytes == size_bytes and self.lasts(file.expires_at):
                    return file
            page = listed.next_page
            if page is None:
                break
        return None

    # -- the index's thread ----------------------------------------------------------------------------------------

    async def _opened(self) -> UploadIndex:
        async with self._opening:
            if self._index is None:
                self._index = await self._on_thread(UploadIndex, self._plan.index_path)
                self._scope = self._index.scope_of(self._plan.owner)
        return self._index

    @asynccontextmanager
    async def _claimed(self, index: UploadIndex, content: Content) -> AsyncIterator[bool]:
        claimed = await self._on_thread(index.claim, self._scope, content)
        try:
            yield claimed
        finally:
            if claimed:
                await asyncio.shield(self._on_thread(index.release, self._scope, content))

    def _on_thread(self, act: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
        return self._loop.run_in_executor(self._thread, partial(act, *arguments))


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


async def _in_chunks(data: bytes) -> AsyncIterator[bytes]:
    with memoryview(data) as view:
        for start in range(0, len(data), _CHUNK_BYTES):
            yield bytes(view[start : start + _CHUNK_BYTES])
