"""The tools of a job: from what is written under `tools:` to what requests and the run need.

Owns   the two forms of a tool (a server tool by its type, a function by its name), what is wrong with them, each where
       it is written, and what fits only together: names, the choice, the mode, the cap.
Knows  trees, the catalog's server tools, and functions by what they say of themselves. Finding a function imports the
       module that it is in, which runs the author's code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path as FilePath
from typing import Any

from runner.catalog.schema_weakening import weakened
from runner.catalog.server_tools import SERVER_TOOLS, runs_code, server_tool_problems
from runner.errors import Problem, closest
from runner.spec.json_schema import schema_problems
from runner.spec.node import Entry, ListNode, MapNode, Node, Path, ScalarNode, child, locate, plain
from runner.spec.values import parse_duration
from runner.tools import DEFAULT_MAX_BYTES, DEFAULT_TIMEOUT_S, Tool, ToolError
from runner.tools.functions import Described, Function, check_takes, describe, find_function
from runner.types import CacheTtl

CLIENT_KEYS = (
    "python", "name", "description", "input_schema", "strict", "cache", "timeout", "max_result_bytes", "defer_loading",
    "input_examples",
)  # fmt: skip
"""The keys of a tool that is a function."""

NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
"""What the API takes for a tool's name (tool use guide, "Specifying client tools")."""

MAX_STRICT_TOOLS = 20
"""Of one request (structured outputs guide, "Limits")."""

_AT_KEY = frozenset({"unknown-param", "wrong-place"})
_FORMS = "a tool is `{type: web_search_20250305, …}`, or a function: `{python: module:function, …}`"


