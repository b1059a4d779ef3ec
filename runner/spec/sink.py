"""What a job says of a sink: where the records go, which of them, and as what."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from runner.plugins import PLACES
from runner.spec.model import Model, OneOrMany
from runner.spec.values import RowColumns

OF_EVERY_SINK = frozenset({"rows", "when"})
"""Keys that decide which records a sink is given, and when: no plugin's matter."""


class SinkSpec(Model):
    """Where the records go. A string is short for `{path: …}`."""

    short: ClassVar[str | None] = "path"
    one_of: ClassVar[tuple[tuple[str, ...], ...]] = (PLACES,)
    later: ClassVar[frozenset[str]] = frozenset(
        {
            "if",
            "transport",
        }
    )

    path: str | None = Field(
        None,
        min_length=1,
        description="jsonl, csv, tsv, parquet, arrow or xlsx, by its ending; `-` is stdout. Rendered by Jinja (sees "
        "`job`, `vars`, `run`).",
        examples=["out/{{ job.name }}.jsonl"],
    )
    url: str | None = Field(
        None,
        min_length=1,
        repr=False,
        description="A webhook's address, or with `table` a database's; takes `${NAME}`.",
    )
    python: str | None = Field(
        None,
        min_length=1,
        description="`module:function` of the project: it is given lists of records.",
        examples=["sinks:save"],
    )
    hub: str | None = Field(
        None,
        min_length=1,
        description="A dataset of the Hugging Face Hub, `owner/name`: the records are pushed to it as one file.",
        examples=["acme/review-labels"],
    )
    file: str | None = Field(
        None,
        min_length=1,
        description="The file's place in the dataset at the Hub; its ending tells how records are written.",
        examples=["data/train.jsonl"],
    )
    private: bool | None = Field(None, description="Whether a dataset that the push makes is private (the default).")
    headers: dict[str, str] | None = Field(
        None,
        repr=False,
        description="Sent with each request of a webhook; takes `${NAME}`.",
        examples=[{"Authorization": "Bearer ${HOOK_TOKEN}"}],
    )
    signing_secret: str | None = Field(
        None,
        min_length=1,
        repr=False,
        description="What a webhook's requests are signed with (Standard Webhooks, `whsec_…`); a `${NAME}`.",
        examples=["${HOOK_SECRET}"],
    )
    table: str | None = Field(
        None,
        min_length=1,
        description="The table of a database at `url`, or `schema.table`; made where it is missing.",
        examples=["analytics.sentiment"],
    )
    write: Literal["append", "merge", "replace"] | None = Field(
        None,
        description="Of a table. `append`: every record is inserted once. `merge`: a record takes the place of the row "
        "that has its `unique_key`. `replace`: the table holds the records of the last run that was delivered, and no "
        "others. Default: append.",
    )
    unique_key: Annotated[tuple[str, ...] | None, OneOrMany()] = Field(
        None,
        min_length=1,
        description="Of a table: the columns that tell its rows apart; `merge` needs them, and a unique index on them.",
        examples=[["key"]],
    )
    batch_size: int | None = Field(
        None, ge=1, le=100_000, description="How many records a sink that takes parts is given at a time, at most."
    )
    when: Literal["end", "live"] = Field(
        "end",
        description="`live`: records are given to it while the run goes on, as they settle. Files and targets that are "
        "replaced as a whole take none before the end.",
    )
    columns: dict[str, str] | None = Field(
        None,
        min_length=1,
        description="Name: a Jinja expression over the record.",
        examples=[{"id": "key", "label": "output.label"}],
    )
    rows: Literal["all", "succeeded", "failed"] | None = Field(
        None,
        description="Which records are written; `failed` are all that did not succeed. Default: all, and those that "
        "succeeded for a table of a database.",
    )
    include_row: RowColumns = Field(
        True, description="Write the dataset's row with each record: all of it, none, or these columns."
    )
    overwrite: bool = Field(
        False,
        description="Replace a file at `path` that this job did not write; with `write: replace` the rows of a table.",
    )

    contract: Literal["evolve", "freeze"] | None = Field(
        None,
        description="Of a table with types (parquet, arrow, a database's). `evolve`: it follows the job, with new "
        "columns and wider types. `freeze`: it stays as it is, or as the output's schema says; a record that does not "
        "fit is told, and left out. Default: evolve; of a database's table freeze.",
    )
    partition_by: Annotated[tuple[str, ...] | None, OneOrMany()] = Field(
        None,
        min_length=1,
        description="Of parquet: columns whose values name folders; `path` is a folder of files then.",
        examples=[["country", "year"]],
    )
    compression: Literal["zstd", "snappy", "gzip", "lz4", "none"] | None = Field(
        None, description="Within parquet (all of these) and arrow (zstd, lz4, none). Default: zstd."
    )
    spreadsheet: bool | None = Field(
        None,
        description="Of csv, tsv and xlsx: put an apostrophe before texts that begin with `=`, `+`, `-`, `@`, tab or "
        "carriage return, so that no spreadsheet computes them. It stays part of the value.",
    )

    @property
    def place(self) -> str:
        """The key that says where the records go; `url` too where its `${NAME}` is not set."""
        return next((name for name in PLACES if getattr(self, name, None) is not None), "url")

    @property
    def given(self) -> dict[str, Any]:
        """All that it says, by key: what a plugin's Options are filled with."""
        return {name: value for name, value in self if value is not None and name not in OF_EVERY_SINK}
