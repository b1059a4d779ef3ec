"""A request as the model sees it: a flat row of blocks, in the order in which prefixes are cached.

Owns   the order tools -> system -> messages, what a block costs in tokens, where cache breakpoints stand, and the
       digests: one for each prefix (what a cache entry is found by) and one of the whole (what an answer depends on).
Knows  a request that passed `validation`; nothing of time, caches or answers.

Invariants
  * `cache_control`, `stream`, `metadata` and `service_tier` change no digest.
  * A prefix digest covers everything before it, and the settings that the API says invalidate from that level on:
    speed and citations from the system level; output format, effort, thinking, tool choice and the presence of images
    from the messages. (Source: the prompt-caching page, "What invalidates the cache".)
  * An image or a document counts, and is digested, by its content: a file that was uploaded reads as the same bytes
    within the request.
  * Text never counts for more tokens than it has bytes. Images and PDFs are not bounded by bytes, as in the real API.
"""

from __future__ import annotations

import hashlib
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson
from msgspec import Struct

from runner.simulator.file_store import StoredFile
from runner.simulator.media import image_tokens, measured, page_tokens
from runner.simulator.models import Card

_MESSAGE_TOKENS = 4
"""Allowance for the turn marks around a message. Its own JSON (`{"role":"user","content":`) is longer in bytes."""

_PLAIN, _ENCODED = b"\0", b"\1"
"""Keep a text apart from a block whose JSON reads the same."""

_UNSEEN = frozenset({"cache_control", "stream", "metadata", "service_tier", "messages", "system", "tools"})
"""Top-level keys that are no setting of the answer: not seen by the model, or digested block by block."""


class Block(Struct, frozen=True):
    """One cacheable position. `prefix` is the digest of everything up to and with it, `tokens` the running total."""

    prefix: bytes
    tokens: int
    ttl: str | None


class Prompt(Struct, frozen=True):
    """`digest` names the request (32 hex digits); `echo` is the digest of the last user turn's text (16 hex digits)."""

    blocks: tuple[Block, ...]
    digest: str
    echo: str
    tokens: int


class _Reading(Struct, frozen=True):
    """A prompt that was read so far."""

    hashing: hashlib._Hash
    tokens: int
    blocks: tuple[Block, ...]

    def go_on(self, settings: bytes, entries: Iterator[_Entry]) -> _Reading:
        """Read one more level."""
        hashing, tokens, blocks = self.hashing.copy(), self.tokens, list(self.blocks)
        hashing.update(settings)
        for data, size, ttl in entries:
            hashing.update(len(data).to_bytes(8, "big"))
            hashing.update(data)
            tokens += size
            blocks.append(Block(hashing.digest()[:16], tokens, ttl))
        return _Reading(hashing, tokens, tuple(blocks))


