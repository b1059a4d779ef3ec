"""What a user writes, as frozen models: the job.

Owns   the shape of a job after all layers are merged, and the field descriptions that become docs, schema and hover text.
Knows  nothing of files, YAML or Jinja; `spec.load` brings values here with their positions.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class TextSource(Model):
    """Text from exactly one place. A plain string is short for `text`, or for `template` where it ends in `.j2`."""

    text: str | None = Field(None, description="The text itself; rendered by Jinja.")
    template: str | None = Field(None, description="A template's name, looked up in the template folders; rendered.")
    file: str | None = Field(None, description="A file's path from the root; taken as it is, never rendered.")
    cache: bool | Literal["5m", "1h"] | None = Field(
        None, description="Put a cache breakpoint after this block. `true` picks the time-to-live: 5m in parallel mode, 1h in batch mode."
    )


class Message(Model):
    role: Literal["user", "assistant"] = "user"
    content: tuple[TextSource, ...]


class Dataset(Model):
    path: str = Field(description="csv, tsv, jsonl or json, also .gz .bz2 .xz .zst; globs; `-` is stdin.")
    key: tuple[str, ...] | None = None
    where: str | None = None
    sample: Sample | None = None
    limit: int | None = Field(None, ge=1)


class Sample(Model):
    rows: int = Field(ge=1)
    seed: int = 0


class Output(Model):
    """`fields`, `labels` and `schema` exclude one another; all three end up in `json_schema`."""

    fields: dict[str, Any] | None = None
    labels: tuple[str, ...] | None = None
    schema_: Any = Field(None, alias="schema")


class Limits(Model):
    max_cost_usd: Any = None
    """A Decimal, greater than zero."""
    max_concurrency: int = Field(50, ge=1, le=1000)
    max_failures: Any = None
    """Share (`5%`) or count."""
    allow_failures: Any = None


class Retry(Model):
    max_attempts: int = Field(5, ge=1)
    initial_interval: float = 0.5
    """Seconds; written as a duration (`500ms`)."""
    backoff_coefficient: float = Field(2.0, ge=1)
    maximum_interval: float = 60.0


class SinkSpec(Model):
    path: str
    columns: dict[str, str] | None = None
    rows: Literal["all", "succeeded", "failed"] = "all"
    include_row: bool | tuple[str, ...] = True
    overwrite: bool = False


class Job(Model):
    name: str
    description: str | None = None
    model: str
    params: dict[str, Any] = Field(default_factory=dict)
    system: tuple[TextSource, ...] = ()
    vars: dict[str, Any] = Field(default_factory=dict)
    assets: dict[str, str] = Field(default_factory=dict)
    messages: tuple[Message, ...]
    """`prompt` is normalised to one user message."""
    dataset: Dataset
    output: Output | None = None
    mode: Literal["auto", "batch", "parallel"] = "auto"
    limits: Limits = Limits()
    retry: Retry = Retry()
    sinks: tuple[SinkSpec, ...]
    reuse: bool = True
