"""Weakening: of a user's schema, the one that is sent.

Owns   `weakened`, which takes out of a schema what the API's subset (`schema_subset`) does not have, so that every
       value that the schema accepts can still be said, and says the rest in descriptions, for the model to keep to.
Knows  schemas only. A reply is always checked against the user's own schema (`replies.schema`).

A schema is a conjunction of keywords, so leaving one out accepts more, never less. Where the API demands something
that accepts less, that is told: `refused` where nothing sensible can be sent (a map with free keys, recursion, a value
of any type), `narrowed` where the author has written that more is allowed than a reply can now hold. That objects are
closed is the API's own rule and is told only where the author has opened one.

    {allOf: [A, B]}, $ref with siblings      one schema of both: closing A and B apart would leave nothing
    {…, anyOf: [A, B]}                       either with the rest of the schema, where that can be said; else left out
    oneOf                                    anyOf
    $ref to $defs                            stays; to any other place, by anchor or `$dynamicRef`: what is there
    prefixItems                              items that fit any of them
    enum and const with lists and objects    schemas that accept them

Definitions that nothing refers to are not sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct, field

from runner.catalog.schema_merging import Finding, Impossible, Merged, Part, Told, Unsayable
from runner.catalog.schema_references import HOLDS_LIST, HOLDS_NAMED, HOLDS_SCHEMA, REFERENCES, References, SchemaPath
from runner.catalog.schema_subset import STRING_FORMATS, beyond_limits
from runner.catalog.schema_values import json_type, schema_of_values, with_integers

MAX_ALTERNATIVES = 8
"""So many alternatives are told apart within a schema that says more than they; each repeats the rest of it."""

_IMPLIES = {
    **dict.fromkeys(("properties", "required", "minProperties", "maxProperties", "propertyNames"), "object"),
    **dict.fromkeys(("additionalProperties", "patternProperties", "dependentRequired", "dependentSchemas"), "object"),
    **dict.fromkeys(("items", "prefixItems", "minItems", "maxItems", "uniqueItems", "contains"), "array"),
    **dict.fromkeys(("minLength", "maxLength", "pattern", "format"), "string"),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"), "number"),
}
_SUBSTANCE = frozenset({"type", "enum", "const", *_IMPLIES})


class Weakened(Struct, frozen=True):
    """`schema` is what is sent, empty where `refused` says why nothing can be."""

    schema: dict[str, Any]
    refused: tuple[Finding, ...] = ()
    narrowed: tuple[Finding, ...] = ()


def weakened(schema: Mapping[str, Any]) -> Weakened:
    """The schema to send for a user's schema, whose form has been checked."""
    made = _made(schema, distributes=True)
    if made.refused and all(found.code == "schema-too-large" for found in made.refused):
        # Alternatives that repeat the rest of their schema count its optional properties again.
        return _made(schema, distributes=False)
    return made


def _made(schema: Mapping[str, Any], *, distributes: bool) -> Weakened:
    weakening = _Weakening(schema, distributes=distributes)
    try:
        sent = weakening.root()
    except Unsayable as error:
        return Weakened({}, tuple(dict.fromkeys(error.findings)))
    except Impossible:
        return Weakened(
            {}, (Finding((), "no value fits this schema", "look for `false` and types that exclude one another"),)
        )
    too_large = [Finding((), reason, hint, "schema-too-large") for reason, hint in beyond_limits(sent)]
    return Weakened({} if too_large else sent, tuple(too_large), tuple(dict.fromkeys(weakening.narrowed)))


def is_object(sent: Mapping[str, Any]) -> bool:
    """Whether all that a schema of the subset accepts are objects."""
    alternatives = sent.get("anyOf")
    if isinstance(alternatives, list):
        definitions = sent.get("$defs", {})
        return all(is_object({"$defs": definitions, **_resolved(part, definitions)}) for part in alternatives)
    return bool(sent.get("type") == "object")


