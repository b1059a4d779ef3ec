"""Selection: which rows of a dataset belong to a run, and what each is called.

Owns   the order where, sample, offset, limit, and the keys.
Knows  any dataset by its contract. Nothing of jobs or expressions: `where` is a callable.

Invariants
  * Rows keep the dataset's order; memory grows with the sample's size only.
  * The same dataset, seed and selection give the same rows on every machine and Python version.
  * A row's key is never null or empty. Whether it is unique, only enrolment can say, which sees all of them.
  * Reading stops with the last row that can be selected.

What is wrong with one row (no key, a `where` that is neither true nor false) is gathered like the dataset's own
problems.
"""

from __future__ import annotations

import datetime as dt
import difflib
import math
import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import islice
from typing import Any, NamedTuple

from msgspec import Struct

from runner.datasets import Dataset, SourceRow
from runner.datasets.problems import Enough, ProblemList, data_problem
from runner.encoding import encode_text
from runner.errors import InputError, Problem, UsageError, closest
from runner.templating import TemplateFailure
from runner.types import Row
from runner.values import held, text_form

Where = Callable[[Mapping[str, Any]], Any]
"""Given a row's values, true or false; raises TemplateFailure."""

Part = str | int | float
"""Of a key: a text or a number."""
_Placed = tuple[int, SourceRow]
"""A row and its position in the source."""
_Keyed = tuple[str, SourceRow]

_MAX_REMEMBERED_KEYS = 10_000
"""Keys kept to suggest a near match for one that is not there."""


class Selection(Struct, frozen=True):
    """Which rows belong to a run, in the order in which it is applied.

    `key` names the columns that make the key; without it, it is the 0-based position in the source, before any
    selection. `sample` is (rows, seed): at most so many rows, each equally likely. `only_keys`, for trials, picks
    among the rows that all else has selected, and reads no further than the last of them. `crossed` are what rows of
    crossed datasets add to a key: of so many rows that follow on one another each has one of them, and together they
    are one position.
    """

    key: Sequence[str] | None = None
    where: Where | None = None
    sample: tuple[int, int] | None = None
    offset: int = 0
    limit: int | None = None
    only_keys: Collection[str] = ()
    crossed: Sequence[Sequence[Part]] | None = None


class SelectedRow(NamedTuple):
    """A row of the run with its origin. Its index counts the selected rows from 0."""

    row: Row
    file: str
    line: int | None


def select(dataset: Dataset, selection: Selection) -> Iterator[SelectedRow]:
    """The rows of a run, in the dataset's order.

    Raises:
        InputError: problems of the data, up to 20 at once; no row after the first of them is yielded.
        UsageError: one of `only_keys` is no row's key.
    """
    found = ProblemList()
    try:
        for index, (row_key, source) in enumerate(_selected(dataset, selection, found)):
            if found:
                found.look_on()
            else:
                yield SelectedRow(Row(row_key, index, source.values), source.file, source.line)
    except InputError as error:
        found.take(error)
    except Enough:
        pass
    found.raise_any()


def _selected(dataset: Dataset, selection: Selection, found: ProblemList) -> Iterator[_Keyed]:
    placed: Iterator[_Placed] = enumerate(dataset.rows())
    if selection.where is not None:
        placed = _kept(placed, selection.where, found)
    if selection.sample is not None:
        placed = _sampled(placed, *selection.sample)
    stop = None if selection.limit is None else selection.offset + selection.limit
    taken = islice(placed, selection.offset, stop)
    if selection.crossed is None:
        keyed = _keyed(taken, selection.key, found)
    else:
        keyed = _keyed_pairs(taken, selection.key, selection.crossed, found)
    return _picked(keyed, selection.only_keys, found) if selection.only_keys else keyed


def _kept(placed: Iterator[_Placed], where: Where, found: ProblemList) -> Iterator[_Placed]:
    for position, source in placed:
        try:
            verdict = where(source.values)
        except TemplateFailure as failure:
            found.add(_row_problem(source, "where-failed", f"`where` fails: {failure.message}", failure.hint))
            continue
        if verdict is True:
            yield position, source
        elif verdict is not False:
            message = f"`where` gives {_shown(verdict)}, neither true nor false"
            found.add(_row_problem(source, "where-not-boolean", message, 'compare: row.x != "" instead of row.x'))


def _sampled(placed: Iterator[_Placed], rows: int, seed: int) -> Iterator[_Placed]:
    """A reservoir (Vitter 1985, algorithm R), given back in the dataset's order.

    Only `random()` of a seeded generator is promised to give the same numbers in every version ("Notes on
    Reproducibility", Python's documentation of `random`), so the place is made from it.
    """
    generator = random.Random(seed)  # noqa: S311 - a choice that can be repeated, not a secret
    reservoir = list(islice(placed, rows))
    for count, candidate in enumerate(placed, rows + 1):
        place = int(generator.random() * count)
        if place < rows:
            reservoir[place] = candidate
    reservoir.sort(key=lambda each: each[0])
    return iter(reservoir)


def _keyed(placed: Iterator[_Placed], columns: Sequence[str] | None, found: ProblemList) -> Iterator[_Keyed]:
    if not columns:
        yield from ((str(position), source) for position, source in placed)
        return
    lone = columns[0] if len(columns) == 1 else None
    for _, source in placed:
        # The usual key, a text of one column, without the detour: every row of every run comes by here.
        value = source.values.get(lone) if lone is not None else None
        if type(value) is str and value and value.isascii():
            yield value, source
            continue
        try:
            row_key = key_of(source.values, columns)
        except _NoKey as error:
            found.add(_row_problem(source, error.code, str(error), error.hint))
            continue
        yield row_key, source


