"""The download of a batch's results: from a file, whole, or wrong in one of the ways that happen.

Owns   what each fault makes of the transport (cut, reset, stalled, with and without a length) and of the lines.
Knows  the file of results and a fault; whether results may be had was decided before.

Without a fault a file goes out in large pieces, unread. Which lines a fault strikes depends on the batch alone.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from runner.simulator.acts import Act
from runner.simulator.batch_store import Batch
from runner.simulator.exchange import Exchange
from runner.simulator.faults import Fault, Rule

CONTENT_TYPE = "application/x-jsonl"
_PIECE_BYTES = 1 << 20

_CUTS = {
    # act: (at the end of a line, with a content-length, as if it were whole)
    Act.TRUNCATED: (False, True, False),
    Act.RESULTS_CUT: (False, False, False),
    Act.RESULTS_CUT_LENGTH: (False, True, False),
    Act.RESULTS_CUT_LINE: (True, False, False),
    Act.RESULTS_CUT_LINE_LENGTH: (True, True, False),
    Act.RESULTS_SHORT: (False, False, True),
    Act.RESULTS_SHORT_LINE: (True, False, True),
    Act.RESULTS_RESET: (False, False, False),
    Act.RESULTS_STALL: (False, False, False),
}


async def send_results(exchange: Exchange, path: Path, batch: Batch, fault: Fault | None) -> web.StreamResponse:
    """Send the results of an ended batch; returns once they are written to the end."""
    act = None if fault is None else fault.act
    if fault is not None and act in _CUTS:
        return await _send_cut(exchange, path, fault.act)
    if fault is not None and act in (Act.REPLY_LOST, Act.REPLY_HANGS):
        return await exchange.deliver(b"", fault)
    if fault is not None and act is Act.SLOW:
        await asyncio.sleep(fault.rule.seconds)
    response = _Typeless() if act is Act.RESULTS_NO_TYPE else web.StreamResponse()
    response.headers.update(exchange.headers)
    response.content_type = "text/plain" if act is Act.WRONG_TYPE else CONTENT_TYPE
    await response.prepare(exchange.request)
    mangle = None if fault is None else _MANGLERS.get(fault.act)
    pieces = _pieces(path) if fault is None or mangle is None else _joined(_mangled(path, batch, fault.rule, mangle))
    for piece in pieces:
        await response.write(piece)
        await asyncio.sleep(0)
    await response.write_eof()
    return response


class _Typeless(web.StreamResponse):
    """A response without a content type. Such results have been seen (anthropic-sdk-php issue 30)."""

    async def _prepare_headers(self) -> None:
        await super()._prepare_headers()
        self.headers.popall("content-type", None)


async def _send_cut(exchange: Exchange, path: Path, act: Act) -> web.StreamResponse:
    at_line_end, with_length, looks_whole = _CUTS[act]
    size = _size(path)
    end = _line_end_before(path, size // 2) if at_line_end else _inside_a_line(path, size // 2)
    response = web.StreamResponse(headers=exchange.headers)
    response.content_type = CONTENT_TYPE
    if with_length:
        response.content_length = size
    await response.prepare(exchange.request)
    for piece in _pieces(path, end):
        await response.write(piece)
    if looks_whole:
        await response.write_eof()
        return response
    if act is Act.RESULTS_STALL:
        return await exchange.hang()
    return await (exchange.reset() if act is Act.RESULTS_RESET else exchange.close())


def _pieces(path: Path, end: int | None = None) -> Iterator[bytes]:
    left = _size(path) if end is None else end
    with path.open("rb", buffering=0) as file:
        while left > 0 and (piece := file.read(min(_PIECE_BYTES, left))):
            left -= len(piece)
            yield piece


def _size(path: Path) -> int:
    return path.stat().st_size


def _line_end_before(path: Path, position: int) -> int:
    """The last end of a line at or before a position; 0 where there is none."""
    with path.open("rb") as file:
        return file.read(position).rfind(b"\n") + 1


def _inside_a_line(path: Path, position: int) -> int:
    """A position in the middle of a line, near the given one."""
    with path.open("rb") as file:
        start = file.read(position).rfind(b"\n") + 1
        file.seek(start)
        return start + len(file.readline()) // 2


_Mangler = Callable[[bytes, Rule], list[bytes]]
"""What becomes of a struck line."""


def _mangled(path: Path, batch: Batch, rule: Rule, mangle: _Mangler) -> Iterator[bytes]:
    everywhere = mangle is _end_with_cr
    dice = random.Random(batch.id)
    struck = set(dice.sample(range(batch.total), min(rule.lines, batch.total)))
    with path.open("rb") as lines:
        for index, line in enumerate(lines):
            if everywhere or index in struck:
                yield from mangle(line, rule)
            else:
                yield line


def _joined(lines: Iterator[bytes]) -> Iterator[bytes]:
    waiting, size = [], 0
    for line in lines:
        waiting.append(line)
        size += len(line)
        if size >= _PIECE_BYTES:
            yield b"".join(waiting)
            waiting, size = [], 0
    yield b"".join(waiting)


def _double(line: bytes, _: Rule) -> list[bytes]:
    return [line, line]


def _contradict(line: bytes, _: Rule) -> list[bytes]:
    """The same id again, with another end."""
    value = orjson.loads(line)
    end = "canceled" if value["result"]["type"] == "expired" else "expired"
    return [line, _line({**value, "result": {"type": end}})]


def _miss(_: bytes, __: Rule) -> list[bytes]:
    return []


def _add_unknown(line: bytes, _: Rule) -> list[bytes]:
    value = orjson.loads(line)
    return [line, _line({**value, "custom_id": f"unknown-{value['custom_id']}"[:64]})]


def _add_blank(line: bytes, _: Rule) -> list[bytes]:
    return [b"\n", line, b"\r\n", b"  \n"]


def _end_with_cr(line: bytes, _: Rule) -> list[bytes]:
    return [line[:-1] + b"\r\n"]


def _add_member(member: Callable[[Rule], bytes]) -> _Mangler:
    """The line with one more member, given as it shall stand."""
    return lambda line, rule: [line[:-2] + b"," + member(rule) + b"}\n"]


def _add_surrogate(line: bytes, rule: Rule) -> list[bytes]:
    """Half a character, in the text where there is one."""
    if b'"text":"' in line:
        return [line.replace(b'"text":"', rb'"text":"\ud83d ', 1)]
    return _add_member(lambda _: rb'"note":"\ud83d"')(line, rule)


def _break(line: bytes, _: Rule) -> list[bytes]:
    return [line[: len(line) // 2] + b"\n"]


def _change_type(line: bytes, _: Rule) -> list[bytes]:
    value: dict[str, Any] = orjson.loads(line)
    return [_line({**value, "result": {"type": "deferred"}})]


def _line(value: Mapping[str, Any]) -> bytes:
    return orjson.dumps(value) + b"\n"


_MANGLERS: Mapping[Act, _Mangler] = {
    Act.RESULTS_DOUBLED: _double,
    Act.RESULTS_CONFLICT: _contradict,
    Act.RESULTS_MISSING: _miss,
    Act.RESULTS_UNKNOWN_IDS: _add_unknown,
    Act.RESULTS_BLANK_LINES: _add_blank,
    Act.RESULTS_CRLF: _end_with_cr,
    Act.RESULTS_NAN: _add_member(lambda _: b'"score":NaN'),
    Act.RESULTS_BAD_UTF8: _add_member(lambda _: b'"note":"\xff\xfe"'),
    Act.RESULTS_SURROGATE: _add_surrogate,
    Act.RESULTS_LONG_LINE: _add_member(lambda rule: b'"note":"%s"' % (b"x" * rule.size)),
    Act.RESULTS_NOT_JSON: _break,
    Act.RESULTS_UNKNOWN_TYPE: _change_type,
}
