"""Plain YAML scalars: the 1.2 core schema, with the traps of other dialects refused.

Owns   `resolve`, from the text of an unquoted scalar to its value.
Knows  no files and no positions.

`no`, `on`, `2026-11-22` and `22:22` are text, as YAML 1.2 has it. What one dialect reads as a number and another
as text, or as another number (`012` is 10 to YAML 1.1 and 12 to YAML 1.2, `1_000` is 1000 or text), is refused
with the advice to quote it, and so are `.nan` and `.inf`, which JSON cannot hold.

Source: YAML 1.2.2, section 10.3.2 (core schema); YAML 1.1 type repository (int, float).
"""

from __future__ import annotations

import re

from msgspec import Struct

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset({"true", "True", "TRUE"})
_FALSE = frozenset({"false", "False", "FALSE"})
_INTEGER = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?")
_UNDERSCORED = re.compile(r"[-+]?[0-9][0-9_]*_[0-9_]*(?:\.[0-9_]*)?")
_NOT_FINITE = re.compile(r"(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))")
_MAX_DIGITS = 400
"""No number of a job is longer; Python itself refuses to read more than 4,300 digits (CVE-2020-10735)."""

Value = str | int | float | bool | None


class Doubtful(Struct, frozen=True):
    """A scalar that is refused; `message` says why and `hint` how to write it."""

    message: str
    hint: str


def resolve(text: str) -> Value | Doubtful:
    """The value of a plain scalar."""
    if text in _NULL:
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    if text[0] in "+-.0123456789":
        return _number(text)
    return text


def _number(text: str) -> Value | Doubtful:
    if _NOT_FINITE.fullmatch(text):
        return Doubtful(f"`{text}` is not a number that JSON can hold", _quote(text))
    if _UNDERSCORED.fullmatch(text):
        number = text.replace("_", "")
        return Doubtful(
            f"`{text}` is a number in some versions of YAML and text in others",
            f"for the number write {number}; {_quote(text)}",
        )
    if _LEADING_ZERO.fullmatch(text):
        number = re.sub(r"^([-+]?)0+(?=[0-9])", r"\1", text)
        return Doubtful(
            f"`{text}` has a leading zero: versions of YAML read it as different numbers",
            f"for the number write {number}; {_quote(text)}",
        )
    if _OCTAL.fullmatch(text):
        return int(text, 0)
    if _HEXADECIMAL.fullmatch(text):
        return int(text, 0)
    if not _FLOAT.fullmatch(text):
        return text
    if len(text) > _MAX_DIGITS:
        return Doubtful(f"a number of {len(text):,} characters is too long", "to mean the text, put it in quotes")
    if _INTEGER.fullmatch(text):
        return int(text)
    value = float(text)
    if value in (float("inf"), float("-inf")):
        return Doubtful(f"`{text}` is too large for a number", _quote(text))
    return value


def _quote(text: str) -> str:
    return f'to mean the text, put it in quotes: "{text}"'
