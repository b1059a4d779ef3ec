"""Filters that take text and give text.

Owns   Jinja's own text filters, written again where its version is unbounded or prints by other rules, and ours:
       `split`, `csv`, `xml_escape`, `dedent`, `truncate_tokens_approx`.
Knows  the printing rules and the meter. The first argument arrives as text already (`filters.py` sees to it), so a
       number, a date or null is treated as it would print.

What is not here, of Jinja's: `random` (a prompt must be the same on every run, or nothing could be reused), `attr`
(data has items only), `urlize`, `xmlattr`, `forceescape` and `pprint` (they make HTML, or Python).
"""

from __future__ import annotations

import html
import re
import textwrap
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

from jinja2.filters import do_filesizeformat, do_title

from runner.templating import operators
from runner.templating.bounds import active
from runner.templating.failure import Refusal
from runner.templating.printing import text_of

CHARS_OF_A_TOKEN = 3.0
"""Characters that one token stands for, roughly, in ASCII text: 4 is the usual rule of thumb, and models from 4.7 on
count about 30 % more tokens for the same text (the API's model page). Other characters count as a token each."""

_WORD = re.compile(r"\w+")
_RUN = re.compile(r"\s+|\S+")
_LONG_WORD = 20
"""Letters of a long English word: text without white space in its last so many characters is cut anywhere."""
_MAX_WRAP_WORK = 2**28
"""Characters that wrapping may move: `textwrap` copies the rest of a long word once a line, which takes 0.1 s at this
many.
"""


def capitalize(text: str) -> str:
    return text.capitalize()


def center(text: str, width: int = 80) -> str:
    return text.center(active.get().width(width, "center"))


def csv(value: Any) -> str:
    """One field of a csv file, or for a list or mapping one line of fields, quoted where RFC 4180 asks for it."""
    if isinstance(value, Mapping):
        value = list(value.values())
    fields = value if isinstance(value, list | tuple) else [value]
    active.get().step(len(fields))
    return ",".join(_csv_field(text_of(field)) for field in fields)


def _csv_field(text: str) -> str:
    if any(mark in text for mark in ',"\r\n'):
        doubled = text.replace('"', '""')
        return f'"{doubled}"'
    return text


def dedent(text: str) -> str:
    """Take away the indentation that all lines share."""
    return textwrap.dedent(text)


def escape(text: str) -> str:
    """Escape for HTML."""
    return html.escape(text)


def filesizeformat(value: float | str, binary: bool = False) -> str:
    return do_filesizeformat(value, binary)


def format_(pattern: str, *values: Any, **named: Any) -> str:
    """`"%s of %d" | format(a, b)`."""
    if values and named:
        raise Refusal("`format` takes values by place or by name, not both")
    return operators.formatted(pattern, named or values)


