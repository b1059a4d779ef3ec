"""What a sink says that does not go together: keys of another kind of sink, `live` where it cannot be.

Owns   the checks of each sink's keys against the Options of its plugin, before there is a run.
Knows  the tree (for places, with `${NAME}` unreplaced) and plugins by name; loads no sink's class.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from typing import Any

from msgspec.structs import replace
from pydantic import BaseModel, TypeAdapter, ValidationError

from runner.errors import Location, Problem, SpecError
from runner.extras import missing_library
from runner.plugins import PLACES, Plugin, sink_at
from runner.spec.hints import choice_hint
from runner.spec.node import ListNode, MapNode, ScalarNode, plain
from runner.spec.sink import OF_EVERY_SINK, SinkSpec
from runner.spec.validate import expected_by


def check_sinks(tree: MapNode) -> Iterator[Problem]:
    """All problems of this kind."""
    sinks = tree.get("sinks")
    for node in sinks.items if isinstance(sinks, ListNode) else ():
        if isinstance(node, MapNode):
            yield from _check(node, plain(node))


def _check(node: MapNode, said: dict[str, Any]) -> Iterator[Problem]:
    place = next((name for name in PLACES if isinstance(said.get(name), str) and said[name]), None)
    if place is None:
        return
    where = node.entries[place].value.span.location()
    try:
        plugin = _plugin(place, said)
        options = plugin.options()
    except SpecError as error:
        if place != "path":  # of a path it is told where the path is looked at
            yield from (Problem(found.code, found.message, where, found.hint) for found in error.problems)
        return
    known = {*SinkSpec.model_fields} & {*options.model_fields, *OF_EVERY_SINK}
    for key, entry in node.entries.items():
        if key not in known and said[key] is not None:
            message = f"`{key}` is no key of {plugin.kind} sinks"
            yield Problem("unknown-key", message, entry.key.location(), choice_hint(key, sorted(known), "Its keys"))
    yield from _wrong_values(node, said, plugin, options)
    yield from _missing(plugin, options, where)
    yield from _secrets_in_file(node)
    if said.get("when") == "live" and not getattr(options, "takes_parts", False):
        at = node.entries["when"].value.span.location()
        message = f"{plugin.kind} sinks are written when the run has ended: they take no records before"
        yield Problem("not-live", message, at, "leave `when` out; a table, a webhook and a function can be live")


def _plugin(place: str, said: dict[str, Any]) -> Plugin:
    """A path that is still a template tells its format by its end all the same."""
    return sink_at(place, said[place], table=said.get("table") is not None)


def _wrong_values(node: MapNode, said: dict[str, Any], plugin: Plugin, options: type[BaseModel]) -> Iterator[Problem]:
    """What the plugin's own validators say, and values that only other kinds of sink have; of a value with a `${NAME}`
    only the run knows what it is."""
    given = {key: value for key, value in said.items() if key in options.model_fields and not _is_later(value)}
    try:
        options(**given)
    except ValidationError as error:
        for found in error.errors(include_url=False, include_input=False):
            key = str(found["loc"][0]) if found["loc"] else ""
            if found["type"] == "sink" and key in node.entries:
                where = node.entries[key].value.span.location()
                yield Problem("wrong-value", f"`{key}`: {found['msg']}", where)
            elif found["type"] == "literal_error" and key in node.entries and _some_sink_takes(key, said[key]):
                where = node.entries[key].value.span.location()
                message = f"`{key}` of {plugin.kind} sinks: expected {expected_by(found)}, found `{said[key]}`"
                yield Problem("wrong-value", message, where)


def _some_sink_takes(key: str, value: Any) -> bool:
    """Where none does, that is told with the job's other values."""
    try:
        TypeAdapter(SinkSpec.model_fields[key].rebuild_annotation()).validate_python(value)
    except ValidationError:
        return False
    return True


def _is_later(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_is_later, value.values()))
    return value is None or (isinstance(value, str) and "${" in value)


def _missing(plugin: Plugin, options: Any, where: Location) -> Iterator[Problem]:
    """A library that is not installed here."""
    for module in getattr(options, "needs", ()):
        if importlib.util.find_spec(module) is None:
            error = missing_library(module, f"the {plugin.kind} sink")
            yield Problem(error.code, error.message, where, error.hint)


_SECRET_HEADER = re.compile(r"(?i).*(authorization|cookie|token|secret|password|api[-_]?key).*")


def _secrets_in_file(node: MapNode) -> Iterator[Problem]:
    """Secrets that stand in the job: they would be in its history, and in the folder of every run. Those of `url` are
    told where URLs are looked at."""
    headers = node.get("headers")
    entries = headers.entries if isinstance(headers, MapNode) else {}
    found = [(f"headers.{name}", each.value) for name, each in entries.items() if _SECRET_HEADER.fullmatch(name)]
    for name, value in (*found, ("signing_secret", node.get("signing_secret"))):
        if isinstance(value, ScalarNode) and isinstance(value.value, str) and "${" not in value.value:
            message = f"`{name}`: a secret stands in this file"
            hint = "take it from the environment: ${NAME}; the variable may stand in .env, which is not committed"
            where = replace(value.span.location(), source=None)  # the line would show it
            yield Problem("secret-in-file", message, where, hint)
