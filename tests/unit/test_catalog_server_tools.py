"""Server tools: every tool of the SDK is decided on, with the keys that it has there."""

from __future__ import annotations

from typing import Any, get_args, get_type_hints

import pytest
from anthropic import types

from runner.catalog.server_tools import CLIENT_RUN, SERVER_TOOLS, has_server_tools, server_tool_problems
from runner.catalog.shapes import ByType, Fields
from runner.catalog.tool_choice import TOOL_CHOICE


def hints(annotation: Any) -> dict[str, Any]:
    return get_type_hints(annotation)


def kinds_of(tool: Any) -> tuple[str, ...]:
    return get_args(hints(tool)["type"])


SDK_TOOLS = [tool for tool in get_args(types.ToolUnionParam) if tool is not types.ToolParam]


def codes(tool: dict[str, Any]) -> list[tuple[str, str]]:
    return [(".".join(map(str, problem.path)), problem.code) for problem in server_tool_problems(tool, ("tools", 0))]


def test_every_tool_of_the_sdk_is_taken_or_refused_with_a_reason() -> None:
    of_the_sdk = {kind for tool in SDK_TOOLS for kind in kinds_of(tool)}
    assert SERVER_TOOLS.keys() | CLIENT_RUN.keys() == of_the_sdk
    assert not SERVER_TOOLS.keys() & CLIENT_RUN.keys()


@pytest.mark.parametrize("tool", SDK_TOOLS, ids=lambda tool: str(tool.__name__))
def test_a_tool_has_the_name_and_the_keys_of_the_sdk(tool: Any) -> None:
    for kind in kinds_of(tool):
        if kind in SERVER_TOOLS:
            known = SERVER_TOOLS[kind]
            assert (known.name,) == get_args(hints(tool)["name"])
            assert {*known.keys, "type", "name", "cache_control"} == hints(tool).keys()


def test_the_parts_of_a_tool_have_the_fields_of_the_sdk() -> None:
    location = SERVER_TOOLS["web_search_20250305"].keys["user_location"]
    assert isinstance(location, ByType)
    assert location.kinds["approximate"].fields.keys() == hints(types.UserLocationParam).keys()
    sources = SERVER_TOOLS["web_fetch_20250910"].keys["url_sources"]
    assert isinstance(sources, Fields)
    assert sources.fields.keys() == hints(types.WebFetchURLSourcesParam).keys()
    for kind, choice in {
        "auto": types.ToolChoiceAutoParam,
        "any": types.ToolChoiceAnyParam,
        "tool": types.ToolChoiceToolParam,
        "none": types.ToolChoiceNoneParam,
    }.items():
        assert TOOL_CHOICE.kinds[kind].fields.keys() == hints(choice).keys()


def test_a_usual_tool_has_nothing_wrong() -> None:
    assert not codes(
        {
            "type": "web_search_20250305",
            "name": "web_search",
            "max_uses": 3,
            "allowed_domains": ["example.com"],
            "user_location": {"type": "approximate", "country": "DE"},
            "cache": True,
        }
    )
    assert not codes({"type": "web_fetch_20260318", "citations": {"enabled": True}, "use_cache": False})
    assert not codes({"type": "tool_search_tool_bm25"})


def test_what_is_wrong_is_told_by_its_key() -> None:
    assert codes({"type": "web_search_20250305", "strict": "yes"}) == [("tools.0.strict", "wrong-type")]
    assert codes({"type": "web_search_20250305", "max_uses": 0}) == [("tools.0.max_uses", "out-of-range")]
    assert codes({"type": 3}) == [("tools.0.type", "unknown-value")]


def test_only_tools_of_the_api_are_server_tools() -> None:
    assert has_server_tools([{"name": "find"}, {"type": "web_fetch_20250910", "name": "web_fetch"}])
    assert not has_server_tools([{"name": "find"}])
