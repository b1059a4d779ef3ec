"""The pool of a key, shared by all processes of a user on this machine, and remembered for the next run.

Owns   one small file for each key and address, its lock and its format.
Knows  the numbers of a pool. Of the key only a salted digest, made by whoever opens it.

    magic · crc32 of the rest · what `Pool.dump` gives · the clock's offset, when it was written, the healthy width
    and its age · a place for each process: its id and when it last asked

Rules
  * Every access is: lock, read, change, write, unlock; some 20 µs. The lock is `flock`, so it goes with its holder. It
    is never waited for: who does not get it at once asks again two milliseconds later, and after `_PATIENCE_S`
    (a holder that was stopped in the middle) goes on without sharing.
  * A dead process owes nothing: permits are taken for a twentieth of a second at most, and what it took and did not use
    has flowed back into the pace by the next second. Its place is found free by the next one that opens the file.
  * A file that is damaged, of another format, somebody else's or not to be written switches sharing off, with a
    warning; no run fails for it. One that was cut off in the middle of a write by a kill begins anew.
  * What is of no use to later runs is deleted by the last one that leaves, under the lock. Who has opened the file
    meanwhile finds, once it has the lock, that it is no longer in its place.
  * One that was deleted under a run is found missing within a minute: who finds it so makes it again, and the others
    find that one.
  * Times in it are the machine's monotonic clock. When that has begun anew (a boot), limits stay and moments go.
  * The file is read and written, not mapped: a mapped file that somebody truncates kills its readers.

To join, a process opens the pool with the same folder and scope, and gives it to its `Limits`. That is all:
which run it is of does not matter.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import math
import os
import secrets
import stat
import struct
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

from runner.clock import Clock
from runner.engines.limit_headers import Told
from runner.engines.pacing import LONGEST_WAIT_S, POOL_NUMBERS, Grant, Mark, Pool

PROCESSES: Final = 32
"""Places for processes; further ones share without one, and take no turns."""
_WIDTH = 4
"""Numbers of a place: process id, when it last asked, when it last took, until when it waits."""
_MAGIC = b"RUNLIM01"
_HEAD = struct.Struct("<8sI4x")
_BODY = struct.Struct(f"<{POOL_NUMBERS + 5}d{_WIDTH * PROCESSES}d")
SIZE_BYTES: Final = _HEAD.size + _BODY.size

_RETRY_S = 0.002
_SPINS = 20
_TRIES_AT_FIRST = 20_000
"""About 20 ms."""
_OPENINGS = 5
"""So often others may delete the file between its opening and its locking."""
_PATIENCE_S = 2.0
_YIELD_S = 0.005
"""How long others are let ask first: timers are late by a millisecond or two."""
_WAITS_S = 0.25
"""So long after its time somebody who waits is still expected to come."""
_DRIFT_S = 5.0
"""Wall clock and monotonic clock drift apart by no more between two accesses, unless one of them was set anew."""
_LOOK_EVERY_S = 60.0
"""So often it is looked whether the file is still in its place."""
_FRESH_S = 60.0
"""A level older than this says nothing any more: the bucket has been filled."""
_LIMITS_LIVE_S = 24 * 3_600.0
_WIDTH_LIVES_S = 3_600.0
_GONE_S = 60.0
"""A process that has not asked for so long is not counted, alive or not."""

Warn = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Scope:
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


@dataclass(frozen=True, slots=True)
class Remembered:
    """What is known of a key without asking. `limits` are a minute's (0: not known), `age_s` since they were told."""

    limits: tuple[int, int, int]
    width: int | None
    processes: int
    age_s: float


def open_pool(folder: Path, scope: Scope, clock: Clock, warn: Warn) -> Pool:
    """The shared pool; one of this process alone, after a warning, where it cannot be shared."""
    try:
        return SharedPool(folder, scope, clock, warn)
    except OSError as error:
        warn(_because(error, folder))
        return Pool()


