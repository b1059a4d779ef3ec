"""Outcomes as bytes: the frames of the spool, and the small values of the tables.

Owns   the frame's layout, times as whole milliseconds, failures as JSON.
Knows  `types` and the one reading of a message; reads and writes no file.

A frame is 32 bytes, a header (JSON: all of the outcome but the body) and the body (the API's message object, zstd
where that pays). Numbers are little-endian:

    magic 4 | version 1 | flags 1 | 0 2 | header length 4 | body length 4 | synced 8 | payload's crc32 4 | crc32 of
    these 28 4

The first 28 bytes have their own checksum, so a damaged length is not taken for a frame that was cut off. `synced` is
where the segment ended when its group was written: everything before was durable by then, so what is broken there is
damage and not a torn end. 0xFF never occurs in UTF-8, so no reply can hold something that looks like a frame.
"""

from __future__ import annotations

import math
import struct
import zlib
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final, NamedTuple

import orjson
import zstandard

from runner.encoding import decode, encode
from runner.message import parse_reply
from runner.types import Failure, Outcome, Reply, Step, Usage

MAGIC: Final = b"\xffRS\xfe"
_VERSION = 1
_COMPRESSED = 1
_WORTH_COMPRESSING = 1024
"""Bytes. Below, zstd saves little and costs as much as the write (measured on replies of the API's shape)."""
_LARGEST_BODY = 1 << 30

_PREFIX = struct.Struct("<4sBBHIIQI")
_CHECKSUM = struct.Struct("<I")
PREFIX_BYTES: Final = _PREFIX.size + _CHECKSUM.size

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class BrokenFrame(Exception):
    """These bytes are no whole frame."""


class Prefix(NamedTuple):
    compressed: bool
    header_bytes: int
    body_bytes: int
    synced: int
    crc: int

    @property
    def frame_bytes(self) -> int:
        return PREFIX_BYTES + self.header_bytes + self.body_bytes


def to_millis(moment: datetime) -> int:
    """UTC milliseconds since 1970; what is finer is cut off."""
    since = moment - _EPOCH
    return since.days * 86_400_000 + since.seconds * 1_000 + since.microseconds // 1_000


@lru_cache(maxsize=1_024)  # as in `clock.to_rfc3339`
def from_millis(millis: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=millis)


def failure_to_json(failure: Failure) -> dict[str, Any]:
    """A failure as a JSON object; what is at its default is left out."""
    wait = failure.retry_after_s
    values = {
        "kind": failure.kind,
        "message": failure.message,
        "retryable": failure.retryable,
        "retry_after_s": wait if wait is not None and math.isfinite(wait) else None,
        "http_status": failure.http_status,
        "request_id": failure.request_id,
        "scope": failure.scope if failure.scope != "row" else None,
        "may_be_billed": failure.may_be_billed,
        "category": failure.category,
    }
    return {name: value for name, value in values.items() if value is not None and value is not False}


def failure_from_json(values: dict[str, Any]) -> Failure:
    return Failure(**values)


def failure_to_text(failure: Failure | None) -> str | None:
    """A failure as a column holds it: JSON text that is UTF-8 whatever the message holds."""
    return None if failure is None else encode(failure_to_json(failure)).decode()


def failure_from_text(text: str | None) -> Failure | None:
    return None if text is None else failure_from_json(decode(text))


class FrameEncoder:
    """Writes frames; keeps one compressor, so it belongs to one thread."""

    def __init__(self) -> None:
        self._compressor = zstandard.ZstdCompressor(level=1)

    def encode(self, outcome: Outcome, synced: int) -> bytes:
        header = _encoded(_header(outcome))
        body, flags = outcome.body, 0
        if len(body) >= _WORTH_COMPRESSING:
            smaller = self._compressor.compress(body)
            if len(smaller) < len(body):
                body, flags = smaller, _COMPRESSED
        crc = zlib.crc32(body, zlib.crc32(header))
        prefix = _PREFIX.pack(MAGIC, _VERSION, flags, 0, len(header), len(body), synced, crc)
        return b"".join((prefix, _CHECKSUM.pack(zlib.crc32(prefix)), header, body))


def _header(outcome: Outcome) -> dict[str, Any]:
    step, usage = outcome.step, outcome.usage
    header: dict[str, Any] = {
        "step": (step.row, step.turn, step.sample, step.round),
        "attempt": outcome.attempt,
        "end": outcome.end,
        "mode": outcome.mode,
        "hash": outcome.request_hash.hex(),
        "started": to_millis(outcome.started_at),
        "ended": to_millis(outcome.ended_at),
        "usage": usage_counts(usage),
        "cost": outcome.cost_pico,
    }
    if outcome.request_id is not None:
        header["request_id"] = outcome.request_id
    if outcome.batch_id is not None:
        header["batch_id"] = outcome.batch_id
    if outcome.reused:
        header["reused"] = True
    if outcome.tries != 1:
        header["tries"] = outcome.tries
    if outcome.failure is not None:
        header["failure"] = failure_to_json(outcome.failure)
    return header


