"""Passages: an output that stands somewhere in the text of a reply, for models and texts without structured outputs.

Owns   taking it out: by a regular expression, as a JSON value, or between two tags. What is not there is `NotFound`,
       said in words that the model can act on when it is asked again.
Knows  texts and the schema's types. Whether what was taken is any good is `replies.schema`'s.

A reply is hostile text, so each way is bounded whatever it holds:
  * regular expressions run in RE2, whose time grows with the text and never with how it can be matched
    (docs/decisions/0022);
  * JSON is looked for from each `{` and `[` on that may begin some, until that has cost `MAX_SCANNED` characters;
  * tags are found by plain searching.

Text that was taken is converted where the schema wants no text: `3` to a number, `{…}` between two tags to an object.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from json import JSONDecodeError
from typing import Any, Literal, Protocol

from runner.encoding import decode, decode_first

MAX_SCANNED = 20_000_000
"""Characters that looking for JSON may read in all: a reply of the longest kind (128k tokens, about 600 kB) many times
over. Only text made for it (thousands of nested brackets that never close) comes near."""

JsonChoice = Literal[True, "first", "last"]

_FENCE = "```"
_LANGUAGE = re.compile(r"[\w+-]*")
"""What may stand behind the opening fence of a block of Markdown, as models like to put JSON into."""

_LINES_COUNTED = 32
"""Characters that an error counts lines in, while one is read: 0.6 ns against some 20."""

_BRACKET = re.compile(r"""\{(?=[ \t\n\r]*["}])|\[(?=[ \t\n\r]*[\]\[{"\-0-9tfn])""")
"""One that may begin JSON. Links of Markdown and braces of templates do not: nothing of theirs is tried."""


class NotFound(ValueError):
    """The text does not hold what is looked for; the message says what that is."""


class Passage(Protocol):
    """Takes the output out of a reply's text."""

    def take(self, text: str) -> Any:
        """Raises NotFound."""
        ...


class RegexPassage:
    """What a regular expression's groups match: an object of its named groups, or the text of its one group, or of
    the whole match where it has none."""

    def __init__(self, pattern: Any, types: TypesOf) -> None:
        """`pattern` is compiled by RE2 (`spec.regexes`)."""
        self._pattern = pattern
        self._types = types

    def take(self, text: str) -> Any:
        try:
            match = self._pattern.search(text)
        except UnicodeError as error:  # half of a surrogate pair has no UTF-8 form
            raise NotFound("the reply holds text that has no UTF-8 form") from error
        if match is None:
            raise NotFound(f"the reply has no text that matches the regular expression {self._pattern.pattern}")
        named = match.groupdict()
        if named:
            return {name: converted(found, self._types((name,))) for name, found in named.items() if found is not None}
        found = match.group(1 if self._pattern.groups else 0)
        if found is None:
            raise NotFound(f"the group of the regular expression {self._pattern.pattern} matches nothing in the reply")
        return self._types.settled(found)


class TagPassage:
    """The text within the last `<tag>…</tag>`, without the white space around it."""

    def __init__(self, tag: str, types: TypesOf) -> None:
        self._tag = tag
        self._types = types
        self._opening = re.compile(rf"<{re.escape(tag)}(?:\s[^<>]*)?>")

    def take(self, text: str) -> Any:
        end = text.rfind(f"</{self._tag}>")
        begins = [match.end() for match in self._opening.finditer(text, 0, end)] if end >= 0 else []
        if not begins:
            raise NotFound(f"the reply has no <{self._tag}>…</{self._tag}>")
        return self._types.settled(text[begins[-1] : end].strip())


class JsonPassage:
    """The one JSON object or list in a text, or the first, or the last; whatever stands around it."""

    def __init__(self, choice: JsonChoice) -> None:
        self._choice = choice

    def take(self, text: str) -> Any:
        try:
            return decode(unfenced(text))
        except (ValueError, RecursionError):
            pass  # not the whole text, so it is looked for
        found: Any = _NOTHING
        for number, value in enumerate(json_values(text)):
            if self._choice == "first":
                return value
            if number and self._choice is True:
                raise NotFound("the reply has more than one JSON object or list, and exactly one is expected")
            found = value
        if found is _NOTHING:
            raise NotFound("the reply has no JSON object or list")
        return found


_NOTHING = object()


def json_values(text: str) -> Iterator[Any]:
    """The JSON objects and lists in a text, in order; not those within another. Raises NotFound where that takes too
    long."""
    scanned, match = 0, _BRACKET.search(text)
    while match is not None:
        start = match.start()
        try:
            value, end = decode_first(text, start)
        except (ValueError, RecursionError) as error:
            # One that ended by its depth, or by a number out of range, does not say how far it came. Every error tells
            # its line, and counts the lines from the text's beginning for it.
            came_to = error.pos if isinstance(error, JSONDecodeError) else len(text)
            scanned += came_to - start + came_to // _LINES_COUNTED
            if scanned > MAX_SCANNED:
                raise NotFound("the reply has too many brackets that begin no JSON to look for it") from error
            end = start + 1
        else:
            yield value
        match = _BRACKET.search(text, end)


def unfenced(text: str) -> str:
    """The inside of a text that is one fenced block, else the text. No expression looks for it: models that go on with
    nothing but line breaks would keep one busy for hours."""
    whole = text.strip()
    if len(whole) < 2 * len(_FENCE) or not (whole.startswith(_FENCE) and whole.endswith(_FENCE)):
        return text
    language, line_break, inside = whole[len(_FENCE) : -len(_FENCE)].partition("\n")
    return inside.strip() if line_break and _LANGUAGE.fullmatch(language.rstrip()) else text


# -- text to what the schema wants -------------------------------------------------------------------------------------


class TypesOf:
    """Which JSON types the schema of a job admits, at its root and for each field; all where it does not say.

    With `label_field`, text that is taken as a whole is the value of that one field (`output.labels`).
    """

    def __init__(self, schema: Mapping[str, Any] | None, label_field: str | None = None) -> None:
        self._schema = schema or {}
        self._label_field = label_field

    def __call__(self, path: tuple[str, ...]) -> frozenset[str]:
        schema: Any = self._schema
        for name in path:
            schema = schema.get("properties", {}).get(name, {}) if isinstance(schema, Mapping) else {}
        declared = schema.get("type", ()) if isinstance(schema, Mapping) else ()
        return frozenset([declared] if isinstance(declared, str) else declared)

    def settled(self, text: str) -> Any:
        """What a text is as the whole output."""
        if self._label_field is None:
            return converted(text, self(()))
        return {self._label_field: converted(text, self((self._label_field,)))}


def converted(text: str, types: frozenset[str]) -> Any:
    """The JSON value that a text is, where the schema wants one and no text; else the text."""
    if not types or "string" in types:
        return text
    try:
        return decode(unfenced(text).strip())
    except (ValueError, RecursionError):
        return text
