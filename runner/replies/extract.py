"""What is in a reply: its text.

Owns   `Answer`, and taking text out of content blocks. Blocks are told apart by their `type`, never by their place: a
       reply may begin with (empty) thinking, so `content[0].text` is wrong.
Knows  the API's content blocks. Whether a reply is any good is `replies.judge`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct


class Answer(Struct, frozen=True):
    """`text`: the raw text of a reply. `output`: the JSON in it where structured output was asked for, else the
    text."""

    output: Any
    text: str


def text_of(content: Sequence[Mapping[str, Any]]) -> str:
    """All text blocks joined, whatever blocks stand between them; empty where there is none."""
    texts = [
        text
        for block in content
        if block.get("type") == "text" and isinstance(text := block.get("text"), str)  # a gateway's null is no text
    ]
    return "".join(texts)


def has_text(content: Sequence[Mapping[str, Any]]) -> bool:
    """Whether `text_of` is more than white space."""
    for block in content:
        if block.get("type") == "text":
            text = block.get("text")
            if isinstance(text, str) and text and not text.isspace():
                return True
    return False
