"""What a request says, as a job writes it: messages, their blocks, and where a block's text or file comes from.

Knows  nothing of files or Jinja; what a block becomes for a row is `planning.blocks`.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from runner.spec.model import Model, OneOrMany
from runner.spec.values import CacheMark


class TextSource(Model):
    """One block of text, from exactly one place. A plain string is short for `text`, or for `template` where it has no
    spaces and ends in `.j2`."""

    short: ClassVar[str | None] = "text"
    one_of: ClassVar[tuple[tuple[str, ...], ...]] = (("text", "template", "file"),)

    text: str | None = Field(None, min_length=1, description="The text itself; rendered by Jinja.")
    template: str | None = Field(
        None,
        min_length=1,
        description="A template's name, looked up in the template folders, then from the root; rendered.",
    )
    file: str | None = Field(
        None,
        min_length=1,
        description="A file's path from the root, or an object of a store (`s3://`, `gs://`, `az://`); taken as it is, "
        "never rendered.",
    )
    cache: CacheMark = Field(
        None,
        description="Puts a cache breakpoint after this block, so that requests share all that stands before it. "
        "`true` lets the runner pick how long it is kept (5m in parallel mode, 1h in batch mode).",
    )
    name: SkipJsonSchema[str] = Field("", exclude=True)
    """No key of a job, set by load: the text's name in the TemplateSet, or its key in `LoadedJob.files`."""


class DocumentSource(Model):
    """What a document is made of, from exactly one place. A plain string is short for `source`."""

    short: ClassVar[str | None] = "source"
    one_of: ClassVar[tuple[tuple[str, ...], ...]] = (("source", "text", "template"),)

    source: str | None = Field(
        None,
        min_length=1,
        description="A path, an `https://` address, an object of a store (`s3://`, `gs://`, `az://`), a file id "
        "(`file_…`), or one `{{ expression }}` that gives one of "
        "these, bytes, or a list of them. A PDF or UTF-8 text, told by its bytes.",
        examples=["docs/handbook.pdf", "{{ row.pdf }}"],
    )
    text: str | None = Field(None, min_length=1, description="The document's text; rendered by Jinja.")
    template: str | None = Field(None, min_length=1, description="A template that gives the document's text.")
    name: SkipJsonSchema[str] = Field("", exclude=True)
    """No key of a job, set by load: the text's name in the TemplateSet."""


class Block(TextSource):
    """One block of content, from exactly one place. A plain string is short for `text`, or for `template` where it has
    no spaces and ends in `.j2`."""

    one_of: ClassVar[tuple[tuple[str, ...], ...]] = (
        ("text", "template", "file", "image", "document", "search_result"),
    )

    image: str | None = Field(
        None,
        min_length=1,
        description="A path, an `https://` address, an object of a store (`s3://`, `gs://`, `az://`), a file id "
        "(`file_…`), or one `{{ expression }}` that gives one of "
        "these, bytes, or a list of them, which makes a block of each. PNG, JPEG, GIF or WebP, told by its bytes.",
        examples=["{{ row.photo }}", "photos/{{ row.id }}.jpg"],
    )
    document: DocumentSource | None = Field(None, description="A PDF or a text that the model may cite from.")
    search_result: str | None = Field(
        None,
        min_length=1,
        description="Where a passage was found, as citations name it: an address, or a name of your own. "
        "With `title` and `content`.",
        examples=["{{ row.url }}"],
    )
    title: str | None = Field(
        None, min_length=1, description="The title of a document or search result; rendered by Jinja."
    )
    context: str | None = Field(
        None,
        min_length=1,
        description="What the model is told of a document beside its content, and does not cite; rendered.",
    )
    content: Annotated[tuple[str, ...] | None, OneOrMany()] = Field(
        None,
        min_length=1,
        description="The passages of a search result, a text each; rendered. One `{{ expression }}` may give a list of "
        "texts.",
    )
    citations: bool | None = Field(
        None, description="Let the reply cite from this document or search result. All of a request, or none."
    )
    optional: bool = Field(
        False, description="Leave the block out where there is nothing to make it of: null, an empty text, no file."
    )
    if_: str | None = Field(
        None,
        alias="if",
        min_length=1,
        description="A Jinja expression; the block is left out where it is false.",
        examples=["row.stars | int < 3"],
    )
    each: str | None = Field(
        None,
        min_length=1,
        description="A Jinja expression that gives a list; the block is made for each item, which its texts see as "
        "`item`.",
        examples=["row.photos"],
    )
    resize: Literal["fit", "refuse"] | None = Field(
        None,
        description="What is done with an image that is larger than the API takes: `fit` makes it smaller (with the "
        "extra `media`), `refuse` fails its row. Default: `fit`.",
    )
    upload: Literal["once"] | None = Field(
        None,
        description="`once` sends the file to the Files API, once for all rows and runs, and names it in the requests, "
        "which stay small.",
    )


Texts = Annotated[tuple[Block, ...], OneOrMany()]


class Message(Model):
    """One turn of the conversation that every row begins with, or with `expand` turns that the row holds."""

    one_of: ClassVar[tuple[tuple[str, ...], ...]] = (("content", "expand"),)
    later: ClassVar[frozenset[str]] = frozenset({"each", "if"})

    role: Literal["user", "assistant"] = Field("user", description="Who speaks.")
    content: Texts = Field(
        (), min_length=1, description="A text, a block, or a list of them. Sees `row`, `vars`, `assets`, `job`."
    )
    expand: str | None = Field(
        None,
        min_length=1,
        description="A conversation that the row holds: an expression that yields a list of `{role, content}`, or a "
        "text that is one as JSON. Its messages stand here.",
        examples=["{{ row.history }}"],
    )