def remembered(folder: Path, scope: Scope, clock: Clock) -> Remembered | None:
    """What is known of a key; None where nothing is. Changes nothing."""
    try:
        salt = (folder / _SALT).read_bytes()
        data = (folder / _name(scope, salt)).read_bytes()
    except OSError:
        return None
    values = _unpacked(data)
    if values is None:
        return None
    pool = Pool()
    pool.load(values[:POOL_NUMBERS])
    _, written_at, width, width_at, _ = values[POOL_NUMBERS : POOL_NUMBERS + 5]
    now = clock.now().timestamp()
    if now - written_at > _LIMITS_LIVE_S or not (pool.is_limited or width):
        return None
    first, second, third = (round(gauge.limit) for gauge in pool.gauges)
    healthy = int(width) if width and now - width_at < _WIDTH_LIVES_S else None
    alive = sum(_is_alive(pid, at, clock.monotonic()) for pid, at in _places(values))
    return Remembered((first, second, third), healthy, alive, max(0.0, now - written_at))


class SharedPool(Pool):
    """A pool whose numbers are a file's. Raises OSError where that cannot be had or is no such file.

    `prepare` makes it ready where nobody has used it before, `fall_back` where sharing has ended in the middle.
    """

    def __init__(
        self,
        folder: Path,
        scope: Scope,
        clock: Clock,
        warn: Warn,
        *,
        prepare: Callable[[Pool], None] | None = None,
        fall_back: Callable[[Pool], None] | None = None,
    ) -> None:
        super().__init__()
        self._fall_back = fall_back
        self._clock = clock
        self._warn = warn
        self._lasting = scope.is_lasting
        self._folder = folder
        self._extra = [0.0] * 5
        self._processes = [0.0] * (_WIDTH * PROCESSES)
        self._depth = 0
        self._held = False
        self._place: int | None = None
        self._busy_since: float | None = None
        self._late: list[float] = [0.0] * 6
        self._late_pause = -math.inf
        self._shared_with = 1
        self._scope = scope
        self._prepare = prepare
        self._look_at = clock.monotonic() + _LOOK_EVERY_S
        self._file: int | None = None
        self._open()

    @property
    def is_shared(self) -> bool:
        return self._file is not None

    # -- the pool, under its lock ----------------------------------------------------------------------------------

    def take(self, wanted: int, costs: Sequence[float], owed: Sequence[float], now: float) -> Grant:
        with self as held:
            if not held:
                self._put_off(owed)
                return Grant(0, now + _RETRY_S, None, self.mark(now))
            turn_at = self._yields_to(now)
            if turn_at is not None:
                super().settle(owed, now)
                return Grant(0, max(now, turn_at) + _YIELD_S, None, self.mark(now))
            grant = super().take(wanted, costs, owed, now)
            if self._place is not None:
                at = self._place * _WIDTH
                if grant.permits:
                    self._processes[at + 2 : at + 4] = [now, 0.0]
                else:
                    # A process that was killed while it waited is waited for no longer than one that lives.
                    self._processes[at + 3] = min(grant.ask_at, now + LONGEST_WAIT_S) + _WAITS_S
            return grant

    def _yields_to(self, now: float) -> float | None:
        """When somebody will ask who has not taken for longer; None where nobody waits. Without turns, whoever asks
        most often would take all."""
        if self._place is None or max(self._processes[3::_WIDTH]) <= now:
            return None
        mine = self._processes[self._place * _WIDTH + 2]
        turns = zip(self._processes[2::_WIDTH], self._processes[3::_WIDTH], strict=True)
        waiting = [waits_until for took_at, waits_until in turns if waits_until > now and took_at < mine]
        return min(waiting) - _WAITS_S if waiting else None

    def settle(self, owed: Sequence[float], now: float) -> None:
        if not any(owed):
            return
        with self as held:
            if held:
                super().settle(owed, now)
            else:
                self._put_off(owed)

    def _put_off(self, owed: Sequence[float]) -> None:
        """Settle this the next time that the lock is to be had."""
        self._late = [late + due for late, due in zip(self._late, owed, strict=True)]

    def observe(self, told: Sequence[Told | None], mark: Mark, owed: Sequence[float], now: float) -> bool:
        with self as held:
            if held:
                return super().observe(told, mark, owed, now)
            self._put_off(owed)
            return False

    def refused(self, index: int, now: float) -> bool:
        with self as held:
            return held and super().refused(index, now)

    def end_bursts(self, now: float) -> None:
        with self:
            super().end_bursts(now)

    def pause(self, until: float) -> bool:
        with self as held:
            if not held:
                self._late_pause = max(self._late_pause, until)
            return super().pause(until)

    def forget(self) -> None:
        with self:
            super().forget()

    def healthy_width(self) -> float | None:
        """Its part for this process."""
        width, at = self._extra[2:4]
        if not width or self._clock.now().timestamp() - at > _WIDTH_LIVES_S:
            return None
        return width / self._shared_with

    def close(self, width: int) -> None:
        if self._file is not None:
            with suppress(OSError):
                _lock(self._file)  # a moment's wait holds up nobody now
        with self as held:
            if held and self._file is not None:
                self._extra[2:4] = [float(width * self._shared_with), self._clock.now().timestamp()]
                if self._place is not None:
                    self._clear(self._place)
                if not self._lasting and not any(self._living()):
                    self._remove(self._file)
            self._place = None
        self._release()

    # -- the file --------------------------------------------------------------------------------------------------

    def _open(self, known: Sequence[float] | None = None) -> None:
        """Open the file and take a place in it. The last one to leave may have deleted it meanwhile: then another.
        `known` is what a new one begins with."""
        _make_folder(self._folder)
        self._path = self._folder / _name(self._scope, _salt_of(self._folder))
        for _ in range(_OPENINGS):
            self._file = _open_private(self._path)
            try:
                if self._join(self._file, known):
                    return
            except BaseException:
                self._release()
                raise
            self._release()
        raise OSError(errno.EBUSY, "it is deleted again and again")

    def _look(self, now: float) -> None:
        """Where the file has been deleted, go on with the one that is in its place now, or make it. What this process
        knows goes into a new one; of one that others have made, theirs holds."""
        self._look_at = now + _LOOK_EVERY_S
        if self._file is None or _is_at(self._path, self._file):
            return
        self._release()
        known = self.dump()
        try:
            self._open(known)
        except OSError as error:
            self._stop_sharing(_because(error, self._folder))

    def _remove(self, file: int) -> None:
        with suppress(OSError):
            if _is_at(self._path, file):
                self._path.unlink()

    def _living(self) -> Sequence[bool]:
        """For each place, whether there is a process at it."""
        now = self._clock.monotonic()
        places = zip(self._processes[::_WIDTH], self._processes[1::_WIDTH], strict=True)
        return [_is_alive(pid, at, now) for pid, at in places]

    def __enter__(self) -> bool:
        """Hold the lock and the file's numbers; False where they cannot be had now, and all that is changed is this
        process's own."""
        self._depth += 1
        if self._depth == 1:
            if (now := self._clock.monotonic()) >= self._look_at:
                self._look(now)
            self._held = self._file is None or self._acquire(self._file)
        return self._held

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._depth -= 1
        if self._depth or not self._held or self._file is None:
            return
        try:
            if kind is None:
                self._store(self._file)
        except OSError as trouble:
            self._stop_sharing(_because(trouble, self._folder))
        finally:
            if self._file is not None:
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def _acquire(self, file: int) -> bool:
        for _ in range(_SPINS):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            break
        else:
            return self._was_busy()
        self._busy_since = None
        try:
            values = _unpacked(os.pread(file, SIZE_BYTES, 0))
        except OSError as error:
            self._stop_sharing(_because(error, self._folder))
            return True
        if values is None:
            # Somebody was killed in the middle of a write, or wrote what is none of ours: what this process knows is
            # as good, and is written back.
            return True
        self._take_over(values)
        if any(self._late):
            late, self._late = self._late, [0.0] * 6
            super().settle(late, self._clock.monotonic())
        if self._late_pause > self.resume_at:
            super().pause(self._late_pause)
        return True

    def _was_busy(self) -> bool:
        now = self._clock.monotonic()
        if self._busy_since is None:
            self._busy_since = now
        elif now - self._busy_since > _PATIENCE_S:
            self._stop_sharing("the limits of this key are held by a process that does not move")
            return True
        return False

    def _take_over(self, values: Sequence[float]) -> None:
        self.load(values[:POOL_NUMBERS])
        self._extra = list(values[POOL_NUMBERS : POOL_NUMBERS + 5])
        self._processes = list(values[POOL_NUMBERS + 5 :])

    def _store(self, file: int) -> None:
        wall, now = self._clock.now().timestamp(), self._clock.monotonic()
        self._extra[0], self._extra[1] = wall - now, wall
        if self._place is not None:
            self._processes[self._place * _WIDTH : self._place * _WIDTH + 2] = [float(os.getpid()), now]
        body = _BODY.pack(*self.dump(), *self._extra, *self._processes)
        os.pwrite(file, _HEAD.pack(_MAGIC, zlib.crc32(body)) + body, 0)

    def _join(self, file: int, known: Sequence[float] | None) -> bool:
        """Take a place, and decide what of an earlier run is still of use; False where the file has been deleted."""
        _lock(file)
        try:
            if not _is_at(self._path, file):
                return False
            data = os.pread(file, SIZE_BYTES, 0)
            if data and not data.startswith(_MAGIC):
                raise OSError(errno.EINVAL, "it is no file of limits, or one of another version")
            values = _unpacked(data)
            if values is not None:
                self._take_over(values)
            self._begin(known, is_new=values is None)
            self._store(file)
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)
        return True

    def _begin(self, known: Sequence[float] | None, *, is_new: bool) -> None:
        wall, now = self._clock.now().timestamp(), self._clock.monotonic()
        if is_new:
            self._processes = [0.0] * (_WIDTH * PROCESSES)
        offset, written_at = self._extra[:2]
        booted = abs(offset - (wall - now)) > _DRIFT_S
        alive = [not booted and lives for lives in self._living()]
        is_alone = not any(alive)
        if is_new or (is_alone and not self._lasting) or wall - written_at > _LIMITS_LIVE_S:
            self.load(Pool().dump())
            self._extra = [0.0] * 5
            if known is not None:
                self.load(known)
            elif self._prepare is not None:
                self._prepare(self)
        elif booted or (is_alone and wall - written_at > _FRESH_S):
            self.restart(now)
        free = [index for index, lives in enumerate(alive) if not lives]
        for index in free:
            self._clear(index)
        self._place = free[0] if free else None
        self._shared_with = 1 + sum(alive)

    def _clear(self, place: int) -> None:
        self._processes[place * _WIDTH : (place + 1) * _WIDTH] = [0.0] * _WIDTH

    def _stop_sharing(self, reason: str) -> None:
        """Go on alone, with what is known."""
        self._release()
        self._place = None
        if self._fall_back is not None:
            self._fall_back(self)
        self._warn(reason)

    def _release(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            os.close(file)  # the lock goes with it


_SALT = "salt"
_SALT_BYTES = 32


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


def _name(scope: Scope, salt: bytes) -> str:
    return f"{scope.digest(salt)}.limits"


def _make_folder(folder: Path) -> None:
    """The folder, ours alone where it is made here. Raises OSError where it is not to be trusted.

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


def _open_private(path: Path) -> int:
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    found = os.fstat(file)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
        os.close(file)
        raise OSError(errno.EPERM, "it is not this user's own file")
    return file


def _is_at(path: Path, file: int) -> bool:
    """Whether the open file is the one that the path leads to."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(file))
    except FileNotFoundError:
        return False


def _lock(file: int) -> None:
    """Lock at the beginning, where a moment's wait holds up nobody. Raises OSError after some hundred tries."""
    for _ in range(_TRIES_AT_FIRST):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        return
    raise OSError(errno.EAGAIN, "it is held by a process that does not move")


def _unpacked(data: bytes) -> Sequence[float] | None:
    """The numbers of a file; None where it is empty, cut off or damaged."""
    if len(data) != SIZE_BYTES:
        return None
    magic, checksum = _HEAD.unpack_from(data)
    body = data[_HEAD.size :]
    if magic != _MAGIC or zlib.crc32(body) != checksum:
        return None
    return _BODY.unpack(body)


def _places(values: Sequence[float]) -> Sequence[tuple[float, float]]:
    processes = values[POOL_NUMBERS + 5 :]
    return list(zip(processes[::_WIDTH], processes[1::_WIDTH], strict=True))


def _is_alive(pid: float, asked_at: float, now: float) -> bool:
    if pid <= 0 or not -_DRIFT_S < now - asked_at < _GONE_S:
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except OSError:  # it lives, and is not ours to ask
        return True
    return True


def _because(error: OSError, folder: Path) -> str:
    return (
        f"the limits of this key are not shared with other runs on this machine, because `{folder}` cannot be used: "
        f"{error.strerror or error}"
    )
