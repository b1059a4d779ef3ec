"""The conformance suite of sinks whose target is a table: `check_table`. It comes beside `sinks.check_sink`.

A table holds what it was given: each record once, under its key, and each value as it was or, where the target has no
such type, as the text that stands for it everywhere (`runner.values`). `sample_context` and `TYPED_ROW` are for tests
of one's own.
"""

from __future__ import annotations

import datetime as dt
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

from runner.column_types import ColumnType, type_of
from runner.encoding import encode_text, printable
from runner.sinks import DeliveryId, Part, PartSink, Sink, SinkContext, takes_parts
from runner.testing.sinks import failed_record, sample_record
from runner.types import Record
from runner.values import json_form, text_form

MakeTable = Callable[[SinkContext], "Sink | PartSink"]
"""Makes a sink with its default columns, of what it may know of the run. At each call the target is a new one, or one
that is replaced."""

ReadTable = Callable[[], "Sequence[Mapping[str, Any]]"]
"""The rows of the target of the last sink made, in any order: name of a column to value, None for null."""

TYPED_ROW: Mapping[str, Any] = {
    "yes": True,
    "whole": 7,
    "large": (1 << 63) - 1,
    "half": 0.5,
    "tiny": 1e-300,
    "money": Decimal("1234567.89"),
    "text": "a text",
    "data": b"\x00\x01\xff",
    "day": dt.date(2026, 11, 22),
    "noon": dt.datetime(2026, 11, 22, 12, 30, 15, 123456),  # noqa: DTZ001 - a naive one is what is meant
    "instant": dt.datetime(2026, 11, 22, 12, 30, 15, 123456, tzinfo=dt.UTC),
    "clock": dt.time(6, 30, 15),
    "span": dt.timedelta(days=1, seconds=2),
    "list": ["a", "b"],
    "mapping": {"x": 1, "y": ["z"]},
}
"""A value of every kind that a row may hold."""

SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "label": {"type": "string"},
        "score": {"type": ["number", "null"]},
        "count": {"type": "integer"},
        "sure": {"type": "boolean"},
        "due": {"type": "string", "format": "date"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "place": {"type": "object", "properties": {"city": {"type": "string"}}, "additionalProperties": False},
    },
}
_OUTPUT = {"label": "é", "score": 0.25, "count": 3, "sure": False, "tags": ["a", "b"], "place": {"city": "東京"}}
OUTPUT: Mapping[str, Any] = {**_OUTPUT, "due": "2026-12-24"}
"""An output of that schema; in a table `due` is a date."""

_MANY = 12_000
_WIDE = 200
_AWKWARD = [
    "\"quoted\", 'single'",
    "two\nlines\r\nand\ra third",
    "日本語 é 😀",
    "\u2028",
    "",
    " ",
    "\\N",
    "null",
    "= 1 + 1",
    "\ud83d half",
]


def sample_context(
    records: Sequence[Record], root: Path = Path(), *, schema: Mapping[str, Any] | None = None
) -> SinkContext:
    """What a sink may know of a run with these records: the columns of their rows, with their types."""
    types: dict[str, ColumnType] = {}
    for record in records:
        for name, value in record.row.items():
            found = type_of(value)
            types[name] = types[name].join(found) if name in types else found
    return SinkContext(
        root,
        row_columns=tuple(types),
        row_types=types,
        schema=schema,
        records=lambda: iter(records),
        row_count=len(records),
    )


def check_table(
    make: MakeTable,
    read: ReadTable,
    *,
    resolution: dt.timedelta = dt.timedelta.resolution,
    empty_is_null: bool = False,
) -> None:
    """Hold a sink of a table to its contract.

    Args:
        resolution: the smallest difference of two times that the target tells apart.
        empty_is_null: the target does not tell an empty text from null.
    Raises:
        AssertionError: a promise is broken.
    """
    typed = [sample_record(0, row=TYPED_ROW, output=dict(OUTPUT)), failed_record(1, row=dict.fromkeys(TYPED_ROW))]
    awkward = [sample_record(index, row={"id": index, "text": text}) for index, text in enumerate(_AWKWARD)]
    halves = {"\ud83d half": "a column's name", "names": {"\ud83d": [{"\ude00": 1}]}}
    wide = {f"column {number}": number if number % 2 else f"text {number}" for number in range(_WIDE)}
    check = partial(_check, make, read, resolution)
    check([], SCHEMA)
    check([sample_record()])
    check(typed, SCHEMA)
    check(awkward if not empty_is_null else [record for record in awkward if record.row["text"]])
    check([sample_record(index, row=halves) for index in range(3)])
    check([failed_record(index, row={"a": None, "b": None}) for index in range(3)])
    check([sample_record(index, row=wide) for index in range(3)])
    check([sample_record(index, row={"n": index, "x": index / 2}) for index in range(_MANY)])


