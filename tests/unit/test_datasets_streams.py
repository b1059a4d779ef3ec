"""Bytes become text: encodings, compressions, lines; what is cut off or of another kind is told."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from runner.datasets import streams
from runner.datasets.streams import Source
from runner.errors import InputError

COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstandard.ZstdCompressor().compress,
}
TEXT = "".join(f"line {number} é 日本 😀\n" for number in range(2_000))


def source(folder: Path, data: bytes, name: str = "a.txt") -> Source:
    (folder / name).write_bytes(data)
    return Source(name, folder / name)


def failure(bad: Source) -> InputError:
    with pytest.raises(InputError) as by_lines:
        list(bad.lines())
    with pytest.raises(InputError) as by_chunks:
        list(bad.chunks())
    assert by_chunks.value.code == by_lines.value.code
    assert by_chunks.value.where == by_lines.value.where
    return by_lines.value


def test_lines_end_at_line_feeds_only(tmp_path: Path) -> None:
    text = "a\u2028b\u0085c\x0bd\re\r\nf\n\nlast"
    assert list(source(tmp_path, text.encode()).lines()) == ["a\u2028b\u0085c\x0bd\re\r\n", "f\n", "\n", "last"]


@pytest.mark.parametrize("text", ["", "a", TEXT])
def test_the_byte_order_mark_of_utf_8_is_removed(tmp_path: Path, text: str) -> None:
    marked = source(tmp_path, b"\xef\xbb\xbf" + text.encode())
    assert "".join(marked.lines()) == "".join(marked.chunks()) == text


@pytest.mark.parametrize("suffix", COMPRESSORS)
def test_every_compression_is_read(tmp_path: Path, suffix: str) -> None:
    packed = source(tmp_path, COMPRESSORS[suffix](TEXT.encode()), f"a.csv.{suffix.upper()}")
    assert "".join(packed.lines()) == TEXT
    assert "".join(packed.chunks()) == TEXT


@pytest.mark.parametrize("suffix", COMPRESSORS)
def test_compressed_parts_put_together_are_one_text(tmp_path: Path, suffix: str) -> None:
    parts = [COMPRESSORS[suffix](part.encode()) for part in ("one\n", "", "two\n")]
    assert list(source(tmp_path, b"".join(parts), f"a.{suffix}").lines()) == ["one\n", "two\n"]


@pytest.mark.parametrize("suffix", COMPRESSORS)
def test_a_compressed_file_cut_anywhere_is_an_error(tmp_path: Path, suffix: str) -> None:
    whole = COMPRESSORS[suffix](TEXT.encode())
    for length in (0, 1, 5, len(whole) // 2, len(whole) - 1):
        error = failure(source(tmp_path, whole[:length], f"a.csv.{suffix}"))
        assert error.code == "damaged-file", f"cut at {length}"


@pytest.mark.parametrize("suffix", COMPRESSORS)
def test_a_compressed_file_that_is_none_is_an_error(tmp_path: Path, suffix: str) -> None:
    assert failure(source(tmp_path, b"a,b\n1,2\n" * 10, f"a.csv.{suffix}")).code == "damaged-file"


def test_a_small_file_that_unpacks_to_much_is_read_in_pieces(tmp_path: Path) -> None:
    """200 MB in 20 kB of zstd: at no time may all of it be in memory."""
    packer = zstandard.ZstdCompressor().compressobj()
    packed = b"".join([packer.compress(b"\n" * 1_000_000) for _ in range(200)]) + packer.flush()
    bomb = source(tmp_path, packed, "a.jsonl.zst")
    tracemalloc.start()
    try:
        assert sum(len(chunk) for chunk in bomb.chunks()) == 200_000_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 50_000_000


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-16-le", "utf-32"])
def test_utf_16_and_32_are_named_with_the_cure(tmp_path: Path, encoding: str) -> None:
    error = failure(source(tmp_path, "id,text\n1,hello\n".encode(encoding)))
    # Without its mark UTF-16 is known by its NUL bytes only.
    assert error.code == ("nul-byte" if encoding.endswith(("-be", "-le")) else "not-utf8")
    assert error.hint is not None
    assert "iconv -f UTF-" in error.hint


@pytest.mark.parametrize("before", [0, 1, 40_000])
def test_latin_1_names_line_and_byte(tmp_path: Path, before: int) -> None:
    error = failure(source(tmp_path, "ä ok\n".encode() * before + b"caf\xe9,x\nmore\n"))
    assert error.code == "not-utf8"
    assert error.message == "byte 4 of the line is 0xe9, which is not UTF-8"
    assert error.where is not None
    assert error.where.line == before + 1
    assert error.hint is not None
    assert "iconv -f WINDOWS-1252 -t UTF-8 a.txt" in error.hint


def test_a_character_cut_by_the_end_of_the_file_is_an_error(tmp_path: Path) -> None:
    assert failure(source(tmp_path, "ok\né".encode()[:-1])).code == "not-utf8"


def test_a_nul_byte_names_its_line(tmp_path: Path) -> None:
    error = failure(source(tmp_path, b"a\nb\nthis is \0 binary\n"))
    assert (error.code, error.where and error.where.line) == ("nul-byte", 3)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (gzip.compress(b"x", mtime=0), "gzip"),
        (bz2.compress(b"x"), "bzip2"),
        (lzma.compress(b"x"), "xz"),
        (zstandard.ZstdCompressor().compress(b"x"), "zstd"),
        (b"PK\x03\x04rest", "zip archive"),
        (b"PAR1rest", "parquet"),
    ],
)
def test_a_file_of_another_kind_is_told_by_its_first_bytes(tmp_path: Path, data: bytes, what: str) -> None:
    error = failure(source(tmp_path, data, "a.csv"))
    assert error.code == "wrong-format"
    assert what in error.message


def test_a_line_beyond_the_limit_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MAX_LINE_BYTES", 100)
    assert list(source(tmp_path, b"x" * 99 + b"\n").lines())
    with pytest.raises(InputError, match="longer than") as caught:
        list(source(tmp_path, b"ok\n" + b"x" * 101).lines())
    assert caught.value.where is not None
    assert caught.value.where.line == 2


def test_a_file_that_is_gone_is_an_error_of_the_data(tmp_path: Path) -> None:
    assert failure(Source("gone.csv", tmp_path / "gone.csv")).code == "unreadable-file"


def test_a_reader_that_stops_early_leaves_no_file_open(tmp_path: Path) -> None:
    """An open file that is dropped warns, and warnings are errors."""
    for suffix, compress in {"txt": bytes, **COMPRESSORS}.items():
        lines = source(tmp_path, compress(TEXT.encode()), f"a.{suffix}").lines()
        assert next(lines).startswith("line 0")
        lines.close()
