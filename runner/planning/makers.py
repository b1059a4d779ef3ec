"""Makers: what a job's block says, read into what makes its blocks.

Owns   the way from the keys of `spec.content.Block` to the shapes of `planning.blocks`.
Knows  a loaded job and its templates. A text that is exactly one `{{ expression }}` passes by value where the key takes
       more than text.
"""

from __future__ import annotations

from runner.planning.blocks import (
    BlockMaker,
    Further,
    Read,
    Shape,
    Stamp,
    Uploading,
    Value,
    document_text_shape,
    further_of,
    media_shape,
    search_result_shape,
    text_shape,
)
from runner.planning.content import Sight
from runner.spec.content import Block
from runner.spec.loaded import LoadedJob, job_file_name
from runner.spec.texts import bare_expression, inline_name
from runner.templating import Expression, Template

Path = tuple[str | int, ...]


class MakerReading:
    """Reads one block of a job, at `path`. Raises TemplateFailure for an expression that is none."""

    def __init__(self, loaded: LoadedJob, path: Path) -> None:
        self._loaded = loaded
        self._path = path
        self._job_file = job_file_name(loaded.path, loaded.root)
        self._name = ".".join(str(part) for part in path)

    def names(self, block: Block) -> frozenset[str]:
        """The variables that the block takes from outside."""
        templates = [self._template(*place) for place in self._places(block)]
        texts = [text for text in (block, block.document) if text is not None and (text.text or text.template)]
        templates += [self._loaded.templates.template(text.name) for text in texts]
        return frozenset[str]().union(*(each.names() for each in templates if each is not None))

    def maker(self, block: Block, sight: Sight, read: Read, stamp: Stamp) -> BlockMaker:
        return BlockMaker(
            self._name,
            self._shape(block, sight, read, stamp),
            condition=self._expression(block.if_, "if"),
            each=self._expression(block.each, "each"),
            reads_files=block.image is not None or (block.document is not None and block.document.source is not None),
        )

    def _shape(self, block: Block, sight: Sight, read: Read, stamp: Stamp) -> Shape:
        further = self._further(block)
        if block.image is not None:
            return media_shape(
                "image", self._value(block.image, "image"), further, name=self._name, sight=sight, read=read,
                optional=block.optional, resize=block.resize, upload=None if block.upload is None else Uploading(stamp),
            )  # fmt: skip
        if block.search_result is not None:
            return search_result_shape(
                self._value(block.search_result, "search_result"),
                self._value(block.title or "", "title"),
                [self._value(text, "content", place) for place, text in enumerate(block.content or ())],
                name=self._name, citations=block.citations, optional=block.optional,
            )  # fmt: skip
        document = block.document
        if document is None:
            return text_shape(self._text(block), optional=block.optional)
        if document.source is None:
            text = Value(template=self._loaded.templates.template(document.name))
            return document_text_shape(text, further, optional=block.optional)
        return media_shape(
            "document", self._value(document.source, "document", "source"), further, name=self._name, sight=sight,
            read=read, optional=block.optional, resize=None, upload=None if block.upload is None else Uploading(stamp),
        )  # fmt: skip

    def _text(self, block: Block) -> Value:
        if block.file is not None:
            return Value(self._loaded.files[block.name])
        return Value(template=self._loaded.templates.template(block.name))

    def _further(self, block: Block) -> Further:
        title = None if block.title is None else self._value(block.title, "title")
        about = None if block.context is None else self._value(block.context, "context")
        return further_of(title, about, block.citations)

    def _value(self, text: str, *place: str | int) -> Value:
        template = self._template(*place)
        if template is None:
            return Value(text)
        whole = Expression.whole(text)
        if whole is None:
            return Value(text, template)
        return Value(text, template, self._loaded.templates.expression(whole, template.name))

    def _expression(self, text: str | None, key: str) -> Expression | None:
        if text is None:
            return None
        name = inline_name(self._job_file, (*self._path, key))
        return self._loaded.templates.expression(bare_expression(text), name)

    def _template(self, *place: str | int) -> Template | None:
        """The template of a value that is rendered; None of one that is taken as it is."""
        name = inline_name(self._job_file, (*self._path, *place))
        return self._loaded.templates.template(name) if name in self._loaded.templates else None

    def _places(self, block: Block) -> list[Path]:
        """Where the block's own templates stand, as far as there are any."""
        places: list[Path] = [("image",), ("search_result",), ("title",), ("context",), ("document", "source")]
        places += [("content", place) for place in range(len(block.content or ()))]
        return [*places, ("if",), ("each",)]