def indent(text: str, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    """Indent every line but the first."""
    margin = " " * active.get().width(width, "indent") if not isinstance(width, str) else width
    lines = text.split("\n")
    active.get().text(len(text) + len(margin) * len(lines))
    out = [margin + line if number and (blank or line) else line for number, line in enumerate(lines)]
    if first and out:
        out[0] = margin + out[0]
    return "\n".join(out)


def lower(text: str) -> str:
    return text.lower()


def replace(text: str, old: Any, new: Any, count: int | None = None) -> str:
    before, after = text_of(old), text_of(new)
    times = text.count(before)
    if count is not None and count >= 0:
        times = min(times, count)
    active.get().text(len(text) + times * max(0, len(after) - len(before)))
    return text.replace(before, after, -1 if count is None else count)


def safe(text: str) -> str:
    """Nothing is escaped here, so that there is nothing to mark; kept for templates that come from elsewhere."""
    return text


def split(text: str, separator: Any = None, maxsplit: int = -1) -> list[str]:
    """Cut at each separator, or at white space."""
    mark = None if separator is None else text_of(separator)
    if mark == "":
        raise Refusal("`split` needs a separator that is not empty", "for single characters: `| list`")
    parts = text.split(mark, maxsplit)
    active.get().items(len(parts))
    return parts


def string(text: str) -> str:
    return text


def striptags(text: str) -> str:
    """Take away tags and comments, put white space into single blanks, and turn entities into characters.

    In one pass: Jinja's own copies the text once for every tag, which takes seconds for a page of a megabyte.
    """
    kept = []
    start = 0
    while (opened := text.find("<", start)) >= 0:
        mark = "-->" if text.startswith("<!--", opened) else ">"
        closed = text.find(mark, opened)
        if closed < 0:
            break
        kept.append(text[start:opened])
        start = closed + len(mark)
    kept.append(text[start:])
    return html.unescape(" ".join("".join(kept).split()))


def title(text: str) -> str:
    return do_title(text)


def trim(text: str, chars: str | None = None) -> str:
    return text.strip(chars)


def truncate(text: str, length: int = 255, killwords: bool = False, end: str = "...", leeway: int = 5) -> str:
    """Cut to `length` characters, `end` included; a text longer by no more than `leeway` stays whole."""
    if length < len(end) or leeway < 0:
        raise Refusal(f"`truncate` needs a length of at least {len(end)} (that of `end`) and a leeway of at least 0")
    if len(text) <= length + leeway:
        return text
    cut = text[: length - len(end)]
    return (cut if killwords else cut.rsplit(" ", 1)[0]) + end


def truncate_tokens_approx(text: str, tokens: Any, end: str = "…") -> str:
    """Cut to about `tokens` tokens, at a white space where there is one near.

    Tokens are guessed, not counted: three ASCII characters or one other character are one token. A text of a natural
    language stays below the number asked for, as a rule; digits and code may pass it.
    """
    if isinstance(tokens, bool) or not isinstance(tokens, int) or tokens < 1:
        raise Refusal("`truncate_tokens_approx` takes a number of tokens, at least 1")
    budget = tokens * CHARS_OF_A_TOKEN
    if len(text) <= budget and text.isascii():
        return text
    used = 0.0
    for place, character in enumerate(text):
        used += 1 if character.isascii() else CHARS_OF_A_TOKEN
        if used > budget:
            cut = text[:place]
            at_space = cut.rstrip() if character.isspace() else cut[: _last_space(cut)].rstrip()
            return (at_space or cut) + end
    return text


def _last_space(text: str) -> int:
    """Where to cut: at the last white space if it is as near the end as a word is long, else at the end."""
    for place in range(len(text) - 1, max(0, len(text) - _LONG_WORD) - 1, -1):
        if text[place].isspace():
            return place
    return len(text)


def upper(text: str) -> str:
    return text.upper()


def urlencode(value: Any) -> str:
    """A text with everything quoted but `/`, or for a mapping or list of pairs a query."""
    if isinstance(value, Mapping):
        value = list(value.items())
    if isinstance(value, list | tuple):
        active.get().step(len(value))
        return "&".join(f"{quote_plus(text_of(name))}={quote_plus(text_of(item))}" for name, item in value)
    return quote(text_of(value))


def wordcount(text: str) -> int:
    return sum(1 for _ in _WORD.finditer(text))


def wordwrap(
    text: str,
    width: int = 79,
    break_long_words: bool = True,
    wrapstring: str = "\n",
    break_on_hyphens: bool = True,
) -> str:
    """Break lines at white space so that none is longer than `width`; newlines that are there stay."""
    meter = active.get()
    meter.width(width, "wordwrap", least=1)
    runs = [len(run[0]) for run in _RUN.finditer(text)]
    if sum(run**2 for run in runs) // width > _MAX_WRAP_WORK:
        raise Refusal(
            f"a word or gap of {max(runs):,} characters is too long to be wrapped at {width}",
            "leave long words whole: `| wordwrap(80, break_long_words=false)`, or cut the text first",
            "template-bounds",
        )
    meter.text(len(text) + (len(text) // width + 1) * len(wrapstring))
    wrapper = textwrap.TextWrapper(
        width=width,
        expand_tabs=False,
        replace_whitespace=False,
        break_long_words=break_long_words,
        break_on_hyphens=break_on_hyphens,
    )
    lines: list[str] = []
    for line in text.splitlines():
        lines.extend(wrapper.wrap(line) or [""])
    meter.text(sum(map(len, lines)) + len(lines) * len(wrapstring))
    return wrapstring.join(lines)


def xml_escape(text: str) -> str:
    """Make text safe inside an XML element or attribute: `& < > " '`. A row cannot close the tag that it stands in."""
    return (
        text.replace("&", "&amp;")
        .replace("<", "&lt;")
        .replace(">", "&gt;")
        .replace('"', "&quot;")
        .replace("'", "&#39;")
    )


TEXT_FILTERS: dict[str, Callable[..., Any]] = {
    "capitalize": capitalize,
    "center": center,
    "dedent": dedent,
    "e": escape,
    "escape": escape,
    "format": format_,
    "indent": indent,
    "lower": lower,
    "replace": replace,
    "safe": safe,
    "split": split,
    "string": string,
    "striptags": striptags,
    "title": title,
    "trim": trim,
    "truncate": truncate,
    "truncate_tokens_approx": truncate_tokens_approx,
    "upper": upper,
    "wordcount": wordcount,
    "wordwrap": wordwrap,
    "xml_escape": xml_escape,
}
"""Their first argument is turned into text before they see it."""

VALUE_FILTERS: dict[str, Callable[..., Any]] = {"csv": csv, "filesizeformat": filesizeformat, "urlencode": urlencode}
"""Their first argument comes as it is."""