def _resolved(part: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in part:
        return part
    resolved: Mapping[str, Any] = definitions[_name_in(part["$ref"])]
    return _resolved(resolved, definitions)


def _name_in(reference: str) -> str:
    return reference.removeprefix("#/$defs/").replace("~1", "/").replace("~0", "~")


class _Gathered(Struct):
    """The conjunction of some parts, by keyword."""

    path: SchemaPath
    plain: list[Part] = field(default_factory=list)
    unions: list[list[Part]] = field(default_factory=list)
    references: list[tuple[SchemaPath, Part]] = field(default_factory=list)

    @property
    def has_substance(self) -> bool:
        return any(_SUBSTANCE & part.schema.keys() for part in self.plain)


class _Weakening:
    def __init__(self, root: Mapping[str, Any], *, distributes: bool) -> None:
        self._root = root
        self._distributes = distributes
        self._references = References(root)
        self._under_work: list[SchemaPath] = []
        self._names: dict[SchemaPath, str] = {}
        self._definitions: dict[str, dict[str, Any] | Unsayable | Impossible] = {}
        self.narrowed: list[Finding] = []

    def root(self) -> dict[str, Any]:
        self._under_work.append(())
        sent = self._of([Part(self._root, ())], inlines=True)
        used = _used(sent, self._definitions)
        return {**({"$defs": used} if used else {}), **sent}

    def _of(self, parts: Sequence[Part], *, inlines: bool = False) -> dict[str, Any]:
        """The schema to send for values that fit all of these."""
        gathered = _Gathered(parts[0].path)
        self._gather(parts, gathered)
        if len(gathered.references) == 1 and not gathered.has_substance and not gathered.unions and not inlines:
            return self._reference(*gathered.references[0])
        opened = len(self._under_work)
        try:
            while gathered.references:
                target, named_at = gathered.references.pop()
                self._enter(target, named_at.path)
                self._gather([Part(self._references.at(target), target)], gathered)
            return self._conjunction(gathered)
        finally:
            del self._under_work[opened:]

    # -- gathering ----------------------------------------------------------------------------------------------------

    def _gather(self, parts: Sequence[Part], into: _Gathered) -> None:
        for part in parts:
            schema = part.schema
            if schema is False:
                raise Impossible
            if not isinstance(schema, Mapping):
                continue  # true
            into.plain.append(part)
            for keyword in REFERENCES:
                if isinstance(schema.get(keyword), str):
                    into.references.append((self._target(part, keyword), part.below(keyword)))
            for keyword in ("anyOf", "oneOf"):
                if isinstance(schema.get(keyword), list):
                    into.unions.append([part.below(keyword, number) for number in range(len(schema[keyword]))])
            self._gather([part.below("allOf", number) for number in range(len(schema.get("allOf", ())))], into)

    def _target(self, part: Part, keyword: str) -> SchemaPath:
        reference = part.schema[keyword]
        target = self._references.place(reference)
        if target is None:
            raise Unsayable(Finding((*part.path, keyword), f"{reference!r} is not in this schema"))
        return target

    # -- references ---------------------------------------------------------------------------------------------------

    def _enter(self, target: SchemaPath, named_at: SchemaPath) -> None:
        if target in self._under_work:
            raise Unsayable(_recursion(target, named_at))
        self._under_work.append(target)

    def _reference(self, target: SchemaPath, named_at: Part) -> dict[str, Any]:
        """A reference alone: the SDK's own transformation sends it without titles and descriptions beside it."""
        if target in self._under_work:
            raise Unsayable(_recursion(target, named_at.path))
        if len(target) != 2 or target[0] not in ("$defs", "definitions"):
            self._under_work.append(target)
            try:
                return self._of([Part(self._references.at(target), target)])
            finally:
                self._under_work.pop()
        name = self._names.get(target)
        if name is None:
            name = self._names[target] = self._free_name(str(target[1]))
            self._define(name, target)
        made = self._definitions[name]
        if isinstance(made, Exception):
            raise made
        return {"$ref": f"#/$defs/{name.replace('~', '~0').replace('/', '~1')}"}

    def _free_name(self, name: str) -> str:
        taken = set(self._names.values())
        while name in taken:
            name += "_"
        return name

    def _define(self, name: str, target: SchemaPath) -> None:
        self._under_work.append(target)
        try:
            self._definitions[name] = self._of([Part(self._references.at(target), target)])
        except (Unsayable, Impossible) as error:
            self._definitions[name] = error
        finally:
            self._under_work.pop()

    # -- the conjunction ----------------------------------------------------------------------------------------------

    def _conjunction(self, gathered: _Gathered) -> dict[str, Any]:
        unions = gathered.unions
        told = Told()
        sent = self._united(gathered)
        if sent is not None:
            left = unions[1:]
            for part in gathered.plain:
                told.of(part, taken=_SUBSTANCE)
        else:
            sent, left = self._plain(gathered, told), unions
        for union in left:
            told.union(union)
        self._tell_lost(gathered, left, sent)
        return told.on(sent, gathered.plain)

    def _united(self, gathered: _Gathered) -> dict[str, Any] | None:
        """The first union, with what stands beside it; None where there is none, or it is to be left out."""
        if not gathered.unions:
            return None
        if not gathered.has_substance:
            return self._alternatives([[part] for part in gathered.unions[0]])
        return self._distributed(gathered, gathered.unions[0])

    def _alternatives(self, alternatives: Sequence[Sequence[Part]]) -> dict[str, Any]:
        made: list[dict[str, Any]] = []
        for parts in alternatives:
            try:
                sent = self._of(parts)
            except Impossible:
                continue
            if sent not in made:
                made.append(sent)
        if not made:
            raise Impossible
        return dict(made[0]) if len(made) == 1 else {"anyOf": made}

    def _distributed(self, gathered: _Gathered, union: Sequence[Part]) -> dict[str, Any] | None:
        """Each alternative together with what stands beside them; None where that cannot be said."""
        if not self._distributes or len(union) > MAX_ALTERNATIVES:
            return None
        beside = [
            Part({key: value for key, value in part.schema.items() if key in _SUBSTANCE}, part.path)
            for part in gathered.plain
        ]
        narrowed = len(self.narrowed)
        try:
            return self._alternatives([[*beside, part] for part in union])
        except Unsayable:
            del self.narrowed[narrowed:]
            return None

    def _plain(self, gathered: _Gathered, told: Told) -> dict[str, Any]:
        merged = Merged(gathered.path)
        for part in gathered.plain:
            merged.add(part, told)
        types = merged.types
        literals = merged.literals
        if literals is not None:
            fitting = [value for value in literals if types is None or json_type(value) in with_integers(types)]
            if not fitting:
                raise Impossible
            as_const = not any("enum" in part.schema for part in merged.parts)
            return schema_of_values(fitting, types, as_const=as_const)
        if types is None:
            types = [self._implied(gathered, merged)]
        if not types:
            raise Impossible
        sent: dict[str, Any] = {"type": types[0] if len(types) == 1 else types}
        if "object" in types:
            self._object(merged, sent)
        if "array" in types:
            self._array(merged, sent, told)
        if merged.format is not None:
            if "string" in types and merged.format in STRING_FORMATS:
                sent["format"] = merged.format
            else:
                told.add("format", merged.format)
        return sent

    def _implied(self, gathered: _Gathered, merged: Merged) -> str:
        """The type that a schema without one must mean."""
        implied = {kind for part in gathered.plain for key in part.schema if (kind := _IMPLIES.get(key))}
        if len(implied) == 1:
            (kind,) = implied
            self.narrowed.append(
                Finding(
                    merged.path, f"the schema says nothing of its type and is sent as {kind}", f"add `type: {kind}`"
                )
            )
            return kind
        hint = "give it a `type`, `enum`, `const` or `anyOf`; or take JSON out of the text: `extract: {json: true}`"
        raise Unsayable(Finding(merged.path, "the schema says nothing of its type, and the API wants one", hint))

    def _object(self, merged: Merged, sent: dict[str, Any]) -> None:
        properties: dict[str, Any] = {}
        findings: list[Finding] = []
        for name, parts in merged.properties.items():
            if not merged.admits(name):
                continue
            try:
                properties[name] = self._of(parts)
            except Impossible:
                continue  # a property that is never there
            except Unsayable as error:
                findings += error.findings
        for name, path in merged.required.items():
            if name in merged.properties or not merged.admits(name):
                if name not in properties and not findings:
                    raise Impossible
            else:
                hint = "describe it under `properties`, or take it out of `required`"
                findings.append(Finding(path, f"{name!r} is required and is no property", hint))
        if not merged.properties and not merged.closed and not findings:
            hint = (
                "name its `properties`; or make it a list of {key, value} objects; or take JSON out of the text: "
                "`extract: {json: true}`"
            )
            findings.append(
                Finding(merged.path, "an object without named properties: the API takes no maps with free keys", hint)
            )
        if findings:
            raise Unsayable(*findings)
        if properties and not merged.closed:
            self.narrowed += merged.opened
        sent["properties"] = properties
        required = [name for name in merged.required if name in properties]
        if required or any("required" in part.schema for part in merged.parts):
            sent["required"] = required
        sent["additionalProperties"] = False

    def _array(self, merged: Merged, sent: dict[str, Any], told: Told) -> None:
        if merged.items:
            gathered = _Gathered(merged.path)
            try:
                self._gather(merged.items, gathered)
                if gathered.has_substance or gathered.unions or gathered.references:
                    sent["items"] = self._of(merged.items)
            except Impossible as error:
                if merged.min_items:
                    raise Impossible from error
                sent["items"] = {"type": "null"}  # a list that has to be empty: there is no way to say so
        if merged.min_items is not None:
            sent["minItems"] = min(merged.min_items, 1)
            if merged.min_items > 1:
                told.add("minItems", merged.min_items)

    def _tell_lost(self, gathered: _Gathered, left: Sequence[Sequence[Part]], sent: Mapping[str, Any]) -> None:
        """Properties that only what is left out speaks of, which a closed object can no longer have."""
        if "properties" not in sent:
            return
        conditions = [
            part.below(keyword) for part in gathered.plain for keyword in ("then", "else") if keyword in part.schema
        ]
        conditions += [
            part.below("dependentSchemas", name)
            for part in gathered.plain
            for name in part.schema.get("dependentSchemas", ())
        ]
        for part in [*(part for union in left for part in union), *conditions]:
            lost = sorted(set(_mentioned(part.schema)) - sent["properties"].keys())
            if lost:
                names = ", ".join(f"`{name}`" for name in lost)
                self.narrowed.append(
                    Finding(
                        part.path,
                        f"{names} cannot be in a reply: only what is left out here speaks of it",
                        "name it under `properties` of the object itself",
                    )
                )


def _recursion(target: SchemaPath, named_at: SchemaPath) -> Finding:
    name = "the schema itself" if not target else f"`#/{'/'.join(str(part) for part in target)}`"
    hint = (
        "write out as many levels as you need; or take JSON out of the text, `extract: {json: true}`, which is checked "
        "here against the whole schema"
    )
    return Finding(named_at, f"{name} refers to itself here: the API takes no recursion", hint, "schema-recursive")


def _mentioned(schema: Any) -> Iterator[str]:
    """Names of properties that a schema speaks of, on its own level."""
    if not isinstance(schema, Mapping):
        return
    properties = schema.get("properties")
    if isinstance(properties, Mapping):
        yield from (name for name, part in properties.items() if part is not False)
    for keyword in HOLDS_LIST - {"prefixItems"}:
        for part in schema.get(keyword, ()):
            yield from _mentioned(part)


def _used(sent: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """The definitions that what is sent refers to, in the order in which they were met."""
    wanted: set[str] = set()
    open_: list[Any] = [sent]
    while open_:
        schema = open_.pop()
        if not isinstance(schema, Mapping):
            continue
        if "$ref" in schema:
            name = _name_in(schema["$ref"])
            if name not in wanted:
                wanted.add(name)
                open_.append(definitions[name])
        for keyword, value in schema.items():
            if keyword in HOLDS_SCHEMA:
                open_.append(value)
            elif keyword in HOLDS_LIST:
                open_ += value
            elif keyword in HOLDS_NAMED:
                open_ += value.values()
    return {name: schema for name, schema in definitions.items() if name in wanted}
