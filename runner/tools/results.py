"""What a function returned, or raised, as a text for the model.

Owns   the encoding of results, their bound in bytes, and the words for what went wrong.
Knows  values; nothing of how they came about.

A model is told what kind of error a function raised, and its message in one line: never a traceback, which would be
of no use to it and shows the inside of the author's machine.
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError, to_json

from runner.encoding import printable

MAX_ERROR_CHARACTERS = 500


def text_of_value(value: Any, max_bytes: int) -> tuple[str, bool]:
    """A returned value as text, and whether that is an error. Text stays as it is; anything else becomes JSON."""
    if isinstance(value, str):
        text = value
    else:
        try:
            text = to_json(value).decode()
        except (PydanticSerializationError, ValueError, RecursionError):
            return f"the tool returned a {type(value).__name__}, which has no JSON form", True
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return "the tool returned text that has no UTF-8 form", True
    if size > max_bytes:
        return f"the result has {size:,} bytes, more than the {max_bytes:,} that are allowed: ask for less", True
    return text, False


def text_of_error(error: BaseException) -> str:
    """What the model is told of an exception."""
    if isinstance(error, ValidationError):
        wrong = error.errors(include_url=False, include_context=False)
        words = "; ".join(f"{'.'.join(map(str, item['loc'])) or 'input'}: {item['msg']}" for item in wrong)
    else:
        words = str(error)
    said = f"{type(error).__name__}: {words}" if words else type(error).__name__
    line = printable(" ".join(said.split()))
    return line if len(line) <= MAX_ERROR_CHARACTERS else line[: MAX_ERROR_CHARACTERS - 1] + "…"
