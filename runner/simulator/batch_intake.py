"""Receiving the body of a create: to a file, while it arrives.

Owns   the bound on its size and what is told of a body once it is there.
Knows  `EnvelopeReader` for what must hold of it. Memory does not grow with the body.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from msgspec import Struct

from runner.simulator.acts import BATCH_UPLOAD
from runner.simulator.batch_envelope import EnvelopeReader
from runner.simulator.batch_shapes import Shape
from runner.simulator.exchange import Exchange
from runner.simulator.faults import Faults
from runner.simulator.refusal import Refused

MAX_BODY_BYTES = 256_000_000
"""256 MB, in the stricter reading. Source: batch guide."""


class Received(Struct, frozen=True):
    """A body that is in order. `file` has a line for each request; `sha256` is of the body as it came."""

    file: Path
    count: int
    sha256: str
    ids_sha256: str
    first_id: str
    shapes: tuple[Shape, ...]

    def contains(self, needle: bytes) -> bool:
        if any(needle in shape.before or needle in shape.after for shape in self.shapes):
            return True
        with self.file.open("rb") as lines:
            return any(needle in line for line in lines)


async def receive(exchange: Exchange, path: Path, faults: Faults) -> Received:
    """Put the body into a file at `path`, which is not there after a refusal. Raises Refused."""
    announced = exchange.request.content_length or 0
    if announced > MAX_BODY_BYTES:
        raise Refused("Request exceeds the maximum size", 413)
    cut = faults.choose(BATCH_UPLOAD, b"%d" % announced)
    reader, hashing, size = EnvelopeReader(), hashlib.sha256(), 0
    try:
        with path.open("wb") as file:
            async for chunk in exchange.request.content.iter_any():
                size += len(chunk)
                if size > MAX_BODY_BYTES:
                    raise Refused("Request exceeds the maximum size", 413)
                if cut is not None and size >= announced // 2:
                    await exchange.reset()
                hashing.update(chunk)
                file.write(b"".join(reader.feed(chunk)))
            file.write(b"".join(reader.finish()))
    except BaseException:
        _drop(path)
        raise
    shapes = tuple(reader.shapes.all)
    return Received(path, reader.count, hashing.hexdigest(), reader.ids_sha256, reader.first_id, shapes)


def _drop(path: Path) -> None:
    path.unlink(missing_ok=True)
