"""What the requests of a batch have in common, kept once.

Owns   `Shape`: the members that stand before and after the differing ones in `params`, byte by byte; finding one in two
       requests; and the lines in which requests are kept (`NUMBER CUSTOM_ID MEMBERS`, or a request's whole JSON).
Knows  JSON text. Checking and answering are done elsewhere, on the values that `Line` gives back.

A request that begins and ends as its shape does and whose middle is valid JSON members is valid JSON as a whole: all of
its pieces are, and they are cut between members. So of an 8 kB request only the row's own text has to be read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from json import JSONDecodeError, JSONDecoder
from typing import Any

import orjson
from msgspec import Struct, field

_OPENING = re.compile(rb'\{"custom_id":"([a-zA-Z0-9_-]{1,64})"(,"params":\{)')
_CLOSING = b"}}"
_WORTH_BYTES = 256
"""Shorter common parts are not worth it."""

_MAX_SHAPES = 64
_MAX_FAILURES = 64
"""So many pairs of requests without anything in common end the search."""


class Shape(Struct, frozen=True):
    """`before` begins with the comma after the custom_id, `after` ends the request. `memo` is for whoever reads the
    shared values often: they are the same objects in each request."""

    before: bytes
    after: bytes
    shared: dict[str, Any]
    memo: dict[Any, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, before: bytes, after: bytes) -> Shape:
        leading = before.removeprefix(b',"params":{').removesuffix(b",")
        trailing = after.removesuffix(_CLOSING).removeprefix(b",")
        return cls(before, after, orjson.loads(b"{%b}" % b",".join(filter(None, (leading, trailing)))))

    def to_line(self) -> bytes:
        return orjson.dumps([self.before.decode(), self.after.decode()]) + b"\n"


class Line(Struct, frozen=True):
    """A request that was kept: its id, its params, and the shape that it has, if any."""

    custom_id: str
    params: dict[str, Any]
    shape: Shape | None

    @property
    def memo(self) -> dict[Any, Any] | None:
        """The memo of its shape, where the blocks before the messages are the shape's."""
        shape = self.shape
        if shape is None or any(name in self.params and name not in shape.shared for name in ("tools", "system")):
            return None
        return shape.memo


class Shapes:
    """Finds shapes while requests come in. `all` is what `read_line` needs."""

    def __init__(self) -> None:
        self.all: list[Shape] = []
        self._last = b""
        self._failures = 0

    def split(self, request: bytes) -> tuple[str, bytes] | None:
        """The custom_id and the line of a request that has the current shape. None: it has to be read whole."""
        if not self.all:
            return None
        shape = self.all[-1]
        opening = _OPENING.match(request)
        if opening is None:
            return None
        start = opening.start(2)
        if not (request.startswith(shape.before, start) and request.endswith(shape.after)):
            return None
        middle = request[start + len(shape.before) : len(request) - len(shape.after)]
        try:
            members = orjson.loads(b"{%b}" % middle)
        except orjson.JSONDecodeError:
            return None
        if not members or not members.keys().isdisjoint(shape.shared) or b"\n" in middle:
            return None
        custom_id = opening.group(1)
        return custom_id.decode(), b"%d %b %b\n" % (len(self.all) - 1, custom_id, middle)

    def learn(self, request: bytes) -> None:
        """A valid request that had to be read whole: compare it with the one before."""
        last, self._last = self._last, request
        if not last or len(self.all) >= _MAX_SHAPES or self._failures >= _MAX_FAILURES:
            return
        shape = _common(last, request)
        if shape is None:
            self._failures += 1
        else:
            self.all.append(shape)


def read_shapes(lines: Iterable[bytes]) -> list[Shape]:
    """The shapes that were written with `to_line`."""
    pairs = (orjson.loads(line) for line in lines)
    return [Shape.of(before.encode(), after.encode()) for before, after in pairs]


def read_line(line: bytes, shapes: Sequence[Shape]) -> Line:
    """A request as it was kept."""
    if line.startswith(b"{"):
        value = orjson.loads(line)
        return Line(value["custom_id"], value["params"], None)
    number, custom_id, members = line.split(b" ", 2)
    shape = shapes[int(number)]
    return Line(custom_id.decode(), shape.shared | orjson.loads(b"{%b}" % members), shape)


def _common(first: bytes, second: bytes) -> Shape | None:
    openings = _OPENING.match(first), _OPENING.match(second)
    if openings[0] is None or openings[1] is None:
        return None
    one, other = first[openings[0].start(2) :], second[openings[1].start(2) :]
    cuts = _cuts(other)
    if cuts is None or b"\n" in other:
        return None
    # A cut is the place of a comma between two members, or of the brace at either end.
    leading = _agree(one, other)
    trailing = len(other) - _agree(one[::-1], other[::-1])
    start = max((cut for cut in cuts[:-1] if cut < leading), default=cuts[0])
    end = min((cut for cut in cuts if cut >= trailing and cut > start), default=cuts[-1])
    before, after = other[: start + 1], other[end:]
    return Shape.of(before, after) if len(before) + len(after) >= _WORTH_BYTES else None


def _agree(one: bytes, other: bytes) -> int:
    """How many bytes both begin with."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[:middle] == other[:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _cuts(text: bytes) -> list[int] | None:
    """Where members of the params begin or end: `{`, each comma between them, `}`. None where it is written with
    spaces between them, or the params are not the last of the request."""
    decoder = JSONDecoder()
    letters = text.decode("latin-1")  # one letter a byte; what is no ASCII only stands inside strings
    position = len(b',"params":')
    cuts = [position]
    try:
        while letters[position] in "{,":
            _, position = decoder.raw_decode(letters, position + 1)
            if letters[position] != ":":
                return None
            _, position = decoder.raw_decode(letters, position + 1)
            cuts.append(position)
    except (JSONDecodeError, IndexError):
        return None
    return cuts if letters[position:] == _CLOSING.decode() else None
