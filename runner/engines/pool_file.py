"""The file of a key's pool: where it lies, who may open it, and its numbers as bytes.

Owns   the folder and the name of each file, its format, its lock, and what makes one that is not to be trusted.
Knows  numbers, not what they mean. Of the key only a salted digest, made by whoever opens the file.

    magic · crc32 of the rest · what `Pool.dump` gives · the clock's offset, when it was written, the healthy width
    and its age · a place for each process: its id, when it last asked, when it last took, until when it waits

The file is read and written, not mapped: a mapped file that somebody truncates kills its readers. Every function here
raises OSError where the folder or a file cannot be had, or is not to be trusted.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import stat
import struct
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from msgspec import Struct

from runner.engines.pacing import POOL_NUMBERS

PROCESSES: Final = 32
"""Places for processes; further ones share without one, and take no turns."""
PLACE: Final = 4
"""Numbers of a place."""
BESIDE: Final = 5
"""Numbers beside those of the pool and the places; the last one is spare."""

_MAGIC = b"RUNLIM01"
_HEAD = struct.Struct("<8sI4x")
_BODY = struct.Struct(f"<{POOL_NUMBERS + BESIDE}d{PLACE * PROCESSES}d")
_SIZE_BYTES = _HEAD.size + _BODY.size

_SALT = "salt"
_SALT_BYTES = 32
_TRIES = 20_000
"""About 20 ms."""


class Scope(Struct, frozen=True):
    """Whose limits these are. `parts` hold the credential: only their digest leaves the process.

    `is_lasting`: what was learned is of use to later runs; not so for a server on this machine, whose port may be
    another one's tomorrow.
    """

    parts: tuple[str, ...]
    is_lasting: bool = True

    def __repr__(self) -> str:
        return "Scope(…)"

    def digest(self, salt: bytes) -> str:
        text = "\0".join(self.parts).encode()
        return hashlib.blake2b(text, key=salt, digest_size=16, person=b"runner-limits").hexdigest()


class Numbers(NamedTuple):
    """What a file holds, in its order."""

    pool: Sequence[float]
    beside: Sequence[float]
    places: Sequence[float]


# -- the numbers -------------------------------------------------------------------------------------------------------


def read(file: int) -> Numbers | None:
    """The numbers of an open file; None where it is empty, cut off or damaged."""
    return _unpacked(os.pread(file, _SIZE_BYTES, 0))


def read_own(file: int) -> Numbers | None:
    """The same. Raises OSError for a file that is none of limits, or one of another version."""
    data = os.pread(file, _SIZE_BYTES, 0)
    if data and not data.startswith(_MAGIC):
        raise OSError(errno.EINVAL, "it is no file of limits, or one of another version")
    return _unpacked(data)


def read_unopened(folder: Path, scope: Scope) -> Numbers | None:
    """What a scope's file holds, where there is one and it is sound. Makes and locks nothing."""
    salt = (folder / _SALT).read_bytes()
    return _unpacked((folder / _name(scope, salt)).read_bytes())


def write(file: int, numbers: Numbers) -> None:
    body = _BODY.pack(*numbers.pool, *numbers.beside, *numbers.places)
    os.pwrite(file, _HEAD.pack(_MAGIC, zlib.crc32(body)) + body, 0)


def _unpacked(data: bytes) -> Numbers | None:
    if len(data) != _SIZE_BYTES:
        return None
    magic, checksum = _HEAD.unpack_from(data)
    body = data[_HEAD.size :]
    if magic != _MAGIC or zlib.crc32(body) != checksum:
        return None
    values = _BODY.unpack(body)
    places_at = POOL_NUMBERS + BESIDE
    return Numbers(values[:POOL_NUMBERS], values[POOL_NUMBERS:places_at], values[places_at:])


# -- the folder and the file -------------------------------------------------------------------------------------------


def path_of(folder: Path, scope: Scope) -> Path:
    """Where the file of a scope lies. The folder and its salt are made where they are not there."""
    _make_folder(folder)
    return folder / _name(scope, _salt_of(folder))


def open_private(path: Path) -> int:
    """The file, made where it is not there; this user's own, and nobody else's to read."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    found = os.fstat(file)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
        os.close(file)
        raise OSError(errno.EPERM, "it is not this user's own file")
    return file


def is_at(path: Path, file: int) -> bool:
    """Whether the open file is the one that the path leads to."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(file))
    except FileNotFoundError:
        return False


def lock_now(file: int) -> bool:
    """Whether the lock was to be had at once."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def lock(file: int) -> None:
    """Lock at the beginning or the end, where a moment's wait holds up nobody. Raises OSError after some 20 ms."""
    if not any(lock_now(file) for _ in range(_TRIES)):
        raise OSError(errno.EAGAIN, "it is held by a process that does not move")


def unlock(file: int) -> None:
    fcntl.flock(file, fcntl.LOCK_UN)


def _make_folder(folder: Path) -> None:
    """The folder, ours alone where it is made here.

    One that is there stays as it is: a user may have named one that serves others too, and the files are closed to
    others by themselves. But in a folder that everybody may write to, such as /tmp, anyone may have made it first.
    """
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700, parents=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise OSError(errno.EPERM, "it is not this user's own folder")
    if found.st_mode & 0o022 and folder.parent.stat().st_mode & 0o002:
        raise OSError(errno.EPERM, "others may write to it")


def _name(scope: Scope, salt: bytes) -> str:
    return f"{scope.digest(salt)}.limits"


def _salt_of(folder: Path) -> bytes:
    """The folder's salt, made once: written whole under another name first, so that nobody reads half of it."""
    path = folder / _SALT
    with suppress(FileNotFoundError):
        return _checked_salt(path.read_bytes())
    draft = folder / f".{_SALT}-{secrets.token_hex(8)}"
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(file, secrets.token_bytes(_SALT_BYTES))
    finally:
        os.close(file)
    try:
        os.link(draft, path)
    except FileExistsError:
        pass  # another process was first
    finally:
        draft.unlink()
    return _checked_salt(path.read_bytes())


def _checked_salt(salt: bytes) -> bytes:
    if len(salt) != _SALT_BYTES:
        raise OSError(errno.EINVAL, f"`{_SALT}` is not {_SALT_BYTES} bytes long")
    return salt
