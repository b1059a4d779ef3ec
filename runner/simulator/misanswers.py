"""Replies that arrive whole, with HTTP 200, and are no success all the same.

Owns   what each of these faults makes of the answer that the request would have had. All of them are billed.
Knows  answers; nothing of the transport.

Source: the API's stop reasons (`types/stop_reason.py` and `refusal_stop_details.py` of the SDK, 2.12.0).
`paused_for_tea` stands for the stop reason of a future version, which the SDK hands on unchecked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson
from msgspec.structs import replace

from runner.simulator.acts import Act
from runner.simulator.answers import Answer
from runner.simulator.faults import OFF_SCHEMA_TEXT, Fault
from runner.simulator.told import broken


def misanswer(body: Mapping[str, Any], whole: Answer, fault: Fault | None) -> Answer:
    """What the fault makes of an answer; the answer itself where it strikes elsewhere or there is none."""
    match fault and fault.act:
        case Act.REFUSAL:
            return _refused(fault.rule.category if fault else None)
        case Act.MAX_TOKENS | Act.CUT_OFF:
            return _cut_off(body, whole)
        case Act.PAUSE_TURN:
            return replace(whole, stop_reason="pause_turn")
        case Act.UNKNOWN_STOP:
            return replace(whole, stop_reason="paused_for_tea")
        case Act.EMPTY:
            return replace(whole, content=[])
        case Act.NOT_JSON:
            return _with_text(whole, lambda text: f"Here it is: {text}")
        case Act.OFF_SCHEMA | Act.INVALID:
            return _with_text(whole, lambda _: OFF_SCHEMA_TEXT)
        case Act.OFF_TOLD:
            return _with_text(whole, lambda text: _off_told(body, text))
        case _:
            return whole


def _off_told(body: Mapping[str, Any], text: str) -> str:
    """A structured answer that fits its schema as it was sent, and not what the descriptions in it tell."""
    output_format = (body.get("output_config") or {}).get("format")
    return orjson.dumps(broken(output_format["schema"], orjson.loads(text))).decode() if output_format else text


def _refused(category: str | None) -> Answer:
    explanation = None if category is None else f"The request was declined under the policy on {category}."
    details = {"type": "refusal", "category": category, "explanation": explanation}
    return Answer([], "refusal", 1, stop_details=details)


def _cut_off(body: Mapping[str, Any], whole: Answer) -> Answer:
    """As if it had run into `max_tokens`: half of its text, and all tokens used."""
    cut = _with_text(whole, lambda text: text[: max(1, len(text) // 2)])
    return replace(cut, stop_reason="max_tokens", output_tokens=body["max_tokens"])


def _with_text(whole: Answer, change: Callable[[str], str]) -> Answer:
    content = [
        {**block, "text": change(block["text"])} if block["type"] == "text" else block for block in whole.content
    ]
    return replace(whole, content=content)
