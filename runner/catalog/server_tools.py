"""The tools that the API itself defines: their types, their names, and what each of them may be told.

Owns   every type of the API's `tools` but the custom one: those that the API runs (*server tools*), with the shapes of
       their keys, and those that it only describes and leaves to the client to run, with the reason why a job cannot
       have them; what a use of one costs beside its tokens.
Knows  the API by its documents and the SDK's types, but never imports the SDK (1.5 s): a test compares types, names and
       keys with the installed SDK's `ToolUnionParam`, and fails when a new version brings one that is not decided on.

Source: SDK 2.12.0 `types/tool_union_param.py` and what it names; platform.claude.com agents-and-tools/tool-use
(server-tools, web-search-tool, web-fetch-tool, code-execution-tool, tool-search-tool), read November 2026.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msgspec import Struct, field

from runner.catalog.shapes import ByType, Fields, ListOf, OneOf, ParamPath, ParamProblem, Shape, Switch, Text, Whole
from runner.errors import closest
from runner.types import PICO_PER_USD

WEB_SEARCH_PICO = 10 * PICO_PER_USD // 1000
"""A web search costs 10 USD a thousand, in batches too (web search guide, "Usage and pricing"). Fetching costs tokens
only; executing code is billed by the hour and per organisation, which no reply tells."""

_CALLERS = ListOf(OneOf(("direct", "code_execution_20250825", "code_execution_20260120", "code_execution_20260521")))
_COMMON: Mapping[str, Shape] = {"allowed_callers": _CALLERS, "defer_loading": Switch(), "strict": Switch()}
_DOMAINS: Mapping[str, Shape] = {"allowed_domains": ListOf(Text()), "blocked_domains": ListOf(Text())}
_LOCATION = ByType(
    {
        "approximate": Fields(
            {"type": Text(), "city": Text(), "country": Text(), "region": Text(), "timezone": Text()},
        )
    }
)
_SEARCH: Mapping[str, Shape] = {**_COMMON, **_DOMAINS, "max_uses": Whole(1), "user_location": _LOCATION}

_NAMED = Fields({"type": Text(), "tools": ListOf(Fields({"type": OneOf(("tool_reference",)), "tool_name": Text()}))})
_ALL_OR_NONE: Mapping[str, Fields] = {"all": Fields({"type": Text()}), "none": Fields({"type": Text()})}
_RESULTS_OF = ByType({**_ALL_OR_NONE, "only": _NAMED, "except": _NAMED})
_FETCH: Mapping[str, Shape] = {
    **_COMMON,
    **_DOMAINS,
    "max_uses": Whole(1),
    "max_content_tokens": Whole(1),
    "citations": Fields({"enabled": Switch()}),
    "url_sources": Fields(
        {
            "client_tool_results": _RESULTS_OF,
            "server_tool_results": _RESULTS_OF,
            "user_input": ByType(_ALL_OR_NONE),
        }
    ),
}
_INCLUSION: Mapping[str, Shape] = {"response_inclusion": OneOf(("full", "excluded"))}
_CACHED: Mapping[str, Shape] = {"use_cache": Switch()}


class ServerTool(Struct, frozen=True):
    """A tool that the API runs. `name` is what it is called, which the API lets nobody choose."""

    name: str
    keys: Mapping[str, Shape] = field(default_factory=lambda: _COMMON)


SERVER_TOOLS: Mapping[str, ServerTool] = {
    "web_search_20250305": ServerTool("web_search", _SEARCH),
    "web_search_20260209": ServerTool("web_search", _SEARCH),
    "web_search_20260318": ServerTool("web_search", {**_SEARCH, **_INCLUSION}),
    "web_fetch_20250910": ServerTool("web_fetch", _FETCH),
    "web_fetch_20260209": ServerTool("web_fetch", _FETCH),
    "web_fetch_20260309": ServerTool("web_fetch", {**_FETCH, **_CACHED}),
    "web_fetch_20260318": ServerTool("web_fetch", {**_FETCH, **_CACHED, **_INCLUSION}),
    "code_execution_20250522": ServerTool("code_execution"),
    "code_execution_20250825": ServerTool("code_execution"),
    "code_execution_20260120": ServerTool("code_execution"),
    "code_execution_20260521": ServerTool("code_execution"),
    "tool_search_tool_bm25_20251119": ServerTool("tool_search_tool_bm25"),
    "tool_search_tool_bm25": ServerTool("tool_search_tool_bm25"),
    "tool_search_tool_regex_20251119": ServerTool("tool_search_tool_regex"),
    "tool_search_tool_regex": ServerTool("tool_search_tool_regex"),
}
"""By type."""

_HANDS = "the API describes this tool and leaves it to the client to run: runner has no {} to give to a model"
CLIENT_RUN: Mapping[str, str] = {
    "bash_20250124": "shell",
    "memory_20250818": "memory",
    "text_editor_20250124": "editor",
    "text_editor_20250429": "editor",
    "text_editor_20250728": "editor",
    "browser_toolset_20260801": "browser",
    "computer_toolset_20260801": "screen",
}
"""Types of tools that the API describes and that somebody else runs, with what that would take."""


def server_tool_problems(tool: Mapping[str, Any], path: ParamPath) -> Iterator[ParamProblem]:
    """What is wrong with a tool that is given by its `type`; `cache` is the job's own key and is not looked at."""
    kind = tool.get("type")
    if isinstance(kind, str) and kind in CLIENT_RUN:
        hint = "write a function for what is needed of it: `{python: module:function}`"
        yield ParamProblem((*path, "type"), "refused-tool", f"`{kind}`: {_HANDS.format(CLIENT_RUN[kind])}", hint)
        return
    known = SERVER_TOOLS.get(kind) if isinstance(kind, str) else None
    if known is None:
        yield _unknown_type(kind, (*path, "type"))
        return
    name = tool.get("name", known.name)
    if name != known.name:
        message = f"a tool of type `{kind}` is called `{known.name}`, not {name!r}"
        yield ParamProblem((*path, "name"), "unknown-value", message, f"write `name: {known.name}`, or leave it out")
    given = {key: value for key, value in tool.items() if key not in ("type", "name", "cache")}
    if "cache_control" in given:
        del given["cache_control"]
        hint = "write `cache: true`, `cache: 5m` or `cache: 1h`"
        yield ParamProblem((*path, "cache_control"), "wrong-place", "breakpoints of a job are written `cache`", hint)
    yield from Fields(known.keys).problems(given, path)
    if given.get("allowed_domains") is not None and given.get("blocked_domains") is not None:
        message = "`allowed_domains` and `blocked_domains` exclude one another"
        yield ParamProblem((*path, "blocked_domains"), "one-of", message, "keep one of them")


def _unknown_type(kind: object, path: ParamPath) -> ParamProblem:
    if kind == "custom":
        hint = "a tool of your own is a function: `{python: module:function}`"
        return ParamProblem(path, "unknown-value", "`custom` tools are written as functions", hint)
    close = closest(str(kind), SERVER_TOOLS)
    meant = f"did you mean `{close}`? " if close else ""
    hint = f"{meant}there are: {', '.join(SERVER_TOOLS)}"
    return ParamProblem(path, "unknown-value", f"{kind!r} is no type of a tool that this version knows", hint)


def has_server_tools(tools: Iterable[Mapping[str, Any]]) -> bool:
    """Whether any of the tools of a request is one that the API runs."""
    return any(tool.get("type") in SERVER_TOOLS for tool in tools)


def runs_code(tools: Iterable[Mapping[str, Any]]) -> bool:
    """Whether any of them runs code in a container: what `container` is about."""
    return any(
        str(tool.get("type", "")).startswith(("code_execution_", "web_search_2026", "web_fetch_2026")) for tool in tools
    )
