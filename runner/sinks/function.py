"""The sink of a Python function of the project, which is given lists of records.

Owns   the call, and what its outcome means.
Knows  functions by name, as tools do.

    def save(records, part_id): ...        `def` or `async def`; `part_id` only where it has a parameter of that name

`records` are mappings, as a jsonl sink writes them, or of the sink's `columns`. `part_id` is the same when a list comes
again after a crash: whoever has it already need do nothing. What the function raises is told, and the same records are
offered again by the next delivery. It may return a mapping of keys to reasons: records that it cannot take.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from runner.encoding import printable
from runner.errors import DeliveryError, Problem, SpecError
from runner.sinks import DeliveryId, Part, PartLimits, Refused, SinkContext
from runner.sinks.columns import Columns, expression_columns, kept_columns
from runner.sinks.options import PythonOptions
from runner.tools import ToolError
from runner.tools.functions import find_function
from runner.types import Record

_SHOWN_CHARS = 500


class FunctionSink:
    """Records to a function, a list at a time."""

    Options: ClassVar[type[PythonOptions]] = PythonOptions

    def __init__(self, options: PythonOptions, context: SinkContext) -> None:
        """Imports the function's module. Raises SpecError where there is no such function."""
        self._options = options
        try:
            self._function = find_function(options.python, context.root)
        except ToolError as error:
            raise SpecError([Problem(error.code, error.message, hint=error.hint)]) from error
        self._takes_id = _takes(self._function, "part_id")
        self._columns: Columns | None = None
        if options.columns is not None:
            self._columns = expression_columns(options.columns, context)
        self._kept = None if options.include_row is True else kept_columns((), options.include_row)

    @property
    def kind(self) -> str:
        return "python"

    @property
    def target(self) -> str:
        return self._options.python

    @property
    def limits(self) -> PartLimits:
        return PartLimits(self._options.batch_size)

    @property
    def is_replaced(self) -> bool:
        return False

    def check(self) -> None:
        """That the function is there was seen when the sink was made."""

    def begin(self, delivery: DeliveryId) -> int | None:  # noqa: ARG002 - the contract: ids come with the parts
        return None

    def deliver(self, part: Part) -> Sequence[Refused]:
        mappings, refused = [], []
        for record in part.records:
            try:
                mappings.append(self._mapping(record))
            except DeliveryError as error:  # a column that cannot be computed: the others are no worse for it
                refused.append(Refused(record.key, error.message))
        return [*refused, *self._given(mappings, part)] if mappings else refused

    def _given(self, mappings: list[dict[str, Any]], part: Part) -> list[Refused]:
        given = {"part_id": part.id} if self._takes_id else {}
        try:
            outcome = self._function(mappings, **given)
            if inspect.isawaitable(outcome):
                outcome = asyncio.run(_awaited(outcome))
        except (Exception, SystemExit) as error:  # the author's code may raise anything: this sink's failure, no bug
            hint = "mend the function, then: runner export RUN"
            raise DeliveryError(f"{self.target} failed: {_line(error)}", hint=hint, code="delivery-failed") from error
        return self._refused(outcome, part)

    def finish(self) -> None:
        """Nothing: each call that returned has its records."""

    def close(self) -> None:
        """Nothing is held between calls."""

    def _mapping(self, record: Record) -> dict[str, Any]:
        if self._columns is not None:
            return dict(zip(self._columns.names, self._columns.cells(record), strict=True))
        values = record.to_dict()
        if self._kept is not None:
            values["row"] = {name: record.row.get(name) for name in self._kept}
            if self._options.include_row is False:
                del values["row"]
        return values

    def _refused(self, outcome: object, part: Part) -> list[Refused]:
        if outcome is None:
            return []
        keys = {record.key for record in part.records}
        if isinstance(outcome, Mapping) and keys.issuperset(outcome):
            return [Refused(str(key), _line(why)) for key, why in outcome.items()]
        raise DeliveryError(
            f"{self.target} returned a {type(outcome).__name__} that names no records of those it was given",
            hint="return nothing, or a mapping of the keys of records it cannot take to reasons",
            code="delivery-failed",
        )


async def _awaited(outcome: Any) -> object:
    return await outcome


def _takes(function: Any, name: str) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # one that is written in C and does not say
        return False
    return any(each.name == name or each.kind is each.VAR_KEYWORD for each in parameters)


def _line(value: object) -> str:
    name = f"{type(value).__name__}: " if isinstance(value, BaseException) else ""
    return printable(f"{name}{value}".replace("\n", " "))[:_SHOWN_CHARS]
