"""A response's headers, as everybody above the connections reads them.

Owns   the folding of names, and that headers which carry credentials are not there to be read.
Knows  bytes. Nothing of what a header means.

Values stay bytes until they are asked for: of the twenty that a reply has, two are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar, overload

from runner.providers.failures import SECRET_HEADERS

T = TypeVar("T")

_MOST_NAMES = 256
FOLDED: dict[bytes, str] = {}
"""Names as they came, by `folded`: the same twenty for every reply, in a third of the time."""


def folded(name: bytes) -> str:
    """The name by which a header is asked for; empty for one that carries a credential."""
    known = FOLDED.get(name)
    if known is None:
        known = name.decode("latin-1").lower()
        if known in SECRET_HEADERS:
            known = ""
        if len(FOLDED) < _MOST_NAMES:
            FOLDED[name] = known
    return known


def all_folded(told: Mapping[bytes, bytes]) -> dict[str, bytes]:
    """Headers by the names by which they are asked for; of one that came twice, in other letters, the first."""
    values: dict[str, bytes] = {}
    for name, value in told.items():
        known = FOLDED.get(name)
        if known is None:
            known = folded(name)
        if known and known not in values:
            values[known] = value
    return values


class Headers(Mapping[str, str]):
    """By lower-case names. Of one that came twice the first counts."""

    __slots__ = ("_values",)

    def __init__(self, values: dict[str, bytes]) -> None:
        self._values = values

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, str]]) -> Headers:
        """The same of headers that another library has read."""
        values: dict[str, bytes] = {}
        for name, value in pairs:
            if known := folded(name.encode("latin-1", "replace")):
                values.setdefault(known, value.encode("utf-8", "replace"))
        return cls(values)

    def __getitem__(self, name: str) -> str:
        return self._values[name].decode("utf-8", "replace")

    @overload
    def get(self, name: str, /) -> str | None: ...
    @overload
    def get(self, name: str, default: str | T, /) -> str | T: ...
    def get(self, name: str, default: str | T | None = None, /) -> str | T | None:
        """The value, without the exception that a mapping's own `get` takes to miss a name; limits ask for a dozen."""
        value = self._values.get(name)
        return default if value is None else value.decode("utf-8", "replace")

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return repr(dict(self))
