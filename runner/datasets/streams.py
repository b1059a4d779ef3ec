"""From a file, on disk or at a URL, to text: decompression, encoding, lines.

Owns   the four compressions and strict UTF-8 with or without a byte order mark.
Knows  nothing of formats, and of URLs only that `storage` opens them. Gives either lines or chunks, in bounded memory.

Invariants
  * A line ends at byte 0x0A and nowhere else: not at U+2028, not at a lone carriage return. Line numbers are physical.
  * A compressed file that was cut off is an error, never a shorter file. zstandard's own file reader takes a cut frame
    for the end of the file (measured with 0.25), hence the reader below.
  * A line, and so a row, is at most `MAX_LINE_BYTES` long.

Source: RFC 1952 (gzip), RFC 8878 (zstd), RFC 3629 (UTF-8), the Unicode Standard section 23.8 (byte order marks).
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import sys
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import zstandard
from msgspec import Struct

from runner.datasets.problems import data_error
from runner.errors import InputError
from runner.storage import RemoteFile

MAX_LINE_BYTES = 64 * 1024 * 1024
"""Twice the API's limit of 32 MB a request (api-facts): no longer row could be sent."""

STDIN_NAME = "stdin"
"""What messages call standard input, where a file has its path."""

_CHUNK_BYTES = 256 * 1024
_ZSTD_CHUNK_BYTES = 512
"""Compressed bytes handed to zstd at a time. A block of 128 KiB can be 4 bytes long (RFC 8878, 3.1.1.2), so that this
bounds what one step can blow up to at 16 MiB."""

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
_MAGIC = (
    (b"\x1f\x8b", "compressed by gzip", "end its name in .gz"),
    (b"BZh", "compressed by bzip2", "end its name in .bz2"),
    (b"\xfd7zXZ\x00", "compressed by xz", "end its name in .xz"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", "end its name in .zst"),
    (b"PK\x03\x04", "a zip archive (an Excel workbook is one too)", "unpack it, or save the sheet as csv"),
    (b"PAR1", "a parquet file", "convert it to csv or jsonl"),
)
_PEEKED_BYTES = 8

_DAMAGE = (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, zstandard.ZstdError)
"""What the decompressors raise for damaged or cut-off input; bz2 also raises OSError."""


class Source(Struct, frozen=True):
    """One text to read: a file, here or at a URL, or stdin where `path` is None. `name` is how messages call it."""

    name: str
    path: Path | RemoteFile | None

    def lines(self) -> Generator[str, None, None]:
        """Lines with their ends, the byte order mark removed. Raises InputError."""
        with self._opened() as stream:
            number = 0
            while raw := stream.readline(MAX_LINE_BYTES + 1):
                number += 1
                if len(raw) > MAX_LINE_BYTES:
                    raise self._line_too_long(number)
                if b"\0" in raw:
                    raise self._nul(raw, number)
                try:
                    yield raw.decode()
                except UnicodeDecodeError as error:
                    raise self._wrong_encoding(error, number, error.start + 1) from error

    def chunks(self) -> Iterator[str]:
        """The text in pieces of any length, the byte order mark removed. Raises InputError."""
        decoder = codecs.getincrementaldecoder("utf-8")()
        lines_before = 0
        with self._opened() as stream:
            while True:
                raw = stream.read(_CHUNK_BYTES)
                if b"\0" in raw:
                    raise self._nul(raw, lines_before + raw.count(b"\n", 0, raw.index(b"\0")) + 1)
                try:
                    yield decoder.decode(raw, final=not raw)
                except UnicodeDecodeError as error:
                    before = error.object[: error.start]
                    line = lines_before + before.count(b"\n") + 1
                    raise self._wrong_encoding(error, line, len(before) - (before.rfind(b"\n") + 1) + 1) from error
                if not raw:
                    return
                lines_before += raw.count(b"\n")

    @contextmanager
    def _opened(self) -> Iterator[io.BufferedReader]:
        try:
            if self.path is None:
                yield self._begun(cast(io.BufferedReader, sys.stdin.buffer))
                return
            with _open(self.path) as stream:
                yield self._begun(stream)
        except _DAMAGE as error:
            raise self._damaged(error) from error
        except OSError as error:
            if error.errno is None:  # bz2 says so: no error of the system
                raise self._damaged(error) from error
            raise data_error("unreadable-file", f"cannot be read: {error.strerror}", self.name) from error

    def _begun(self, stream: io.BufferedReader) -> io.BufferedReader:
        """Look at the first bytes: skip the mark of UTF-8, refuse what is plainly no UTF-8 text."""
        head = stream.peek(_PEEKED_BYTES)[:_PEEKED_BYTES]
        if head.startswith(codecs.BOM_UTF8):
            stream.read(len(codecs.BOM_UTF8))
            return stream
        for mark, encoding in _BYTE_ORDER_MARKS:
            if head.startswith(mark):
                raise data_error("not-utf8", f"is {encoding}, not UTF-8", self.name, 1, hint=self._iconv(encoding))
        for magic, what, cure in _MAGIC:
            if head.startswith(magic):
                raise data_error("wrong-format", f"is not text: it is {what}", self.name, hint=cure)
        return stream

    def _wrong_encoding(self, error: UnicodeDecodeError, line: int, byte: int) -> InputError:
        found = error.object[error.start]
        message = f"byte {byte} of the line is 0x{found:02x}, which is not UTF-8"
        return data_error("not-utf8", message, self.name, line, hint=self._iconv("WINDOWS-1252"))

    def _iconv(self, encoding: str) -> str:
        guess = "if it is Windows-1252 or Latin-1: " if encoding == "WINDOWS-1252" else ""
        return f"convert it; {guess}iconv -f {encoding} -t UTF-8 {self.name} > converted"

    def _nul(self, raw: bytes, line: int) -> InputError:
        if raw.count(b"\0") > len(raw) // 4:  # Latin letters in UTF-16 are every other byte NUL
            message, hint = "has NUL bytes throughout: it looks like UTF-16, not UTF-8", self._iconv("UTF-16")
        else:
            message, hint = "has a NUL byte", "is it binary, or damaged? Remove them: tr -d '\\000'"
        return data_error("nul-byte", message, self.name, line, hint=hint)

    def _line_too_long(self, number: int) -> InputError:
        message = f"the line is longer than {MAX_LINE_BYTES // 1024**2} MiB"
        hint = "no request could hold it; are its line ends lone carriage returns? Convert them: tr '\\r' '\\n'"
        return data_error("line-too-long", message, self.name, number, hint=hint)

    def _damaged(self, error: Exception) -> InputError:
        message = f"is damaged or cut off: {error}"
        return data_error("damaged-file", message, self.name, hint="make or fetch the file again")


@contextmanager
def _open(path: Path | RemoteFile) -> Iterator[io.BufferedReader]:
    with _opened_bytes(path) as file:
        suffix = path.suffix.lower()
        if suffix not in _DECOMPRESSORS:
            yield file
            return
        if not file.peek(1):  # no compression has an empty form, but gzip's reader lets it pass
            raise EOFError("it has no bytes at all")
        # the decompressors' own readline is slow Python: a BufferedReader asks them for large pieces only
        with cast(io.BufferedReader, io.BufferedReader(_DECOMPRESSORS[suffix](file), _CHUNK_BYTES)) as stream:
            yield stream


def _opened_bytes(path: Path | RemoteFile) -> io.BufferedReader:
    return path.open() if isinstance(path, RemoteFile) else io.BufferedReader(io.FileIO(path), _CHUNK_BYTES)


class _ZstdFile(io.RawIOBase):
    """A zstd file of one or more frames, which tells a cut-off frame from the end."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        self._decompressor = zstandard.ZstdDecompressor()
        self._frame: zstandard.ZstdDecompressionObj | None = None
        self._input = b""
        self._output = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast(bytearray, buffer)).cast("B")
        while not self._output:
            if not self._advance():
                return 0
        taken = min(len(view), len(self._output))
        view[:taken] = self._output[:taken]
        self._output = self._output[taken:]
        return taken

    def _advance(self) -> bool:
        """Decompress one more piece; False at the end of the file."""
        data = self._input or self._file.read(_ZSTD_CHUNK_BYTES)
        if not data:
            if self._frame is not None:
                raise EOFError("the last zstd frame has no end")
            return False
        if self._frame is None:
            self._frame = self._decompressor.decompressobj()
        self._output = memoryview(self._frame.decompress(data))
        self._input = b""
        if self._frame.eof:
            self._input = self._frame.unused_data
            self._frame = None
        return True


_DECOMPRESSORS: Mapping[str, Callable[[io.BufferedReader], Any]] = {
    ".gz": lambda file: gzip.GzipFile(fileobj=file),
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
    ".zst": _ZstdFile,
}


def stdin_is_terminal() -> bool:
    stream = cast(BinaryIO | None, sys.stdin)
    return stream is None or stream.isatty()