class ToolReader:
    """Reads the tools of one job. `problems` collects what is wrong with them."""

    def __init__(self, tree: MapNode, root: FilePath) -> None:
        self.problems: list[Problem] = []
        self._tree = tree
        self._root = root

    def tools(self) -> tuple[Tool, ...]:
        """Those that can be had."""
        nodes = self._tree.get("tools")
        found = []
        for number, node in enumerate(nodes.items if isinstance(nodes, ListNode) else ()):
            tool = self._tool(node, ("tools", number))
            if tool is not None:
                found.append((tool, node))
        self._check_names(found)
        self._check_strict([tool for tool, _ in found])
        return tuple(tool for tool, _ in found)

    def _tool(self, node: Node, path: Path) -> Tool | None:
        if isinstance(node, ScalarNode) and isinstance(node.value, str):
            node = MapNode({"python": Entry(node.span, node)}, node.span)
        if not isinstance(node, MapNode):
            return None  # that it is neither text nor a mapping is told with the other values
        if "python" in node.entries and "type" in node.entries:
            found = "`python` and `type` exclude one another"
            self._tell("one-of", found, node.entries["type"], "a function needs no type, a server tool no function")
            return None
        if "python" in node.entries:
            return self._function(node)
        if "type" in node.entries:
            return self._server_tool(node, path)
        if "input_schema" in node.entries:
            self._tell(
                "missing-key", "the tool names no function that would run it", node, "add `python: module:function`"
            )
        else:
            self._tell("missing-key", "the tool has neither `type` nor `python`", node, _FORMS)
        return None

    # -- run by the API --------------------------------------------------------------------------------------------

    def _server_tool(self, node: MapNode, path: Path) -> Tool | None:
        values = plain(node)
        cache, told = self._cache(node), len(self.problems)
        for found in server_tool_problems(values, path):
            where = locate(self._tree, found.path, key=found.code in _AT_KEY)
            self.problems.append(Problem(found.code, found.message, where, found.hint))
        if len(self.problems) > told:
            return None
        rest = {key: value for key, value in values.items() if key not in ("type", "name", "cache")}
        definition = {"type": values["type"], "name": SERVER_TOOLS[values["type"]].name, **rest}
        return Tool(definition, cache)

    # -- functions -------------------------------------------------------------------------------------------------

    def _function(self, node: MapNode) -> Tool | None:
        told = len(self.problems)
        for name, entry in node.entries.items():
            if name == "cache_control":
                found = "breakpoints of a job are written `cache`"
                self._tell("wrong-place", found, entry, "write `cache: true`, `cache: 5m` or `cache: 1h`")
            elif name not in CLIENT_KEYS:
                close = closest(name, CLIENT_KEYS)
                meant = f"did you mean `{close}`? " if close else ""
                hint = f"{meant}Keys here: {', '.join(CLIENT_KEYS)}"
                self._tell("unknown-key", f"`{name}` is no key of a function that is a tool", entry, hint)
        values = plain(node)
        for key, kind, expected in (
            ("python", str, "`module:function`"), ("name", str, "text"), ("description", str, "text"),
            ("strict", bool, "true or false"), ("defer_loading", bool, "true or false"),
        ):  # fmt: skip
            if key in values and (not isinstance(values[key], kind) or values[key] == ""):
                self._wrong(key, expected, node)
        timeout_s, max_bytes = self._timeout(node), self._max_bytes(node)
        cache, examples = self._cache(node), self._examples(node)
        if len(self.problems) > told:
            return None
        found_function = self._found(node)
        if found_function is None:
            return None
        schema = self._schema(node, *found_function)
        definition = self._definition(node, found_function[1], schema, examples)
        if schema is None or definition is None:
            return None
        whole = schema if definition["input_schema"] != schema else None
        return Tool(definition, cache, values["python"], timeout_s, max_bytes, whole)

    def _found(self, node: MapNode) -> tuple[Function, Described] | None:
        place = node.entries["python"]
        try:
            function = find_function(plain(place.value), self._root)
        except ToolError as error:
            self._tell(error.code, error.message, place.value, error.hint)
            return None
        return function, describe(function)

    def _schema(self, node: MapNode, function: Function, described: Described) -> dict[str, Any] | None:
        given = node.get("input_schema")
        place: Node = given or node.entries["python"].value
        try:
            if given is None:
                if described.problem is not None:
                    raise described.problem
                schema = described.input_schema
            else:
                schema = self._given_schema(given)
                if schema is not None:
                    check_takes(function, schema)
        except ToolError as error:
            self._tell(error.code, f"`{plain(node)['python']}`: {error.message}", place, error.hint)
            return None
        if schema is not None and plain(node).get("strict"):
            for found in weakened(schema).refused:
                pointer = "/" + "/".join(str(part) for part in found.path)
                hint = "leave `strict` out: inputs are checked against the schema here as well"
                self._tell(found.code, f"the input's schema, {pointer}: {found.reason}", place, hint)
                return None
        return schema

    def _given_schema(self, given: Node) -> dict[str, Any] | None:
        problems = schema_problems(given)
        self.problems.extend(problems)
        if problems:
            return None
        if not isinstance(given, MapNode) or plain(given).get("type") != "object":
            hint = "write `{type: object, properties: {…}}`"
            self._tell("bad-schema", "the schema of a tool's input must be that of an object", given, hint)
            return None
        return dict(plain(given))

    def _definition(
        self, node: MapNode, described: Described, schema: Mapping[str, Any] | None, examples: Any
    ) -> dict[str, Any] | None:
        """The API's object, in one order of keys, so that equal tools have equal bytes."""
        values = plain(node)
        name = values.get("name", described.name)
        if not NAME.fullmatch(name):
            place = node.get("name") or node.entries["python"].value
            hint = "letters, digits, `_` and `-`, at most 128; write `name:`"
            self._tell("bad-name", f"{name!r} cannot be the name of a tool", place, hint)
            return None
        if schema is None:
            return None
        strict = values.get("strict", False)
        definition: dict[str, Any] = {"name": name}
        description = values.get("description", described.description)
        if description:
            definition["description"] = description
        else:
            hint = "write a docstring, or `description:`: it is all that a model knows of the tool"
            self._tell("no-description", f"the tool `{name}` has no description", node.entries["python"].value, hint)
            return None
        definition["input_schema"] = weakened(schema).schema if strict else dict(schema)
        if strict:
            definition["strict"] = True
        if values.get("defer_loading"):
            definition["defer_loading"] = True
        if examples:
            definition["input_examples"] = examples
        return definition

    def _timeout(self, node: MapNode) -> float:
        given = node.get("timeout")
        if given is None:
            return DEFAULT_TIMEOUT_S
        try:
            seconds = parse_duration(plain(given))
        except ValueError:
            seconds = 0.0
        if seconds <= 0:
            self._wrong("timeout", "a duration greater than 0 with its unit, such as 30s", node)
        return seconds

    def _max_bytes(self, node: MapNode) -> int:
        given = node.get("max_result_bytes")
        if given is None:
            return DEFAULT_MAX_BYTES
        value = plain(given)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 10_000_000:
            self._wrong("max_result_bytes", "a whole number from 1 to 10,000,000", node)
            return DEFAULT_MAX_BYTES
        return value

    def _examples(self, node: MapNode) -> Any:
        given = node.get("input_examples")
        if given is None:
            return None
        values = plain(given)
        if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
            self._wrong("input_examples", "a list of mappings, each an input", node)
        return values

    def _cache(self, node: MapNode) -> bool | CacheTtl | None:
        given = node.get("cache")
        value = plain(given) if given is not None else None
        if value is None or isinstance(value, bool) or value in ("5m", "1h"):
            return value
        self._wrong("cache", "true, 5m or 1h", node)
        return None

    # -- all of them -----------------------------------------------------------------------------------------------

    def _check_names(self, tools: list[tuple[Tool, Node]]) -> None:
        seen: set[str] = set()
        for tool, node in tools:
            if tool.name in seen:
                place = child(node, "name") or child(node, "python") or child(node, "type") or node
                hint = "give one of them another `name`" if tool.python else "keep one of them"
                self._tell("duplicate-tool", f"another tool is called `{tool.name}` too", place, hint)
            seen.add(tool.name)
        if tools and all(tool.definition.get("defer_loading") for tool, _ in tools):
            hint = "at least one tool must be there from the start: the one that searches for the others"
            self._tell("all-deferred", "every tool has `defer_loading`", tools[0][1], hint)

    def _check_strict(self, tools: list[Tool]) -> None:
        strict = sum(bool(tool.definition.get("strict")) for tool in tools)
        nodes = self._tree.get("tools")
        if strict > MAX_STRICT_TOOLS and nodes is not None:
            found = f"{strict} tools are strict, and the API takes {MAX_STRICT_TOOLS}"
            self._tell("too-many-strict", found, nodes, "leave `strict` out where it matters least")

    def _wrong(self, key: str, expected: str, node: MapNode) -> None:
        value = node.get(key)
        if isinstance(value, ScalarNode):
            found = f"`{plain(value)!r}`"
        else:
            found = "a mapping" if isinstance(value, MapNode) else "a list"
        self._tell("wrong-value", f"`{key}`: expected {expected}, found {found}", value or node)

    def _tell(self, code: str, message: str, place: Node | Entry, hint: str | None = None) -> None:
        span = place.key if isinstance(place, Entry) else place.span
        self.problems.append(Problem(code, message, span.location(), hint))


