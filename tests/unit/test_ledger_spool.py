from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from runner.errors import LedgerError
from runner.ledger import spool
from runner.ledger.frames import PREFIX_BYTES
from runner.ledger.spool import Mark, Place, SpoolReader, SpoolWriter, mend, places_between, segment_path
from runner.types import Outcome, Step
from support.ledgers import answer

START = Mark(1, 0)


def outcomes(*rows: int) -> list[Outcome]:
    return [answer(Step(row), text=f"reply {row}") for row in rows]


def write(folder: Path, *groups: list[Outcome], segment_bytes: int = 1 << 20) -> list[list[Place]]:
    writer = SpoolWriter(folder, START, segment_bytes)
    try:
        return [writer.append(group) for group in groups]
    finally:
        writer.close()


def found(folder: Path, known: Mark = START) -> list[int]:
    reader = SpoolReader(folder)
    end = mend(folder, known)
    rows = [reader.outcome(place).step.row for place in places_between(folder, known, end)]
    reader.close()
    return rows


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_what_was_appended_is_read_by_place(tmp_path: Path) -> None:
    [first, second] = write(tmp_path, outcomes(0, 1), outcomes(2))
    reader = SpoolReader(tmp_path)
    assert [reader.outcome(place).step.row for place in (*second, *first)] == [2, 0, 1]
    assert reader.body(first[1]) == outcomes(1)[0].body
    reader.close()


def test_frames_that_are_read_ahead_are_those_that_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those before, within, across the end of and behind what is read at once, and of another segment."""
    places = [group[0] for group in write(tmp_path, *[outcomes(row) for row in range(12)], segment_bytes=2_000)]
    assert places[-1].segment > 1
    monkeypatch.setattr(spool, "_AHEAD_BYTES", places[4].end.offset - places[2].offset - 1)
    calls: list[int] = []
    read = os.pread

    def counted(descriptor: int, length: int, offset: int) -> bytes:
        calls.append(offset)
        return read(descriptor, length, offset)

    monkeypatch.setattr(os, "pread", counted)
    reader = SpoolReader(tmp_path)
    with reader.ahead_of(places[2].segment, places[2].offset, 10_000):
        assert [reader.body(place) for place in places] == [outcomes(row)[0].body for row in range(12)]
    assert len(calls) == 1 + 12 - 2
    assert reader.body(places[3]) == outcomes(3)[0].body
    assert len(calls) == 1 + 12 - 2 + 1
    with reader.ahead_of(places[2].segment, places[2].offset, places[2].end.offset):  # no further than that
        assert [reader.body(place) for place in places[2:4]] == [outcomes(row)[0].body for row in (2, 3)]
    assert len(calls) == 1 + 12 - 2 + 1 + 2
    with reader.ahead_of(9, 0, 100):  # a segment that is not there is told of the frame
        assert reader.body(places[0]) == outcomes(0)[0].body
    reader.close()


def test_a_group_is_on_disk_by_one_sync_before_it_is_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill loses nothing that was written, so only the sync itself can be watched."""
    synced: list[int] = []
    monkeypatch.setattr(spool, "_sync_data", lambda descriptor: synced.append(os.fstat(descriptor).st_size))
    groups = write(tmp_path, outcomes(0, 1), outcomes(2))
    assert synced == [group[-1].end.offset for group in groups]


def test_an_empty_group_changes_nothing(tmp_path: Path) -> None:
    assert write(tmp_path, []) == [[]]
    assert mend(tmp_path, START) == START


def test_segments_are_private_and_roll_between_groups(tmp_path: Path) -> None:
    groups = [outcomes(row) for row in range(6)]
    places = [group[0] for group in write(tmp_path, *groups, segment_bytes=500)]
    assert places[0].segment == 1
    assert places[-1].segment > 2
    assert found(tmp_path) == [0, 1, 2, 3, 4, 5]
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_mending_starts_at_the_known_mark(tmp_path: Path) -> None:
    [first, _] = write(tmp_path, outcomes(0, 1), outcomes(2))
    assert found(tmp_path, first[-1].end) == [2]
    assert found(tmp_path, first[0].end) == [1, 2]


