"""Bodies of batches on disk: what rows share once, then each request's own rest, until the body is streamed.

Owns   the staged form of a body and its expansion. A batch of 28,000 requests with a shared system block of 8 kB is
       6 MB here and 230 MB on the wire; neither is ever in memory.
Knows  the envelope (`packing`). Nothing of the ledger or the network.

A staged file has one line a request, `<end of the custom id> NUL <rest of the body>`: no byte below 0x20 stands in
JSON except as insignificant white space, so a line feed and a NUL are free to separate, and expanding a piece of lines
is two `bytes.replace`, whatever number of rows it has. A request that does not begin with the shared head has 0x01 for
the NUL and its whole body.

The batch's number is put in while streaming, so a batch that was refused is sent again from the same file.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import shutil
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from msgspec import Struct, field
from msgspec.structs import replace

from runner.engines import Prepared
from runner.engines.custom_ids import id_head
from runner.engines.packing import (
    AFTER_ID,
    BEGIN,
    CLOSE_ITEM,
    END,
    OPEN_ITEM,
    BatchSizes,
    Leases,
    Pack,
    Verdict,
    body_bytes,
)
from runner.errors import LedgerError

PIECE_BYTES: Final = 512 * 1024
"""What a piece of lines has when it is expanded: one chunk of the upload."""
MAX_CHUNK_BYTES: Final = 1024 * 1024
"""A piece with a larger request in it is handed over in several chunks."""
WRITE_BYTES: Final = 1024 * 1024
"""Staged bytes that are gathered for one write."""

_SHARED, _WHOLE, _NEXT = b"\x00", b"\x01", b"\n"


class Staged(Struct, frozen=True):
    """A packed batch whose body is on disk. `sha256` is a digest of the staged form, which determines the body."""

    path: Path
    mark: str
    head: bytes
    pieces: tuple[int, ...]
    """The length of each piece in the file."""
    leases: Leases
    own_bytes: int
    sha256: bytes
    betas: tuple[str, ...] = ()
    priming: bool = False

    @property
    def requests(self) -> int:
        return len(self.leases)

    def size_bytes(self, number: int) -> int:
        """The exact size of the body under this batch number."""
        return body_bytes(self.own_bytes, self.requests, self.mark, number)

    async def chunks(self, number: int) -> AsyncGenerator[bytes, None]:
        """The body under this batch number, at most `MAX_CHUNK_BYTES` at a time; read off the loop."""
        file = await asyncio.to_thread(_open_to_read, self.path)
        try:
            last = len(self.pieces) - 1
            for place, length in enumerate(self.pieces):
                piece = await asyncio.to_thread(_expanded, file, length, self, number, place == 0, place == last)
                if len(piece) <= MAX_CHUNK_BYTES:
                    yield piece
                    continue
                for start in range(0, len(piece), MAX_CHUNK_BYTES):
                    yield piece[start : start + MAX_CHUNK_BYTES]
        finally:
            file.close()

    async def split(self, first: int) -> tuple[Staged, Staged]:
        """Two batches, the first with this many requests; the file of this one is gone then."""
        return await asyncio.to_thread(_split, self, first)

    async def discard(self) -> None:
        await asyncio.to_thread(self.path.unlink, missing_ok=True)


class Stager:
    """A batch in the making, packed and staged step by step. Make one with `begin`; `seal` it or `abandon` it."""

    def __init__(self, path: Path, mark: str, pack: Pack) -> None:
        self._path = path
        self._mark = mark
        self._pack = pack
        self._lines = _Lines(_create(path))

    @classmethod
    async def begin(cls, path: Path, mark: str, sizes: BatchSizes, left_pico: int | None) -> Stager:
        return await asyncio.to_thread(cls, path, mark, Pack(sizes, mark, left_pico))

    @property
    def pack(self) -> Pack:
        return self._pack

    def offer_all(self, steps: deque[Prepared]) -> Verdict:
        """Add steps from the left until one may not be added, which stays; `added` where none is left."""
        offer, add = self._pack.offer, self._lines.add
        while steps:
            verdict, tail = offer(steps[0])
            if verdict != "added":
                return verdict
            request = steps.popleft().request
            add(tail, request.body, request.shared_bytes)
        return "added"

    async def flush(self) -> None:
        """Write what has been gathered, once it is worth a write."""
        if self._lines.gathered_bytes >= WRITE_BYTES:
            await asyncio.to_thread(self._lines.write)

    async def seal(self, *, priming: bool = False) -> Staged:
        await asyncio.to_thread(self._lines.close)
        lines = self._lines
        return Staged(
            self._path,
            self._mark,
            lines.head,
            tuple(lines.pieces),
            self._pack.leases,
            lines.own_bytes,
            lines.digest(self._mark),
            self._pack.betas,
            priming,
        )

    def close(self) -> None:
        """Let go of a file that will not be sealed; that the disk is full was said before."""
        with suppress(OSError):
            self._lines.file.close()

    async def abandon(self) -> None:
        self.close()
        await asyncio.to_thread(self._path.unlink, missing_ok=True)


async def empty(folder: Path) -> None:
    """Make an empty folder for staged bodies: what an earlier sitting staged was never sent from there."""

    def act() -> None:
        with _disk_errors(folder):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    await asyncio.to_thread(act)


class _Lines(Struct):
    """The lines of a staged file, cut into pieces of about `PIECE_BYTES` on the wire."""

    file: BinaryIO
    head: bytes = b""
    pieces: list[int] = field(default_factory=list)
    own_bytes: int = 0
    gathered_bytes: int = 0
    _sealed: list[bytes] = field(default_factory=list)
    """Whole pieces that are not written yet."""
    _current: list[bytes] = field(default_factory=list)
    _wire_bytes: int = 0
    """What the current piece has on the wire."""
    _has_head: bool = False
    _hash: hashlib._Hash = field(default_factory=hashlib.sha256)

    def add(self, tail: bytes, body: bytes, shared_bytes: int) -> None:
        if not self._has_head:
            self.head, self._has_head = body[:shared_bytes], True
        own_bytes = len(tail) + len(body)
        if shared_bytes == len(self.head) and body.startswith(self.head):
            self._current += (tail, _SHARED, body[shared_bytes:], _NEXT)
        else:
            self._current += (tail, _WHOLE, body, _NEXT)
        self.own_bytes += own_bytes
        self._wire_bytes += own_bytes
        if self._wire_bytes >= PIECE_BYTES:
            self._cut()

    def copy(self, line: bytes) -> None:
        """Take over a line of another file with the same head."""
        separator = _SHARED if _SHARED in line else _WHOLE
        tail, _, rest = line[:-1].partition(separator)
        head_bytes = len(self.head) if separator == _SHARED else 0
        own_bytes = len(tail) + head_bytes + len(rest)
        self._current += (tail, separator, rest, _NEXT)
        self.own_bytes += own_bytes
        self._wire_bytes += own_bytes
        if self._wire_bytes >= PIECE_BYTES:
            self._cut()

    def write(self) -> None:
        """Write all whole pieces."""
        data, self._sealed, self.gathered_bytes = b"".join(self._sealed), [], 0
        self._hash.update(data)
        with _disk_errors(Path(self.file.name)):
            self.file.write(data)

    def close(self) -> None:
        self._cut()
        self.write()
        with _disk_errors(Path(self.file.name)):
            self.file.close()

    def digest(self, mark: str) -> bytes:
        whole = self._hash.copy()
        whole.update(self.head)
        whole.update(b"%d %s" % (len(self.head), mark.encode()))
        return whole.digest()

    def _cut(self) -> None:
        if not self._current:
            return
        piece = b"".join(self._current)
        lines = len(self._current) // 4
        if piece.count(_NEXT) != lines or piece.count(_SHARED) + piece.count(_WHOLE) != lines:
            piece = b"".join(_without_separators(self._current))
        self._sealed.append(piece)
        self.pieces.append(len(piece))
        self.gathered_bytes += len(piece)
        self._current, self._wire_bytes = [], 0


def _without_separators(parts: list[bytes]) -> Iterator[bytes]:
    """Bodies may have been written with line feeds between their tokens; they are no part of any JSON value."""
    for tail, separator, body, _ in zip(*[iter(parts)] * 4, strict=True):
        if _SHARED in body or _WHOLE in body:
            raise ValueError(f"the request {tail.decode()} is no JSON: it has control characters")
        yield from (tail, separator, body.replace(_NEXT, b" "), _NEXT)


def _expanded(file: BinaryIO, length: int, staged: Staged, number: int, first: bool, last: bool) -> bytes:
    lines = file.read(length)
    if len(lines) != length:
        raise ValueError(f"{staged.path} was cut while it was sent")
    item = OPEN_ITEM + id_head(staged.mark, number).encode()
    text = b"".join(
        (
            BEGIN if first else b",",
            item,
            lines[:-1].replace(_NEXT, CLOSE_ITEM + b"," + item),
            CLOSE_ITEM + END if last else CLOSE_ITEM,
        )
    )
    if _WHOLE in text:
        text = text.replace(_WHOLE, AFTER_ID)
    return text.replace(_SHARED, AFTER_ID + staged.head)  # the one copy that is large


def _split(staged: Staged, first: int) -> tuple[Staged, Staged]:
    with _open_to_read(staged.path) as file:
        begin = _part(staged, 0, staged.leases[:first], file)
        rest = _part(staged, 1, staged.leases[first:], file)
    staged.path.unlink(missing_ok=True)
    return begin, rest


def _part(staged: Staged, place: int, leases: Leases, source: BinaryIO) -> Staged:
    path = staged.path.with_name(f"{staged.path.name}.{place}")
    lines = _Lines(_create(path), staged.head, _has_head=True)
    for _ in leases:
        lines.copy(source.readline())
    lines.close()
    return replace(
        staged,
        path=path,
        pieces=tuple(lines.pieces),
        leases=leases,
        own_bytes=lines.own_bytes,
        sha256=lines.digest(staged.mark),
    )


def _create(path: Path) -> BinaryIO:
    with _disk_errors(path):
        return open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600))


def _open_to_read(path: Path) -> BinaryIO:
    with _disk_errors(path):
        return path.open("rb")


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        raise LedgerError(
            f"no space left for {path}" if full else f"cannot stage a batch under {path}: {error.strerror}",
            code="disk-full" if full else "disk-error",
            hint="nothing that was acknowledged is lost; free some space or mend the disk, then `runner resume`",
        ) from error
