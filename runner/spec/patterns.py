"""The regular expressions of JSON Schema, as Python's.

Owns   `compile_pattern`, which gives an expression the meaning that JSON Schema gives it, that of ECMA-262, and bounds
       the time of a search: the text's length times the expression's (`spec.automata`).
Knows  both dialects, where they write the same thing in different ways or mean different things by it.

What differs: `$` is the very end, never before a line break; `.` is none of four line breaks; `\\d` and `\\w` are
ASCII; `\\s` is white space of all scripts; what `(?<=…)` looks for may have any length; named groups, `\\/`, `\\cX`,
`\\u{…}`, pairs of surrogates, `[]` and `[^]` have forms of their own. What Python cannot say (`\\p{…}`) is refused, and
so is what an automaton cannot do (`\\1`).
Source: JSON Schema 2020-12, core section 6.4; ECMA-262, section 22.2.
"""

from __future__ import annotations

import re
import warnings
from functools import lru_cache
from importlib import import_module
from typing import Any

from runner.spec.automata import FLAGS, NO_FLAGS, Automaton, Unbounded

# Its public name, `sre_parse`, is deprecated and warns.
_python_parser: Any = import_module("re._parser")
_SPACE = r"\t\n\x0b\f\r \xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
_NO_SPACE = (
    r"\x00-\x08\x0e-\x1f!-\x9f\xa1-\u167f\u1681-\u1fff\u200b-\u2027\u202a-\u202e\u2030-\u205e\u2060-\u2fff"
    r"\u3001-\ufefe\uff00-\U0010ffff"
)
_TOKEN = re.compile(
    r"""\\u\{(?P<point>[0-9A-Fa-f]+)\}
    | (?P<pair>\\u[Dd][89ABab][0-9A-Fa-f]{2}\\u[Dd][C-Fc-f][0-9A-Fa-f]{2})
    | \\k<(?P<named>\w+)>
    | \\c(?P<control>[A-Za-z])
    | (?P<category>\\[pP]\{)
    | (?P<escape>\\.)
    | (?P<group>\(\?<(?![=!]))
    | (?P<empty>\[\^?(?=\]))
    | (?P<special>[\[\]$.])
    | .""",
    re.DOTALL | re.VERBOSE,
)


class BadPattern(ValueError):
    """An expression that cannot be used; the message says why. `hint`: what to do, where there is something."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class Pattern:
    """An expression whose search takes no longer than the text is long times the expression."""

    def __init__(self, text: str) -> None:
        """Raises BadPattern."""
        self.text = text
        parsed = _parsed(text)
        try:
            self._automaton = Automaton(parsed)
        except Unbounded as error:
            raise BadPattern(f"the pattern cannot be used: {error}", error.hint) from error
        except RecursionError as error:
            raise BadPattern("the pattern is nested too deeply") from error

    def search(self, text: str) -> bool:
        """Whether it matches anywhere in the text."""
        return self._automaton.occurs(text)


@lru_cache(maxsize=256)
def compile_pattern(text: str) -> Pattern:
    """Raises BadPattern."""
    return Pattern(text)


def is_pattern(text: str) -> bool:
    """Whether this is an expression at all, of those too that are not searched for here."""
    try:
        _parsed(text)
    except BadPattern:
        return False
    return True


def _parsed(pattern: str) -> Any:
    """The tree that Python's parser makes of an expression. Raises BadPattern."""
    translated = as_python(pattern)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sets that a later Python may read in another way
            tree = _python_parser.parse(translated, re.ASCII)
    except re.error as error:  # its position is one in the translation
        raise BadPattern(f"this is no regular expression: {error.msg}") from error
    except RecursionError as error:
        raise BadPattern("the pattern is nested too deeply") from error
    except OverflowError as error:
        raise BadPattern(f"this is no regular expression: {error}") from error
    except ValueError as error:  # of flags that contradict what it is parsed with
        raise BadPattern(f"the pattern cannot be used: {FLAGS}", NO_FLAGS) from error
    if tree.state.flags != re.ASCII:
        raise BadPattern(f"the pattern cannot be used: {FLAGS}", NO_FLAGS)
    return tree


def as_python(pattern: str) -> str:
    """The expression in Python's words, to be parsed with `re.ASCII`. Raises BadPattern."""
    parts: list[str] = []
    in_set = False
    for match in _TOKEN.finditer(pattern):
        point, pair, named, control, category, escape, group, empty, special = match.groups()
        if category:
            raise BadPattern("categories of Unicode (`\\p{…}`) are not supported in patterns")
        if point:
            if int(point, 16) > 0x10FFFF:
                raise BadPattern(f"this is no regular expression: there is no character {match.group()}")
            parts.append(re.escape(chr(int(point, 16))))
        elif pair:
            parts.append(_joined(pair))
        elif named and not in_set:
            parts.append(f"(?P={named})")
        elif control:
            parts.append(re.escape(chr(ord(control) % 32)))
        elif escape:
            parts.append(_escaped(escape, in_set=in_set))
        elif group and not in_set:
            parts.append("(?P<")
        elif empty and not in_set:  # Python takes a bracket that comes first for one of the characters
            parts.append(r"[^\s\S" if empty == "[" else r"[\s\S")
            in_set = True
        elif empty or (special == "[" and in_set):
            parts.append("\\" + match.group())
        elif special == "$" and not in_set:
            parts.append(r"\Z")
        elif special == "." and not in_set:
            parts.append(r"[^\n\r\u2028\u2029]")
        else:
            in_set = special == "[" or (in_set and special != "]")
            parts.append(match.group())
    return "".join(parts)


def _escaped(escape: str, *, in_set: bool) -> str:
    letter = escape[1]
    if letter == "s":
        return _SPACE if in_set else f"[{_SPACE}]"
    if letter == "S":
        return _NO_SPACE if in_set else f"[{_NO_SPACE}]"
    # What only Python gives a meaning, and the slash, stand for themselves.
    return letter if letter in "AaNUZz/" else escape


def _joined(pair: str) -> str:
    """The one character that two escapes are the halves of: JSON Schema's expressions are read with the flag `u`."""
    high, low = int(pair[2:6], 16), int(pair[8:12], 16)
    return re.escape(chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00)))
