"""What a job says of its rows: where they come from, which of them it takes, and what each is called."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from runner.plugins import SOURCES
from runner.spec.model import Model, OneOrMany


class SqlText(Model):
    """A statement: its text, or the file that has it. A string is short for `{text: …}`."""

    short: ClassVar[str | None] = "text"
    one_of: ClassVar[tuple[tuple[str, ...], ...]] = (("text", "file"),)

    text: str | None = Field(None, min_length=1, description="The statement itself; never rendered.")
    file: str | None = Field(None, min_length=1, description="A file from the project's root; never rendered.")


class Sample(Model):
    """A random choice of rows that is the same each time."""

    rows: int = Field(ge=1, description="How many rows; all of them where there are fewer.")
    seed: int = Field(0, ge=0, description="Another number, another choice: 0, 1, 2 …")


CastType = Literal["string", "integer", "number", "decimal", "boolean", "date", "datetime", "time", "json"]
"""What `types` makes of a column's values."""


class Rows(Model):
    """Rows from one source, and which of them are taken."""

    short: ClassVar[str | None] = "path"
    one_of: ClassVar[tuple[tuple[str, ...], ...]] = (("path", *SOURCES),)
    later: ClassVar[frozenset[str]] = frozenset({"job"})

    path: str | None = Field(
        None,
        min_length=1,
        description="csv, tsv, jsonl or json (an array), also with .gz, .bz2, .xz or .zst; parquet, arrow (also "
        "feather), orc; xlsx. Globs are read in the "
        "order of their names; `-` is stdin. Rendered by Jinja (sees `vars`).",
        examples=["data/reviews.csv", "data/2026-*.jsonl.gz"],
    )
    sql: SqlText | None = Field(
        None,
        description="One SELECT over the database at `url`. `:name` stands for a value of `bind`.",
        examples=["select id, body from tickets where opened >= :since order by id"],
    )
    query: SqlText | None = Field(
        None,
        description="One SELECT of DuckDB over local and remote files, named from the project's root: joins and heavy "
        "filters. `:name` stands for a value of `bind`.",
        examples=["select r.* from 'data/reviews.parquet' r join 'data/shops.csv' s using (shop_id) order by r.id"],
    )
    url: str | None = Field(
        None,
        min_length=1,
        repr=False,
        description="The database of `sql`: a URL, or a name of `[connections]` in runner.toml; takes `${NAME}`.",
        examples=["${DATABASE_URL}", "warehouse"],
    )
    bind: dict[str, Any] | None = Field(
        None,
        repr=False,
        description="Values for the parameters of `sql` or `query`, or arguments of a `python` function: rendered by "
        "Jinja (sees `vars`), where one whole `{{ expression }}` keeps its type; takes `${NAME}`.",
        examples=[{"since": "{{ vars.since }}"}],
    )
    files: Annotated[tuple[str, ...] | None, OneOrMany()] = Field(
        None,
        min_length=1,
        description="A folder of documents: a row for each file that a pattern matches, with its `path`, `name`, "
        "`suffix`, `size`, `text` and `pages`. PDF, HTML, Markdown and other UTF-8 text; an image has no text. Rows "
        "are named by their `path`.",
        examples=["docs/**/*.pdf", ["notes/*.md", "s3://bucket/notes/*.md"]],
    )
    text: bool | None = Field(
        None, description="Whether rows of `files` have the text of their files. Default: they have."
    )
    unreadable: Literal["fail", "keep"] | None = Field(
        None,
        description="What to do about one of `files` that gives no text (encrypted, damaged, empty, a scan): tell it "
        "and stop, the default, or keep its row, with the reason in the column `problem`.",
    )
    python: str | None = Field(
        None,
        min_length=1,
        description="A function of the project that gives the rows: any iterable of mappings, such as a "
        "generator. `bind` are its arguments.",
        examples=["sources:open_tickets"],
    )
    hub: str | None = Field(
        None,
        min_length=1,
        description="A dataset of the Hugging Face Hub, streamed; or a folder of data files.",
        examples=["stanfordnlp/imdb"],
    )
    split: str | None = Field(None, min_length=1, description="Which part of the `hub` dataset. Default: `train`.")
    subset: str | None = Field(None, min_length=1, description="Which of the configurations of the `hub` dataset.")
    revision: str | None = Field(None, min_length=1, description="A commit, branch or tag of the `hub` dataset.")
    key: Annotated[tuple[str, ...] | None, OneOrMany()] = Field(
        None,
        min_length=1,
        description="The column, or columns, that name a row. Must be unique. Default: the position in the source; of "
        "`files` the path.",
        examples=["review_id"],
    )
    where: str | None = Field(
        None,
        min_length=1,
        description="A Jinja expression over `row`; only rows for which it is true are taken. "
        "Sees `row`, `vars`, `assets`.",
        examples=['row.stars != "" and row.stars | int < 3'],
    )
    types: dict[str, CastType] | None = Field(
        None,
        min_length=1,
        description="Columns to make of another type, before all else: `where`, templates and sinks see the new one. "
        "An empty text is null, but for `string`. A value that does not fit is an error that names its row.",
        examples=[{"stars": "integer", "price": "decimal", "opened": "date"}],
    )
    sheet: str | None = Field(
        None, min_length=1, description="Which sheet of a workbook at `path`. Default: the first one."
    )
    sample: Sample | None = Field(
        None,
        description="Take a random choice of the rows that `where` leaves, in the dataset's order. All rows are read, "
        "and so many are held in memory.",
    )
    offset: int = Field(0, ge=0, description="Leave out so many of the rows that are left by then, from the first on.")
    limit: int | None = Field(
        None, ge=1, description="Take no more rows than this. No row behind the last of them is read."
    )

    @model_validator(mode="after")
    def _files_are_named_by_path(self) -> Self:
        if self.files is not None and self.key is None:
            object.__setattr__(self, "key", ("path",))  # it is frozen for everybody else
        return self

    @property
    def source(self) -> str:
        """The key that says where the rows come from."""
        return next(name for name in ("path", *SOURCES) if getattr(self, name, None) is not None)


class CrossedDataset(Rows):
    """A small dataset whose rows each row meets, read into memory: at most 10,000 rows. A string is short for
    `{path: …}`."""


class Dataset(Rows):
    """Where the rows come from. A string is short for `{path: …}`. Rows are selected in the order where,
    distinct, sample, offset, limit."""

    distinct: bool = Field(
        False,
        description="Send a request that several rows come to once, and give each of them its reply. No row is left "
        "out, so the others count rows as ever.",
    )
    cross: dict[str, CrossedDataset] = Field(
        default_factory=dict,
        description="Every row with every row of one or several small datasets, which stand under these names in it: "
        "`row.question.text`. Before anything is selected; keys are arrays of the keys of all parts.",
        examples=[{"question": "data/questions.csv"}],
    )
