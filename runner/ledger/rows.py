"""The run's own copy of its input: `rows/000001.rows`, … in compressed blocks.

Owns   the block files: writing them once at enrolment, reading rows one by one or in order.
Knows  rows and their encoding. Where a block is, the table `blocks` says.

A block is 16 bytes (magic, crc32 of what follows them, sizes) and about 128 KiB of lines, zstd-compressed: a line is
the canonical JSON array `[key, values]`, or where values hold bytes `[key, values, places]`: at each place (a list of
keys and positions) stands a text in base64. A block with such a line has a magic of its own, so that a version which
knows none of them refuses it instead of giving texts for bytes. A block is large enough to compress well, and small
enough that reading one row is quick.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zlib
from base64 import b64decode, b64encode
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import orjson
import zstandard

from runner.encoding import encode
from runner.ledger.database import fetch_one
from runner.ledger.folder import open_private, sync_entries
from runner.ledger.refusals import damaged, disk_errors
from runner.types import BinaryValues, Row, maker_of

_MAGIC = b"\xffRB\xfe"
_MAGIC_WITH_BYTES = b"\xffRC\xfe"
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


def _encoded_with_bytes(key: str, values: dict[str, Any]) -> bytes:
    places: list[list[str | int]] = []
    return encode((key, _as_texts(values, [], places), places))


def _as_texts(value: Any, here: list[str | int], places: list[list[str | int]]) -> Any:
    """The value with a text in base64 for bytes, whose places are noted."""
    if isinstance(value, bytes | bytearray | memoryview):
        places.append(here)
        return b64encode(value).decode()
    if isinstance(value, Mapping):
        return {name: _as_texts(item, [*here, name], places) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_texts(item, [*here, number], places) for number, item in enumerate(value)]
    return value


def _decoded(line: bytes) -> tuple[str, dict[str, Any]]:
    """A row's key and values. The quick decoder is right where all are texts; it rounds integers of many digits."""
    try:
        key, values, *more = orjson.loads(line)
        if not more and set(map(type, values.values())) == _TEXTS:
            return key, values
    except orjson.JSONDecodeError:  # half of a surrogate pair
        pass
    (key, values, *more), _ = _scan(line.decode(), 0)
    return key, _with_bytes(values, more[0]) if more else values


def _with_bytes(values: dict[str, Any], places: list[list[str | int]]) -> dict[str, Any]:
    for *above, last in places:
        holder: Any = values
        for part in above:
            holder = holder[part]
        holder[last] = b64decode(holder[last])
    return BinaryValues(values)


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
        self._magic = _MAGIC
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
        try:
            line = _encoded(row.key, values)
        except TypeError:
            line = _encoded_with_bytes(row.key, values)
            self._magic = _MAGIC_WITH_BYTES
        self._lines.append(line)
        self._waiting += len(line)
        if self._waiting >= _BLOCK_BYTES:
            self._write_block()

    def _write_block(self) -> None:
        raw = b"\n".join(self._lines)
        self._digest.update(raw)
        self._digest.update(b"\n")
        packed = self._compressor.compress(raw)
        data = memoryview(_HEAD.pack(self._magic, zlib.crc32(packed), len(packed), len(raw)) + packed)
        with disk_errors(self._folder):
            if self._offset >= _SEGMENT_BYTES:
                self._start_segment()
            self.blocks.append(Block(self._count, self._segment, self._offset, len(data)))
            self._offset += len(data)
            while data:
                data = data[os.write(self._descriptor, data) :]
        self._count += len(self._lines)
        self._lines, self._waiting, self._magic = [], 0, _MAGIC

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
        if magic not in (_MAGIC, _MAGIC_WITH_BYTES) or zlib.crc32(packed) != crc:
            raise damaged(f"{path}: the block at byte {block.offset} is damaged")
        return self._decompressor.decompress(packed, max_output_size=raw_bytes).split(b"\n")


def _segment_path(folder: Path, segment: int) -> Path:
    return folder / f"{segment:06d}.rows"
