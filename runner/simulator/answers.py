"""What the stand-in answers: content that depends on the request alone.

Owns   the content blocks, the stop reason and the output tokens of a reply.
Knows  the request and its model's card; nothing of time, accounts or earlier requests. The same request gets the same
       answer in parallel and in batch mode, today and after a restart.

A plain answer begins with `[echo …]`, the digest of the last user turn's text; in a structured answer every free
string ends in it. An answer given to the wrong row is thereby visible without any record of what was asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from msgspec import Struct

from runner.simulator.instances import Draws, instance
from runner.simulator.models import Card
from runner.simulator.prompt import Prompt, last_user_text
from runner.simulator.tools import play

_THINKING_TOKENS: Mapping[str, int] = {"low": 8, "medium": 16, "high": 32, "xhigh": 64, "max": 128}
"""About how many tokens a reply is thought over; small, so that ordinary `max_tokens` suffice."""

_SENTENCES = (
    "The text is clear about what happened and when.",
    "Two points deserve a closer look before anything is decided.",
    "Nothing in it contradicts the rules that were given.",
    "The tone is calm, and the facts are told in order.",
    "A short answer would miss the reason behind the request.",
    "The numbers agree with each other as far as they go.",
    "It names the product, the place and the person to ask.",
    "An example would have helped here.",
    "The author expects a reply within a few days.",
    "What is missing can be found in the attached notes.",
    "On the whole this is an ordinary case.",
    "The last part repeats what the first one said.",
)


class Answer(Struct, frozen=True):
    """A reply without its envelope. `output_tokens` includes `thinking_tokens`."""

    content: list[dict[str, Any]]
    stop_reason: str
    output_tokens: int
    thinking_tokens: int = 0
    stop_sequence: str | None = None
    stop_details: Mapping[str, Any] | None = None
    read_tokens: int = 0
    """Tokens that tools of the API have read for it, which are billed as input."""
    searches: int = 0
    fetches: int = 0


def answer(body: Mapping[str, Any], prompt: Prompt, card: Card, reply_tokens: int) -> Answer:
    """Answer a valid request. `reply_tokens` is about how long a plain answer is."""
    if body["max_tokens"] == 0:
        return Answer([], "max_tokens", 0)
    draws = Draws(prompt.digest)
    thinking = thought = _thinking_tokens(body, card, draws)
    blocks = [{"type": "thinking", "thinking": "", "signature": prompt.digest}] if thinking else []
    left = body["max_tokens"] - thinking
    if left <= 0:
        return Answer(blocks, "max_tokens", body["max_tokens"], body["max_tokens"])
    played = play(body, last_user_text(body), prompt.digest, prompt.echo, card)
    blocks += played.blocks
    thinking, left = thinking + played.output_tokens, left - played.output_tokens
    used = (played.read_tokens, played.searches, played.fetches)
    if played.stop_reason is not None:
        return Answer(blocks, played.stop_reason, max(1, thinking), thought, None, None, *used)
    if left <= 0:
        return Answer(blocks, "max_tokens", thinking, thought, None, None, *used)
    text = _text(body, prompt, draws, reply_tokens)
    text, stop_sequence = _cut_at_stop(text, body.get("stop_sequences") or ())
    stop_reason = "stop_sequence" if stop_sequence is not None else "end_turn"
    size = len(text.encode())
    if card.tokens(size) > left:
        text = text.encode()[: card.bytes_within(left)].decode(errors="ignore")
        stop_reason, stop_sequence = "max_tokens", None
        size = len(text.encode())
    # The API bills at least one token, also where a stop sequence leaves no text.
    tokens = left if stop_reason == "max_tokens" else max(1, card.tokens(size))
    if text:
        blocks.append({"type": "text", "text": text})
    return Answer(blocks, stop_reason, thinking + tokens, thought, stop_sequence, None, *used)


def _thinking_tokens(body: Mapping[str, Any], card: Card, draws: Draws) -> int:
    kind = (body.get("thinking") or {}).get("type")
    if kind in ("disabled", "between_tools") or (kind is None and not card.thinks):
        return 0
    effort = (body.get("output_config") or {}).get("effort") or card.default_effort
    base = _THINKING_TOKENS[effort]
    return min(base + draws.below(base), int(body["max_tokens"]))


def _text(body: Mapping[str, Any], prompt: Prompt, draws: Draws, reply_tokens: int) -> str:
    output_format = (body.get("output_config") or {}).get("format")
    if output_format:
        return orjson.dumps(instance(output_format["schema"], draws, prompt.echo)).decode()
    words = f"[echo {prompt.echo}]"
    wanted = reply_tokens * 2 + draws.below(
        reply_tokens * 4 + 1
    )  # bytes; at four a token, half to one and a half times
    while len(words) < wanted:
        words = f"{words} {draws.pick(_SENTENCES)}"
    return words


def _cut_at_stop(text: str, stops: list[str] | tuple[()]) -> tuple[str, str | None]:
    found = [(text.find(stop), stop) for stop in stops if stop in text]
    if not found:
        return text, None
    position, stop = min(found)
    return text[:position], stop
