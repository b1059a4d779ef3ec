"""What a job may set of the built-in sinks. Light: no writer is imported, so that `check` and `schema` stay quick.

Which records a sink gets (`rows`) is not a sink's to decide: it is handed only those.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

FileFormat = Literal["jsonl", "csv", "tsv"]


class SinkOptions(BaseModel):
    """What every sink of records takes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: dict[str, str] | None = Field(
        None,
        description="Column name to Jinja expression over a record. Default: the whole record, or a table's columns.",
    )
    include_row: bool | tuple[str, ...] = Field(
        True, description="Whether the dataset's row is written too, or which of its columns."
    )


class FileOptions(SinkOptions):
    """A file, replaced as a whole when the run has ended."""

    path: str = Field(description="Ends in .jsonl, .csv or .tsv, also with .gz, .bz2, .xz or .zst.")
    format: FileFormat | None = Field(None, description="How records are written. Default: by the suffix.")
    overwrite: bool = Field(False, description="Replace a file that this job did not write.")


class StdoutOptions(SinkOptions):
    """Standard output, written once when the run has ended."""

    path: Literal["-"] = "-"
    format: FileFormat = Field("jsonl", description="How records are written.")
