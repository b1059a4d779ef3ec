"""The shape of a conversation: which roles and blocks it may have, what each block needs, where cache marks may stand.

Owns   the tables of blocks and of their sources, and the rules on them.
Knows  the decoded body. What goes by the model is `validation`'s; what a source's bytes are, `media`'s.

Source: the API's reference, errors, versioning (2026-10-21) and prompt-caching pages.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from runner.simulator.refusal import Refused
from runner.simulator.tools import check_pairs

_BLOCKS: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    "text": (frozenset({"text"}), frozenset({"cache_control", "citations"})),
    "image": (frozenset({"source"}), frozenset({"cache_control", "transformations"})),
    "document": (frozenset({"source"}), frozenset({"cache_control", "citations", "context", "title"})),
    "search_result": (frozenset({"source", "title", "content"}), frozenset({"cache_control", "citations"})),
    "tool_use": (frozenset({"id", "name", "input"}), frozenset({"cache_control", "caller", "toolset_name"})),
    "tool_result": (frozenset({"tool_use_id"}), frozenset({"cache_control", "content", "is_error", "toolset_name"})),
    "server_tool_use": (frozenset({"id", "name", "input"}), frozenset({"cache_control", "caller"})),
    **{
        f"{name}_tool_result": (frozenset({"tool_use_id", "content"}), frozenset({"cache_control", "caller"}))
        for name in (
            "web_search",
            "web_fetch",
            "code_execution",
            "bash_code_execution",
            "text_editor_code_execution",
            "tool_search",
        )
    },
    "container_upload": (frozenset({"file_id"}), frozenset({"cache_control"})),
    "thinking": (frozenset({"thinking", "signature"}), frozenset()),
    "redacted_thinking": (frozenset({"data"}), frozenset()),
}
"""Block type -> (required keys, further keys)."""

_SOURCES: Mapping[str, Mapping[str, frozenset[str]]] = {
    "image": {
        "base64": frozenset({"media_type", "data"}),
        "url": frozenset({"url"}),
        "file": frozenset({"file_id"}),
    },
    "document": {
        "base64": frozenset({"media_type", "data"}),
        "url": frozenset({"url"}),
        "file": frozenset({"file_id"}),
        "text": frozenset({"media_type", "data"}),
        "content": frozenset({"content"}),
    },
}

_ROLES = ("user", "assistant", "system")
_MAX_MESSAGES = 100_000
_MAX_BREAKPOINTS = 4


def check_system(system: Any) -> None:
    """Refuse a `system` that is neither a text nor blocks of text."""
    if system is None or isinstance(system, str):
        return
    if not isinstance(system, list):
        raise Refused("system: Input should be a valid string or list")
    for index, block in enumerate(system):
        path = f"system.{index}"
        if not isinstance(block, dict) or block.get("type") != "text":
            raise Refused(f"{path}.type: Input should be 'text'")
        _check_block(block, path, "system")


def check_messages(messages: Any, newer: bool) -> None:
    """Refuse messages that no version takes; `newer`: by the rules of `NEWER_VERSION` as well."""
    if not isinstance(messages, list):
        raise Refused("messages: Input should be a valid list")
    if not messages:
        raise Refused("messages: at least one message is required")
    if len(messages) > _MAX_MESSAGES:
        raise Refused(f"messages: List should have at most {_MAX_MESSAGES} items")
    for index, message in enumerate(messages):
        _check_message(message, f"messages.{index}", newer)
    if messages[0]["role"] != "user":
        raise Refused('messages: first message must use the "user" role')
    check_pairs(messages)


def _check_message(message: Any, path: str, newer: bool) -> None:
    if not isinstance(message, dict):
        raise Refused(f"{path}: Input should be a valid dictionary or object to extract fields from")
    check_keys(message, ("role", "content"), f"{path}.")
    for name in ("role", "content"):
        if name not in message:
            raise Refused(f"{path}.{name}: Field required")
    role, content = message["role"], message["content"]
    if role not in _ROLES:
        raise Refused(f"{path}.role: Input should be 'user', 'assistant' or 'system'")
    if isinstance(content, str):
        if not content.strip():
            raise Refused("messages: text content blocks must be non-empty")
        return
    if not isinstance(content, list):
        raise Refused(f"{path}.content: Input should be a valid string or list")
    if not content:
        raise Refused(f"{path}: {role} messages must have non-empty content")
    for position, block in enumerate(content):
        where = f"{path}.content.{position}"
        _check_block(block, where, role)
        if newer:
            _check_newer_rules(block, where, role)


def _check_newer_rules(block: Mapping[str, Any], path: str, role: str) -> None:
    if role == "assistant" and block["type"] == "document":
        raise Refused(f"{path}: document blocks are not permitted in assistant turns")
    if role == "user" and block["type"] == "text" and block.get("citations"):
        raise Refused(f"{path}.text.citations: citations are not permitted in user turns")


def _check_block(block: Any, path: str, role: str) -> None:
    if not isinstance(block, dict):
        raise Refused(f"{path}: Input should be a valid dictionary or object to extract fields from")
    kind = str(block.get("type"))
    if kind not in _BLOCKS:
        expected = ", ".join(repr(name) for name in sorted(_BLOCKS))
        raise Refused(
            f"{path}: Input tag {kind!r} found using 'type' does not match any of the expected tags: {expected}"
        )
    if role == "system" and kind != "text":
        raise Refused(f"{path}.type: Input should be 'text'")
    required, further = _BLOCKS[kind]
    for name in required:
        if name not in block:
            raise Refused(f"{path}.{kind}.{name}: Field required")
    for name in block:
        if name != "type" and name not in required and name not in further:
            raise Refused(f"{path}.{kind}.{name}: Extra inputs are not permitted")
    if "cache_control" in block:
        check_cache_control(block["cache_control"], f"{path}.{kind}.cache_control")
    _check_content(block, kind, path)


def _check_content(block: Mapping[str, Any], kind: str, path: str) -> None:
    if kind == "text":
        _check_text(block, path)
    elif kind in _SOURCES:
        _check_source(block["source"], kind, f"{path}.{kind}.source")
        if kind == "document" and (block.get("citations") or {}).get("enabled") not in (None, True, False):
            raise Refused(f"{path}.document.citations.enabled: Input should be a valid boolean")
    elif kind == "tool_result" and isinstance(block.get("content"), list):
        for index, inner in enumerate(block["content"]):
            _check_block(inner, f"{path}.tool_result.content.{index}", "user")


def _check_text(block: Mapping[str, Any], path: str) -> None:
    text = block["text"]
    if not isinstance(text, str):
        raise Refused(f"{path}.text.text: Input should be a valid string")
    if not text:
        if block.get("cache_control"):
            raise Refused(f"{path}.text: cache_control cannot be set for empty text blocks")
        raise Refused(f"{path.partition('.')[0]}: text content blocks must be non-empty")
    if text.isspace():
        raise Refused(f"{path.partition('.')[0]}: text content blocks must contain non-whitespace text")


def _check_source(source: Any, kind: str, path: str) -> None:
    shapes = _SOURCES[kind]
    if not isinstance(source, dict) or source.get("type") not in shapes:
        expected = ", ".join(repr(name) for name in shapes)
        raise Refused(f"{path}: Input tag does not match any of the expected tags: {expected}")
    shape = shapes[source["type"]]
    for name in shape:
        if name not in source:
            raise Refused(f"{path}.{source['type']}.{name}: Field required")
    check_keys(source, shape | {"type"}, f"{path}.{source['type']}.")
    if source["type"] == "content" and isinstance(source["content"], list):
        for index, inner in enumerate(source["content"]):
            _check_block(inner, f"{path}.content.content.{index}", "user")


def check_cache_control(mark: Any, path: str) -> None:
    """Refuse a cache mark, at `path`, that is none."""
    if mark is None:
        return
    if not isinstance(mark, dict) or mark.get("type") != "ephemeral":
        raise Refused(f"{path}.type: Input should be 'ephemeral'")
    check_keys(mark, ("type", "ttl"), f"{path}.")
    if mark.get("ttl", "5m") not in ("5m", "1h"):
        raise Refused(f"{path}.ephemeral.ttl: Input should be '5m' or '1h'")


def _breakpoints(body: Mapping[str, Any]) -> Iterator[str]:
    """The time-to-live of every explicit mark, in prefix order."""
    system = body.get("system")
    contents = [body.get("tools") or (), system if isinstance(system, list) else ()]
    contents += [message["content"] for message in body["messages"] if isinstance(message["content"], list)]
    for content in contents:
        for block in content:
            inner = block.get("content")
            for marked in (*(inner if isinstance(inner, list) else ()), block):
                if isinstance(marked, dict) and marked.get("cache_control"):
                    yield marked["cache_control"].get("ttl") or "5m"


def check_breakpoints(body: Mapping[str, Any]) -> None:
    """Refuse more marks than four, and a longer time-to-live behind a shorter one. The blocks themselves are sound."""
    automatic = body.get("cache_control")
    check_cache_control(automatic, "cache_control")
    ttls = list(_breakpoints(body))
    if automatic:
        ttls.append(automatic.get("ttl") or "5m")
        content = body["messages"][-1]["content"]
        mark = content[-1].get("cache_control") if isinstance(content, list) else None
        if mark and (mark.get("ttl") or "5m") != ttls[-1]:
            raise Refused("cache_control: conflicts with the ttl of the cache_control on the last block")
    if len(ttls) > _MAX_BREAKPOINTS:
        raise Refused(f"A maximum of {_MAX_BREAKPOINTS} blocks with cache_control may be provided. Found {len(ttls)}.")
    if "5m" in ttls and "1h" in ttls[ttls.index("5m") :]:
        raise Refused(
            "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block. "
            "Note that blocks are processed in the following order: `tools`, `system`, `messages`."
        )


def check_keys(value: Mapping[str, Any], allowed: Iterable[str], path: str = "") -> None:
    """Refuse a key that is not known; `path` is what stands before it, with its dot."""
    for name in value:
        if name not in allowed:
            raise Refused(f"{path}{name}: Extra inputs are not permitted")
