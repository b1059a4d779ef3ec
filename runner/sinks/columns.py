"""Columns: a record as a list of cells.

Owns   the default columns of a table, their clashes, and columns that are expressions.
Knows  records and expressions. Nothing of formats: a cell is a JSON value.

A name is a text that UTF-8 holds, as every table needs: half of a surrogate pair in it, which a dataset's column may
have, is U+FFFD, as it is in a value.

In an expression every field of the record is a name, and `content` (the reply's blocks) and `warnings` (of the job's
rules) too. What belongs to a null is
null (a failed row has no label, a sound one no error). A field that the output's schema has and the reply left out is
null as well. Any other name that is not there is an error, which `runner check` finds before a run as far as it can.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from types import NoneType
from typing import Any, Protocol

from runner.encoding import printable
from runner.errors import DeliveryError, Problem, SpecError
from runner.sinks import SinkContext
from runner.sinks.options import SinkOptions
from runner.templating import Expression, TemplateFailure
from runner.types import COLUMN_FIELDS, FIELDS_OF_SOME_JOBS, RECORD_FIELDS, Record
from runner.values import held


class Columns(Protocol):
    """What a table is made of; `cells` are in the order of `names`."""

    @property
    def names(self) -> tuple[str, ...]: ...

    def cells(self, record: Record) -> list[Any]: ...

    def by_column(self, records: Sequence[Record]) -> list[Sequence[Any]]:
        """The same of many records: all values of each column."""
        ...


def output_fields(schema: Mapping[str, Any] | None) -> tuple[str, ...] | None:
    """The fields of an output that is an object, in order; None where it is one value."""
    properties = (schema or {}).get("properties")
    return tuple(properties) if isinstance(properties, Mapping) and properties else None


def default_columns(row_columns: Iterable[str], schema: Mapping[str, Any] | None) -> list[str]:
    """The columns of a table without `columns`: key, the row's, output or output_<field>, status and error."""
    fields = output_fields(schema)
    outputs = ["output"] if fields is None else [f"output_{field}" for field in fields]
    return [printable(name) for name in ("key", *row_columns, *outputs, "status", "error_kind", "error_message")]


def clashes(names: Sequence[str]) -> list[str]:
    """The names that stand more than once, in order. A table with a clash cannot be written; `runner check` says so."""
    return [name for name, times in Counter(names).items() if times > 1]


def clash_problem(names: Sequence[str]) -> Problem | None:
    """The error of a table whose default columns clash, else None."""
    twice = clashes(names)
    if not twice:
        return None
    whose = "the dataset's and the record's"
    if any("\ufffd" in name for name in twice):
        whose = "in place of U+FFFD their names have halves of surrogate pairs, which no table holds"
    message = f"the table would have two columns {' and two '.join(map(repr, twice))}: {whose}"
    return Problem(
        "column-clash", message, hint="name the columns by `columns:`, or leave the row's out by `include_row:`"
    )


def kept_columns(row_columns: Iterable[str], include_row: bool | Sequence[str]) -> tuple[str, ...]:
    """Which of the dataset's columns a sink writes."""
    if isinstance(include_row, bool):
        return tuple(row_columns) if include_row else ()
    return tuple(include_row)


def make_columns(options: SinkOptions, context: SinkContext) -> Columns:
    """The columns a table sink was told, or the default. Raises SpecError for a clash, TemplateFailure."""
    if options.columns is not None:
        return expression_columns(options.columns, context)
    columns = DefaultColumns(kept_columns(context.row_columns, options.include_row), context.schema)
    problem = clash_problem(columns.names)
    if problem is not None:
        raise SpecError([problem])
    return columns


def expression_columns(columns: Mapping[str, str], context: SinkContext) -> ExpressionColumns:
    """The columns as `columns:` has them: name to expression. Raises TemplateFailure."""
    compiled = {name: context.expression(text, f"columns.{name}", null_safe=True) for name, text in columns.items()}
    return ExpressionColumns(compiled, output_fields(context.schema) or ())


