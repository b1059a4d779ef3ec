"""The table as it is wanted beside the table as it is.

Owns   what stands in the way of a delivery and the statement that would mend it; the statements that make the table and
       add columns.
Knows  dialects by their words, tables as they were found. Executes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from runner.column_types import STRING, ColumnType
from runner.errors import DeliveryError
from runner.sinks.sql.columns import Column, Table
from runner.sinks.sql.names import TableName
from runner.sinks.sql.options import Write
from runner.sinks.sql.session import Dialect, listed, qualified

_MOST_COLUMNS_TOLD = 20


class Wanted(Struct, frozen=True):
    """What the job says of a table. A type is None where only records can tell it."""

    table: TableName
    names: Sequence[str]
    types: Mapping[str, ColumnType | None]
    write: Write
    unique_key: Sequence[str]
    evolves: bool

    def type_of(self, name: str) -> ColumnType:
        return self.types.get(name) or STRING


def create_statement(dialect: Dialect, wanted: Wanted) -> str:
    """The statement that makes the table, with a primary key where there is a unique one."""
    keys = wanted.unique_key
    columns = [
        f"{dialect.quoted(name)} {dialect.type_text(wanted.type_of(name), keys=len(keys) if name in keys else 0)}"
        f"{' NOT NULL' if name in keys else ''}"
        for name in wanted.names
    ]
    if keys:
        columns.append(f"PRIMARY KEY ({listed(dialect, keys)})")
    return f"CREATE TABLE {qualified(dialect, wanted.table)} ({', '.join(columns)}){dialect.table_options}"


def missing_columns(wanted: Wanted, found: Table) -> list[str]:
    return [name for name in wanted.names if found.column(name) is None]


def add_statements(dialect: Dialect, wanted: Wanted, names: Sequence[str]) -> list[str]:
    """One statement a column: SQLite and DuckDB add one at a time."""
    table = qualified(dialect, wanted.table)
    return [
        f"ALTER TABLE {table} ADD COLUMN {dialect.quoted(name)} {dialect.type_text(wanted.type_of(name))}"
        for name in names
    ]


def unique_statement(dialect: Dialect, wanted: Wanted, found: Table) -> str:
    """The statement that makes the unique key unique."""
    table, keys = qualified(dialect, wanted.table), wanted.unique_key
    if dialect.kind == "mysql":
        bounded = [
            f"MODIFY {dialect.quoted(name)} {dialect.type_text(STRING, keys=len(keys))} NOT NULL, "
            for name in keys
            if (column := found.column(name)) is not None and column.family == "string" and column.folds is not None
        ]
        return f"ALTER TABLE {table} {''.join(bounded)}ADD UNIQUE ({listed(dialect, keys)})"
    index = dialect.quoted(f"{wanted.table.name}_key"[:60])
    return f"CREATE UNIQUE INDEX {index} ON {table} ({listed(dialect, keys)})"


def require_fit(dialect: Dialect, wanted: Wanted, found: Table, shown: str) -> None:
    """Raise DeliveryError for the first thing that stands in the way of a table that is there; under `evolve` a missing
    column does not."""
    for problem in _problems(dialect, wanted, found, shown):
        raise problem


def _problems(dialect: Dialect, wanted: Wanted, found: Table, shown: str) -> Iterator[DeliveryError]:
    if found.engine is not None and found.engine.lower() not in _WITH_TRANSACTIONS:
        hint = f"ALTER TABLE {qualified(dialect, wanted.table)} ENGINE=InnoDB;"
        message = f"{shown} has the engine {found.engine}, which knows no transactions: nothing could be delivered once"
        yield DeliveryError(message, hint=hint, code="table-unfit")
    missing = missing_columns(wanted, found)
    if missing and not (wanted.evolves and set(missing).isdisjoint(wanted.unique_key)):
        told = missing[:_MOST_COLUMNS_TOLD]
        hint = "\n".join(f"{statement};" for statement in add_statements(dialect, wanted, told))
        message = f"{shown} has no column{'s' if len(missing) > 1 else ''} {', '.join(map(repr, told))}"
        yield DeliveryError(message, hint=f"{hint}\nor `contract: evolve` on the sink adds it", code="table-unfit")
    for name in wanted.names:
        column = found.column(name)
        if column is not None and column.is_computed:
            hint = "leave it out by `columns:` or `include_row:`"
            yield DeliveryError(f"{shown} computes its column {name!r} itself", hint=hint, code="table-unfit")
    for column in found.required(wanted.names):
        message = (
            f"{shown} needs a value in its column {column.name!r} ({column.written}), and the sink has none for it"
        )
        hint = f"give it one by `columns:` (a column named {column.name}), or give the table's column a default"
        yield DeliveryError(message, hint=hint, code="table-unfit")
    for name in wanted.names:
        column, type_ = found.column(name), wanted.types.get(name)
        if column is not None and type_ is not None and not _can_hold(column, type_):
            message = f"the column {name!r} of {shown} is {column.written}, and its values are {type_}"
            hint = "convert them by an expression under `columns:`, or change the column's type"
            yield DeliveryError(message, hint=hint, code="table-unfit")
    if wanted.write == "merge" and not found.is_unique(wanted.unique_key):
        keys = ", ".join(wanted.unique_key)
        message = f"no unique index of {shown} is over exactly ({keys}): without one, rows could not be merged"
        hint = f"{unique_statement(dialect, wanted, found)};"
        yield DeliveryError(message, hint=hint, code="no-unique-index")
    yield from _other_keys(dialect, wanted, found, shown)


_WITH_TRANSACTIONS = frozenset({"innodb", "rocksdb", "tokudb", "ndbcluster", "ndb"})


def _other_keys(dialect: Dialect, wanted: Wanted, found: Table, shown: str) -> Iterator[DeliveryError]:
    """ON DUPLICATE KEY UPDATE takes a row for the same where any unique index says so, not only the one that is meant:
    a record would be written over another one's row."""
    if dialect.kind != "mysql" or wanted.write != "merge":
        return
    keys, given = found.as_names(wanted.unique_key), found.as_names(wanted.names)
    others = [names for names in found.unique if not found.as_names(names) >= keys] + list(found.partly_unique)
    for names in others:
        if found.as_names(names) <= given:
            listed_names = ", ".join(sorted(names)) or "an expression"
            message = f"{shown} is unique in ({listed_names}) too: a record could be merged into another one's row"
            hint = "make that index an ordinary one, or leave its columns out of the sink"
            yield DeliveryError(message, hint=hint, code="table-unfit")


def _can_hold(column: Column, type_: ColumnType) -> bool:
    """Whether any value of a type may stand in a column: only what never can is told before there are records."""
    kind = type_.kind
    if kind in ("null", "json", "string") or column.family in ("string", "json", "other"):
        return True
    return column.family in _CAN_BECOME[kind]


_NUMERIC = frozenset({"integer", "number", "decimal"})
_CAN_BECOME: Mapping[str, frozenset[str]] = {
    "boolean": frozenset({"boolean", "integer"}),
    "integer": _NUMERIC | {"boolean"},
    "number": _NUMERIC,
    "decimal": _NUMERIC,
    "bytes": frozenset({"bytes"}),
    "date": frozenset({"date", "datetime"}),
    "datetime": frozenset({"date", "datetime"}),
    "time": frozenset({"time"}),
    "duration": frozenset({"duration", "time"}),
    "list": frozenset({"list"}),
    "mapping": frozenset(),
}
