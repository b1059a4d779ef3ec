"""Histories: a conversation that a row holds becomes messages of its request.

Owns   what `{expand: …}` may yield, and its encoding: a list of {role, content}, or a text that is one as JSON, since a
       column of a csv file holds text. Content is a text or a list of the API's content blocks.
Knows  the API's rules for a conversation, as far as a row can break them, and what content weighs; nothing of jobs.

What is wrong is told with its place in the list (`item 3, content 0: …`), before anything is sent: the API would say it
for the whole request, and in a batch only when all of it has ended. Blocks of types that are not known here pass.

Source: the Messages API reference and its versioning page (2026-10-21: no document in an assistant's turn, no citations
in a user's text). Turns of one role may follow one another: the API joins them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from runner.encoding import decode, encode
from runner.media.content import Unsendable
from runner.planning.content import NO_WEIGHT, Sight, Weight, held_weight
from runner.planning.identity import unmarked

ROLES: Final = ("user", "assistant")
_KEYS: Final = frozenset({"role", "content"})
_ONE_SIDED: Final[Mapping[str, str]] = {
    "tool_result": "user",
    "document": "user",
    "tool_use": "assistant",
    "thinking": "assistant",
    "redacted_thinking": "assistant",
}
"""Types of blocks that only one role may have."""
_PLAIN: Final = frozenset({"text", "tool_use", "thinking", "redacted_thinking"})
"""Blocks that are hashed as they are sent, and of which every token covers at least a byte of the body."""


class BadHistory(ValueError):
    """Why a value is no conversation, with the place in it."""


class PastMessage(Struct, frozen=True):
    """One message of a history, encoded as the body has it, and as it is hashed."""

    role: str
    encoded: bytes
    seen: bytes
    weight: Weight
    ends_in_space: bool
    """Whether its last text ends in white space, which the API refuses of a last message of the assistant."""


class Spoken:
    """What of a row's conversation has been written so far, where how many messages there are is the row's."""

    def __init__(self, sight: Sight) -> None:
        self._sight = sight
        self._role: str | None = None
        self._ends_in_space = False

    def spoke(self, role: str) -> None:
        """A message of the job stands here."""
        self._role, self._ends_in_space = role, False

    def open(self, role: str) -> bytes:
        """The comma before a message of the job, which only the row shows to be the first or not. Raises BadHistory."""
        before = self._before(role)
        self.spoke(role)
        return before

    def expand(self, value: Any) -> tuple[bytes, list[PastMessage]]:
        """The comma, if any, and the messages that a value holds. Raises BadHistory."""
        past = past_messages(value, self._sight)
        if not past:
            return b"", []
        before = self._before(past[0].role)
        self._role, self._ends_in_space = past[-1].role, past[-1].ends_in_space
        return before, past

    def end(self, model: str, *, may_prefill: bool) -> None:
        """Raise BadHistory where the conversation ends as the API does not take it."""
        if self._role is None:
            raise BadHistory("the list is empty, and there is no other message")
        if self._role != "assistant":
            return
        if not may_prefill:
            found = "the conversation ends with a message of the assistant"
            raise BadHistory(f"{found}, which {model} does not take, or not together with structured output")
        if self._ends_in_space:
            raise BadHistory("the last message of the assistant ends in white space, which the API refuses")

    def _before(self, role: str) -> bytes:
        if self._role is not None:
            return b","
        if role == "assistant":
            raise BadHistory("the conversation begins with a message of the assistant; the first must be the user's")
        return b""


def past_messages(value: Any, sight: Sight) -> list[PastMessage]:
    """The messages that a value holds; none where it is null or empty. Raises BadHistory."""
    items = _as_list(value)
    return [_message(item, f"item {number}", sight) for number, item in enumerate(items)]


def _as_list(value: Any) -> Sequence[Any]:
    if value is None:
        return ()
    if isinstance(value, str):
        value = _decoded(value)
    if isinstance(value, Mapping) or not isinstance(value, Sequence) or isinstance(value, bytes | bytearray | str):
        raise BadHistory(f"expected a list of {{role, content}}, found {_shown(value)}")
    return value


def _decoded(text: str) -> Any:
    if not text.strip():
        return ()
    try:
        return decode(text)
    except (ValueError, RecursionError):
        raise BadHistory(f"expected a list of {{role, content}}, found a text that is no JSON: {text[:40]!r}") from None


def _message(item: Any, place: str, sight: Sight) -> PastMessage:
    if not isinstance(item, Mapping):
        raise BadHistory(f"{place}: expected {{role, content}}, found {_shown(item)}")
    unknown = [str(key) for key in item if key not in _KEYS]
    if unknown:
        raise BadHistory(f"{place}: the API takes `role` and `content` here, and no `{unknown[0]}`")
    missing = [key for key in ("role", "content") if key not in item]
    if missing:
        raise BadHistory(f"{place}: `{missing[0]}` is missing")
    role = item["role"]
    if role not in ROLES:
        raise BadHistory(f"{place}: the role must be `user` or `assistant`, found {_shown(role)}")
    blocks = list(_blocks(item["content"], role, place))
    try:
        encoded = encode({"role": role, "content": blocks})
    except (TypeError, ValueError, RecursionError) as error:
        raise BadHistory(f"{place}: it cannot be written as JSON ({error})") from None
    weight, seen = NO_WEIGHT, encoded
    if any(block["type"] not in _PLAIN for block in blocks):
        weight = _weight(blocks, place, sight)
        seen = encode({"role": role, "content": unmarked(blocks)})
    return PastMessage(role, encoded, seen, weight, _ends_in_space(blocks[-1]))


def _weight(blocks: Sequence[Mapping[str, Any]], place: str, sight: Sight) -> Weight:
    weight = NO_WEIGHT
    for number, block in enumerate(blocks):
        try:
            weight += held_weight(block, sight)
        except Unsendable as refused:
            raise BadHistory(f"{place}, content {number}: {refused.message} ({refused.hint})") from refused
    return weight


def _blocks(content: Any, role: str, place: str) -> Iterator[Mapping[str, Any]]:
    if isinstance(content, str):
        yield _text({"type": "text", "text": content}, role, place)
        return
    if not isinstance(content, Sequence) or isinstance(content, bytes | bytearray):
        raise BadHistory(f"{place}: `content` must be a text or a list of blocks, found {_shown(content)}")
    if not content:
        raise BadHistory(f"{place}: `content` is empty, which the API refuses")
    for number, block in enumerate(content):
        yield _block(block, role, f"{place}, content {number}")


def _block(block: Any, role: str, place: str) -> Mapping[str, Any]:
    if not isinstance(block, Mapping):
        raise BadHistory(f"{place}: expected a block of the API, a mapping, found {_shown(block)}")
    kind = block.get("type")
    if not isinstance(kind, str):
        raise BadHistory(f"{place}: a block needs its `type`, a text")
    if "cache_control" in block:
        raise BadHistory(f"{place}: `cache_control` is for the job to give (`cache: true` on a block), not for data")
    only = _ONE_SIDED.get(kind)
    if only is not None and only != role:
        raise BadHistory(f"{place}: the API takes a block of type `{kind}` in a turn of the {only} only")
    if kind == "search_result" and any(_has_citations(inner) for inner in _listed(block.get("content"))):
        raise BadHistory(f"{place}: the API takes no citations in a turn of the user")
    return _text(block, role, place) if kind == "text" else block


def _text(block: Mapping[str, Any], role: str, place: str) -> Mapping[str, Any]:
    text = block.get("text")
    if not isinstance(text, str):
        raise BadHistory(f"{place}: the `text` of a text block must be a text, found {_shown(text)}")
    if not text or text.isspace():
        raise BadHistory(f"{place}: the text is empty, which the API refuses")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadHistory(f"{place}: the text holds half of a surrogate pair, which has no UTF-8 form") from None
    if role == "user" and _has_citations(block):
        raise BadHistory(f"{place}: the API takes no citations in a turn of the user")
    return block


def _has_citations(block: Any) -> bool:
    return isinstance(block, Mapping) and bool(block.get("citations"))


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()


def _ends_in_space(block: Mapping[str, Any]) -> bool:
    text = block.get("text")
    return isinstance(text, str) and text != text.rstrip()


def _shown(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return f"the text {value[:40]!r}"
        case Mapping():
            return "a mapping"
        case bytes() | bytearray():
            return "bytes"
        case int() | float():
            return f"the number {value}"
        case _:
            return "a list" if isinstance(value, Sequence) else f"a {type(value).__name__}"
