"""The spool: the append-only log of outcomes, in segments `spool/000001.seg`, `000002.seg`, …

Owns   the segment files: appending a group, finding where they end after a crash, reading a frame by its place. Landed
       result files (`landings`) are read here too: their places have negative segments.
Knows  frames. Nothing of the database, except that it keeps a mark: the place up to which it knows the frames.

Invariants
  * A group is durable, by one sync, when `append` returns; nothing looks at an outcome before.
  * What was durable is never cut. Opening cuts only bytes of the last, unsynced group that are no whole frame, and
    keeps that group's whole frames; anything broken before it is damage and refuses the run.
  * After a failed write or sync this writer does nothing more: the kernel may have dropped the pages and would call
    the next sync a success (PostgreSQL's "fsyncgate", 2018). Opening the run again reads what is really there.
"""

from __future__ import annotations

import mmap
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from runner.errors import LedgerError
from runner.ledger.folder import open_private, sync_entries
from runner.ledger.frames import MAGIC, PREFIX_BYTES, BrokenFrame, FrameDecoder, FrameEncoder, read_prefix, split_frame
from runner.ledger.landings import landed_path, message_of_line
from runner.ledger.refusals import NO_SPACE, damaged, disk_errors, refusal_of
from runner.types import Outcome

SEGMENT_BYTES = 256 << 20
"""Large enough that a million replies are a handful of files, small enough to copy and delete."""
_WRITE_BYTES = 1 << 20
_OPEN_SEGMENTS = 16
_AHEAD_BYTES = 1 << 20

_sync_data = getattr(os, "fdatasync", os.fsync)  # macOS has only fsync


class Place(NamedTuple):
    """Where a frame is, or, with a negative segment, a line of that landed result file."""

    segment: int
    offset: int
    length: int

    @property
    def end(self) -> Mark:
        return Mark(self.segment, self.offset + self.length)


class Mark(NamedTuple):
    """A boundary between frames: everything before it is known."""

    segment: int
    offset: int


def segment_path(folder: Path, segment: int) -> Path:
    return folder / f"{segment:06d}.seg" if segment > 0 else landed_path(folder, -segment)


