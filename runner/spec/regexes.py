"""Regular expressions of an author that are run over what a model wrote: RE2's.

Owns   compiling one, and the words for one that RE2 does not take.
Knows  the library `google-re2` (the `regex` extra), which is loaded when an expression is there to be compiled.

Why not `re`: it can take longer than the universe has for a text of a few hundred characters (`(a+)+$`), and both the
text and, by mistake, the expression may be of that kind. RE2's time grows with the text alone, so a reply has the same
ruling on every machine (docs/decisions/0022).
"""

from __future__ import annotations

from typing import Any

from runner.extras import missing_library

MAX_MEMORY_BYTES = 8 << 20
"""RE2's own default, said here because what an expression may cost depends on it."""


class BadRegex(ValueError):
    """An expression that cannot be used; `hint` says what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def compile_regex(text: str) -> Any:
    """The compiled expression, with the methods of `re.Pattern`. Raises BadRegex, SetupError without the library."""
    try:
        import re2
    except ImportError as error:
        raise missing_library("re2", "`regex`") from error
    options = re2.Options()
    options.log_errors = False  # it would write to stderr by itself
    options.max_mem = MAX_MEMORY_BYTES
    try:
        pattern = re2.compile(text, options)
    except (re2.error, UnicodeError) as error:
        said = error.args[0] if error.args else error
        said = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
        hint = "see RE2's syntax: there is no look-around (`(?=`, `(?!`, `(?<=`) and no reference back (`\\1`)"
        raise BadRegex(f"this is no regular expression for RE2: {said}", hint) from error
    unnamed = pattern.groups - len(pattern.groupindex)
    if pattern.groupindex and unnamed:
        found = "some groups of the expression have names and others have none"
        raise BadRegex(found, "name all that belong to the output, `(?P<name>…)`, and write the others as `(?:…)`")
    if unnamed > 1:
        found = f"the expression has {unnamed} groups without names"
        raise BadRegex(
            found, "name them, `(?P<name>…)`, for an object; or leave one group, and write the others `(?:…)`"
        )
    return pattern
