"""The dataset of a Python function: what it gives is iterated over, a mapping a row.

Owns   the call, and what is said of a function or an item that gives no row.
Knows  functions by `tools.functions`, values by `values`. It is the author's code: whatever it raises is told as
       theirs, with the place in it.

The function is called anew each time the rows are read; it has to give the same ones then, as a file would.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from runner.connections import SHORTEST_SECRET
from runner.datasets import DatasetContext, SourceRow
from runner.datasets.options import PythonOptions
from runner.datasets.problems import Enough, ProblemList, data_error, data_problem
from runner.errors import InputError, Problem, SpecError
from runner.tools import ToolError
from runner.tools.functions import find_function
from runner.values import held

_MAPPINGS = "give mappings of column names to values: `yield {'id': 1, 'text': '…'}`"


class PythonDataset:
    """Rows of a function, in the order in which it gives them."""

    Options: ClassVar[type[PythonOptions]] = PythonOptions

    def __init__(self, options: PythonOptions, context: DatasetContext) -> None:
        """Import the function; it is not called. Raises SpecError: there is none, or it takes no such arguments."""
        self._name = options.python
        self._arguments = dict(options.bind)
        try:
            self._function = find_function(options.python, context.root)
        except ToolError as error:
            raise SpecError([Problem(error.code, error.message, hint=error.hint)]) from error
        self._require_arguments()

    def columns(self) -> tuple[str, ...] | None:
        """Known when the first row is."""
        return None

    def rows(self) -> Iterator[SourceRow]:
        """All rows. Raises InputError with the first items that are none."""
        found = ProblemList()
        try:
            for number, item in enumerate(self._items(), start=1):
                row = self._row(item, number, found)
                if found:
                    found.look_on()
                elif row is not None:
                    yield SourceRow(row, self._name, number)
        except InputError as error:
            found.take(error)
        except Enough:
            pass
        found.raise_any()

    def _items(self) -> Iterator[Any]:
        """What the function gives, one after another. Raises InputError."""
        number = 0
        iterator = iter(self._given())
        while True:
            try:
                item = next(iterator)
            except StopIteration:
                return
            except (Exception, SystemExit) as error:  # whatever the author's own code raises
                raise self._failed(error, f"after {number:,} item{'s' * (number != 1)}" if number else "") from error
            number += 1
            yield item

    def _given(self) -> Iterable[Any]:
        if inspect.iscoroutinefunction(self._function) or inspect.isasyncgenfunction(self._function):
            raise self._no_rows("is `async`", "write a plain function, or run the loop in it: `asyncio.run(…)`")
        try:
            given = self._function(**self._arguments)
            if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
                raise self._no_rows(
                    f"gives a value of type {type(given).__name__}, not rows", f"{_MAPPINGS}, or a list"
                )
            if hasattr(given, "columns") and hasattr(given, "to_dict"):
                raise self._no_rows("gives a table of pandas", "give its rows: `return frame.to_dict('records')`")
            return iter(given)
        except InputError:
            raise
        except (Exception, SystemExit) as error:  # the same
            raise self._failed(error, "") from error

    def _row(self, item: Any, number: int, found: ProblemList) -> dict[str, Any] | None:
        if not isinstance(item, Mapping):
            message = f"item {number} is a value of type {type(item).__name__}, not a mapping"
            found.add(data_problem("not-a-row", message, self._name, number, hint=_MAPPINGS))
            return None
        row: dict[str, Any] = {}
        for name, value in item.items():
            if not isinstance(name, str):
                message = f"item {number} has the key {name!r}, which is no text"
                found.add(data_problem("not-a-row", message, self._name, number, hint="name its columns by texts"))
                return None
            try:
                row[name] = held(value)
            except (TypeError, ValueError, RecursionError) as error:
                why = "it is nested too deep, or holds itself" if isinstance(error, RecursionError) else error
                message = f"column {name!r} of item {number}: {why}"
                hint = "give texts, numbers, dates, bytes, lists or mappings"
                found.add(data_problem("not-a-row", message, self._name, number, hint=hint))
                return None
        return row

    def _require_arguments(self) -> None:
        try:
            inspect.signature(self._function).bind(**self._arguments)
        except TypeError as error:
            message = f"`{self._name}` cannot be called so: {error}"
            hint = "name its arguments under `bind`: `bind: {since: 2026-01-01}`"
            raise SpecError([Problem("bad-arguments", message, hint=hint)]) from error
        except ValueError:  # a builtin without a signature says so when it is called
            return

    def _no_rows(self, what: str, hint: str) -> InputError:
        return data_error("not-rows", f"`{self._name}` {what}", self._name, hint=hint)

    def _failed(self, error: BaseException, when: str) -> InputError:
        frames = traceback.extract_tb(error.__traceback__)
        own = next((frame for frame in reversed(frames) if frame.filename != __file__), None)
        where = f" ({Path(own.filename).name}, line {own.lineno})" if own is not None else ""
        said = self._without_values(f"{type(error).__name__}: {error}").splitlines()[0]
        message = f"`{self._name}` failed{' ' + when if when else ''}: {said}{where}"
        return data_error("function-failed", message, self._name, hint="mend the function, then run again")

    def _without_values(self, text: str) -> str:
        """The text without what `bind` gives, which may come from the environment."""
        for value in sorted(_texts(self._arguments), key=len, reverse=True):
            text = text.replace(value, "***")
        return text


def _texts(value: Any) -> Iterator[str]:
    """The texts in a value that are long enough to be a secret."""
    if isinstance(value, str) and len(value) >= SHORTEST_SECRET:
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
