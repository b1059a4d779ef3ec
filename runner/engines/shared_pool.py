"""The pool of a key, shared by all processes of a user on this machine, and remembered for the next run.

Owns   who takes from it and when: turns, processes that come, go and die, and what of an earlier run is still of use.
Knows  the numbers of a pool. The file that holds them, one for each key and address, is `engines.pool_file`.

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

To join, a process opens the pool with the same folder and scope, and gives it to its `Limits`. That is all:
which run it is of does not matter.
"""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from msgspec import Struct

from runner.clock import Clock
from runner.engines import pool_file
from runner.engines.limit_headers import Told
from runner.engines.pacing import LONGEST_WAIT_S, Grant, Mark, Pool
from runner.engines.pool_file import BESIDE, PLACE, PROCESSES, Numbers, Scope

_RETRY_S = 0.002
_SPINS = 20
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


class Remembered(Struct, frozen=True):
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
        numbers = pool_file.read_unopened(folder, scope)
    except OSError:
        return None
    if numbers is None:
        return None
    pool = Pool()
    pool.load(numbers.pool)
    _, written_at, width, width_at, _ = numbers.beside
    now = clock.now().timestamp()
    if now - written_at > _LIMITS_LIVE_S or not (pool.is_limited or width):
        return None
    first, second, third = (round(gauge.limit) for gauge in pool.gauges)
    healthy = int(width) if width and now - width_at < _WIDTH_LIVES_S else None
    alive = sum(_living(numbers.places, clock.monotonic()))
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
        self._beside = [0.0] * BESIDE
        self._places = [0.0] * (PLACE * PROCESSES)
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
                at = self._place * PLACE
                if grant.permits:
                    self._places[at + 2 : at + 4] = [now, 0.0]
                else:
                    # A process that was killed while it waited is waited for no longer than one that lives.
                    self._places[at + 3] = min(grant.ask_at, now + LONGEST_WAIT_S) + _WAITS_S
            return grant

    def _yields_to(self, now: float) -> float | None:
        """When somebody will ask who has not taken for longer; None where nobody waits. Without turns, whoever asks
        most often would take all."""
        if self._place is None or max(self._places[3::PLACE]) <= now:
            return None
        mine = self._places[self._place * PLACE + 2]
        turns = zip(self._places[2::PLACE], self._places[3::PLACE], strict=True)
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
        width, at = self._beside[2:4]
        if not width or self._clock.now().timestamp() - at > _WIDTH_LIVES_S:
            return None
        return width / self._shared_with

    def close(self, width: int) -> None:
        if self._file is not None:
            with suppress(OSError):
                pool_file.lock(self._file)  # a moment's wait holds up nobody now
        with self as held:
            if held and self._file is not None:
                self._beside[2:4] = [float(width * self._shared_with), self._clock.now().timestamp()]
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
        self._path = pool_file.path_of(self._folder, self._scope)
        for _ in range(_OPENINGS):
            self._file = pool_file.open_private(self._path)
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
        if self._file is None or pool_file.is_at(self._path, self._file):
            return
        self._release()
        known = self.dump()
        try:
            self._open(known)
        except OSError as error:
            self._stop_sharing(_because(error, self._folder))

    def _remove(self, file: int) -> None:
        with suppress(OSError):
            if pool_file.is_at(self._path, file):
                self._path.unlink()

    def _living(self) -> Sequence[bool]:
        """For each place, whether there is a process at it."""
        return _living(self._places, self._clock.monotonic())

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
                pool_file.unlock(self._file)

    def _acquire(self, file: int) -> bool:
        if not any(pool_file.lock_now(file) for _ in range(_SPINS)):
            return self._was_busy()
        self._busy_since = None
        try:
            numbers = pool_file.read(file)
        except OSError as error:
            self._stop_sharing(_because(error, self._folder))
            return True
        if numbers is None:
            # Somebody was killed in the middle of a write, or wrote what is none of ours: what this process knows is
            # as good, and is written back.
            return True
        self._take_over(numbers)
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

    def _take_over(self, numbers: Numbers) -> None:
        self.load(numbers.pool)
        self._beside = list(numbers.beside)
        self._places = list(numbers.places)

    def _store(self, file: int) -> None:
        wall, now = self._clock.now().timestamp(), self._clock.monotonic()
        self._beside[0], self._beside[1] = wall - now, wall
        if self._place is not None:
            self._places[self._place * PLACE : self._place * PLACE + 2] = [float(os.getpid()), now]
        pool_file.write(file, Numbers(self.dump(), self._beside, self._places))

    def _join(self, file: int, known: Sequence[float] | None) -> bool:
        """Take a place, and decide what of an earlier run is still of use; False where the file has been deleted."""
        pool_file.lock(file)
        try:
            if not pool_file.is_at(self._path, file):
                return False
            numbers = pool_file.read_own(file)
            if numbers is not None:
                self._take_over(numbers)
            self._begin(known, is_new=numbers is None)
            self._store(file)
        finally:
            pool_file.unlock(file)
        return True

    def _begin(self, known: Sequence[float] | None, *, is_new: bool) -> None:
        wall, now = self._clock.now().timestamp(), self._clock.monotonic()
        if is_new:
            self._places = [0.0] * (PLACE * PROCESSES)
        offset, written_at = self._beside[:2]
        booted = abs(offset - (wall - now)) > _DRIFT_S
        alive = [not booted and lives for lives in self._living()]
        is_alone = not any(alive)
        if is_new or (is_alone and not self._lasting) or wall - written_at > _LIMITS_LIVE_S:
            self.load(Pool().dump())
            self._beside = [0.0] * BESIDE
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
        self._places[place * PLACE : (place + 1) * PLACE] = [0.0] * PLACE

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


def _living(places: Sequence[float], now: float) -> Sequence[bool]:
    """For each place, whether there is a process at it."""
    return [_is_alive(pid, asked_at, now) for pid, asked_at in zip(places[::PLACE], places[1::PLACE], strict=True)]


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
