"""Text on its way to a terminal: made harmless, and amounts made readable.

Owns   `plain_text`, which everything that comes from data, from the API or from a plugin passes before a person sees
       it, and the formats of money, durations, shares, counts and tables in what people read.
Why    a row or a reply may hold escape sequences that clear the screen, retitle the window, write to the clipboard or
       reorder the line; a terminal obeys whoever writes to it.
Source ECMA-48 for the shapes of control sequences, Unicode UAX 9 for the marks that reorder.
Knows  nothing of runs or of rich.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Collection, Mapping, Sequence

from runner.encoding import printable
from runner.types import PICO_PER_USD

# Each alternative consumes up to the next ESC at most, so the whole is linear in the text, whatever it holds.
_ESCAPE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"  # CSI: colours, cursor, erase
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"  # OSC, DCS, SOS, PM, APC
    r"|\x1b[ -/]*[0-~]?"  # all other two- and three-byte sequences
)
# C0 but tab and newline, DEL, C1; then what reorders or hides: bidi marks, zero-width characters, byte order mark.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_BREAKS = re.compile(r"[\t\n\u2028\u2029]+")


def plain_text(text: str, *, lines: bool = False) -> str:
    """Remove escape sequences, control characters and reordering marks.

    Line breaks and tabs become one space, unless `lines` keeps them (a reply shown in full). Lone surrogates become
    U+FFFD.
    """
    text = printable(text).replace("\r\n", "\n").replace("\r", "\n")
    text = _CONTROL.sub("", _ESCAPE.sub("", text))
    return text if lines else _BREAKS.sub(" ", text)


def usd(pico: int) -> str:
    """Dollars with at least two decimals and, for small amounts, three significant digits: $1,204.50, $0.0123."""
    value = pico / PICO_PER_USD
    if value == 0 or abs(value) >= 0.1:
        return f"${value:,.2f}"
    decimals = min(12, 2 - math.floor(math.log10(abs(value))))
    return f"${value:.{decimals}f}"


def duration(seconds: float) -> str:
    """0:41, 12:05, 3:20:11; from two days on in days and hours."""
    whole = max(0, round(seconds))
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days >= 2:
        return f"{days} d {hour} h"
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def share(part: int, whole: int) -> str:
    """A percentage without decimals, but never 0% or 100% for what is neither."""
    if whole <= 0:
        return "0%"
    percent = 100 * part / whole
    if 0 < percent < 1:
        return "<1%"
    if 99 < percent < 100:
        return "99%"
    return f"{percent:.0f}%"


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """1 record, 24 records; `plural` for what does not just take an s."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def ranked(counts: Mapping[str, int], shown: int | None = None) -> str:
    """A total, and the commonest of its kinds: 12 (refusal 9, truncated 3). `shown` is how many are named."""
    order, most = sorted(counts.items(), key=lambda item: (-item[1], item[0])), shown or SHOWN_KINDS
    names = [f"{kind} {number:,}" for kind, number in order[:most]]
    rest = sum(number for _, number in order[most:])
    if rest:
        names.append(f"others {rest:,}")
    return f"{sum(counts.values()):,} ({', '.join(names)})"


SHOWN_KINDS = 4
"""Kinds of failure that are named; the others are summed up."""


def aligned(rows: Sequence[Sequence[str]], *, right: Collection[int] = ()) -> list[str]:
    """Rows as columns that are as wide as their widest cell, two spaces apart: nothing is cut off, whatever the
    terminal's width. The columns `right` are flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if number in right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def labelled(label: str, text: str, width: int | None = None) -> list[str]:
    """A label and its text, which goes on below itself where it is longer than `width`; words are never broken."""
    parts = wrapped(text, None if width is None else width - _LABEL)
    return [f"  {label if not number else '':<{_LABEL - 2}}{part}" for number, part in enumerate(parts)]


def wrapped(text: str, width: int | None) -> list[str]:
    """Lines of at most `width` characters, None for one line; words are never broken, so paths can be copied."""
    if width is None:
        return [text]
    return textwrap.wrap(text, max(_NARROWEST, width), break_long_words=False, break_on_hyphens=False)


_LABEL = 11
_NARROWEST = 30
"""Characters a line; below, wrapping helps nobody."""
