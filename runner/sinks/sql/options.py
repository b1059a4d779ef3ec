"""What a job may set of a sink that is a table. Light: no driver is imported."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from runner.sinks.options import Rows, SinkOptions
from runner.sinks.sql.names import parse_table

MARKS = "runner_deliveries"
"""The table beside the target that says how far each delivery is."""
Write = Literal["append", "merge", "replace"]


class SqlOptions(SinkOptions):
    """A table of a database, made where it is missing."""

    default_rows: ClassVar[Rows] = "succeeded"
    takes_parts: ClassVar[bool] = True
    extra: ClassVar[str] = "sql"

    url: str = Field(repr=False, description="A database's URL, or the name of a connection in runner.toml.")
    table: str = Field(description="`table`, or `schema.table` (MariaDB and MySQL: `database.table`).")
    write: Write = Field(
        "append",
        description="`append`: every record is inserted once. `merge`: a record takes the place of the row that has "
        "its `unique_key`. `replace`: the table holds the records of the last run that was delivered, and no others.",
    )
    unique_key: tuple[str, ...] | None = Field(
        None, description="Columns of the table that tell its rows apart; `merge` needs them."
    )
    contract: Literal["freeze", "evolve"] = Field(
        "freeze",
        description="Of a table that is there already and lacks a column: `freeze` tells the statement that would add "
        "it, before anything is paid; `evolve` adds it.",
    )
    overwrite: bool = Field(False, description="`replace` a table that has rows and was not written by runner.")
    batch_size: int = Field(10_000, ge=1, le=100_000, description="Records in a transaction, at most.")

    @field_validator("table")
    @classmethod
    def _names_a_table(cls, value: str) -> str:
        try:
            if parse_table(value).name.casefold() == MARKS:
                raise ValueError(f"another table: {MARKS} holds what was delivered")
        except ValueError as error:
            raise PydanticCustomError("sink", "{expected}", {"expected": str(error)}) from None
        return value

    @field_validator("unique_key", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _go_together(self) -> SqlOptions:
        if self.write == "merge" and not self.unique_key:
            expected = "`write: merge` needs `unique_key`: the columns that tell rows of the table apart"
            raise PydanticCustomError("sink", "{expected}", {"expected": expected})
        if self.write == "append" and self.unique_key:
            expected = "`unique_key` belongs to `write: merge` or `replace`; `append` inserts every record"
            raise PydanticCustomError("sink", "{expected}", {"expected": expected})
        return self
