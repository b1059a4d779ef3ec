"""The regular expressions of JSON Schema, as Python's.

Owns   `compile_pattern`, which gives an expression the meaning that JSON Schema gives it: that of ECMA-262.
Knows  both dialects, where they write the same thing in different ways or mean different things by it.

What differs: `$` is the very end, never before a line break; `\\d` and `\\w` are ASCII; `\\s` is white space of all
scripts; named groups, `\\/`, `\\cX`, `\\u{…}`, `[]` and `[^]` have forms of their own. What Python cannot say
(`\\p{…}`) is refused.
Source: JSON Schema 2020-12, core section 6.4; ECMA-262, section 22.2.
"""

from __future__ import annotations

import re
import warnings
from functools import lru_cache

_SPACE = r"\t\n\x0b\f\r \xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
_TOKEN = re.compile(
    r"\\u\{([0-9A-Fa-f]+)\}|\\k<(\w+)>|\\c([A-Za-z])|(\\[pP]\{)|(\\.)|(\(\?<(?![=!]))|(\[\^?\])|([\[\]$])|.", re.DOTALL
)


class BadPattern(ValueError):
    """An expression that cannot be used; the message says why."""


@lru_cache(maxsize=256)
def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Raises BadPattern."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sets that a later Python may read in another way
            return re.compile(as_python(pattern), re.ASCII)
    except (re.error, RecursionError, OverflowError) as error:
        raise BadPattern(str(error)) from error


def as_python(pattern: str) -> str:
    """The expression in Python's words, to be compiled with `re.ASCII`. Raises BadPattern."""
    parts: list[str] = []
    in_set = False
    for match in _TOKEN.finditer(pattern):
        point, named, control, category, escape, group, empty, special = match.groups()
        if category:
            raise BadPattern("categories of Unicode (`\\p{…}`) are not supported")
        if point:
            if int(point, 16) > 0x10FFFF:
                raise BadPattern(f"there is no character {match.group()}")
            parts.append(re.escape(chr(int(point, 16))))
        elif named and not in_set:
            parts.append(f"(?P={named})")
        elif control:
            parts.append(re.escape(chr(ord(control) % 32)))
        elif escape:
            parts.append(_escaped(escape, in_set=in_set))
        elif group and not in_set:
            parts.append("(?P<")
        elif empty and not in_set:
            parts.append(r"(?!)" if empty == "[]" else r"[\s\S]")
        elif special == "[" and in_set:
            parts.append(r"\[")
        elif special == "$" and not in_set:
            parts.append(r"\Z")
        else:
            in_set = special == "[" or (in_set and special != "]")
            parts.append(match.group())
    return "".join(parts)


def _escaped(escape: str, *, in_set: bool) -> str:
    letter = escape[1]
    if letter == "s":
        return _SPACE if in_set else f"[{_SPACE}]"
    if letter == "S" and not in_set:
        return f"[^{_SPACE}]"
    # Python's own anchors, and the slash, stand for themselves.
    return letter if letter in "AZ/" else escape
