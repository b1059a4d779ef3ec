"""Records as one Arrow table in memory: what `to_arrow` and its relatives give a program.

Owns   that table. Knows  typed columns and batches; nothing of files or runs.

It has the columns, and the types, that a parquet file of the same records has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from runner.column_types import ColumnType
from runner.errors import DeliveryError
from runner.extras import require
from runner.sinks import SinkContext
from runner.sinks.fitting import LeftOut
from runner.sinks.options import SinkOptions
from runner.sinks.typed_columns import typed_columns
from runner.types import Record

if TYPE_CHECKING:
    import pyarrow as pa

_PORTION = 1_000
"""Records that are turned into columns at a time."""


def arrow_table(context: SinkContext, what: str) -> pa.Table:
    """All records that `context` gives, with the default columns of a table; `what` needs them, in messages.

    Raises SetupError where pyarrow is missing, SpecError for columns that clash, DeliveryError for a value that no
    type of Arrow holds.
    """
    require("pyarrow", what)
    import pyarrow as pa

    from runner.sinks.arrow_batches import BatchBuilder
    from runner.sinks.arrow_types import arrow_schema

    def made(settled: Sequence[ColumnType]) -> tuple[pa.Table, LeftOut]:
        types = dict(zip(typed.names, settled, strict=True))
        schema, left_out = arrow_schema(types), LeftOut()
        builder = BatchBuilder(typed.columns, types, schema, left_out)
        batches = [batch for portion in _portions(records()) for batch in builder.add(portion)]
        return pa.Table.from_batches([*batches, *builder.rest()], schema=schema), left_out

    assert context.records is not None
    records = context.records
    typed = typed_columns(SinkOptions(), context).opened()
    table, left_out = made(typed.settled(records()))
    if left_out.count:  # an integer of more than 64 bits in a field of integers
        table, left_out = made(typed.surveyed(records()))
    if left_out.count:
        first = left_out.first[0]
        raise DeliveryError(f"the record {first.key!r} does not fit: {first.message}", code="record-refused")
    return table


def _portions(records: Iterator[Record]) -> Iterator[list[Record]]:
    while portion := list(islice(records, _PORTION)):
        yield portion