def _check(
    make: MakeTable,
    read: ReadTable,
    resolution: dt.timedelta,
    records: Sequence[Record],
    schema: Mapping[str, Any] | None = None,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        deliver(make(sample_context(records, schema=schema)), records, Path(folder) / "staged")
    rows = read()
    assert len(rows) == len(records), f"the table has {len(rows)} rows for {len(records)} records"
    found = {row["key"]: row for row in rows}
    for record in records:
        assert record.key in found, f"the table lacks the record {record.key!r}"
        for name, value in _cells(record, schema).items():
            there = found[record.key].get(name)
            assert is_alike(there, value, resolution), f"{name!r} of {record.key!r} is {there!r}, and was {value!r}"


def deliver(sink: Sink | PartSink, records: Sequence[Record], staging: Path, *, portion: int = 1_000) -> None:
    """Give a sink of either kind all records."""
    sink.check()
    portions = [records[start : start + portion] for start in range(0, len(records), portion)]
    if not takes_parts(sink):
        sink.open(staging)
        for some in portions:
            sink.write(some)
        sealed = sink.seal()
        assert not sealed.left_out, f"{sealed.left_out} records were left out: {sealed.refused}"
        assert sealed.records == len(records), f"the sink counts {sealed.records} of {len(records)} records"
        sink.commit()
        return
    try:
        assert sink.begin(DeliveryId("run.0", "run", "owner")) in (0, None), "a new target has no parts"
        for number, some in enumerate(portions, start=1):
            refused = sink.deliver(Part(number, f"run.0.{number}", some))
            assert not refused, f"records were refused: {refused}"
        sink.finish()
    finally:
        sink.close()


def _cells(record: Record, schema: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the default columns of a table hold of a record."""
    outputs = {"output": record.output}
    if schema is not None:
        output = record.output if isinstance(record.output, Mapping) else {}
        outputs = {f"output_{name}": output.get(name) for name in schema["properties"]}
    error = record.error or {}
    told = {"status": record.status, "error_kind": error.get("kind"), "error_message": error.get("message")}
    cells = {"key": record.key, **record.row, **outputs, **told}
    return {printable(name): value for name, value in cells.items()}


def is_alike(there: Any, value: Any, resolution: dt.timedelta = dt.timedelta.resolution) -> bool:
    """Whether what a table holds stands for a value: the value, or what it is where the target has no such type."""
    if value is None or there is None:
        return there is value
    if isinstance(value, str):
        return printable(value) in (there, _text(there))
    if isinstance(value, dt.datetime) and isinstance(there, dt.datetime):
        return abs(_instant(there) - _instant(value)) < resolution
    if isinstance(value, int | float | Decimal) and isinstance(there, int | float | Decimal):
        return Decimal(there) == Decimal(value) or float(there) == float(value)
    if isinstance(there, bytes | memoryview | bytearray):
        return bytes(there) == bytes(value)
    if there == value or (isinstance(there, str) and there == _text(value)):
        return True
    if isinstance(there, str):  # JSON, with whatever space between its parts
        with suppress(ValueError):
            return encode_text(json.loads(there)) == printable(encode_text(json_form(value)))
    return isinstance(value, list | Mapping) and encode_text(json_form(there)) == encode_text(json_form(value))


def _instant(value: dt.datetime) -> dt.datetime:
    return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)


def _text(value: Any) -> str:
    try:
        return text_form(value)
    except TypeError:
        form = json_form(value)
        return form if isinstance(form, str) else encode_text(form)
