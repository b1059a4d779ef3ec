"""Shapes of parameters: small descriptions of JSON values that can say what does not fit, and where.

Owns   checking a value against a shape, in messages for the author of a job, in the words of the job file, each of
       which names the key it is about; and the same shape as JSON Schema, for the author's editor.
Knows  nothing of the API.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, Protocol

from msgspec import Struct

from runner.errors import closest

ParamPath = tuple[str | int, ...]


class ParamProblem(Struct, frozen=True):
    """What is wrong at `path` (from `params:` down). `code` is stable, `hint` says what to do."""

    path: ParamPath
    code: str
    message: str
    hint: str | None = None
    severity: Literal["error", "warning"] = "error"


class Shape(Protocol):
    """Says what in a value does not fit; nothing where it fits."""

    def problems(self, value: Any, path: ParamPath) -> Iterator[ParamProblem]: ...

    def json_schema(self) -> dict[str, Any]:
        """The values that fit, as draft-07 JSON Schema."""
        ...


class Whole(Struct, frozen=True):
    """A whole number, at least `at_least`."""

    at_least: int

    def problems(self, value: Any, path: ParamPath) -> Iterator[ParamProblem]:
        if isinstance(value, bool) or not isinstance(value, int):
            yield wrong_type(path, "a whole number", value)
        elif value < self.at_least:
            yield ParamProblem(path, "out-of-range", f"`{_name(path)}` must be at least {self.at_least}, not {value}")

    def json_schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": self.at_least}


class Text(Struct, frozen=True):
    """Text with at least one character that is not white space."""

    def problems(self, value: Any, path: ParamPath) -> Iterator[ParamProblem]:
        if not isinstance(value, str):
            yield wrong_type(path, "text", value)
        elif not value.strip():
            yield ParamProblem(path, "out-of-range", f"`{_name(path)}` must not be empty")

    def json_schema(self) -> dict[str, Any]:
        return {"type": "string", "minLength": 1}


class Switch(Struct, frozen=True):
    """True or false."""

    def problems(self, value: Any, path: ParamPath) -> Iterator[ParamProblem]:
        if not isinstance(value, bool):
            yield wrong_type(path, "true or false", value)

    def json_schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


class Free(Struct, frozen=True):
    """A mapping that is handed on as it is."""

    def problems(self, value: Any, path: ParamPath) -> Iterator[ParamProblem]:
        if not isinstance(value, Mapping):
            yield wrong_type(path, "a mapping", value)

    def json_schema(self) -> dict[str, Any]:
        return {"type": "object"}


class Either(Struct, frozen=True):
    """One of several shapes, told apart by the JSON type; `expected` says them in words."""

    shapes: Mapping[type, Shape]
    expected: str

    def problems(self, value: Any, path: ParamPath) -> Iterator[ParamProblem]:
        for kind, shape in self.shapes.items():
            if isinstance(value, kind):
                yield from shape.problems(value, path)
                return
        yield wrong_type(path, self.expected, value)

    def json_schema(self) -> dict[str, Any]:
        return {"anyOf": [shape.json_schema() for shape in self.shapes.values()]}


class OneOf(Struct, frozen=True):
    """One of a few words."""

    words: tuple[str, ...]

    def problems(self, value: Any, path: ParamPath) -> Iterator[ParamProblem]:
        if value in self.words:
            return
        hint = f"one of: {', '.join(self.words)}"
        if isinstance(value, bool):
            # `off` and `no` are text in a job file, but a typed `${NAME}` or an override may still be a boolean.
            hint += "; put quotes around it"
        yield ParamProblem(path, "unknown-value", f"{value!r} is no value of `{_name(path)}`", hint)

    def json_schema(self) -> dict[str, Any]:
        return {"enum": list(self.words)}


class ListOf(Struct, frozen=True):
    """A list whose items all have one shape."""

    item: Shape

    def problems(self, value: Any, path: ParamPath) -> Iterator[ParamProblem]:
        if not isinstance(value, list | tuple):
            yield wrong_type(path, "a list", value)
            return
        for i, item in enumerate(value):
            yield from self.item.problems(item, (*path, i))

    def json_schema(self) -> dict[str, Any]:
        return {"type": "array", "items": self.item.json_schema()}


class Fields(Struct, frozen=True):
    """A mapping with known keys; those in `required` must be there."""

    fields: Mapping[str, Shape]
    required: tuple[str, ...] = ()

    def problems(self, value: Any, path: ParamPath) -> Iterator[ParamProblem]:
        if not isinstance(value, Mapping):
            yield wrong_type(path, "a mapping", value)
            return
        for name in self.required:
            if name not in value:
                yield ParamProblem(path, "missing-key", f"`{_name(path)}` needs `{name}`")
        for name, item in value.items():
            shape = self.fields.get(name)
            if shape is None:
                yield unknown_param((*path, name), name, f"`{_name(path)}`", self.fields)
            else:
                yield from shape.problems(item, (*path, name))

    def json_schema(self) -> dict[str, Any]:
        properties = {name: shape.json_schema() for name, shape in self.fields.items()}
        required = {"required": list(self.required)} if self.required else {}
        return {"type": "object", "properties": properties, **required, "additionalProperties": False}


class ByType(Struct, frozen=True):
    """A mapping whose `type` says which of several shapes it has."""

    kinds: Mapping[str, Fields]

    def problems(self, value: Any, path: ParamPath) -> Iterator[ParamProblem]:
        if not isinstance(value, Mapping):
            yield wrong_type(path, f"a mapping such as {{type: {next(iter(self.kinds))}}}", value)
            return
        kind = value.get("type")
        if kind is None:
            yield ParamProblem(path, "missing-key", f"`{_name(path)}` needs `type`", _words(self.kinds))
            return
        yield from OneOf(tuple(self.kinds)).problems(kind, (*path, "type"))
        if isinstance(kind, str) and kind in self.kinds:  # a list has no hash
            yield from self.kinds[kind].problems(value, path)

    def json_schema(self) -> dict[str, Any]:
        return {"anyOf": [self._of_kind(kind, fields.json_schema()) for kind, fields in self.kinds.items()]}

    @staticmethod
    def _of_kind(kind: str, schema: dict[str, Any]) -> dict[str, Any]:
        properties = {**schema["properties"], "type": {"const": kind}}
        return {**schema, "properties": properties, "required": ["type", *schema.get("required", ())]}


def wrong_type(path: ParamPath, expected: str, value: Any) -> ParamProblem:
    if value is None:
        message, hint = f"`{_name(path)}` is null", "leave it out to take the API's default"
        return ParamProblem(path, "wrong-type", message, hint)
    return ParamProblem(path, "wrong-type", f"`{_name(path)}` must be {expected}, not {value!r}")


def unknown_param(path: ParamPath, name: object, owner: str, known: Mapping[str, Any]) -> ParamProblem:
    close = closest(str(name), known)
    meant = f"did you mean `{close}`? " if close else ""
    return ParamProblem(path, "unknown-param", f"`{name}` is no field of {owner}", f"{meant}there are: {_words(known)}")


def _words(names: Mapping[str, Any]) -> str:
    return ", ".join(names)


def _name(path: ParamPath) -> str:
    return ".".join(str(part) for part in path)
