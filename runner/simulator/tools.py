"""Tools as the stand-in plays them: what it calls, what it finds, and what it refuses of a conversation with them.

Owns   the rules on definitions of tools and on the pairing of calls and results; which calls a reply makes, of the
       client's tools and of its own; pauses of a long turn.
Knows  the request alone, like all answers: the same conversation is answered alike in both modes and after a restart.

How often it calls is drawn from the text of the last turn that has any, and a text can say it: `[rounds 3]` (replies
that call the client's tools), `[calls 2]` (how many in each), `[call NAME {"x": 1}]` (which, with which input),
`[searches 2]` (uses of its own tools in a reply), `[pauses 1]` (replies that pause first).

Source: the API's tool use pages (define-tools, handle-tool-calls, server-tools, web-search-tool); types and names of
tools from the SDK's `types/tool_union_param.py` (2.12.0). These facts are kept apart from runner's own catalog on
purpose. Wording of refusals as users quote it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from msgspec import Struct, field

from runner.simulator.instances import Draws, instance
from runner.simulator.models import Card
from runner.simulator.output_schema import check_schema
from runner.simulator.refusal import Refused

SERVER_TOOLS: Mapping[str, str] = {
    **dict.fromkeys(("web_search_20250305", "web_search_20260209", "web_search_20260318"), "web_search"),
    **dict.fromkeys(
        ("web_fetch_20250910", "web_fetch_20260209", "web_fetch_20260309", "web_fetch_20260318"), "web_fetch"
    ),
    **dict.fromkeys(
        (
            "code_execution_20250522", "code_execution_20250825", "code_execution_20260120", "code_execution_20260521",
        ),
        "code_execution",
    ),
    **dict.fromkeys(("tool_search_tool_bm25", "tool_search_tool_bm25_20251119"), "tool_search_tool_bm25"),
    **dict.fromkeys(("tool_search_tool_regex", "tool_search_tool_regex_20251119"), "tool_search_tool_regex"),
}  # fmt: skip
"""Type -> name of the tools that the API runs."""
_CLIENT_RUN: Mapping[str, str] = {
    "bash_20250124": "bash",
    "memory_20250818": "memory",
    "text_editor_20250124": "str_replace_editor",
    "text_editor_20250429": "str_replace_based_edit_tool",
    "text_editor_20250728": "str_replace_based_edit_tool",
}
_CUSTOM = frozenset(
    {"type", "name", "description", "input_schema", "cache_control", "strict", "defer_loading", "input_examples"}
    | {"allowed_callers", "eager_input_streaming"}
)
_NAME = re.compile(r"^[a-zA-Z0-9_-]{1,128}$")

_SAID = re.compile(r"\[(rounds|calls|searches|pauses) (\d{1,3})\]")
_CALL = re.compile(r"\[call ([A-Za-z0-9_-]+) (\{.*?\})\]", re.DOTALL)
_RESULT_TEXT = "The page says what was asked for, and when it was last changed. " * 4
_FOUND = "found in the web: "


# -- what is refused -----------------------------------------------------------------------------------------------


def check_tool(tool: Any, path: str) -> str:
    """Check one definition; returns the tool's name. Raises Refused."""
    if not isinstance(tool, dict):
        raise Refused(f"{path}: Input should be a valid dictionary or object to extract fields from")
    kind = tool.get("type") or "custom"
    if kind in ("browser_toolset_20260801", "computer_toolset_20260801"):
        return str(kind)
    known = SERVER_TOOLS.get(kind) or _CLIENT_RUN.get(kind)
    if kind != "custom" and known is None:
        raise Refused(f"{path}: Input tag {kind!r} found using 'type' does not match any of the expected tags")
    if not isinstance(tool.get("name"), str):
        raise Refused(f"{path}.name: Field required")
    if known is not None:
        if tool["name"] != known:
            raise Refused(f"{path}.{kind}.name: Input should be '{known}'")
        if tool.get("allowed_domains") and tool.get("blocked_domains"):
            raise Refused(f"{path}.{kind}: Only one of allowed_domains and blocked_domains may be given")
        return known
    return _custom(tool, path)


def _custom(tool: Mapping[str, Any], path: str) -> str:
    if not _NAME.match(tool["name"]):
        raise Refused(f"{path}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")
    for name in tool:
        if name not in _CUSTOM:
            raise Refused(f"{path}.custom.{name}: Extra inputs are not permitted")
    schema = tool.get("input_schema")
    if not isinstance(schema, dict):
        raise Refused(f"{path}.custom.input_schema: Field required")
    if schema.get("type") != "object":
        raise Refused(f"{path}.custom.input_schema.type: Input should be 'object'")
    if tool.get("strict"):
        check_schema(schema, f"{path}.custom.input_schema")
    return str(tool["name"])


