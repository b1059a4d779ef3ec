"""JSON values that fit a schema, drawn from a digest.

Owns   `Draws`, an endless deterministic source of small numbers, and `instance`, which fills a schema of the API's
       subset.
Knows  schemas that passed `output_schema`; nothing of requests.

Like the real API, optional properties come after the required ones, and are sometimes left out. Like a model it
keeps to what descriptions tell beyond the schema (`told`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from runner.simulator.output_schema import resolve, types_of
from runner.simulator.told import number_within, text_within, told_in

Item = TypeVar("Item")

_WORDS = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "harbor",
    "iris", "juniper", "kestrel", "lumen", "maple", "nectar", "onyx", "pebble")  # fmt: skip
_MAX_ITEMS = 3


class Draws:
    """Numbers that depend on nothing but the seed. 256 bits at a time."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._round = 0
        self._bits = 0

    def below(self, bound: int) -> int:
        """A number from 0 up to, without, `bound` (at most 2**32)."""
        if self._bits < 1 << 64:
            digest = hashlib.sha256(f"{self._seed}/{self._round}".encode()).digest()
            self._bits = int.from_bytes(digest, "big")
            self._round += 1
        self._bits, number = divmod(self._bits, bound)
        return number

    def pick(self, items: Sequence[Item]) -> Item:
        return items[self.below(len(items))]

    def share(self) -> float:
        """A number from 0 up to, without, 1."""
        return self.below(1 << 32) / (1 << 32)


def instance(schema: Mapping[str, Any], draws: Draws, echo: str) -> Any:
    """A value that fits `schema`. Free strings end in `echo`, so that an answer to another request is recognised."""
    return _fill(schema, schema, draws, echo)


def _fill(schema: Mapping[str, Any], root: Mapping[str, Any], draws: Draws, echo: str) -> Any:
    if "$ref" in schema:
        return _fill(resolve(schema["$ref"], root) or {}, root, draws, echo)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return draws.pick(schema["enum"])
    if "anyOf" in schema:
        return _fill(_outer(schema, "anyOf") | draws.pick(schema["anyOf"]), root, draws, echo)
    if "allOf" in schema:
        return _fill(_merged(schema, root), root, draws, echo)
    kind = draws.pick(types_of(schema) or ["null"])
    if kind == "object":
        return _fill_object(schema, root, draws, echo)
    if kind == "array":
        told = told_in(schema)
        least = max(schema.get("minItems", 0), int(told.get("minItems", 0)))
        most = min(max(least, _MAX_ITEMS), int(told.get("maxItems", _MAX_ITEMS + least)))
        count = least + draws.below(max(1, most + 1 - least))
        return [_fill(schema["items"], root, draws, echo) for _ in range(count)] if "items" in schema else []
    if kind == "string":
        text = _string(schema.get("format"), draws, echo)
        return text_within(text, told_in(schema)) if "format" not in schema else text
    told = told_in(schema) if kind in ("integer", "number") else {}
    return number_within(kind, told, draws) if told else _scalar(kind, draws)


def _fill_object(schema: Mapping[str, Any], root: Mapping[str, Any], draws: Draws, echo: str) -> dict[str, Any]:
    properties = schema.get("properties") or {}
    required = [name for name in properties if name in (schema.get("required") or ())]
    optional = [name for name in properties if name not in required and draws.below(4)]
    return {name: _fill(properties[name], root, draws, echo) for name in required + optional}


def _outer(schema: Mapping[str, Any], keyword: str) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if name != keyword}


def _merged(schema: Mapping[str, Any], root: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of an `allOf` as one schema: properties and required add up, other keywords overwrite."""
    merged = _outer(schema, "allOf")
    for part in schema["allOf"]:
        part = resolve(part["$ref"], root) or {} if "$ref" in part else part
        properties = {**(merged.get("properties") or {}), **(part.get("properties") or {})}
        required = [*(merged.get("required") or ()), *(part.get("required") or ())]
        merged |= part
        if properties:
            merged |= {"properties": properties, "required": required}
    return merged


def _scalar(kind: str, draws: Draws) -> Any:
    if kind == "integer":
        return draws.below(100)
    if kind == "number":
        return draws.below(1_000) / 10
    return bool(draws.below(2)) if kind == "boolean" else None


def _string(text_format: str | None, draws: Draws, echo: str) -> str:
    number = draws.below(1 << 32)
    day, second = 1 + number % 28, number % 60
    match text_format:
        case "date-time":
            return f"2026-10-{day:02}T08:30:{second:02}Z"
        case "date":
            return f"2026-10-{day:02}"
        case "time":
            return f"08:30:{second:02}Z"
        case "duration":
            return f"PT{second}S"
        case "email":
            return f"{draws.pick(_WORDS)}.{number:x}@example.com"
        case "hostname":
            return f"{draws.pick(_WORDS)}-{number:x}.example.com"
        case "uri":
            return f"https://example.com/{draws.pick(_WORDS)}/{number:x}"
        case "ipv4":
            return f"192.0.2.{number % 256}"
        case "ipv6":
            return f"2001:db8::{number % 65536:x}"
        case "uuid":
            digits = hashlib.sha256(f"{echo}/{number}".encode()).hexdigest()
            return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:32]}"
        case _:
            return f"{draws.pick(_WORDS)} {draws.pick(_WORDS)} {echo}"