def _keyed_pairs(
    placed: Iterator[_Placed], columns: Sequence[str] | None, crossed: Sequence[Sequence[Part]], found: ProblemList
) -> Iterator[_Keyed]:
    for position, source in placed:
        number, place = divmod(position, len(crossed))
        try:
            own: Sequence[Part] = key_parts(source.values, columns) if columns else [number]
        except _NoKey as error:
            found.add(_row_problem(source, error.code, str(error), error.hint))
            continue
        yield encode_text([*own, *crossed[place]]), source


def _picked(keyed: Iterator[_Keyed], only_keys: Collection[str], found: ProblemList) -> Iterator[_Keyed]:
    missing = dict.fromkeys(only_keys)
    seen: list[str] = []
    for row_key, source in keyed:
        if len(seen) < _MAX_REMEMBERED_KEYS:
            seen.append(row_key)
        if row_key in missing:
            del missing[row_key]
            yield row_key, source
            if not missing:
                return
    if not found:  # a key of an unsound row may be the one
        raise _unknown_keys(list(missing), seen)


class _NoKey(Exception):
    def __init__(self, code: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint


def key_of(values: Mapping[str, Any], columns: Sequence[str]) -> str:
    """A row's key: the value of one column as text, of several a compact JSON array, in which `1` and `"1"` differ.

    Numbers and booleans stand as in JSON; dates, times and Decimals are the texts that templates print of them
    (`2026-01-31`, `12.50`), also in an array. A null, a list, a mapping, bytes or NaN is no key, nor is one that is
    empty throughout.
    """
    return key_text(key_parts(values, columns))


def key_text(parts: Sequence[Part]) -> str:
    """The key that these parts make."""
    if len(parts) > 1:
        return encode_text(list(parts))
    return parts[0] if isinstance(parts[0], str) else encode_text(parts[0])


def key_parts(values: Mapping[str, Any], columns: Sequence[str]) -> list[Part]:
    """What a row's key is made of, a value a column."""
    parts = [_part(values, column) for column in columns]
    if not any(part != "" for part in parts):
        named = " and ".join(repr(column) for column in columns)
        raise _NoKey(
            "empty-key", f"the key {named} is empty", "give every row a value there, or leave such rows out by `where`"
        )
    return parts


def _part(values: Mapping[str, Any], column: str) -> Part:
    try:
        value = values[column]
    except KeyError:
        near = closest(column, map(str, values))
        hint = f"did you mean `{near}`?" if near else f"its columns: {', '.join(map(str, values)) or 'none'}"
        raise _NoKey("no-key-column", f"the row has no column {column!r}, which makes the key", hint) from None
    if value is None:
        hint = "give every row a value there, or leave such rows out by `where`"
        raise _NoKey("null-key", f"the key {column!r} is null", hint)
    if isinstance(value, _PRINTED):
        return text_form(held(value))
    if not isinstance(value, (str, int, float)) or value != value:  # noqa: PLR0124 - NaN alone is not itself
        raise _NoKey("unusable-key", f"the key {column!r} is {_shown(value)}", _KEY_KINDS)
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:
        raise _NoKey("unusable-key", f"the key {column!r} is a number of thousands of digits", _KEY_KINDS)
    if isinstance(value, str) and not _is_unicode(value):
        raise _NoKey(
            "unusable-key", f"the key {column!r} has half of a surrogate pair", "mend the text: it has no UTF-8 form"
        )
    return value


_KEY_KINDS = "a key is a string, a number, a date or a time"
_MAX_BITS = 13_000
"""Of a whole number in a key: some 3,900 digits, fewer than Python refuses to write."""
_PRINTED = (Decimal, dt.date, dt.time, dt.timedelta)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(value: object) -> str:
    """What kind of value it is; a value itself only where it cannot be private."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value!r}, which is no number"
    if value is None or isinstance(value, (bool, int, float)):
        return encode_text(value)
    return _KINDS.get(type(value), f"a {type(value).__name__}")


_KINDS: Mapping[type, str] = {
    str: "a string", bytes: "bytes", list: "a list", tuple: "a list", dict: "a mapping", dt.date: "a date",
    dt.datetime: "a datetime", dt.time: "a time", dt.timedelta: "a duration", Decimal: "a decimal",
}  # fmt: skip


def _row_problem(source: SourceRow, code: str, message: str, hint: str | None) -> Problem:
    return data_problem(code, message, source.file, source.line, hint=hint)


def _unknown_keys(missing: list[str], seen: list[str]) -> UsageError:
    near = [match for row_key in missing for match in difflib.get_close_matches(row_key, seen, n=2)]
    if near:
        hint = f"did you mean {', '.join(map(repr, dict.fromkeys(near)))}?"
    else:
        hint = f"keys there are: {', '.join(map(repr, seen[:3]))}, …" if seen else "no row is selected"
    plural = "s" if len(missing) > 1 else ""
    return UsageError(
        f"no selected row has the key{plural} {', '.join(map(repr, missing))}", hint=hint, code="unknown-key"
    )
