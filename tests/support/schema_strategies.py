"""hypothesis-jsonschema, with what it needs of Hypothesis.

Its last release (0.23.1, February 2024) calls `many.more()`, a private helper of Hypothesis that has since become a
context manager (6.170). Here the old way is put on top of the new one; nothing else of it is changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import hypothesis.internal.conjecture.utils as cu
from hypothesis import strategies as st
from hypothesis_jsonschema import _from_schema, from_schema


class _Many:
    """`while elements.more(): … elements.reject()`, as it was."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._many = cu.many(*arguments, **options)
        self._elements: Iterator[None] | None = None

    def more(self) -> bool:
        if self._elements is None:
            self._many.__enter__()
            self._elements = iter(self._many)
        if next(self._elements, _END) is _END:
            self._many.__exit__(None, None, None)
            return False
        return True

    def reject(self, why: str | None = None) -> None:
        self._many.reject(why)


_END = object()

if not hasattr(cu.many, "more"):
    names = {name: getattr(cu, name) for name in dir(cu) if not name.startswith("__")}
    vars(_from_schema)["cu"] = SimpleNamespace(**{**names, "many": _Many})


def instances_of(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that fit a schema, of the words that hypothesis-jsonschema knows; nothing where it cannot make any."""
    try:
        strategy: st.SearchStrategy[Any] = from_schema(deepcopy(schema))  # it changes what it is given
        strategy.validate()
    except Exception:  # noqa: BLE001 - whatever it stumbles over, this schema has no instances made for it
        return st.nothing()
    return st.nothing() if "error_raiser" in repr(strategy) else strategy