def test_a_frame_torn_at_any_byte_is_cut_and_no_other(tmp_path: Path) -> None:
    [_, [last]] = write(tmp_path, outcomes(0, 1), outcomes(2))
    path = segment_path(tmp_path, 1)
    whole = path.read_bytes()
    for length in range(last.offset, len(whole)):
        path.write_bytes(whole[:length])
        assert found(tmp_path) == [0, 1]
        assert path.stat().st_size == last.offset
    path.write_bytes(whole)
    assert found(tmp_path) == [0, 1, 2]


def test_a_torn_end_of_zeros_is_cut(tmp_path: Path) -> None:
    """Some file systems leave the length without the data."""
    write(tmp_path, outcomes(0))
    with segment_path(tmp_path, 1).open("ab") as file:
        file.write(bytes(5000))
    assert found(tmp_path) == [0]


def test_whole_frames_after_a_hole_in_the_unsynced_group_are_kept(tmp_path: Path) -> None:
    [_, group] = write(tmp_path, outcomes(0), outcomes(1, 2, 3))
    path = segment_path(tmp_path, 1)
    data = bytearray(path.read_bytes())
    data[group[0].offset : group[0].offset + group[0].length] = bytes(group[0].length)
    path.write_bytes(data)
    assert found(tmp_path) == [0, 2, 3]
    assert found(tmp_path) == [0, 2, 3]


def test_a_flipped_bit_before_the_last_group_is_damage_and_nothing_is_cut(tmp_path: Path) -> None:
    [[first], _] = write(tmp_path, outcomes(0), outcomes(1))
    path = segment_path(tmp_path, 1)
    data = bytearray(path.read_bytes())
    for place in (0, 9, PREFIX_BYTES + 3, first.length - 1):
        data[place] ^= 1
        path.write_bytes(data)
        with pytest.raises(LedgerError, match="damaged") as caught:
            mend(tmp_path, START)
        assert caught.value.code == "damaged"
        assert path.read_bytes() == data
        data[place] ^= 1


def test_a_torn_segment_before_the_last_is_damage(tmp_path: Path) -> None:
    write(tmp_path, outcomes(0), outcomes(1), outcomes(2), segment_bytes=1)
    path = segment_path(tmp_path, 2)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(LedgerError, match="damaged"):
        mend(tmp_path, START)


@pytest.mark.parametrize("gone", [1, 2])
def test_a_missing_segment_is_damage(tmp_path: Path, gone: int) -> None:
    write(tmp_path, outcomes(0), outcomes(1), outcomes(2), segment_bytes=1)
    segment_path(tmp_path, gone).unlink()
    with pytest.raises(LedgerError, match="missing"):
        mend(tmp_path, Mark(1, 1))


def test_a_segment_shorter_than_the_mark_is_damage(tmp_path: Path) -> None:
    [[place]] = write(tmp_path, outcomes(0))
    os.truncate(segment_path(tmp_path, 1), 10)
    with pytest.raises(LedgerError, match="ends at byte 10"):
        mend(tmp_path, place.end)


def test_a_frame_that_is_broken_later_is_an_error_with_its_place(tmp_path: Path) -> None:
    [[place]] = write(tmp_path, outcomes(0))
    path = segment_path(tmp_path, 1)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(LedgerError, match=r"000001.seg: the frame at byte 0 is damaged"):
        SpoolReader(tmp_path).body(place)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_a_segment_that_cannot_be_begun_is_told_and_the_rest_can_be_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    def refuse(path: Path, flags: int) -> int:
        raise OSError(error, os.strerror(error))

    writer = SpoolWriter(tmp_path, START, segment_bytes=1)
    writer.append(outcomes(0))
    monkeypatch.setattr(spool, "open_private", refuse)
    for _ in range(2):
        with pytest.raises(LedgerError) as caught:
            writer.append(outcomes(1))
        assert caught.value.code == ("disk-full" if error == errno.ENOSPC else "disk-error")
    writer.close()
    monkeypatch.undo()
    assert found(tmp_path) == [0]


def test_a_reader_keeps_few_files_open(tmp_path: Path) -> None:
    groups = write(tmp_path, *(outcomes(row) for row in range(40)), segment_bytes=1)
    reader = SpoolReader(tmp_path)
    before = open_files()
    assert [reader.outcome(place).step.row for [place] in groups] == list(range(40))
    assert open_files() - before <= 16
    reader.close()
