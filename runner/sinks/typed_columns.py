"""Which type each column of a table has.

Owns   `TypedColumns`: the columns of a sink with their types, told from the dataset, the output's schema and the
       record's own fields; and what is not known from these, settled from the records themselves.
Knows  columns, records and types; no format and no database.

    key, status, error_…    texts; all fields of a record have types of their own (`RECORD_TYPES`)
    the row's columns       what was noted of them when the rows were copied into the run (`SinkContext.row_types`)
    output, output_<field>  the schema; without one, the reply's text
    `columns:`              the type of what it looks up, where it looks something up: `output.label`, `row.price`

Any other expression may yield anything, and so may a field whose schema allows it. Such a column is settled from the
data: all records are gone through once before the first is written (they are made again from what is durable, so the
second pass meets the same ones), and its type is what their values have in common. That takes time, and no memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from runner.column_types import BOOLEAN, INTEGER, JSON, LIST, MAPPING, NULL, NUMBER, STRING, ColumnType, type_of
from runner.encoding import printable
from runner.sinks import SinkContext
from runner.sinks.columns import Columns, ExpressionColumns, kept_columns, make_columns, output_fields
from runner.sinks.options import SinkOptions
from runner.sinks.schema_types import DATETIME_UTC, type_of_field, type_of_schema
from runner.types import Record

_CACHE_CREATION = ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")
_USAGE = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


def _fields(**types: ColumnType) -> ColumnType:
    return ColumnType("mapping", fields=tuple(types.items()))


RECORD_TYPES: Mapping[str, ColumnType] = {
    **dict.fromkeys(("key", "status", "text", "stop_reason", "model", "mode", "run_id", "job"), STRING),
    **dict.fromkeys(("request_hash", "message_id", "request_id", "batch_id"), STRING),
    **dict.fromkeys(("index", "attempts"), INTEGER),
    **dict.fromkeys(("started_at", "ended_at"), DATETIME_UTC),
    **dict.fromkeys(("content", "turns", "samples", "vote"), JSON),
    "warnings": ColumnType("list", item=STRING),
    "reused": BOOLEAN,
    "cost_usd": NUMBER,
    "error": _fields(kind=STRING, message=STRING, http_status=INTEGER, request_id=STRING, category=STRING),
    "usage": _fields(
        **dict.fromkeys(_USAGE, INTEGER), cache_creation=_fields(**dict.fromkeys(_CACHE_CREATION, INTEGER))
    ),
}
"""What the fields of a record hold; `row` and `output` are the job's own."""

MAX_FIELDS = 200
"""Names that the mappings of a column may have together and still be fields: more are data, not names."""
_PORTION = 1_000


class TypedColumns(Struct, frozen=True):
    """The columns of a table and their types, in order; None of a column that is not settled yet."""

    columns: Columns
    types: tuple[ColumnType | None, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return self.columns.names

    @property
    def is_settled(self) -> bool:
        return None not in self.types

    def settled(self, records: Iterable[Record]) -> tuple[ColumnType, ...]:
        """The types of all columns, those that are not known from what all these records hold (once through)."""
        unknown = [place for place, type_ in enumerate(self.types) if type_ is None]
        found = _survey(self.columns, unknown, records) if unknown else {}
        return tuple(_settled(found[place] if type_ is None else type_) for place, type_ in enumerate(self.types))

    def surveyed(self, records: Iterable[Record]) -> tuple[ColumnType, ...]:
        """The types of all columns as these records alone show them (once through), joined with what was declared."""
        found = _survey(self.columns, range(len(self.types)), records)
        return tuple(_settled((type_ or NULL).join(found[place])) for place, type_ in enumerate(self.types))

    def opened(self) -> TypedColumns:
        """The same with lists and mappings to be settled of which it is not known what they hold: for a format that has
        types for these."""
        return replace(self, types=tuple(None if type_ in (LIST, MAPPING) else type_ for type_ in self.types))


def typed_columns(options: SinkOptions, context: SinkContext) -> TypedColumns:
    """The columns a table sink was told, or the default, with their types. Raises what `make_columns` raises."""
    columns = make_columns(options, context)
    if isinstance(columns, ExpressionColumns):
        return TypedColumns(columns, tuple(_type_at(path, context) for path in columns.paths))
    rows = [context.row_types.get(name) for name in kept_columns(context.row_columns, options.include_row)]
    fields = output_fields(context.schema)
    outputs = [("output",)] if fields is None else [("output", field) for field in fields]
    types = [STRING, *rows, *(_type_at(path, context) for path in outputs), STRING, STRING, STRING]
    return TypedColumns(columns, tuple(types))


def _type_at(path: Sequence[str | int] | None, context: SinkContext) -> ColumnType | None:
    """What an expression that looks something up finds there."""
    match path:
        case None:
            return None
        case ["row", str(name), *below]:
            return _below(context.row_types.get(name), below)
        case ["output", *below]:
            return _of_output(below, context.schema)
        case [str(field), *below]:
            return _below(RECORD_TYPES.get(field), below)
    return None


def _of_output(below: Sequence[str | int], schema: Mapping[str, Any] | None) -> ColumnType | None:
    match below:
        case _ if schema is None:
            return None if below else STRING
        case []:
            return type_of_schema(schema)
        case [str(field), *deeper]:
            return _below(type_of_field(schema, field), deeper)
    return _below(type_of_schema(schema), below)


def _below(type_: ColumnType | None, path: Sequence[str | int]) -> ColumnType | None:
    for part in path:
        if type_ is None:
            return None
        type_ = type_.item if isinstance(part, int) else dict(type_.fields or ()).get(part)
    return type_


def _settled(type_: ColumnType) -> ColumnType:
    """The type that is written: a column of nothing but nulls is one of texts, and a mapping with a name that UTF-8
    does not hold one of JSON."""
    if type_.kind == "null":
        return STRING
    if type_.item is not None:
        return replace(type_, item=_settled(type_.item))
    if type_.fields is not None:
        if not type_.fields or any(printable(name) != name for name, _ in type_.fields):
            return MAPPING
        return replace(type_, fields=tuple((name, _settled(each)) for name, each in type_.fields))
    return type_


def _survey(columns: Columns, places: Iterable[int], records: Iterable[Record]) -> dict[int, ColumnType]:
    found = dict.fromkeys(places, NULL)
    pending = iter(records)
    while portion := list(islice(pending, _PORTION)):
        rows = [columns.cells(record) for record in portion]
        for place, type_ in found.items():
            for each in {deep_type_of(cells[place]) for cells in rows}:
                type_ = type_.join(each)
            found[place] = _bounded(type_)
    return found


def deep_type_of(value: Any) -> ColumnType:
    """What one value says of its column, also of what a list or a mapping holds."""
    match value:
        case Mapping():
            if len(value) > MAX_FIELDS:
                return MAPPING
            return ColumnType("mapping", fields=tuple((name, deep_type_of(each)) for name, each in value.items()))
        case list() | tuple():
            item = NULL
            for each in {deep_type_of(one) for one in value}:
                item = item.join(each)
            return ColumnType("list", item=_bounded(item))
    return type_of(value)


def _bounded(type_: ColumnType) -> ColumnType:
    return MAPPING if type_.fields is not None and len(type_.fields) > MAX_FIELDS else type_
