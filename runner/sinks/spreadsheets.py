"""Texts in a spreadsheet: which would be taken for formulas, and how they are kept from it.

Owns   the rule of `spreadsheet: true`. Knows  texts; nothing of formats.

A program that opens a csv or tsv file computes what looks like a formula, and a reply, or a row that somebody else
wrote, may look like one that calls a program or sends cells elsewhere. With an apostrophe in front it is a text. The
apostrophe stays part of the value, so whoever reads the file with another program has to take it off again: that is why
a job has to ask for it.

Source: OWASP, "CSV Injection" (a cell must not begin with `=`, `+`, `-`, `@`, tab or carriage return; put a single
quote before it); CWE-1236.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

_BEGINNINGS = ("=", "+", "-", "@", "\t", "\r")


def as_text(form: Any, value: Any) -> Any:
    """The form in which a value is written, so that no spreadsheet computes it. A number is what it is, but a text of
    digits with a sign gets its apostrophe like any other: `-2+3` begins like one."""
    if isinstance(form, str) and form.startswith(_BEGINNINGS) and not isinstance(value, int | float | Decimal):
        return f"'{form}"
    return form
