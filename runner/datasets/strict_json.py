"""One JSON value of a row, strictly.

Owns   what is refused in JSON data, and how that is told.
Why    the standard library's decoder: integers of any size stay exact (faster decoders turn those above 64 bits into
       floats) and its hooks see what most readers drop in silence.

Refused: NaN and infinity (also as 1e999), a field that appears twice in one object (which of the two is meant?), a
value nested deeper than Python's stack. Lone surrogates written as escapes are kept.

Source: RFC 8259.
"""

from __future__ import annotations

import json
import math
from typing import Any


class BadJson(ValueError):
    """A value that is not taken. `position` is its 0-based character in the text, where it is known."""

    def __init__(
        self, code: str, message: str, hint: str, position: int | None = None, *, at_end: bool = False
    ) -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint
        self.position = position
        self.at_end = at_end
        """More text might make it sound: what is wrong is wrong at the end of the text."""


def parse(text: str) -> Any:
    """The value of a whole text. Raises BadJson."""
    value, end = parse_at(text, _blank_end(text, 0))
    rest = _blank_end(text, end)
    if rest != len(text):
        raise BadJson("bad-json", "more text follows the JSON value", _HINT, rest)
    return value


def parse_at(text: str, start: int) -> tuple[Any, int]:
    """The value that begins at `start`, and where it ends. Raises BadJson."""
    try:
        return _decoder.raw_decode(text, start)
    except json.JSONDecodeError as error:
        raise _syntax(error, len(text)) from error
    except RecursionError as error:
        raise BadJson("bad-json", "the JSON value is nested too deep", "flatten it") from error
    except BadJson:
        raise
    except ValueError as error:  # Python's own limit (sys.int_info.default_max_str_digits)
        raise BadJson("bad-number", "a whole number has more than 4,300 digits", "write it as a string") from error


_HINT = "a row is one complete JSON object"
_OPEN_END = 16
"""A literal or an escape cut by the end of the text is found this many characters before it at most (`-Infinity`,
`\\ud83d\\ude00`)."""


def _syntax(error: json.JSONDecodeError, length: int) -> BadJson:
    is_open = error.msg.startswith("Unterminated string")
    what = "a string is not closed" if is_open else error.msg[:1].lower() + error.msg[1:].rstrip(": at")
    at_end = is_open or error.pos >= length - _OPEN_END
    return BadJson("bad-json", f"is not JSON: {what}", _HINT, error.pos, at_end=at_end)


def _blank_end(text: str, start: int) -> int:
    """Where the JSON white space that begins at `start` ends."""
    while start < len(text) and text[start] in " \t\r\n":
        start += 1
    return start


def _refuse_constant(name: str) -> Any:
    raise BadJson("bad-number", f"{name} is not JSON", "write null where there is no number")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise BadJson("bad-number", f"the number {digits[:40]} is too large", "write it as a string")
    return number


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for place, name in enumerate(names) if name in names[:place])
        raise BadJson("duplicate-field", f"the field {twice!r} appears twice in one object", "rename or remove one")
    return values


_decoder = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite)