def _encoded(header: dict[str, Any]) -> bytes:
    """A header's JSON. The quick encoder refuses integers of many digits, and halves of surrogate pairs."""
    try:
        return orjson.dumps(header)
    except TypeError:
        return encode(header)


def usage_counts(usage: Usage) -> tuple[int, int, int, int, int]:
    """In the order of the columns of `attempts` and `totals`, and of `Usage` itself."""
    return (
        usage.input_tokens,
        usage.output_tokens,
        usage.cache_read_input_tokens,
        usage.ephemeral_5m_input_tokens,
        usage.ephemeral_1h_input_tokens,
    )


def read_prefix(data: bytes) -> Prefix:
    """Raises BrokenFrame."""
    if len(data) < PREFIX_BYTES:
        raise BrokenFrame("cut off")
    magic, version, flags, _, header_bytes, body_bytes, synced, crc = _PREFIX.unpack_from(data)
    if magic != MAGIC or _CHECKSUM.unpack_from(data, _PREFIX.size)[0] != zlib.crc32(data[: _PREFIX.size]):
        raise BrokenFrame("damaged")
    if version != _VERSION:
        raise BrokenFrame(f"of an unknown version ({version})")
    return Prefix(bool(flags & _COMPRESSED), header_bytes, body_bytes, synced, crc)


def split_frame(data: bytes) -> tuple[Prefix, memoryview, memoryview]:
    """A whole frame's prefix, header and stored body, checked. Raises BrokenFrame."""
    prefix = read_prefix(data)
    if len(data) < prefix.frame_bytes:
        raise BrokenFrame("cut off")
    payload = memoryview(data)[PREFIX_BYTES : prefix.frame_bytes]
    if zlib.crc32(payload) != prefix.crc:
        raise BrokenFrame("damaged")
    return prefix, payload[: prefix.header_bytes], payload[prefix.header_bytes :]


def _reply(body: bytes, request_id: str | None, usage: Usage) -> Reply:
    """The reply as it was judged when it came; what it counts for this run (nothing, if reused) the header says."""
    try:
        return parse_reply(body, request_id, usage)
    except ValueError as error:
        raise BrokenFrame(f"of no message ({error})") from error


class FrameDecoder:
    """Reads frames; keeps one decompressor, so it belongs to one thread."""

    def __init__(self) -> None:
        self._decompressor = zstandard.ZstdDecompressor()

    def body(self, data: bytes) -> bytes:
        """The message object of a frame. Raises BrokenFrame."""
        # What `split_frame` does for one frame after another: every record of a delivery comes through here.
        if len(data) >= PREFIX_BYTES:
            magic, version, flags, _, header_bytes, body_bytes, _, crc = _PREFIX.unpack_from(data)
            begin = PREFIX_BYTES + header_bytes
            end = begin + body_bytes
            whole = magic == MAGIC and version == _VERSION and len(data) >= end
            if whole and zlib.crc32(memoryview(data)[PREFIX_BYTES:end]) == crc and not flags & _COMPRESSED:
                return data[begin:end]
        prefix, _, stored = split_frame(data)
        return self._inflate(prefix, stored)

    def outcome(self, data: bytes) -> Outcome:
        """The outcome as it was recorded, times cut to milliseconds. Raises BrokenFrame."""
        prefix, header, stored = split_frame(data)
        body = self._inflate(prefix, stored)
        values = decode(bytes(header))
        usage, failure, request_id = Usage(*values["usage"]), values.get("failure"), values.get("request_id")
        return Outcome(
            step=Step(*values["step"]),
            attempt=values["attempt"],
            end=values["end"],
            mode=values["mode"],
            request_hash=bytes.fromhex(values["hash"]),
            started_at=from_millis(values["started"]),
            ended_at=from_millis(values["ended"]),
            body=body,
            reply=_reply(body, request_id, usage) if failure is None else None,
            failure=failure_from_json(failure) if failure is not None else None,
            usage=usage,
            cost_pico=values["cost"],
            request_id=request_id,
            batch_id=values.get("batch_id"),
            reused=values.get("reused", False),
            tries=values.get("tries", 1),
        )

    def _inflate(self, prefix: Prefix, stored: memoryview) -> bytes:
        if not prefix.compressed:
            return bytes(stored)
        try:
            return self._decompressor.decompress(stored, max_output_size=_LARGEST_BODY)
        except zstandard.ZstdError as error:
            raise BrokenFrame("damaged") from error