def check_pairs(messages: Sequence[Mapping[str, Any]]) -> None:
    """Each call of a client's tool has its result at the beginning of the next message, and no result is without a
    call. Raises Refused."""
    asked: list[str] = []
    for index, message in enumerate(messages):
        content = message["content"] if isinstance(message["content"], list) else []
        given = [block["tool_use_id"] for block in content if block.get("type") == "tool_result"]
        if message["role"] == "user":
            leading = [block.get("type") == "tool_result" for block in content[: len(given)]]
            if not all(leading):
                raise Refused(f"messages.{index}: `tool_result` blocks must come first in the content of a message")
        for place, identifier in enumerate(given):
            if identifier not in asked:
                raise Refused(
                    f"messages.{index}.content.{place}: unexpected `tool_use_id` found in `tool_result` blocks: "
                    f"{identifier}. Each `tool_result` block must have a corresponding `tool_use` block in the "
                    "previous message."
                )
        missing = [identifier for identifier in asked if identifier not in given]
        if missing or len(set(given)) < len(given):
            raise Refused(
                f"messages.{index}: `tool_use` ids were found without `tool_result` blocks immediately after: "
                f"{', '.join(missing)}. Each `tool_use` block must have a corresponding `tool_result` block in the "
                "next message."
            )
        asked = [block["id"] for block in content if block.get("type") == "tool_use"]
    if asked and messages[-1]["role"] == "assistant":
        raise Refused(
            f"messages.{len(messages) - 1}: `tool_use` ids were found without `tool_result` blocks immediately after: "
            f"{', '.join(asked)}"
        )


def is_paused(message: Mapping[str, Any]) -> bool:
    """Whether a last message of the assistant is a paused turn that is to go on, and no prefill."""
    content = message["content"]
    return isinstance(content, list) and any(block.get("type") == "server_tool_use" for block in content)


# -- what is called ------------------------------------------------------------------------------------------------


class Played(Struct, frozen=True):
    """What tools add to a reply. `stop_reason` is None where the reply goes on with its text."""

    blocks: list[dict[str, Any]] = field(default_factory=list)
    stop_reason: str | None = None
    output_tokens: int = 0
    read_tokens: int = 0
    """Tokens that its own tools have read, which are billed as input."""
    searches: int = 0
    fetches: int = 0


NOTHING = Played()


def play(body: Mapping[str, Any], said: str, digest: str, echo: str, card: Card) -> Played:
    """What a reply to this conversation does with its tools. `said` is the text of the last turn that has any."""
    tools: Sequence[Mapping[str, Any]] = body.get("tools") or ()
    choice = body.get("tool_choice") or {}
    if not tools or choice.get("type") == "none":
        return NOTHING
    draws = Draws(digest)
    pending = _pending(body["messages"])
    found = [_result(block, echo, card) for block in pending]
    blocks = [block for block, _ in found]
    read_tokens = sum(tokens for _, tokens in found)
    calls = _calls(body, tools, choice, said, draws, digest, echo)
    if calls:
        own = [_use(tool, digest, 90, echo) for tool in tools if tool.get("type") in SERVER_TOOLS][:1]
        begun = own if not pending and not _rounds(body["messages"]) else []
        tokens = sum(card.tokens(len(orjson.dumps(block["input"]))) for block in (*begun, *calls))
        searches = sum(block["name"] == "web_search" for block in begun)
        return Played([*blocks, *begun, *calls], "tool_use", tokens, read_tokens, searches)
    used = _own_uses(body, tools, said, digest, echo, card)
    return Played(
        [*blocks, *used.blocks],
        used.stop_reason,
        used.output_tokens,
        read_tokens + used.read_tokens,
        used.searches,
        used.fetches,
    )


def _calls(
    body: Mapping[str, Any],
    tools: Sequence[Mapping[str, Any]],
    choice: Mapping[str, Any],
    said: str,
    draws: Draws,
    digest: str,
    echo: str,
) -> list[dict[str, Any]]:
    """Calls of the client's tools."""
    own = [tool for tool in tools if "input_schema" in tool and not tool.get("defer_loading")]
    forced = choice.get("type") in ("any", "tool")
    if choice.get("type") == "tool":
        own = [tool for tool in own if tool["name"] == choice["name"]]
    steady = Draws(f"{echo}/rounds")
    wanted = _said(said, "rounds", 1 + steady.below(2))
    scripted = _CALL.findall(said)
    if not (own or scripted) or (not forced and _rounds(body["messages"]) >= wanted):
        return []
    count = 1 if forced or choice.get("disable_parallel_tool_use") else _said(said, "calls", 1 + steady.below(2))
    if scripted:
        return [_call(name, orjson.loads(given), digest, place) for place, (name, given) in enumerate(scripted)]
    picked = [draws.pick(own) for _ in range(count)]
    return [
        _call(tool["name"], instance(tool["input_schema"], draws, echo), digest, place)
        for place, tool in enumerate(picked)
    ]


def _call(name: str, given: Any, digest: str, place: int) -> dict[str, Any]:
    return {"type": "tool_use", "id": f"toolu_{digest[:22]}{place:02d}", "name": name, "input": given}


