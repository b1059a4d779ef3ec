"""The words of hints that several checks share."""

from __future__ import annotations

from collections.abc import Iterable

from runner.errors import closest

_MAX_LISTED = 30
"""More names than this are no help to anyone."""


def choice_hint(name: str, options: Iterable[str], noun: str, meant: str | None = None) -> str:
    """`did you mean …?` and what there is; `noun` names the options (`Columns`, `Keys here`)."""
    names = list(options)
    meant = meant or closest(name, names)
    listed = ", ".join(names[:_MAX_LISTED]) + (", …" if len(names) > _MAX_LISTED else "")
    parts = [f"did you mean `{meant}`?"] if meant else []
    parts.append(f"{noun}: {listed}" if names else f"{noun}: none")
    return " ".join(parts)
