"""SQL as far as it has to be read before a database sees it: parameters, the end of the statement, its kind and order.

Owns   the scan of one text: what is quoted or a comment, `:name` parameters, a second statement, the first word, and
       whether the rows are ordered.
Knows  text. It is no parser: what is wrong with a statement otherwise is the database's to say.

`:name` is a parameter where a letter or `_` follows the colon and neither a colon nor a letter or digit stands before
it: `x::date`, `'12:30'` and `a[1:n]` have none. Quotes are those of SQL; in MariaDB and MySQL a
backslash escapes within them, and `#` begins a comment. `$tag$ … $tag$` is a text, as in PostgreSQL and DuckDB.

Sources: ISO 9075-2 (5.3 literals, comments); PostgreSQL 18, "Lexical Structure"; MariaDB, "String Literals".
"""

from __future__ import annotations

import re

from msgspec import Struct

WRITING = frozenset(
    {
        "insert", "update", "delete", "merge", "replace", "create", "alter", "drop", "truncate", "rename", "grant",
        "revoke", "copy", "set", "begin", "start", "commit", "rollback", "attach", "detach", "vacuum", "install",
        "load", "export", "import", "lock",
    }
)  # fmt: skip
"""First words of statements that give no rows, or change something."""

_TOKENS = r"""
    (?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))
    |(?P<dollar>\$(?P<tag>[A-Za-z_]\w*|)\$.*?(?:\$(?P=tag)\$|\Z))
    |(?P<quote>['"`])
    |(?P<parameter>(?<![:\w\\]):[A-Za-z_]\w*)
    |(?P<word>[A-Za-z_]\w*)
    |(?P<mark>[();])
    """
_SKIPPED = re.compile(_TOKENS, re.VERBOSE | re.DOTALL)
_SKIPPED_MYSQL = re.compile(_TOKENS.replace("--[^", r"\#[^\n]*|--[^", 1), re.VERBOSE | re.DOTALL)


class Parameter(Struct, frozen=True):
    """`:name` in a statement; `start` and `end` are places in its text."""

    name: str
    start: int
    end: int


class Statement(Struct, frozen=True):
    """One text of SQL, scanned.

    `first_word` is in lower case, None where there is no word. `second` is the place where another statement begins.
    `ordered`: there is an ORDER BY that is not within brackets. `lists` are parameters that stand for the items of an
    IN.
    """

    text: str
    parameters: tuple[Parameter, ...] = ()
    first_word: str | None = None
    second: int | None = None
    ordered: bool = False
    lists: frozenset[str] = frozenset()
    texts: tuple[str, ...] = ()
    """What stands between single quotes, as it is written."""
    into: int | None = None
    """The place of an INTO that is not within brackets: a SELECT that writes."""

    @property
    def body(self) -> str:
        """The text without what ends it."""
        return self.text.rstrip().rstrip(";").rstrip() if self.second is None else self.text

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters' names, each once, in the order of their first place."""
        return tuple(dict.fromkeys(parameter.name for parameter in self.parameters))

    def place(self, offset: int) -> tuple[int, int]:
        """The line of a place in the text, from 1, and its column, from 0."""
        before = self.text[:offset]
        return before.count("\n") + 1, offset - (before.rfind("\n") + 1)

    def written(self, prefix: str) -> str:
        """The body with each parameter's colon replaced, as a driver takes it: `$` for DuckDB."""
        text, end = [], 0
        for parameter in self.parameters:
            text += [self.text[end : parameter.start], prefix, parameter.name]
            end = parameter.end
        return "".join([*text, self.body[end:]])


def scan(text: str, *, mysql: bool = False) -> Statement:
    """Read a text of SQL; `mysql` says that it is MariaDB's or MySQL's."""
    skipped = _SKIPPED_MYSQL if mysql else _SKIPPED
    parameters: list[Parameter] = []
    lists: set[str] = set()
    texts: list[str] = []
    into: int | None = None
    first_word: str | None = None
    last_words = ("", "")
    depth, ended, second, ordered = 0, False, None, False
    position = 0
    while (match := skipped.search(text, position)) is not None:
        second = second if second is not None or not ended else _solid(text, position, match.start())
        position = match.end()
        kind = match.lastgroup
        if kind == "comment":
            position = _comment_end(text, match.start())
            continue
        if ended and second is None and match.group() != ";":
            second = match.start()
        if kind == "quote":
            position = _quote_end(text, match.start(), backslash=mysql)
            if match.group() == "'":
                texts.append(text[match.end() : position - 1])
        elif kind == "parameter":
            parameters.append(Parameter(match.group()[1:], match.start(), match.end()))
            if last_words[1] == "in":
                lists.add(match.group()[1:])
        elif kind == "mark":
            depth += {"(": 1, ")": -1}.get(match.group(), 0)
            ended = ended or match.group() == ";"
            continue  # `in (:ids)` is a list too
        elif kind == "word":
            word = match.group().lower()
            first_word = first_word or word
            ordered = ordered or (depth == 0 and last_words[1] == "order" and word == "by")
            into = match.start() if into is None and depth == 0 and word == "into" else into
            last_words = (last_words[1], word)
            continue
        last_words = (last_words[1], "")
    if ended and second is None:
        second = _solid(text, position, len(text))
    return Statement(text, tuple(parameters), first_word, second, ordered, frozenset(lists), tuple(texts), into)


def _solid(text: str, start: int, end: int) -> int | None:
    """The first place in a piece of text that is no white space and no `;`."""
    match = re.compile(r"[^\s;]").search(text, start, end)
    return match.start() if match else None


def _comment_end(text: str, start: int) -> int:
    """Where a comment ends; comments in `/* */` may be nested."""
    if text.startswith(("--", "#"), start):
        end = text.find("\n", start)
        return len(text) if end < 0 else end
    depth = 0
    for match in re.compile(r"/\*|\*/").finditer(text, start):
        depth += 1 if match.group() == "/*" else -1
        if depth == 0:
            return match.end()
    return len(text)


def _quote_end(text: str, start: int, *, backslash: bool) -> int:
    """Where a quoted text ends that begins at `start`; a quote written twice is one of its characters."""
    quote = text[start]
    escapes = (backslash and quote != "`") or (start > 0 and text[start - 1] in "eE" and _stands_alone(text, start - 1))
    position = start + 1
    while position < len(text):
        if escapes and text[position] == "\\":
            position += 2
        elif text[position] != quote:
            position += 1
        elif text[position + 1 : position + 2] == quote:
            position += 2
        else:
            return position + 1
    return len(text)


def _stands_alone(text: str, place: int) -> bool:
    """Whether the letter there is a word of its own: the E before `E'…'`."""
    return place == 0 or not (text[place - 1].isalnum() or text[place - 1] == "_")