class SpoolReader:
    """Reads frames by place; keeps a few segments open. One thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._decoder = FrameDecoder()
        self._descriptors: OrderedDict[int, int] = OrderedDict()
        self._ahead = (0, 0, b"")
        """A segment, a place in it, and the bytes from there on."""

    @contextmanager
    def ahead_of(self, segment: int, start: int, end: int) -> Iterator[None]:
        """Read a segment from `start` to `end`, or as much of that as is read at once, for frames that are known by now
        and asked for within the block: a call of the system for each is a fifth of reading it."""
        length = min(end - start, _AHEAD_BYTES)
        with suppress(OSError):  # it is told of the frame that cannot be read
            self._ahead = (segment, start, os.pread(self._descriptor(segment), length, start))
        try:
            yield
        finally:
            self._ahead = (0, 0, b"")

    def body(self, place: tuple[int, int, int]) -> bytes:
        """The message object of the frame or line there. Raises LedgerError `damaged`."""
        try:
            data = self._read(place)
            return self._decoder.body(data) if place[0] > 0 else message_of_line(data)
        except (BrokenFrame, OSError) as error:
            raise self._damaged(Place(*place), error) from error

    def outcome(self, place: Place) -> Outcome:
        """The outcome of the frame there. Raises LedgerError `damaged`; ValueError for a line, which has only part of
        one."""
        if place.segment < 0:
            raise ValueError("a line of results is no whole outcome")
        try:
            return self._decoder.outcome(self._read(place))
        except (BrokenFrame, OSError) as error:
            raise self._damaged(place, error) from error

    def _damaged(self, place: Place, error: Exception) -> LedgerError:
        what = "frame" if place.segment > 0 else "line"
        return damaged(f"{segment_path(self._folder, place.segment)}: the {what} at byte {place.offset} is {error}")

    def _read(self, place: tuple[int, int, int]) -> bytes:
        segment, offset, length = place
        ahead, start, data = self._ahead
        if segment == ahead and start <= offset and offset + length <= start + len(data):
            return data[offset - start : offset - start + length]
        return os.pread(self._descriptor(segment), length, offset)

    def _descriptor(self, segment: int) -> int:
        descriptor = self._descriptors.get(segment)
        if descriptor is None:
            descriptor = open_private(segment_path(self._folder, segment), os.O_RDONLY)
            self._descriptors[segment] = descriptor
            if len(self._descriptors) > _OPEN_SEGMENTS:
                os.close(self._descriptors.popitem(last=False)[1])
        else:
            self._descriptors.move_to_end(segment)
        return descriptor

    def close(self) -> None:
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])


class SpoolWriter:
    """Appends groups of outcomes from `end` on. One thread, one process."""

    def __init__(self, folder: Path, end: Mark, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._folder = folder
        self._encoder = FrameEncoder()
        self._segment_bytes = segment_bytes
        self._failed: LedgerError | None = None
        self._segment, self._end = end
        with disk_errors(folder):
            self._descriptor = self._open_segment(self._segment)

    def _open_segment(self, segment: int) -> int:
        path = segment_path(self._folder, segment)
        descriptor = open_private(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            sync_entries(self._folder)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def append(self, outcomes: Sequence[Outcome]) -> list[Place]:
        """Make a group durable and say where each one is. Raises LedgerError `disk-full` or `disk-error`; then
        nothing is acknowledged, though whole frames that reached the disk are kept for the next opening."""
        if self._failed is not None:
            raise self._failed
        places: list[Place] = []
        try:
            if self._end >= self._segment_bytes:
                self._roll()
            self._write(outcomes, places)
            _sync_data(self._descriptor)
        except OSError as error:
            self._failed = refusal_of(error, segment_path(self._folder, self._segment))
            if error.errno in NO_SPACE:
                self._keep_whole(places)
            raise self._failed from error
        self._end = places[-1].end.offset if places else self._end
        return places

    def _write(self, outcomes: Sequence[Outcome], places: list[Place]) -> None:
        offset, waiting = self._end, bytearray()
        for outcome in outcomes:
            frame = self._encoder.encode(outcome, self._end)
            places.append(Place(self._segment, offset, len(frame)))
            offset += len(frame)
            waiting += frame
            if len(waiting) >= _WRITE_BYTES:
                self._write_all(waiting)
                waiting = bytearray()
        self._write_all(waiting)

    def _write_all(self, data: bytearray) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def _keep_whole(self, places: Sequence[Place]) -> None:
        """Cut what was written of a frame that did not fit; the next opening takes up the whole ones before it."""
        size = os.fstat(self._descriptor).st_size
        whole = [place.end.offset for place in places if place.end.offset <= size]
        try:
            os.ftruncate(self._descriptor, max(whole, default=self._end))
            _sync_data(self._descriptor)
        except OSError:
            pass  # the append has failed already, and opening cuts a torn end as well

    def _roll(self) -> None:
        following = self._open_segment(self._segment + 1)  # first: on a full disk the old one stays open
        os.close(self._descriptor)
        self._descriptor = following
        self._segment, self._end = self._segment + 1, 0

    def close(self) -> None:
        os.close(self._descriptor)


def mend(folder: Path, known: Mark) -> Mark:
    """Find the spool's end after whatever happened, and cut a torn last group.

    Returns the end of the last whole frame. Raises LedgerError `damaged` where frames that were durable are broken or
    missing.
    """
    segments = sorted(int(path.stem) for path in folder.glob("*.seg"))
    expected = list(range(known.segment, max([known.segment - 1, *segments]) + 1))
    if expected != [number for number in segments if number >= known.segment] or (known.offset and not expected):
        raise damaged(f"{folder}: segments are missing (there are {segments})")
    end = known
    for number in expected:
        start = known.offset if number == known.segment else 0
        path = segment_path(folder, number)
        stop = _end_of_frames(path, start)
        if stop < path.stat().st_size:
            if number != expected[-1]:
                raise damaged(f"{path}: the frame at byte {stop} is damaged")
            stop = _cut_torn_end(path, stop)
        end = Mark(number, stop)
    return end


def _end_of_frames(path: Path, start: int) -> int:
    """Where the run of whole frames from `start` on ends."""
    if path.stat().st_size < start:
        raise damaged(f"{path} ends at byte {path.stat().st_size}, but the ledger knows frames up to byte {start}")
    offset = start
    for place in _frames_of(path, 0, start):
        offset = place.end.offset
    return offset


def _frames_of(path: Path, segment: int, start: int) -> Iterator[Place]:
    """The places of whole frames one after another, up to the first that is not."""
    with path.open("rb") as file:
        file.seek(start)
        offset = start
        while True:
            try:
                head = file.read(PREFIX_BYTES)
                length = read_prefix(head).frame_bytes
                split_frame(head + file.read(length - PREFIX_BYTES))
            except BrokenFrame:
                return
            yield Place(segment, offset, length)
            offset += length


def _cut_torn_end(path: Path, torn: int) -> int:
    """Cut the last group where it is torn, keeping its whole frames: a power cut may write a group's pages in any
    order."""
    kept: list[bytes] = []
    with path.open("r+b") as file:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            at = data.find(MAGIC, torn)
            while at >= 0:
                frame = _frame_at(data, at)
                if frame is not None and read_prefix(frame).synced > torn:
                    raise damaged(f"{path}: the frame at byte {torn} is damaged, and later ones are not")
                kept += [frame] if frame is not None else []
                at = data.find(MAGIC, at + (len(frame) if frame is not None else 1))
        file.truncate(torn)
        file.seek(torn)
        file.writelines(kept)
        file.flush()
        os.fsync(file.fileno())
    return torn + sum(map(len, kept))


def _frame_at(data: mmap.mmap, at: int) -> bytes | None:
    try:
        length = read_prefix(data[at : at + PREFIX_BYTES]).frame_bytes
        frame = data[at : at + length]
        split_frame(frame)
    except BrokenFrame:
        return None
    return frame


def places_between(folder: Path, known: Mark, end: Mark) -> Iterator[Place]:
    """The places of all frames from `known` to `end`, which `mend` has found."""
    for segment in range(known.segment, end.segment + 1):
        path = segment_path(folder, segment)
        if path.exists():
            yield from _frames_of(path, segment, known.offset if segment == known.segment else 0)
