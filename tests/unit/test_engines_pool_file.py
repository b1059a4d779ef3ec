"""The file of a pool: its numbers come back, and what is no such file is told apart from one that was cut off."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.engines import pool_file
from runner.engines.pacing import POOL_NUMBERS
from runner.engines.pool_file import BESIDE, PLACE, PROCESSES, Numbers, Scope

SCOPE = Scope(("opus", "sk-ant-very-secret"))
NUMBERS = Numbers(
    tuple(float(number) for number in range(POOL_NUMBERS)),
    tuple(number / 2 for number in range(BESIDE)),
    tuple(-float(number) for number in range(PLACE * PROCESSES)),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return pool_file.path_of(tmp_path / "limits", SCOPE)


@pytest.fixture
def file(path: Path) -> Iterator[int]:
    file = pool_file.open_private(path)
    yield file
    os.close(file)


def test_numbers_come_back_as_they_were_written(path: Path, file: int) -> None:
    assert pool_file.read(file) is None, "it is new"
    pool_file.write(file, NUMBERS)
    assert pool_file.read(file) == pool_file.read_own(file) == NUMBERS
    assert pool_file.read_unopened(path.parent, SCOPE) == NUMBERS


@pytest.mark.parametrize("at", [0, 9, 40, -1])
def test_a_file_with_a_wrong_byte_has_no_numbers(path: Path, file: int, at: int) -> None:
    pool_file.write(file, NUMBERS)
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    assert pool_file.read(file) is None


def test_a_file_of_others_is_told_apart_from_one_that_was_cut_off(path: Path, file: int) -> None:
    pool_file.write(file, NUMBERS)
    path.write_bytes(path.read_bytes()[:100])
    assert pool_file.read_own(file) is None
    path.write_bytes(b"somebody's own")
    with pytest.raises(OSError, match="no file of limits"):
        pool_file.read_own(file)


def test_folder_and_file_are_closed_to_others(path: Path, file: int) -> None:
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert os.fstat(file).st_mode & 0o777 == 0o600


def test_one_lock_at_a_time(path: Path, file: int) -> None:
    other = pool_file.open_private(path)
    try:
        pool_file.lock(file)
        assert not pool_file.lock_now(other)
        pool_file.unlock(file)
        assert pool_file.lock_now(other)
    finally:
        os.close(other)
