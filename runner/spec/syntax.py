"""What the YAML parser refuses, in words for people, and two ways in which YAML and Jinja collide.

Owns   `syntax_problem` (a parser's error as a located problem with a cure; among them `{cap: ${CAP}}`, whose inner
       bracket YAML takes for its own), `eaten_template` (`Ticket #{{ row.id }}`: YAML takes the rest of the line for
       a comment) and `unquoted_template` (`text: {{ row.id }}`: YAML takes it for a mapping).
Knows  PyYAML's messages, those of its Python parser. A message that is not known here is shown as it is.
"""

from __future__ import annotations

import re

import yaml
from msgspec import Struct

from runner.errors import Location, Problem
from runner.spec.node import Source

_EATEN = re.compile(r"\s+(#.*\{[{%].*)$")
_EATEN_ANYWHERE = re.compile(r"(?<=[^\s#])\s+(#.*\{[{%].*)$")
_TEMPLATE_START = re.compile(r"\{[{%]")
_UNQUOTED_VALUE = re.compile(r"(?:^\s*(?:- +)*|:\s+|-\s+|[\[{,]\s*)(\{[{%].*)$")
_UNQUOTED_VARIABLE = re.compile(r"(?:[:,\[{]\s*)([^\s,\[\]{}\"']*\$\{[A-Za-z_]\w*(?::-[^}]*)?\}[^\s,\[\]{}]*)")
_JSON_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|.)")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_TAB_INDENT = re.compile(r"^ *\t")


class _Wording(Struct, frozen=True):
    pattern: re.Pattern[str]
    message: str
    hint: str
    at_context: bool = False


def _wording(pattern: str, message: str, hint: str, *, at_context: bool = False) -> _Wording:
    return _Wording(re.compile(pattern), message, hint, at_context)


_QUOTE = 'put the text in quotes: "…"'

# The text is `context`, a line break, `problem`, as yaml.scanner and yaml.parser raise them (PyYAML 6).
_WORDINGS = (
    _wording(
        r"mapping values are not allowed here",
        "a `:` followed by a space, where no key can stand",
        "a text with `: ` in it needs quotes; else look at the indentation of this line and the one above",
    ),
    _wording(
        r"found unexpected end of stream|found unexpected document separator",
        "a quote that opens here is never closed",
        "close the quote; inside double quotes write \\\" for a quote, inside single quotes write ''",
        at_context=True,
    ),
    _wording(
        r"while parsing a flow (sequence|mapping)",
        "a bracket that opens here is not closed, or a comma is missing in it",
        "close it with `]` or `}`; a text that starts with a bracket needs quotes",
        at_context=True,
    ),
    _wording(
        r"could not find expected ':'",
        "this line has no `key: value`",
        "add the `:` and a space after the key; a text over several lines begins with `key: |` and is indented",
        at_context=True,
    ),
    _wording(
        r"expected <block end>, but found '-'|sequence entries are not allowed here",
        "a list item that does not fit its place",
        "items stand in lines of their own, all of them indented alike",
    ),
    _wording(
        r"expected <block end>, but found '<scalar>'",
        "text after the end of a value",
        "a text that begins with a quote ends with it; put all of it into one pair of quotes, or use `|`",
    ),
    _wording(
        r"expected <block end>",
        "the indentation of this line fits nothing above",
        "keys of one mapping stand in one column",
    ),
    _wording(r"found character '([@`%])'", r"a value cannot start with `{0}`", _QUOTE),
    _wording(
        r"expected '<document start>'",
        "this line does not belong to what stands above",
        "a text line that starts with `%` needs quotes; a bracket may be closed twice",
    ),
    _wording(
        r"while scanning a directive",
        "a line cannot start with `%`",
        'put the text in quotes: "…", or indent it under `key: |`',
    ),
    _wording(r"while scanning an alias", "`*` begins an alias, and this is none", _QUOTE, at_context=True),
    _wording(r"while scanning an anchor", "`&` begins an anchor, and this is none", _QUOTE, at_context=True),
    _wording(
        r"while (scanning|parsing) a (tag|node)", "`!` begins a tag, and tags are not allowed", _QUOTE, at_context=True
    ),
    _wording(
        r"while scanning a block scalar",
        "text behind `|` or `>`",
        "the text begins in the next line, indented; or put it in quotes",
        at_context=True,
    ),
    _wording(
        r"found unknown escape character '(.*)'",
        r"`\{0}` is no escape",
        "in double quotes write \\\\ for a backslash, or use single quotes",
    ),
    _wording(
        r"expected escape sequence",
        "an escape needs more digits",
        "in double quotes write \\\\ for a backslash, or use single quotes",
    ),
)


