"""Is this a JSON Schema? Asked of the schemas that users write, with the place of what is wrong.

Owns   the check of a schema's own form: the keywords' values, references, patterns; and what of it asks for nothing
       though it looks as if it did (words of other drafts, misspelled ones, formats that nobody knows).
Knows  nodes. Whether a reply fits a schema is `replies.schema`'s to say; what the API takes of it is
       `catalog.schema_weakening`'s.

Why not the metaschema: the library that checks with it costs 0.1 s of import, names no place in the file, and does
not look whether a `$ref` leads anywhere.
Source: JSON Schema 2020-12, core sections 8 and 10, validation sections 6 to 9.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from runner.catalog.schema_references import (
    ANCHORS,
    HOLDS_LIST,
    HOLDS_NAMED,
    HOLDS_SCHEMA,
    REFERENCES,
    References,
    schemas_in,
)
from runner.errors import Location, Problem, closest
from runner.spec.hints import choice_hint
from runner.spec.node import ListNode, MapNode, Node, ScalarNode, locate, plain
from runner.spec.patterns import BadPattern, compile_pattern

TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")

_COUNT = frozenset(
    {"minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties", "minContains", "maxContains"}
)
_NUMBER = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})
_TEXT = frozenset(
    {"title", "description", "format", "$schema", "$id", "$comment", "pattern", "contentMediaType", "contentEncoding"}
    | {*ANCHORS, *REFERENCES}
)
_ANY = frozenset(
    {"default", "const", "examples", "deprecated", "readOnly", "writeOnly", "contentSchema", "$vocabulary"}
)
KEYWORDS = (
    HOLDS_SCHEMA | HOLDS_LIST | HOLDS_NAMED | _COUNT | _NUMBER | _TEXT | _ANY
    | {"type", "enum", "required", "dependentRequired", "uniqueItems"}
)  # fmt: skip
FORMATS = (
    "date-time", "date", "time", "duration", "email", "idn-email", "hostname", "idn-hostname", "ipv4", "ipv6", "uri",
    "uri-reference", "iri", "iri-reference", "uri-template", "json-pointer", "relative-json-pointer", "regex", "uuid",
)  # fmt: skip
"""The formats that are asserted: all of 2020-12 (validation, section 7.3)."""

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_OF_OTHERS = {
    "nullable": 'OpenAPI\'s; write `type: [string, "null"]`',
    "example": "OpenAPI's; write `examples: […]`",
    "dependencies": "of draft 7; write `dependentRequired` or `dependentSchemas`",
    "additionalItems": "of draft 7; write `prefixItems` for the first items and `items` for those behind them",
    "$recursiveRef": "of draft 2019-09; write `$ref`",
    "id": "of draft 4; write `$id`",
}
"""Keywords that other dialects have and 2020-12 ignores, and what to write instead."""


def schema_problems(root: Node) -> list[Problem]:
    """All that is wrong with the form of a schema, in file order."""
    return list(_schema(root, References(plain(root))))


def schema_warnings(root: Node) -> list[Problem]:
    """What asks for nothing, though its author will have meant something by it, in file order."""
    return list(_warnings(root))


def _warnings(root: Node) -> Iterator[Problem]:
    dialect = root.get("$schema") if isinstance(root, MapNode) else None
    if isinstance(dialect, ScalarNode) and str(dialect.value).rstrip("#") != _DIALECT:
        found = f"`{dialect.value}` is read as JSON Schema 2020-12"
        hint = f"for most schemas that is the same; see that it is, and write `{_DIALECT}` or nothing"
        yield Problem("schema-dialect", found, dialect.span.location(), hint, "warning")
    for path, schema in schemas_in(plain(root)):
        for name in schema:
            if name not in KEYWORDS and (why := _no_keyword(name)) is not None:
                where = locate(root, (*path, name), key=True)
                yield Problem(
                    "unknown-keyword", f"`{name}` is no keyword, so it asks for nothing", where, why, "warning"
                )
        kind = schema.get("format")
        if isinstance(kind, str) and kind not in FORMATS:
            where = locate(root, (*path, "format"))
            hint = choice_hint(kind, FORMATS, "Formats")
            yield Problem(
                "unknown-format", f"nobody knows the format `{kind}`, so any value has it", where, hint, "warning"
            )


def _no_keyword(name: str) -> str | None:
    """What to do about a word that is no keyword; None where it may be a note of the author's."""
    if name.startswith("x-"):
        return None
    if name in _OF_OTHERS:
        return f"it is {_OF_OTHERS[name]}"
    meant = closest(name, KEYWORDS)
    return f"did you mean `{meant}`?" if meant is not None else None


