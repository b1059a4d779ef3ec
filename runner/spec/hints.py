"""The words of hints that several checks share."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_MAX_LISTED = 30
"""More names than this are no help to anyone."""


def guess(name: str, options: Iterable[str]) -> str | None:
    """The option that was probably meant, None where nothing is close."""
    names = list(options)
    folded = {option.casefold(): option for option in names}
    close = difflib.get_close_matches(name.casefold(), list(folded), 1)
    return folded[close[0]] if close else None


def choice_hint(name: str, options: Iterable[str], noun: str, meant: str | None = None) -> str:
    """`did you mean …?` and what there is; `noun` names the options (`Columns`, `Keys here`)."""
    names = list(options)
    meant = meant or guess(name, names)
    listed = ", ".join(names[:_MAX_LISTED]) + (", …" if len(names) > _MAX_LISTED else "")
    parts = [f"did you mean `{meant}`?"] if meant else []
    parts.append(f"{noun}: {listed}" if names else f"{noun}: none")
    return " ".join(parts)
