"""The body of a create, cut into requests while it arrives.

Owns   the synchronous rules: JSON, `requests` with 1 to 100,000 entries, each with a `custom_id` of the right form that
       is unique, and `params` that are an object. What is in the params is checked when they are processed.
Knows  bytes. Memory is bounded by the largest request, plus the ids; nothing else is kept.

A request ends where the next one begins: at `},{"` and the key that the first request begins with. A piece up to there
that is valid JSON is that request whole, because a JSON object says itself where it ends; one that is not goes on to
the next such place. A body that is written in another way (spaces, keys in changing order) is kept from there on and
read at its end as a whole, which is slower and needs its size in memory.

Source: the API's batch guide; the wording for `custom_id` is from anthropic-sdk-python issue 984.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import orjson

from runner.simulator.batch_shapes import Shapes
from runner.simulator.refusal import Refused

MAX_REQUESTS = 100_000
_OPENING = re.compile(rb'\s*\{\s*"requests"\s*:\s*\[\s*')
_FIRST_KEY = re.compile(rb'\{"[a-z_]+":')
_ENDING = re.compile(rb"\s*\]\s*\}\s*\Z")
_HEAD_BYTES = 4_096
"""Where a body has not begun with `requests` by then, it is written in another way."""

_TRIES = 8
"""So many places that look like the end of a request may lie inside one (in a text about batches, say)."""

_CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_KEYS = frozenset({"custom_id", "params"})


class EnvelopeReader:
    """Give it the body with `feed` and end with `finish`; both return requests as lines for `batch_shapes.read_line`,
    with the shapes found on the way.

    The first refusal is kept and raised by `finish`: until then the body has to be received all the same.
    """

    def __init__(self) -> None:
        self.count = 0
        self.shapes = Shapes()
        self.first_id = ""
        self._ids: set[str] = set()
        self._ids_hash = hashlib.sha256()
        self._rest = b""
        self._searched = 0
        self._tries = 0
        self._delimiter = b""
        self._open = False
        self._odd: list[bytes] | None = None
        self._refused: Refused | None = None

    @property
    def ids_sha256(self) -> str:
        """Over the ids in their order, each followed by a line end."""
        return self._ids_hash.hexdigest()

    def feed(self, chunk: bytes) -> list[bytes]:
        if self._refused is not None:
            return []
        if self._odd is not None:
            self._odd.append(chunk)
            return []
        self._rest += chunk
        lines: list[bytes] = []
        try:
            if self._open or self._begin():
                self._cut(lines)
        except Refused as refused:
            self._refused = refused
        return lines

    def finish(self) -> list[bytes]:
        """The requests that were still open. Raises Refused."""
        lines: list[bytes] = []
        if self._refused is None:
            end = _ENDING.search(self._rest) if self._open and self._odd is None else None
            last = self._rest[: end.start()] if end is not None else b""
            if not last or not self._take(last, lines):
                self._read_whole(lines)
        if self._refused is not None:
            raise self._refused
        if self.count == 0:
            raise Refused("requests: List should have at least 1 item after validation, not 0")
        return lines

    def _begin(self) -> bool:
        """Find the first request. False where more must come first."""
        opening = _OPENING.match(self._rest)
        first = _FIRST_KEY.match(self._rest, opening.end()) if opening else None
        if opening is None or first is None:
            if len(self._rest) >= _HEAD_BYTES:
                self._odd = []
            return False
        self._rest = self._rest[opening.end() :]
        self._delimiter = b"}," + first.group()
        self._open = True
        return True

    def _cut(self, lines: list[bytes]) -> None:
        rest, start, searched = self._rest, 0, self._searched
        while (end := rest.find(self._delimiter, searched)) >= 0:
            if self._take(rest[start : end + 1], lines):
                start = end + 2
                self._tries = 0
            elif (tries := self._tries + 1) < _TRIES:
                self._tries = tries
            else:
                self._odd = []
                break
            searched = end + 2
        # The delimiter may be cut in two by the end of what has come.
        self._rest = rest[start:]
        self._searched = max(searched - start, len(self._rest) - len(self._delimiter) + 1)

    def _take(self, piece: bytes, lines: list[bytes]) -> bool:
        """Add a request. False where the piece is not valid JSON by itself."""
        short = self.shapes.split(piece)
        if short is not None:
            self._check_id(short[0], f"requests.{self.count}")
            lines.append(short[1])
            return True
        try:
            value = orjson.loads(piece)
        except orjson.JSONDecodeError:
            return False
        self._check(value)
        self.shapes.learn(piece)
        lines.append(piece + b"\n" if b"\n" not in piece else orjson.dumps(value) + b"\n")
        return True

    def _read_whole(self, lines: list[bytes]) -> None:
        """Take what is left of a body that is written in another way."""
        text = self._rest + b"".join(self._odd or ())
        self._rest, self._odd = b"", None
        try:
            body = orjson.loads(b'{"requests":[' + text if self._open else text)
        except orjson.JSONDecodeError as error:
            raise Refused(f"The request body is not valid JSON: {error}") from None
        if not isinstance(body, dict):
            raise Refused("Input should be a valid dictionary or object to extract fields from")
        for name in body:
            if name != "requests":
                raise Refused(f"{name}: Extra inputs are not permitted")
        if "requests" not in body:
            raise Refused("requests: Field required")
        if not isinstance(body["requests"], list):
            raise Refused("requests: Input should be a valid list")
        for value in body["requests"]:
            self._check(value)
            lines.append(orjson.dumps(value) + b"\n")

    def _check(self, value: Any) -> None:
        path = f"requests.{self.count}"
        if not isinstance(value, dict):
            raise Refused(f"{path}: Input should be a valid dictionary or object to extract fields from")
        if value.keys() != _KEYS:
            _refuse_keys(value, path)
        if not isinstance(value["params"], dict):
            raise Refused(f"{path}.params: Input should be a valid dictionary or object to extract fields from")
        self._check_id(value["custom_id"], path)

    def _check_id(self, custom_id: Any, path: str) -> None:
        if self.count >= MAX_REQUESTS:
            raise Refused(f"requests: List should have at most {MAX_REQUESTS} items after validation")
        if not isinstance(custom_id, str):
            raise Refused(f"{path}.custom_id: Input should be a valid string")
        if _CUSTOM_ID.fullmatch(custom_id) is None:
            _refuse_id(custom_id, path)
        if custom_id in self._ids:
            raise Refused(f"{path}.custom_id: Value should be unique within the batch, {custom_id!r} is repeated")
        self._ids.add(custom_id)
        self._ids_hash.update(custom_id.encode() + b"\n")
        self.first_id = self.first_id or custom_id
        self.count += 1


def _refuse_keys(value: Mapping[str, Any], path: str) -> None:
    for name in ("custom_id", "params"):
        if name not in value:
            raise Refused(f"{path}.{name}: Field required")
    extra = next(name for name in value if name not in _KEYS)
    raise Refused(f"{path}.{extra}: Extra inputs are not permitted")


def _refuse_id(custom_id: str, path: str) -> None:
    if len(custom_id) > 64:
        raise Refused(f"{path}.custom_id: String should have at most 64 characters")
    raise Refused(f"{path}.custom_id: String should match pattern '^[a-zA-Z0-9_-]{{1,64}}$'")