def echo_of(text: str) -> str:
    """What an answer echoes of the last user turn, so that a reply given to the wrong row is seen."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_prompt(
    body: Mapping[str, Any],
    card: Card,
    memo: dict[Any, Any] | None = None,
    files: Mapping[str, StoredFile] | None = None,
) -> Prompt:
    """Flatten a valid request into its blocks, digests and token counts.

    Args:
        memo: kept by the caller for requests that share their system and tools as the same objects, which have to live
            as long as the memo: these are then read once.
        files: those that the request names, by id; a file is read as its content would be.
    """
    if files:
        body = _with_content(body, files)
    tools, system = body.get("tools"), body.get("system")
    settings = _dump([body.get("speed"), _any_block(body, _is_cited)])
    key = (card.id, id(tools), id(system), settings)
    shared = None if memo is None else memo.get(key)
    if shared is None:
        shared = _Reading(hashlib.sha256(card.id.encode()), _MESSAGE_TOKENS, ())
        shared = shared.go_on(b"", _tools(body, card)).go_on(settings, _system(body, card))
        if memo is not None:
            memo[key] = shared
    whole = shared.go_on(_answer_settings(body), _messages(body, card))
    hashing, tokens, blocks = whole.hashing, whole.tokens, list(whole.blocks)
    tokens += card.tokens(len(_dump(_format(body)))) if _format(body) else 0
    automatic = body.get("cache_control")
    if automatic and blocks and blocks[-1].ttl is None:
        blocks[-1] = Block(blocks[-1].prefix, blocks[-1].tokens, automatic.get("ttl") or "5m")
    for name in sorted(body.keys() - _UNSEEN):
        hashing.update(_settings(body, name))
    return Prompt(tuple(blocks), hashing.hexdigest()[:32], echo_of(last_user_text(body)), tokens)


def last_user_text(body: Mapping[str, Any]) -> str:
    """All of the last user turn, its blocks joined by a blank line; results of tools are no turn. Of an image, document
    or search result it has a digest, so that an answer about another one is seen too."""
    for message in reversed(body["messages"]):
        if message["role"] == "user":
            content = message["content"]
            if isinstance(content, str):
                return content
            if all(block.get("type") == "tool_result" for block in content):
                continue
            return "\n\n".join(part for part in map(_echoed, content) if part)
    return ""


_MEDIA = ("image", "document", "search_result")


def _echoed(block: Mapping[str, Any]) -> str:
    if block["type"] == "text":
        return str(block["text"])
    if block["type"] not in _MEDIA:
        return ""
    return f"[{block['type']} {hashlib.sha256(_dump(_bare(block))).hexdigest()[:16]}]"


_Entry = tuple[bytes, int, str | None]


def _tools(body: Mapping[str, Any], card: Card) -> Iterator[_Entry]:
    for tool in body.get("tools") or ():
        data = _dump(_bare(tool))
        yield data, card.tokens(len(data)), _ttl(tool)


def _system(body: Mapping[str, Any], card: Card) -> Iterator[_Entry]:
    system = body.get("system") or ()
    for block in [{"type": "text", "text": system}] if isinstance(system, str) else system:
        yield _entry(block, b"system", card)


def _messages(body: Mapping[str, Any], card: Card) -> Iterator[_Entry]:
    for message in body["messages"]:
        role = message["role"].encode()
        content = message["content"]
        opening = _MESSAGE_TOKENS
        for block in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            data, tokens, ttl = _entry(block, role, card)
            yield data, tokens + opening, ttl
            opening = 0


def _entry(block: Mapping[str, Any], role: bytes, card: Card) -> _Entry:
    if block["type"] == "text" and len(block) == 2:  # by far the most frequent shape
        text = block["text"].encode()
        return role + _PLAIN + text, card.tokens(len(text)), None
    bare = _bare(block)
    data = _PLAIN + bare["text"].encode() if _is_plain_text(bare) else _ENCODED + _dump(bare)
    return role + data, _block_tokens(bare, card), _ttl(block)


def _is_plain_text(block: Mapping[str, Any]) -> bool:
    return block["type"] == "text" and block.keys() == {"type", "text"}


def _bare(block: Mapping[str, Any]) -> dict[str, Any]:
    """The block without its cache mark, inside a tool result too."""
    bare = {name: value for name, value in block.items() if name != "cache_control"}
    content = bare.get("content")
    if isinstance(content, list):
        bare["content"] = [_bare(inner) if isinstance(inner, dict) else inner for inner in content]
    if bare.get("type") in ("image", "document"):
        bare["source"] = _as_content(bare["source"])
    return bare


def _as_content(source: Mapping[str, Any]) -> Mapping[str, Any]:
    """A source as the model sees it: by its content, however that came."""
    match source["type"]:
        case "base64":
            data = b64decode(source["data"])
        case "text":
            data = source["data"].encode()
        case _:
            return source
    media_type = source["media_type"]
    return _content(media_type, hashlib.sha256(data).hexdigest(), len(data), measured(media_type, data))


def _content(media_type: str, sha256: str, size_bytes: int, measures: Mapping[str, int]) -> Mapping[str, Any]:
    return {"type": "bytes", "media_type": media_type, "sha256": sha256, "size": size_bytes, **measures}


def _with_content(value: Any, files: Mapping[str, StoredFile]) -> Any:
    """The same, with each file in the place of its name."""
    if isinstance(value, list):
        return [_with_content(one, files) for one in value]
    if not isinstance(value, dict):
        return value
    if value.get("type") == "file" and value.get("file_id") in files:
        file = files[value["file_id"]]
        measures = {"pages": file.pages, "width": file.width, "height": file.height}
        return _content(file.mime_type, file.sha256, file.size_bytes, measures)
    return {name: _with_content(one, files) for name, one in value.items()}


def _ttl(block: Mapping[str, Any]) -> str | None:
    mark = block.get("cache_control")
    return None if mark is None else mark.get("ttl") or "5m"


def _block_tokens(block: Mapping[str, Any], card: Card) -> int:
    kind = block["type"]
    if kind == "text":
        return card.tokens(len(block["text"].encode()))
    if kind == "image":
        return image_tokens(block["source"], card)
    if kind == "document":
        return _document_tokens(block, card)
    if kind == "tool_result" and isinstance(block.get("content"), list):
        return sum(_block_tokens(inner, card) for inner in block["content"]) + _MESSAGE_TOKENS
    return card.tokens(len(_dump(block)))


def _document_tokens(block: Mapping[str, Any], card: Card) -> int:
    source = block["source"]
    words = sum(len(str(block.get(name) or "").encode()) for name in ("title", "context"))
    tokens = card.tokens(words)
    if source["type"] == "content":
        content = source["content"]
        inner = [{"type": "text", "text": content}] if isinstance(content, str) else content
        return tokens + sum(_block_tokens(part, card) for part in inner)
    if source["type"] == "bytes":
        return tokens + (source["pages"] * page_tokens(card) or card.tokens(source["size"]))
    return tokens + page_tokens(card)


def _settings(body: Mapping[str, Any], name: str) -> bytes:
    return _dump([name, body[name]]) if name in body else b""


def _answer_settings(body: Mapping[str, Any]) -> bytes:
    return _dump(
        [body.get("thinking"), body.get("output_config"), body.get("tool_choice"), _any_block(body, _is_image)]
    )


def _any_block(body: Mapping[str, Any], test: Callable[[Mapping[str, Any]], bool]) -> bool:
    contents = (message["content"] for message in body["messages"])
    return any(test(block) for content in contents if isinstance(content, list) for block in content)


def _is_image(block: Mapping[str, Any]) -> bool:
    return bool(block["type"] == "image")


def _is_cited(block: Mapping[str, Any]) -> bool:
    return block["type"] != "text" and bool((block.get("citations") or {}).get("enabled"))


def _format(body: Mapping[str, Any]) -> Any:
    return (body.get("output_config") or {}).get("format")


def _dump(value: Any) -> bytes:
    return orjson.dumps(value)