def _schema(node: Node, references: References, *, is_root: bool = True) -> Iterator[Problem]:
    if isinstance(node, ScalarNode) and isinstance(node.value, bool):
        return
    if not isinstance(node, MapNode):
        yield _bad(node, "a schema is a mapping, true or false")
        return
    for name, entry in node.entries.items():
        value = entry.value
        if name == "items" and isinstance(value, ListNode):
            yield _bad(value, "`items` is one schema for all items", "a schema for each place is `prefixItems: […]`")
        elif name in HOLDS_SCHEMA:
            yield from _schema(value, references, is_root=False)
        elif name in HOLDS_LIST:
            yield from _schemas(name, value, references)
        elif name in HOLDS_NAMED:
            yield from _named_schemas(name, value, references)
        elif name in _CHECKS:
            yield from _CHECKS[name](name, value)
        if name in REFERENCES:
            yield from _reference(value, references)
        if name == "$id" and not is_root:
            hint = "take it out, and refer to this part by `#/$defs/…` or `$anchor`"
            yield _bad(value, "`$id` within a schema makes it several documents, which is not supported", hint)


def _schemas(name: str, node: Node, references: References) -> Iterator[Problem]:
    if not isinstance(node, ListNode) or not node.items:
        yield _bad(node, f"`{name}` is a list of schemas")
        return
    for item in node.items:
        yield from _schema(item, references, is_root=False)


def _named_schemas(name: str, node: Node, references: References) -> Iterator[Problem]:
    if not isinstance(node, MapNode):
        yield _bad(node, f"`{name}` is a mapping of names to schemas")
        return
    for key, entry in node.entries.items():
        if name == "patternProperties":
            yield from _expression(key, entry.key.location())
        yield from _schema(entry.value, references, is_root=False)


def _type(_name: str, node: Node) -> Iterator[Problem]:
    names = node.items if isinstance(node, ListNode) and node.items else (node,)
    for item in names:
        value = item.value if isinstance(item, ScalarNode) else None
        if value not in TYPES:
            shown = "null" if value is None and isinstance(item, ScalarNode) else plain(item)
            hint = 'put it in quotes: "null"' if value is None else choice_hint(str(value), TYPES, "Types")
            yield _bad(item, f"`{shown}` is no type", hint)


def _enum(_name: str, node: Node) -> Iterator[Problem]:
    if not isinstance(node, ListNode) or not node.items:
        yield _bad(node, "`enum` is a list of values")


def _required(name: str, node: Node) -> Iterator[Problem]:
    values = plain(node)
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        yield _bad(node, f"`{name}` is a list of property names", "an optional property is one that is not in the list")
    elif len(set(values)) < len(values):
        yield _bad(node, f"`{name}` names a property twice")


def _count(name: str, node: Node) -> Iterator[Problem]:
    value = plain(node)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        yield _bad(node, f"`{name}` is a whole number of at least 0")


def _number(name: str, node: Node) -> Iterator[Problem]:
    value = plain(node)
    if isinstance(value, bool) or not isinstance(value, int | float):
        hint = "it is the bound itself since draft 6" if isinstance(value, bool) else None
        yield _bad(node, f"`{name}` is a number", hint)
    elif name == "multipleOf" and value <= 0:
        yield _bad(node, "`multipleOf` is more than 0")


def _unique(name: str, node: Node) -> Iterator[Problem]:
    if not isinstance(plain(node), bool):
        yield _bad(node, f"`{name}` is true or false")


def _dependent(name: str, node: Node) -> Iterator[Problem]:
    if not isinstance(node, MapNode):
        yield _bad(node, f"`{name}` is a mapping of property names to lists of those that come with them")
        return
    for entry in node.entries.values():
        yield from _required(name, entry.value)


def _text(name: str, node: Node) -> Iterator[Problem]:
    if not isinstance(plain(node), str):
        yield _bad(node, f"`{name}` is text")


def _pattern(name: str, node: Node) -> Iterator[Problem]:
    yield from _text(name, node)
    if isinstance(node, ScalarNode) and isinstance(node.value, str):
        yield from _expression(node.value, node.span.location())


def _expression(pattern: str, where: Location) -> Iterator[Problem]:
    try:
        compile_pattern(pattern)
    except BadPattern as error:
        yield Problem("bad-schema", str(error), where, error.hint)


_CHECKS: Mapping[str, Callable[[str, Node], Iterator[Problem]]] = {
    "type": _type,
    "enum": _enum,
    "required": _required,
    "dependentRequired": _dependent,
    "uniqueItems": _unique,
    **dict.fromkeys(_COUNT, _count),
    **dict.fromkeys(_NUMBER, _number),
    **dict.fromkeys(_TEXT, _text),
    "pattern": _pattern,
}


def _reference(node: Node, references: References) -> Iterator[Problem]:
    """Only references inside the schema work: nothing is ever fetched."""
    value = plain(node)
    if not isinstance(value, str) or references.place(value) is not None:
        return
    if not value.startswith("#"):
        yield _bad(node, f"`{value}` leads out of this schema", "copy what it names under `$defs`: `#/$defs/…`")
        return
    yield _bad(node, f"`{value}` is not in this schema", choice_hint(value, references.names(), "There are"))


def _bad(node: Node, message: str, hint: str | None = None) -> Problem:
    return Problem("bad-schema", message, node.span.location(), hint)
