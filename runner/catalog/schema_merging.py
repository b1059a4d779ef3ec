"""Several schemas as one: what all of them ask for together.

Owns   `Merged`, the conjunction of schemas without references and unions, `Told`, the words for what of them is not
       sent, and the words of weakening: `Part`, `Finding`, `Unsayable`, `Impossible`.
Knows  the keywords of JSON Schema. What is made of them is `schema_weakening`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from runner.catalog.schema_references import REFERENCES, SchemaPath
from runner.catalog.schema_values import is_same, with_integers
from runner.encoding import encode_text

MAX_TOLD = 200
"""Characters of a constraint that a description tells: bounds and patterns are short, whole schemas are no help."""

_SILENT = frozenset(
    {"$schema", "$id", "$comment", "$anchor", "$dynamicAnchor", "$defs", "definitions", "default", "deprecated"}
    | {"examples", "readOnly", "writeOnly", "$vocabulary", "contentMediaType", "contentEncoding", "contentSchema"}
    | {"unevaluatedProperties", "discriminator"}
)
"""Put no demand on a value, or none that closed objects do not keep."""


class Finding(Struct, frozen=True):
    """What cannot be sent as it is: where in the user's schema, why, and what can be done. `code` is a problem's."""

    path: SchemaPath
    reason: str
    hint: str | None = None
    code: str = "schema-outside-subset"


class Unsayable(Exception):
    """A schema that the subset has no form for."""

    def __init__(self, *findings: Finding) -> None:
        super().__init__(findings)
        self.findings = findings


class Impossible(Exception):
    """A schema that no value fits."""


class Part(Struct, frozen=True):
    """One of several schemas that a value has to fit."""

    schema: Any
    path: SchemaPath

    def below(self, *steps: str | int) -> Part:
        schema = self.schema
        for step in steps:
            schema = schema[step]
        return Part(schema, (*self.path, *steps))


class Merged:
    """Several schemas as one: what all of them ask for together, or less."""

    def __init__(self, path: SchemaPath) -> None:
        self.path = path
        self.parts: list[Part] = []
        self.types: list[str] | None = None
        self.literals: list[Any] | None = None
        self.properties: dict[str, list[Part]] = {}
        self.required: dict[str, SchemaPath] = {}
        self.items: list[Part] = []
        self.min_items: int | None = None
        self.format: Any = None
        self.opened: list[Finding] = []
        self._closed_to: list[frozenset[str]] = []
        self._unevaluated = False

    @property
    def closed(self) -> bool:
        return bool(self._closed_to) or self._unevaluated

    def admits(self, name: str) -> bool:
        return all(name in names for names in self._closed_to)

    def add(self, part: Part, told: Told) -> None:
        schema = part.schema
        self.parts.append(part)
        if "type" in schema:
            self._add_types(schema["type"])
        for literals in ([schema["enum"]] if "enum" in schema else []) + (
            [[schema["const"]]] if "const" in schema else []
        ):
            self._add_literals(literals)
        for name in schema.get("properties", ()):
            self.properties.setdefault(name, []).append(part.below("properties", name))
        for number, name in enumerate(schema.get("required", ())):
            self.required.setdefault(name, (*part.path, "required", number))
        self._add_openness(part)
        self._add_items(part)
        if "minItems" in schema:
            self.min_items = max(self.min_items or 0, int(schema["minItems"]))
        if "format" in schema:
            if self.format is None:
                self.format = schema["format"]
            elif schema["format"] != self.format:
                told.add("format", schema["format"])
        told.of(part, taken=_TAKEN)

    def _add_types(self, declared: str | list[str]) -> None:
        named = [declared] if isinstance(declared, str) else list(declared)
        if self.types is None:
            self.types = named
            return
        both = [kind for kind in self.types if kind in with_integers(named)]
        # `number` and `integer` have the integers in common.
        both += [kind for kind in named if kind == "integer" and "number" in self.types and kind not in both]
        self.types = both

    def _add_literals(self, literals: Sequence[Any]) -> None:
        if self.literals is None:
            self.literals = list(literals)
        else:
            self.literals = [value for value in self.literals if any(is_same(value, other) for other in literals)]

    def _add_openness(self, part: Part) -> None:
        schema = part.schema
        patterns = schema.get("patternProperties")
        further = schema.get("additionalProperties")
        if schema.get("unevaluatedProperties") is False:
            self._unevaluated = True
        if further is False and not patterns:
            self._closed_to.append(frozenset(schema.get("properties", ())))
            return
        found = [
            keyword
            for keyword in ("patternProperties", "additionalProperties")
            if schema.get(keyword) not in (None, False, {})
        ]
        for keyword in found:
            reason = "the object is sent closed, as the API demands: a reply has its named properties only"
            self.opened.append(
                Finding((*part.path, keyword), reason, "write `additionalProperties: false` to say the same")
            )

    def _add_items(self, part: Part) -> None:
        schema = part.schema
        if "prefixItems" in schema:
            rest = schema.get("items", True)
            if rest is True or rest == {}:
                return  # anything may follow
            several = [*schema["prefixItems"], *([] if rest is False else [rest])]
            self.items.append(Part({"anyOf": several}, (*part.path, "prefixItems")))
        elif "items" in schema:
            self.items.append(part.below("items"))


_TAKEN = frozenset(
    {"type", "enum", "const", "properties", "required", "additionalProperties", "items", "minItems", "format"}
)


class Told:
    """Constraints that are not sent, in the words of a description."""

    def __init__(self) -> None:
        self._words: dict[str, None] = {}

    def add(self, keyword: str, value: Any) -> None:
        text = encode_text(value)
        if len(text) <= MAX_TOLD:
            self._words[f"{keyword}: {text}"] = None

    def of(self, part: Part, *, taken: frozenset[str]) -> None:
        for keyword, value in part.schema.items():
            if keyword in taken or keyword in _SILENT or keyword in _ELSEWHERE:
                continue
            self.add(keyword, value)

    def union(self, union: Sequence[Part]) -> None:
        if union:
            self.add(str(union[0].path[-2]), [part.schema for part in union])

    def on(self, sent: dict[str, Any], plain: Sequence[Part]) -> dict[str, Any]:
        if "$ref" in sent:
            return sent  # nothing stands beside a reference
        for keyword in ("title", "description"):
            said = next((part.schema[keyword] for part in plain if keyword in part.schema), None)
            if said is not None:
                within = sent.get(keyword)
                sent[keyword] = f"{said} {within}" if within and keyword == "description" and within != said else said
        if self._words:
            before = f"{sent['description']} " if "description" in sent else ""
            sent["description"] = f"{before}({'; '.join(self._words)})"
        return sent


_ELSEWHERE = frozenset({"title", "description", "anyOf", "oneOf", "allOf", *REFERENCES})
