"""The table that is there: its schema, and what its columns hold.

Owns   reading the schema of a parquet or arrow file, or of a partitioned folder, and `column_types`.
Knows  pyarrow and where a target is; no rows are read.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.column_types import JSON, MAPPING, ColumnType, Kind
from runner.errors import DeliveryError
from runner.sinks.arrow_files import ArrowFormat
from runner.sinks.folders import files_in
from runner.storage import RemoteTarget

if TYPE_CHECKING:
    import pyarrow as pa


def schema_at(place: Path | RemoteTarget, file_format: ArrowFormat, shown: str) -> pa.Schema | None:
    """The schema of what is at a target, without its metadata; None where nothing is. Raises DeliveryError, OSError."""
    import pyarrow as pa

    try:
        if isinstance(place, RemoteTarget):
            if not place.exists():
                return None
            with place.open() as stream:
                return _read(stream, file_format)
        if place.is_dir():
            return _of_folder(place)
        return _read(place, file_format) if place.exists() else None
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        message = f"{shown} is there, and is no {file_format} file: {error}"
        raise DeliveryError(message, hint="move it away, or set `contract: evolve`", code="frozen-table") from error


def _read(file: Any, file_format: ArrowFormat) -> pa.Schema:
    import pyarrow as pa
    from pyarrow import parquet

    if file_format == "parquet":
        return parquet.read_schema(file).remove_metadata()
    with pa.ipc.open_file(file) as reader:
        return reader.schema.remove_metadata()


def _of_folder(folder: Path) -> pa.Schema | None:
    """The schema of a partitioned table: the columns of its first file, and those that name its folders, in front."""
    from pyarrow import dataset

    if not files_in(folder):
        return None
    found = dataset.dataset(folder, format="parquet", partitioning="hive").schema
    return found.remove_metadata()


def column_types(schema: pa.Schema) -> dict[str, ColumnType]:
    """What the columns of a schema hold."""
    return {field.name: column_type(field.type) for field in schema}


def column_type(arrow: pa.DataType) -> ColumnType:
    """What a column of an Arrow type holds."""
    import pyarrow as pa

    is_a = pa.types
    if is_a.is_dictionary(arrow):
        return column_type(arrow.value_type)
    if is_a.is_decimal(arrow):
        return ColumnType("decimal", precision=arrow.precision, scale=arrow.scale)
    if is_a.is_timestamp(arrow):
        return ColumnType("datetime", zone=arrow.tz)
    if is_a.is_list(arrow) or is_a.is_large_list(arrow) or is_a.is_fixed_size_list(arrow):
        return ColumnType("list", item=column_type(arrow.value_type))
    if is_a.is_struct(arrow):
        fields = tuple(
            (arrow.field(place).name, column_type(arrow.field(place).type)) for place in range(arrow.num_fields)
        )
        return ColumnType("mapping", fields=fields)
    if is_a.is_map(arrow):
        return MAPPING
    kinds: tuple[tuple[Callable[[Any], bool], Kind], ...] = (
        (is_a.is_integer, "integer"), (is_a.is_floating, "number"), (is_a.is_boolean, "boolean"),
        (is_a.is_date, "date"), (is_a.is_time, "time"), (is_a.is_duration, "duration"), (is_a.is_null, "null"),
        (is_a.is_string, "string"), (is_a.is_large_string, "string"), (is_a.is_string_view, "string"),
        (is_a.is_binary, "bytes"), (is_a.is_large_binary, "bytes"), (is_a.is_fixed_size_binary, "bytes"),
        (is_a.is_binary_view, "bytes"),
    )  # fmt: skip
    return next((ColumnType(kind) for is_one, kind in kinds if is_one(arrow)), JSON)