def _own_uses(
    body: Mapping[str, Any], tools: Sequence[Mapping[str, Any]], said: str, digest: str, echo: str, card: Card
) -> Played:
    """Uses of the tools that it runs itself, and whether the turn pauses after them."""
    own = [tool for tool in tools if tool.get("type") in SERVER_TOOLS]
    if not own:
        return NOTHING
    messages = body["messages"]
    pauses = _said(said, "pauses", int(Draws(f"{echo}/pauses").below(4) == 0))
    paused = _trailing_assistants(messages)
    tool = own[0]
    most = tool.get("max_uses") or 10
    uses = min(_said(said, "searches", 1), most)
    if paused > pauses:
        return NOTHING
    blocks: list[dict[str, Any]] = []
    output_tokens = read_tokens = 0
    for place in range(uses):
        use = _use(tool, digest, place, echo)
        result, tokens = _result(use, echo, card)
        blocks += [use, result]
        output_tokens += card.tokens(len(orjson.dumps(use["input"])))
        read_tokens += tokens
    return Played(
        blocks,
        "pause_turn" if paused < pauses else None,
        output_tokens,
        read_tokens,
        uses if tool["name"] == "web_search" else 0,
        uses if tool["name"] == "web_fetch" else 0,
    )


_INPUTS: Mapping[str, Any] = {
    "web_search": lambda echo: {"query": f"what is known of {echo}"},
    "web_fetch": lambda echo: {"url": f"https://example.com/{echo}"},
    "code_execution": lambda echo: {"code": f"print({echo!r})"},
    "tool_search_tool_bm25": lambda echo: {"query": echo},
    "tool_search_tool_regex": lambda echo: {"pattern": echo},
}


def _use(tool: Mapping[str, Any], digest: str, place: int, echo: str) -> dict[str, Any]:
    name = tool["name"]
    given = _INPUTS[name](echo)
    return {"type": "server_tool_use", "id": f"srvtoolu_{digest[:20]}{place:02d}", "name": name, "input": given}


def _result(use: Mapping[str, Any], echo: str, card: Card) -> tuple[dict[str, Any], int]:
    """The block that answers a use, and how many tokens of input it is."""
    kind, content = _CONTENTS[use["name"]](echo)
    block = {"type": kind, "tool_use_id": use["id"], "content": content}
    return block, card.tokens(len(_RESULT_TEXT))


def _search_result(echo: str) -> tuple[str, Any]:
    page = {
        "type": "web_search_result",
        "url": f"https://example.com/{echo}",
        "title": "An example",
        "encrypted_content": f"{_FOUND}{echo}",
        "page_age": None,
    }
    return "web_search_tool_result", [page]


def _fetch_result(echo: str) -> tuple[str, Any]:
    source = {"type": "text", "media_type": "text/plain", "data": _RESULT_TEXT}
    document = {"type": "document", "source": source, "title": "An example"}
    content = {"type": "web_fetch_result", "url": f"https://example.com/{echo}", "content": document}
    return "web_fetch_tool_result", {**content, "retrieved_at": "2026-11-22T00:00:00Z"}


def _code_result(echo: str) -> tuple[str, Any]:
    content = {"type": "code_execution_result", "stdout": f"{echo}\n", "stderr": "", "return_code": 0, "content": []}
    return "code_execution_tool_result", content


def _tools_found(_echo: str) -> tuple[str, Any]:
    return "tool_search_tool_result", {"type": "tool_search_tool_search_result", "tool_references": []}


_CONTENTS: Mapping[str, Any] = {
    "web_search": _search_result,
    "web_fetch": _fetch_result,
    "code_execution": _code_result,
    "tool_search_tool_bm25": _tools_found,
    "tool_search_tool_regex": _tools_found,
}


def _pending(messages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Uses of its own tools that were begun beside calls of the client's, and are still without a result."""
    blocks = [block for message in messages if isinstance(message["content"], list) for block in message["content"]]
    done = {block.get("tool_use_id") for block in blocks}
    return [block for block in blocks if block.get("type") == "server_tool_use" and block["id"] not in done]


def _rounds(messages: Sequence[Mapping[str, Any]]) -> int:
    """How many replies have called the client's tools, in this turn of the user's."""
    rounds = 0
    for message in reversed(messages):
        content = message["content"] if isinstance(message["content"], list) else []
        if message["role"] == "assistant":
            rounds += any(block.get("type") == "tool_use" for block in content)
        elif not content or any(block.get("type") != "tool_result" for block in content):
            break
    return rounds


def _trailing_assistants(messages: Sequence[Mapping[str, Any]]) -> int:
    count = 0
    for message in reversed(messages):
        if message["role"] != "assistant":
            break
        count += 1
    return count


def _said(text: str, what: str, otherwise: int) -> int:
    return next((int(number) for word, number in _SAID.findall(text) if word == what), otherwise)
