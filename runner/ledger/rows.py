"""The run's own copy of its input: `rows/000001.rows`, … in compressed blocks.

Owns   the block files: writing them once at enrolment, reading rows one by one or in order.
Knows  rows and their encoding. Where a block is, the table `blocks` says.

A block is 16 bytes (magic, crc32 of what follows them, sizes) and about 128 KiB of lines, zstd-compressed: a line is
the canonical JSON array `[key, values]`. Large enough to compress well, small enough that reading one row is quick.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import orjson
import zstandard

from runner.encoding import encode
from runner.ledger.database import fetch_one
from runner.ledger.folder import open_private, sync_entries
from runner.ledger.refusals import damaged, disk_errors
from runner.types import Row, maker_of

_MAGIC = b"\xffRB\xfe"
_HEAD = struct.Struct("<4sIII")
_BLOCK_BYTES = 128 << 10
_SEGMENT_BYTES = 256 << 20
_CACHED_BLOCKS = 8

_BLOCK_WITH = """
    SELECT first_row, segment, offset, length FROM blocks WHERE first_row <= ? ORDER BY first_row DESC LIMIT 1
"""
_BLOCK_AFTER = "SELECT first_row, segment, offset, length FROM blocks WHERE first_row > ? ORDER BY first_row LIMIT 1"

# What is read here was written by `encoding.encode`, which writes no NaN: the plain decoder needs no further checks.
# Nothing stands around the value, so it needs no look for white space either.
_scan: Callable[[str, int], tuple[Any, int]] = vars(json.JSONDecoder())["scan_once"]


_TEXTS = {str}


def _encoded(key: str, values: dict[str, Any]) -> bytes:
    """The canonical JSON of a row. Of texts alone, as of csv, the quick encoder writes the same in a tenth of the
    time; it writes some numbers in another way."""
    if set(map(type, values.values())) == _TEXTS:
        try:
            return orjson.dumps((key, values))
        except TypeError:  # half of a surrogate pair
            pass
    return encode((key, values))


def _decoded(line: bytes) -> tuple[str, dict[str, Any]]:
    """A row's key and values. The quick decoder is right where all are texts; it rounds integers of many digits."""
    try:
        key, values = orjson.loads(line)
        if set(map(type, values.values())) == _TEXTS:
            return key, values
    except orjson.JSONDecodeError:  # half of a surrogate pair
        pass
    (key, values), _ = _scan(line.decode(), 0)
    return key, values


_row = maker_of(Row)


class Block(NamedTuple):
    """Where the rows from `first_row` on are, up to the next block's first."""

    first_row: int
    segment: int
    offset: int
    length: int


class RowWriter:
    """Writes all rows of a run, once. `blocks` and `sha256` are complete after `finish`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._compressor = zstandard.ZstdCompressor(level=1)
        self._digest = hashlib.sha256()
        self._lines: list[bytes] = []
        self._waiting = 0
        self._count = 0
        self._segment, self._offset = 1, 0
        self._descriptor = self._create_segment(self._segment)
        self.blocks: list[Block] = []

    def _create_segment(self, segment: int) -> int:
        return open_private(_segment_path(self._folder, segment), os.O_WRONLY | os.O_CREAT | os.O_EXCL)

    @property
    def sha256(self) -> str:
        """Hex digest over all keys and values, in order."""
        return self._digest.hexdigest()

    def add(self, row: Row) -> None:
        """Raises TypeError or ValueError for a value that JSON cannot hold."""
        values = row.values if type(row.values) is dict else dict(row.values)
        line = _encoded(row.key, values)
        self._lines.append(line)
        self._waiting += len(line)
        if self._waiting >= _BLOCK_BYTES:
            self._write_block()

    def _write_block(self) -> None:
        raw = b"\n".join(self._lines)
        self._digest.update(raw)
        self._digest.update(b"\n")
        packed = self._compressor.compress(raw)
        data = memoryview(_HEAD.pack(_MAGIC, zlib.crc32(packed), len(packed), len(raw)) + packed)
        with disk_errors(self._folder):
            if self._offset >= _SEGMENT_BYTES:
                self._start_segment()
            self.blocks.append(Block(self._count, self._segment, self._offset, len(data)))
            self._offset += len(data)
            while data:
                data = data[os.write(self._descriptor, data) :]
        self._count += len(self._lines)
        self._lines, self._waiting = [], 0

    def finish(self) -> None:
        """Write what waits and make everything durable."""
        if self._lines:
            self._write_block()
        with disk_errors(self._folder):
            os.fsync(self._descriptor)
            sync_entries(self._folder)

    def _start_segment(self) -> None:
        os.fsync(self._descriptor)
        following = self._create_segment(self._segment + 1)  # first: on a full disk the old one stays open
        os.close(self._descriptor)
        self._descriptor = following
        self._segment, self._offset = self._segment + 1, 0

    def close(self) -> None:
        os.close(self._descriptor)


class RowReader:
    """Reads rows by index; keeps the last few blocks. One thread."""

    def __init__(self, connection: apsw.Connection, folder: Path) -> None:
        self._connection = connection
        self._folder = folder
        self._decompressor = zstandard.ZstdDecompressor()
        self._cache: OrderedDict[int, list[bytes]] = OrderedDict()
        self._first, self._lines = 0, list[bytes]()

    def row(self, index: int) -> Row:
        """Raises IndexError where there is no such row, LedgerError `damaged`."""
        place = index - self._first
        if not 0 <= place < len(self._lines):
            self._load(index)
            place = index - self._first
        key, values = _decoded(self._lines[place])
        return _row(key, index, values)

    def _load(self, index: int) -> None:
        found = fetch_one(self._connection, _BLOCK_WITH, (index,))
        if found is None:
            raise IndexError(index)
        block = Block(*found)
        lines = self._cache.get(block.first_row)
        if lines is None:
            lines = self._cache[block.first_row] = self._read(block)
            if len(self._cache) > _CACHED_BLOCKS:
                self._cache.popitem(last=False)
        else:
            self._cache.move_to_end(block.first_row)
        if index - block.first_row >= len(lines):
            raise IndexError(index)
        self._first, self._lines = block.first_row, lines

    def rows(self, start: int) -> Iterator[Row]:
        """All rows from `start` on, a block at a time."""
        found = fetch_one(self._connection, _BLOCK_WITH, (start,))
        while found is not None:
            block = Block(*found)
            lines = self._read(block)
            for place in range(max(0, start - block.first_row), len(lines)):
                key, values = _decoded(lines[place])
                yield _row(key, block.first_row + place, values)
            found = fetch_one(self._connection, _BLOCK_AFTER, (block.first_row,))

    def _read(self, block: Block) -> list[bytes]:
        path = _segment_path(self._folder, block.segment)
        try:
            with path.open("rb") as file:
                file.seek(block.offset)
                data = file.read(block.length)
        except OSError as error:
            raise damaged(f"{path} cannot be read: {error.strerror}") from error
        if len(data) < _HEAD.size or len(data) != block.length:
            raise damaged(f"{path} ends inside the block at byte {block.offset}")
        magic, crc, _, raw_bytes = _HEAD.unpack_from(data)
        packed = data[_HEAD.size :]
        if magic != _MAGIC or zlib.crc32(packed) != crc:
            raise damaged(f"{path}: the block at byte {block.offset} is damaged")
        return self._decompressor.decompress(packed, max_output_size=raw_bytes).split(b"\n")


def _segment_path(folder: Path, segment: int) -> Path:
    return folder / f"{segment:06d}.rows"
