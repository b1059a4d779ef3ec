"""The run's own copy of its input: `rows/000001.rows`, … in compressed blocks.

Owns   the block files: writing them once at enrolment, reading rows one by one or in order.
Knows  rows and their encoding. Where a block is, the table `blocks` says.

A block is 16 bytes (magic, crc32 of what follows them, sizes) and about 128 KiB of lines, zstd-compressed: a line is
the canonical JSON array `[key, values]`, or where values hold what JSON does not (`runner.values`) `[key, values,
marks]`: an object with the places at which a JSON value stands for another kind. Where bytes are all there is of that,
the marks are the list of their places alone. A block with such lines has a magic of its own, one for bytes and one for
the rest, so that a version which does not know them refuses it instead of giving texts for bytes and dates. A block is
large enough to compress well, and small enough that reading one row is quick.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import orjson
import zstandard

from runner.encoding import encode
from runner.ledger.database import fetch_one
from runner.ledger.folder import open_private, sync_entries
from runner.ledger.refusals import damaged, disk_errors
from runner.types import Row
from runner.values import HELD_BESIDE_JSON, marked, unmarked

_MAGIC = b"\xffRB\xfe"
_MAGIC_WITH_BYTES = b"\xffRC\xfe"
_MAGIC_WITH_TYPES = b"\xffRD\xfe"
_MAGICS = (_MAGIC, _MAGIC_WITH_BYTES, _MAGIC_WITH_TYPES)
"""Each of these knows the lines of those before it."""
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


def _encoded(key: str, values: dict[str, Any]) -> tuple[bytes, bytes]:
    """The line of a row, and the magic of the block that may hold it. Raises TypeError for what a row cannot hold.

    Of texts alone, as of csv, the quick encoder writes the canonical JSON in a tenth of the time; it writes some
    numbers in another way.
    """
    kinds = set(map(type, values.values()))
    if kinds == _TEXTS:
        try:
            return orjson.dumps((key, values)), _MAGIC
        except TypeError:  # half of a surrogate pair
            pass
    if kinds.isdisjoint(HELD_BESIDE_JSON):
        try:
            return encode((key, values)), _MAGIC
        except (TypeError, ValueError):  # deeper down, or NaN
            pass
    plain, marks = marked(values)
    if not marks:  # relatives of JSON's own kinds: a tuple's, numpy's
        return encode((key, plain)), _MAGIC
    if marks.keys() == _BYTES:
        return encode((key, plain, marks["bytes"])), _MAGIC_WITH_BYTES
    return encode((key, plain, marks)), _MAGIC_WITH_TYPES


_BYTES = {"bytes"}


def _decoded(line: bytes) -> tuple[str, dict[str, Any]]:
    """A row's key and values. The quick decoder is right where all are texts; it rounds integers of many digits."""
    try:
        key, values, *more = orjson.loads(line)
        if not more and set(map(type, values.values())) == _TEXTS:
            return key, values
    except orjson.JSONDecodeError:  # half of a surrogate pair
        pass
    (key, values, *more), _ = _scan(line.decode(), 0)
    if not more:
        return key, values
    return key, unmarked(values, more[0] if type(more[0]) is dict else {"bytes": more[0]})


class Block(NamedTuple):
    """Where the rows from `first_row` on are, up to the next block's first."""

    first_row: int
    segment: int
    offset: int
    length: int


class RowWriter:
    """Writes all rows of a run, once. `blocks` and `sha256` are complete after `finish`.

    A thread of its own hashes and packs a block while the next one is read: both let go of the interpreter, and take a
    quarter of an enrolment.
    """

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
        self._packer = ThreadPoolExecutor(1, "runner-rows")
        self._packing: tuple[Future[bytes], int] | None = None
        """The block that is being packed, and how many rows it has."""
        self.blocks: list[Block] = []

    def _create_segment(self, segment: int) -> int:
        return open_private(_segment_path(self._folder, segment), os.O_WRONLY | os.O_CREAT | os.O_EXCL)

    @property
    def sha256(self) -> str:
        """Hex digest over all keys and values, in order."""
        return self._digest.hexdigest()

    def add(self, row: Row) -> None:
        """Raises TypeError for a value that no row holds, RecursionError for one that is nested too deep."""
        values = row.values if type(row.values) is dict else dict(row.values)
        line, magic = _encoded(row.key, values)
        if magic is not _MAGIC and magic > self._magic:
            self._magic = magic
        self._lines.append(line)
        self._waiting += len(line)
        if self._waiting >= _BLOCK_BYTES:
            self._end_block()

    def _end_block(self) -> None:
        raw = b"\n".join(self._lines)
        before, self._packing = self._packing, (self._packer.submit(self._packed, raw, self._magic), len(self._lines))
        self._lines, self._waiting, self._magic = [], 0, _MAGIC
        if before is not None:
            self._write_block(*before)

    def _packed(self, raw: bytes, magic: bytes) -> bytes:
        """On the packer's thread, one block after another."""
        self._digest.update(raw)
        self._digest.update(b"\n")
        packed = self._compressor.compress(raw)
        return _HEAD.pack(magic, zlib.crc32(packed), len(packed), len(raw)) + packed

    def _write_block(self, packing: Future[bytes], rows: int) -> None:
        data = memoryview(packing.result())
        with disk_errors(self._folder):
            if self._offset >= _SEGMENT_BYTES:
                self._start_segment()
            self.blocks.append(Block(self._count, self._segment, self._offset, len(data)))
            self._offset += len(data)
            while data:
                data = data[os.write(self._descriptor, data) :]
        self._count += rows

    def finish(self) -> None:
        """Write what waits and make everything durable."""
        if self._lines:
            self._end_block()
        if self._packing is not None:
            self._write_block(*self._packing)
            self._packing = None
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
        self._packer.shutdown(cancel_futures=True)
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
        return Row(key, index, values)

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
                yield Row(key, block.first_row + place, values)
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
        if magic not in _MAGICS or zlib.crc32(packed) != crc:
            raise damaged(f"{path}: the block at byte {block.offset} is damaged")
        return self._decompressor.decompress(packed, max_output_size=raw_bytes).split(b"\n")


def _segment_path(folder: Path, segment: int) -> Path:
    return folder / f"{segment:06d}.rows"