def syntax_problem(error: yaml.YAMLError, source: Source) -> Problem:
    """Say where and why a text is not YAML, and what to do about it."""
    if isinstance(error, yaml.reader.ReaderError):
        return _control_character(error, source)
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return Problem("yaml-syntax", str(error), source.location(0, 0))
    problem = error.problem_mark
    context = error.context_mark or problem
    if "invalid Unicode character escape" in (error.problem or ""):
        return half_character(source, problem.line)
    collision = _collision(source, context.line, problem)
    if collision is not None:
        return collision
    if "'\\t'" in (error.problem or "") or _TAB_INDENT.match(source.line(problem.line)):
        text = source.line(problem.line)
        column = text.index("\t") if "\t" in text else problem.column
        hint = "indent with spaces; most editors can do this by themselves"
        return Problem("tab", "a tab cannot indent YAML", source.location(problem.line, column), hint)
    said = f"{error.context or ''}\n{error.problem or ''}"
    for wording in _WORDINGS:
        match = wording.pattern.search(said)
        if match:
            mark = context if wording.at_context else problem
            line, column = _inside(source, mark.line, mark.column)
            message = wording.message.replace("{0}", match.group(1)) if match.groups() else wording.message
            return Problem("yaml-syntax", message, source.location(line, column), wording.hint)
    line, column = _inside(source, problem.line, problem.column)
    return Problem("yaml-syntax", error.problem or "not YAML", source.location(line, column))


def eaten_template(source: Source, line: int, column: int) -> Problem | None:
    """The problem of a plain value, ended at `column`, whose line goes on with a comment that holds a template."""
    match = _EATEN.match(source.line(line), column)
    return _eaten(source, line, match.start(1)) if match else None


def unquoted_template(source: Source, line: int, column: int) -> Problem | None:
    """The problem of a flow mapping at `column` that is meant as a template."""
    text = source.line(line)
    match = _TEMPLATE_START.match(text, column)
    return _unquoted(source, line, column) if match else None


def half_character(source: Source, line: int) -> Problem:
    """The problem of an escape that is half of a surrogate pair, as JSON has them. libyaml finds it while parsing."""
    match = _SURROGATE.search(source.line(line))
    where = source.location(line, match.start(), match.end() - match.start()) if match else source.location(line, 0)
    hint = "write the character itself, or `\\U` with its 8 digits"
    return Problem("yaml-syntax", "an escape that is half a character", where, hint)


def half_in_json(source: Source) -> Location | None:
    """Where JSON has an escape that is half of a surrogate pair without the other half."""
    for line, text in enumerate(source.lines):
        first: re.Match[str] | None = None
        for match in _JSON_ESCAPE.finditer(text):
            code = int(match[1] or "0", 16)
            is_second = 0xDC00 <= code < 0xE000
            if first is not None and is_second and first.end() == match.start():
                first = None
            elif first is not None or is_second:
                first = first or match
                break
            elif 0xD800 <= code < 0xDC00:
                first = match
        if first is not None:
            return source.location(line, first.start(), len(first.group()))
    return None


def _collision(source: Source, first: int, stop: yaml.Mark) -> Problem | None:
    """A template that YAML stumbled over, in the lines between where a construct began and where the parser gave up."""
    for line in range(max(0, min(first, stop.line)), stop.line + 1):
        text = source.line(line)
        eaten = _EATEN_ANYWHERE.search(text)
        if eaten and _outside_quotes(text[: eaten.start(1)]):
            return _eaten(source, line, eaten.start(1))
        unquoted = _UNQUOTED_VALUE.search(text)
        # Behind the place where the parser gave up, a template is not what it stumbled over.
        reached = unquoted and (line, unquoted.start(1)) <= (stop.line, stop.column)
        if unquoted and reached and _outside_quotes(text[: unquoted.start(1)]):
            return _unquoted(source, line, unquoted.start(1))
        variable = _UNQUOTED_VARIABLE.search(text)
        if variable and _outside_quotes(text[: variable.start(1)]):
            where = source.location(line, variable.start(1), len(variable[1]))
            found = "inside brackets YAML takes the `{` of a `${NAME}` for a bracket of its own"
            return Problem("unquoted-variable", found, where, f'put it in quotes: "{variable[1]}"')
    return None


def _outside_quotes(text: str) -> bool:
    return text.count('"') % 2 == 0 and text.count("'") % 2 == 0


def _eaten(source: Source, line: int, column: int) -> Problem:
    text = source.line(line).rstrip()
    return Problem(
        "template-in-comment",
        "` #` begins a comment in YAML, and this one holds a template",
        source.location(line, column, len(text) - column),
        'put the whole text in quotes: "…"; a comment that is meant goes to a line of its own',
    )


def _unquoted(source: Source, line: int, column: int) -> Problem:
    text = source.line(line).rstrip()
    opening = text[column : column + 2]
    return Problem(
        "unquoted-template",
        f"a value that starts with `{opening}` is a mapping to YAML, not text",
        source.location(line, column, len(text) - column),
        'put the whole value in quotes: "{{ … }}", or write it under `|`',
    )


def _inside(source: Source, line: int, column: int) -> tuple[int, int]:
    """A mark at the very end of the text is shown at the end of the last line that holds something."""
    while line > 0 and not source.line(line).strip():
        line -= 1
        column = len(source.line(line).rstrip())
    return line, min(column, len(source.line(line)))


def _control_character(error: yaml.reader.ReaderError, source: Source) -> Problem:
    found = (
        f"the character U+{error.character:04X} cannot stand in YAML"
        if isinstance(error.character, int)
        else str(error)
    )
    for number, line in enumerate(source.lines):
        column = line.find(chr(error.character)) if isinstance(error.character, int) else -1
        if column >= 0:
            hint = "remove it, or write it as an escape in double quotes"
            return Problem("control-character", found, source.location(number, column), hint)
    return Problem("control-character", found, source.location(0, 0))