class DefaultColumns:
    """The columns that `default_columns` names."""

    def __init__(self, row_columns: tuple[str, ...], schema: Mapping[str, Any] | None) -> None:
        self._row_columns = row_columns
        self._fields = output_fields(schema)
        self._names = tuple(default_columns(row_columns, schema))

    @property
    def names(self) -> tuple[str, ...]:
        return self._names

    def cells(self, record: Record) -> list[Any]:
        row, output, error = record.row, record.output, record.error
        if self._fields is None:
            outputs = [output]
        else:
            fields = output if isinstance(output, Mapping) else {}
            outputs = [fields.get(name) for name in self._fields]
        told = (None, None) if error is None else (error.get("kind"), error.get("message"))
        return [record.key, *[row.get(name) for name in self._row_columns], *outputs, record.status, *told]

    def by_column(self, records: Sequence[Record]) -> list[Sequence[Any]]:
        rows = [record.row for record in records]
        outputs = [record.output for record in records]
        errors = [record.error for record in records]
        columns: list[Sequence[Any]] = [[record.key for record in records]]
        columns += _items(rows, self._row_columns)
        columns += [outputs] if self._fields is None else _items(outputs, self._fields)
        columns.append([record.status for record in records])
        columns += _items(errors, ("kind", "message"))
        return columns


def _items(holders: list[Any], names: Sequence[str]) -> list[Sequence[Any]]:
    """The items of these names of mappings, name by name; null where a mapping lacks one, or is none."""
    if len(names) > 1 and holders:
        try:
            return list(zip(*map(itemgetter(*names), holders), strict=True))  # half the time of what follows
        except (KeyError, TypeError):  # a row has no such column; a failed one has no output
            pass
    if holders.count(None) == len(holders):
        return [holders] * len(names)
    fields = [holder if type(holder) is dict else _fields_of(holder) for holder in holders]
    return [[each.get(name) for each in fields] for name in names]


def _fields_of(output: Any) -> Mapping[str, Any]:
    return output if isinstance(output, Mapping) else _NO_FIELDS


_NO_FIELDS: Mapping[str, Any] = {}


class ExpressionColumns:
    """Columns computed from a record."""

    def __init__(self, expressions: Mapping[str, Expression], declared: Sequence[str] = ()) -> None:
        self._expressions = tuple(expressions.items())
        self._absent = dict.fromkeys(declared)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self._expressions)

    @property
    def paths(self) -> tuple[tuple[str | int, ...] | None, ...]:
        """What each column looks up, where it only looks something up."""
        return tuple(expression.path for _, expression in self._expressions)

    def cells(self, record: Record) -> list[Any]:
        """The values of a record. Raises DeliveryError that names the column and the record's key."""
        context = self._context(record)
        cells = []
        for name, expression in self._expressions:
            try:
                value = expression.evaluate(context)
            except TemplateFailure as failure:
                raise _column_error(name, record, failure.message, failure.hint) from failure
            if type(value) not in _STORED:
                try:
                    value = held(value)
                except TypeError:
                    hint = "end the expression in `| list`, `| string` or `| default(none)`"
                    raise _column_error(name, record, f"{type(value).__name__} is no value of a table", hint) from None
            cells.append(value)
        return cells

    def by_column(self, records: Sequence[Record]) -> list[Sequence[Any]]:
        rows = [self.cells(record) for record in records]
        return [[cells[place] for cells in rows] for place in range(len(self._expressions))]

    def _context(self, record: Record) -> dict[str, Any]:
        context = {name: getattr(record, name) for name in _NAMES}
        if self._absent and isinstance(record.output, Mapping):
            context["output"] = {**self._absent, **record.output}
        return context


def _column_error(name: str, record: Record, why: str, hint: str | None) -> DeliveryError:
    message = f"column {name!r} cannot be computed for the record {record.key!r}: {why}"
    return DeliveryError(message, hint=hint, code="column-failed")


_STORED = frozenset({str, int, float, bool, NoneType, list, dict})
_NAMES = (*RECORD_FIELDS, *FIELDS_OF_SOME_JOBS, *COLUMN_FIELDS)