def choice_problems(tree: MapNode, tools: tuple[Tool, ...]) -> Iterator[Problem]:
    """What is wrong with `params.tool_choice` once the tools are known."""
    params = tree.get("params")
    choice = child(params, "tool_choice") if params is not None else None
    if not isinstance(choice, MapNode):
        return
    values = plain(choice)
    if tree.get("tools") is None:
        where = locate(tree, ("params", "tool_choice"), key=True)
        yield Problem("no-tools", "`tool_choice` needs `tools`", where, "add `tools:`, or take the choice out")
    elif values.get("type") == "tool" and tools:
        names = [tool.name for tool in tools]
        name = child(choice, "name")
        if name is not None and plain(name) not in names:
            close = closest(str(plain(name)), names)
            hint = f"did you mean `{close}`?" if close else f"tools here: {', '.join(names)}"
            yield Problem("unknown-tool", f"there is no tool {plain(name)!r}", name.span.location(), hint)


def container_problems(tree: MapNode, tools: tuple[Tool, ...]) -> Iterator[Problem]:
    """A container is for tools that run code."""
    params = tree.get("params")
    container = child(params, "container") if params is not None else None
    if container is not None and not runs_code([tool.definition for tool in tools]):
        found = "`container` does nothing without a tool that runs code"
        where = locate(tree, ("params", "container"), key=True)
        yield Problem("no-effect", found, where, "add `{type: code_execution_20260521}` to `tools`", "warning")


def prefill_problems(tree: MapNode) -> Iterator[Problem]:
    """Tools and the beginning of an answer: the model could not go on from it after a call."""
    messages = tree.get("messages")
    last = messages.items[-1] if isinstance(messages, ListNode) and messages.items else None
    role = child(last, "role") if last is not None else None
    if tree.get("tools") is not None and role is not None and plain(role) == "assistant":
        found = "a last message of the assistant and tools exclude one another: after a call no answer could begin so"
        yield Problem("tools-and-prefill", found, role.span.location(), "let the messages end with the user's")


def mode_problems(tree: MapNode) -> Iterator[Problem]:
    """What tools do not go with: functions with batches, server tools with a cap."""
    mode = tree.get("mode")
    first = _first(tree, functions=True)
    if mode is not None and plain(mode) == "batch" and first is not None:
        found = "functions cannot be run in batch mode: a batch cannot ask for one and go on"
        hint = "write `mode: parallel` (or `auto`, which then means it), or take the function out"
        yield Problem("parallel-only", found, first.span.location(), hint)
    limits = tree.get("limits")
    cap = child(limits, "max_cost_usd") if limits is not None else None
    server = _first(tree, functions=False)
    if cap is not None and plain(cap) is not None and server is not None:
        found = (
            "a cap cannot hold with a tool that the API runs: nothing bounds what it reads, which is billed as input"
        )
        hint = "take `max_cost_usd` out and bound the tool (`max_uses`, `max_content_tokens`), or take the tool out"
        yield Problem("unbounded-cost", found, cap.span.location(), hint)


def calls_functions(tree: MapNode) -> bool:
    """Whether a tool of the job is a function."""
    return _first(tree, functions=True) is not None


def _first(tree: MapNode, *, functions: bool) -> Node | None:
    """Where the first tool of that kind is written."""
    nodes = tree.get("tools")
    if not isinstance(nodes, ListNode):
        return None
    for node in nodes.items:
        kind = child(node, "type")
        if (kind is None) == functions:
            return node
    return None
