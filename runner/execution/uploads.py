"""Uploads: the ids of files that requests name, each content seen to once, whoever asks for it and how often.

Owns   what stands between the feeder's thread, which makes requests with pending files, and the loop, which gets their
       ids: tickets, the ids at hand, and the bounds on what waits.
Knows  `uploading` for what is done about one content. Requests only as the files that they name.

    feeder ──ids_of──▶ at hand: ids at once
                       else a Ticket; and on the loop, for each content once, `Uploader.found_or_sent`

At most `AT_ONCE` contents are worked on at a time, and contents that wait hold at most `WAITING_BYTES` before the
feeder waits too. A failure of job scope is told to the halt, once; the rows that wait for it stay open.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TypeGuard, TypeVar

from msgspec import Struct, field

from runner.clock import Clock
from runner.engines import StopReason
from runner.engines.halt import Halt, stop_reason
from runner.errors import SetupError
from runner.events import Observer
from runner.execution.uploading import Uploader, UploadPlan
from runner.ledger.uploads import Upload
from runner.providers import FileProvider, Provider
from runner.types import Failure, PendingFile

AT_ONCE = 4
"""Uploads at a time: the line is what bounds them, and a limit of some 500 calls a minute (guide on files)."""
WAITING_BYTES = 256 * 2**20
"""Of contents that wait to be sent: eight requests of the largest size."""
KNOWN = 4_096
"""Ids that are kept at hand; others are looked up again."""

K = TypeVar("K")
V = TypeVar("V")

STORAGE_FULL = "storage_quota_exceeded"
"""The API's error code (SDK 2.12, `types/storage_quota_exceeded_error.py`): no other file has room either."""
_MAKE_ROOM = "make room (`runner files --delete`, or in the Console), then go on with `runner resume`"

Ids = Mapping[bytes, str]
"""File ids by the SHA-256 of what they hold."""


class Ticket(Struct, eq=False):
    """Ids that are on their way. `result`: the ids, or why there are none; None while they are on their way. `error`:
    what a bug raised."""

    wanted: frozenset[bytes]
    ids: dict[bytes, str] = field(default_factory=dict)
    result: Ids | Failure | None = None
    error: BaseException | None = None

    @property
    def is_done(self) -> bool:
        return self.result is not None or self.error is not None

    def take(self, sha256: bytes, answer: str | Failure | BaseException) -> None:
        match answer:
            case BaseException():
                self.error = answer
            case Failure():
                self.result = answer
            case _:
                self.ids[sha256] = answer
                if self.result is None and self.ids.keys() >= self.wanted:
                    self.result = self.ids


class _Wanted(Struct, eq=False):
    """A content that is being seen to, and who waits for it."""

    file: PendingFile
    doubted: bool
    tickets: list[Ticket] = field(default_factory=list)


class Uploads:
    """One pass's uploads. Made and closed on the loop; `ids_of` is the feeder's."""

    def __init__(
        self, plan: UploadPlan, provider: FileProvider, *, clock: Clock, observer: Observer, halt: Halt
    ) -> None:
        self._uploader = Uploader(plan, provider, clock=clock, observer=observer)
        self._halt = halt
        self._loop = asyncio.get_running_loop()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = threading.Condition()
        self._known: OrderedDict[bytes, tuple[str, datetime | None]] = OrderedDict()
        self._confirmed: OrderedDict[str, None] = OrderedDict()
        """Ids that were looked at in this pass because a request that named them had failed."""
        self._wanted: dict[bytes, _Wanted] = {}
        self._waiting_bytes = 0
        self._closed = False
        self.notify: Callable[[], None] = _nobody
        """Called on the loop when tickets are done."""

    async def aclose(self) -> None:
        """End what is under way. What was sent and not answered stays noted as an intent."""
        self.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._uploader.aclose()

    def stop(self) -> None:
        """Let nobody wait any more; from any thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    # -- asking ----------------------------------------------------------------------------------------------------

    def ids_of(self, files: Sequence[PendingFile], *, doubted: bool = False) -> Ids | Ticket:
        """The ids of these files, or a ticket for them; on the feeder's thread, which waits while too much waits
        already. `doubted`: a request that named them has failed, so the API is asked whether it still has them."""
        with self._changed:
            ids = {file.sha256: found for file in files if (found := self._at_hand(file, doubted)) is not None}
            missing = {file.sha256: file for file in files if file.sha256 not in ids}
            if not missing:
                return ids
            ticket = Ticket(frozenset(file.sha256 for file in files), ids)
            for file in missing.values():
                self._want(file, ticket, doubted=doubted)
        return ticket

    def _at_hand(self, file: PendingFile, doubted: bool) -> str | None:
        known = self._known.get(file.sha256)
        if known is None:
            return None
        file_id, expires_at = known
        if not self._uploader.lasts(expires_at) or (doubted and file_id not in self._confirmed):
            del self._known[file.sha256]
            return None
        self._known.move_to_end(file.sha256)
        return file_id

    def _want(self, file: PendingFile, ticket: Ticket, *, doubted: bool) -> None:
        if file.sha256 not in self._wanted:
            size = file.size_bytes
            while not self._closed and self._waiting_bytes and self._waiting_bytes + size > WAITING_BYTES:
                self._changed.wait()
            self._waiting_bytes += size
            self._wanted[file.sha256] = wanted = _Wanted(file, doubted)
            self._loop.call_soon_threadsafe(self._start, wanted)
        self._wanted[file.sha256].tickets.append(ticket)

    # -- answering, on the loop ------------------------------------------------------------------------------------

    def _start(self, wanted: _Wanted) -> None:
        if not self._closed:
            task = asyncio.create_task(self._see_to(wanted))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _see_to(self, wanted: _Wanted) -> None:
        try:
            async with self._slots:
                answer: Upload | Failure = await self._uploader.found_or_sent(wanted.file, doubted=wanted.doubted)
        except Exception as error:  # noqa: BLE001 - a worker's border: who asked raises it
            self._done(wanted, error)
        else:
            self._done(wanted, answer)

    def _done(self, wanted: _Wanted, answer: Upload | Failure | Exception) -> None:
        if isinstance(answer, Failure) and answer.scope == "job":
            self._halt.stop(_reason(answer))
        sha256 = wanted.file.sha256
        with self._changed:
            if isinstance(answer, Upload):
                _remember(self._known, sha256, (answer.file_id, answer.expires_at))
                if wanted.doubted:
                    _remember(self._confirmed, answer.file_id, None)
            del self._wanted[sha256]
            self._waiting_bytes -= wanted.file.size_bytes
            for ticket in wanted.tickets:
                ticket.take(sha256, answer.file_id if isinstance(answer, Upload) else answer)
            self._changed.notify_all()
        self.notify()


def _reason(failure: Failure) -> StopReason:
    """Why an upload stops the run."""
    if failure.code == STORAGE_FULL:
        return StopReason("storage_full", failure.message, _MAKE_ROOM, failure)
    return stop_reason(failure)


def files_of(provider: Provider) -> FileProvider:
    """The provider as one that keeps files. Raises SetupError where it does not."""
    if not _keeps_files(provider):
        raise SetupError(
            "the job says `upload: once`, and this API keeps no files",
            code="no-files",
            hint="leave `upload` out: the files are then sent within the requests",
        )
    return provider


def _keeps_files(provider: Provider) -> TypeGuard[FileProvider]:
    return provider.capabilities.files


def _remember(kept: OrderedDict[K, V], key: K, value: V) -> None:
    kept[key] = value
    while len(kept) > KNOWN:
        kept.popitem(last=False)


def _nobody() -> None:
    pass
