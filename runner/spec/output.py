"""What a reply must look like: `fields`, `labels` and `schema` all become one JSON Schema.

Owns   the compact grammar of `fields`:

    label: [positive, negative]        one of these values (null among them: it may be null)
    score: number                      string, number, integer, boolean, or a text of a form: date, date-time, …
    why: optional string               the same, or null
    tags: [string]                     a list of that type; `[{name: string, price: number}]` a list of objects
    days: optional list of date        the same in words
    address: {street: string}          an object with these fields
    when: {type: string, format: date} a mapping with JSON Schema keywords only, `type` among them, is a JSON Schema

Objects made from fields are closed and require every field: an optional one is there, and null. So each record has
the same shape, and a column of a sink names a field that exists.
Knows  nodes; schemas in files are read by `spec.inputs` and checked by `spec.json_schema`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from runner.errors import Problem, closest
from runner.spec.hints import choice_hint
from runner.spec.json_schema import KEYWORDS, TYPES, schema_problems
from runner.spec.node import ListNode, MapNode, Node, Path, ScalarNode, plain

_TEXT_FORMATS = ("date", "date-time", "time", "duration", "email", "uri", "uuid")
"""Formats that are types of fields: those that the API holds a model to and that people ask for by name."""
FIELD_TYPES = ("string", "number", "integer", "boolean", *_TEXT_FORMATS)
_OPTIONAL = "optional "
_LIST = "list of "
_MEANT = {
    **dict.fromkeys(("str", "text", "varchar", "char"), "string"),
    **dict.fromkeys(("int", "long"), "integer"),
    **dict.fromkeys(("float", "double", "decimal"), "number"),
    "bool": "boolean",
    **dict.fromkeys(("datetime", "timestamp"), "date-time"),
    "url": "uri",
    **dict.fromkeys(("list", "array"), "list of string"),
}
"""What other languages call these."""


def fields_schema(node: Node) -> tuple[dict[str, Any], list[Problem]]:
    """The JSON Schema of `output.fields`."""
    problems: list[Problem] = []
    return _object(node, problems), problems


def labels_schema(node: Node) -> tuple[dict[str, Any], list[Problem]]:
    """The JSON Schema of `output.labels`: an object with the one field `label`. What is no list of texts is told with
    the job's other values."""
    if not isinstance(node, ListNode):
        return {}, []
    labels, problems = plain(node), list(_doubles(node))
    if not labels or not all(isinstance(label, str) for label in labels):
        return {}, problems
    return _closed({"label": {"type": "string", "enum": labels}}), problems


def fields_path(node: Node, path: Path) -> Path:
    """The way from `fields` (or `labels`) to what a place in its JSON Schema was written as, as far as there is one."""
    if not path:
        return ()
    if isinstance(node, MapNode) and not _is_schema(node):
        if path[0] != "properties" or len(path) < 2 or (below := node.get(str(path[1]))) is None:
            return ()
        return (path[1], *fields_path(below, path[2:]))
    if isinstance(node, ListNode) and path[0] == "items" and node.items:
        return (0, *fields_path(node.items[0], path[1:]))
    return path if isinstance(node, MapNode) else ()


def _object(node: Node, problems: list[Problem]) -> dict[str, Any]:
    if not isinstance(node, MapNode):
        return {}
    return _closed({name: _field(entry.value, problems) for name, entry in node.entries.items()})


def _closed(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _field(node: Node, problems: list[Problem]) -> dict[str, Any]:
    match node:
        case ScalarNode():
            return _typed(node, problems)
        case ListNode():
            return _list(node, problems)
        case MapNode() if _is_schema(node):
            problems.extend(schema_problems(node))
            schema: dict[str, Any] = plain(node)
            return schema
        case MapNode():
            if not node.entries:
                problems.append(Problem("bad-field", "an object needs at least one field", node.span.location()))
            return _object(node, problems)


def _typed(node: ScalarNode, problems: list[Problem]) -> dict[str, Any]:
    text = node.value.strip() if isinstance(node.value, str) else ""
    name = text.removeprefix(_OPTIONAL).strip()
    is_list = name.startswith(_LIST)
    name = name.removeprefix(_LIST).strip()
    if name not in FIELD_TYPES:
        hint = choice_hint(name, FIELD_TYPES, "Types", _MEANT.get(name.lower()))
        hint += "; with `optional` before it, it may be null; `list of …` is a list"
        found = f"`{plain(node)}` is no type of a field" if node.value is not None else "a field needs a type"
        problems.append(Problem("bad-field", found, node.span.location(), hint))
        return {}
    schema = _of_type(name)
    if is_list:
        schema = {"type": "array", "items": schema}
    return {**schema, "type": [schema["type"], "null"]} if text.startswith(_OPTIONAL) else schema


def _of_type(name: str) -> dict[str, Any]:
    return {"type": "string", "format": name} if name in _TEXT_FORMATS else {"type": name}


def _list(node: ListNode, problems: list[Problem]) -> dict[str, Any]:
    """`[string]` and `[{…}]` are lists of that, any other list is the values that a field may have."""
    if len(node.items) == 1 and _is_type(node.items[0]):
        return {"type": "array", "items": _field(node.items[0], problems)}
    values = plain(node)
    if len(values) == 1 and isinstance(values[0], str) and _like_a_type(values[0]):
        found = f"`{values[0]}` is no type, and a field that has only one value says nothing"
        problems.append(Problem("bad-field", found, node.items[0].span.location(), "a list of texts is `[string]`"))
        return {}
    if not values or any(isinstance(value, dict | list) for value in values):
        found = "a list here holds the values that the field may have"
        hint = "[positive, negative]; a list of texts is `[string]`, a list of objects `[{name: string}]`"
        problems.append(Problem("bad-field", found, node.span.location(), hint))
        return {}
    problems.extend(_doubles(node))
    types = {_json_type(value) for value in values}
    named = sorted(types - {"null"})
    if len(named) != 1:
        return {"enum": values}
    return {"type": [named[0], "null"] if "null" in types else named[0], "enum": values}


def _doubles(node: ListNode) -> Iterator[Problem]:
    values = plain(node)
    for number, (value, item) in enumerate(zip(values, node.items, strict=True)):
        # 1, 1.0 and true are equal to Python.
        if any(earlier == value and type(earlier) is type(value) for earlier in values[:number]):
            yield Problem("bad-field", f"`{value}` is listed twice", item.span.location())


def _like_a_type(word: str) -> bool:
    """`[strings]` and `[optional string]` are meant as lists of a type, not as a field's only value."""
    return word.startswith((_OPTIONAL, _LIST)) or word in _MEANT or closest(word, FIELD_TYPES) is not None


def _is_type(node: Node) -> bool:
    if isinstance(node, MapNode):
        return True
    return isinstance(node, ScalarNode) and isinstance(node.value, str) and node.value in FIELD_TYPES


def _is_schema(node: MapNode) -> bool:
    kind = node.get("type")
    names = plain(kind) if kind is not None else None
    listed = names if isinstance(names, list) else [names]
    return all(isinstance(name, str) and name in TYPES for name in listed) and KEYWORDS.issuperset(node.entries)


def _json_type(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    return "number" if isinstance(value, float) else "string"
