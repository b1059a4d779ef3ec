"""What a job may set of the built-in datasets. Light: no reader is imported, so that `check` and `schema` stay
quick."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

TextFormat = Literal["csv", "tsv", "jsonl", "json"]


class TextOptions(BaseModel):
    """Rows from text files: one path, a glob over several, or stdin."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field(
        description="csv, tsv, jsonl or json (an array of objects), also .gz .bz2 .xz .zst; "
        "a glob reads all matches in bytewise order; `-` is stdin."
    )
    format: TextFormat | None = Field(
        None, description="The format, where the suffix does not tell it. Default: by suffix; jsonl for stdin."
    )
