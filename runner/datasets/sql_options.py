"""What a job may set of datasets that ask a database. Light: no driver is imported."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class StatementOptions(BaseModel):
    """What a statement takes, whoever answers it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bind: dict[str, Any] = Field(default_factory=dict, repr=False, description="Values of the statement's parameters.")

    @property
    def reads_local_files(self) -> bool:
        """`check` asks no database, and what a query over files gives only the query shows."""
        return False


class SqlOptions(StatementOptions):
    """One SELECT over a database."""

    sql: str = Field(description="The statement.")
    url: str | None = Field(None, repr=False, description="The database: a URL, or a connection's name.")


class QueryOptions(StatementOptions):
    """One SELECT of DuckDB over files."""

    query: str = Field(description="The statement.")
