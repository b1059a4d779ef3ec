"""Compile: a loaded job becomes something that makes requests.

Owns   what is done once a job: rendering the system blocks, settling the times-to-live, building the body that all
       rows share, telling which blocks depend on the row, and making the others.
Knows  the job's models, its templates and the catalog. Rendering a row is `planning.requests`.

A message block whose templates never name `row` is made here, once: it is shared text, and what is wrong with it
is found before anything is sent. What is wrong in general is a `PlanError` that says where; only a row's own text can
fail later.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import orjson
from msgspec import Struct

from runner.catalog.models import snapshot_facts
from runner.catalog.schema_weakening import weakened
from runner.encoding import encode
from runner.errors import Location, PlanError, Problem, SetupError, SpecError
from runner.media.content import Unsendable
from runner.planning.blocks import BlockMaker, EmptyText, Rendered
from runner.planning.content import Encoded, Sight
from runner.planning.makers import MakerReading
from runner.planning.pieces import (
    CompiledHistory,
    CompiledMessage,
    FixedBlock,
    RowBlock,
    TextBlock,
    cache_control,
    text_block,
)
from runner.planning.requests import CacheShape, CompiledJob
from runner.spec.content import Block, Message, TextSource
from runner.spec.loaded import LoadedJob
from runner.spec.origins import Unreadable
from runner.templating import Expression, TemplateFailure
from runner.tools import Tool
from runner.types import CacheTtl, Mode

_MODES: tuple[Mode, ...] = ("parallel", "batch")


def compile_job(loaded: LoadedJob, *, mode: Mode) -> CompiledJob:
    """Compile a loaded job for one mode.

    Raises:
        PlanError: shared text cannot be rendered or is empty, or the breakpoints are not what the API takes.
        SpecError: the output's schema has parts that structured outputs do not take, all of them.
    """
    job = loaded.job
    sight = Sight.of(snapshot_facts(job.model))
    compiler = _Blocks(loaded, sight)
    system = [compiler.compiled(source, ("system", i)) for i, source in enumerate(job.system)]
    messages = [_message_blocks(message, ("messages", i), compiler, loaded) for i, message in enumerate(job.messages)]
    _check_prefill(loaded, messages[-1])
    in_order = [*system, *(block for blocks in messages for block in blocks)]
    turns = [compiler.turn(source, ("turns", i)) for i, source in enumerate(job.turns)]

    shared, betas = _shared_body(loaded, system, mode)
    return CompiledJob(
        name=job.name,
        mode=mode,
        shared=shared,
        messages=[
            _compiled_message(message, blocks, mode) for message, blocks in zip(job.messages, messages, strict=True)
        ],
        betas=betas,
        context=compiler.context,
        schema=_asked_for(loaded),
        cache=_cache_shape(loaded.tools, in_order, turns),
        turns=[turn.text_block(mode) for turn in turns],
        last_format=_output_format(loaded) if turns else None,
        prefill=may_prefill(loaded),
        sight=sight,
        uploads=any(block.upload is not None for message in job.messages for block in message.content),
    )


def _check_prefill(loaded: LoadedJob, last: Sequence[_Placed]) -> None:
    """A last message of the assistant whose text no row changes must not end in white space."""
    if loaded.job.messages[-1].role != "assistant" or not last[-1].is_shared:
        return
    texts = last[-1].texts()
    if texts and texts[-1] != texts[-1].rstrip():
        raise PlanError(
            "a last message of the assistant ends in white space, which the API refuses",
            hint="end it with its last word; the model goes on with the space",
            code="no-prefill",
            where=loaded.locate(last[-1].path),
        )


def may_prefill(loaded: LoadedJob) -> bool:
    """Whether a request may end with the assistant's message; of a model that nobody knows, yes."""
    facts = snapshot_facts(loaded.job.model)
    structured = loaded.schema is not None and not loaded.job.turns  # else only the last turn is
    return not structured and (facts is None or facts.prefill is not False)


def _compiled_message(message: Message, blocks: Sequence[_Placed], mode: Mode) -> CompiledMessage | CompiledHistory:
    for block in blocks:
        if isinstance(block.content, CompiledHistory):
            return block.content
    return CompiledMessage(message.role, tuple(block.compiled(mode) for block in blocks))


def settled_ttl(cache: bool | CacheTtl | None, mode: Mode) -> CacheTtl | None:
    """The time-to-live that a block's `cache` means.

    `true` takes 5m in parallel mode, where rows follow at once, and 1h in batch mode, where nobody knows when they
    start (batch guide: "use the 1-hour cache duration").
    """
    if cache is True:
        return "1h" if mode == "batch" else "5m"
    return cache or None


class _Placed(Struct, frozen=True):
    """A block of the job with its place in the file, compiled but for its time-to-live."""

    source: Block
    path: tuple[str | int, ...]
    content: str | Rendered | BlockMaker | tuple[Encoded, ...] | CompiledHistory
    """A fixed text, a row's text, what makes a row's blocks, fixed blocks; or messages that a row holds."""

    @property
    def is_shared(self) -> bool:
        return isinstance(self.content, str | tuple)

    @property
    def length(self) -> int:
        """About how long its text is in UTF-8, where it is shared."""
        if isinstance(self.content, str):
            return len(self.content.encode())
        return sum(block.length for block in self.content) if isinstance(self.content, tuple) else 0

    def ttl(self, mode: Mode) -> CacheTtl | None:
        return settled_ttl(self.source.cache, mode)

    def compiled(self, mode: Mode) -> TextBlock | FixedBlock | RowBlock:
        match self.content:
            case BlockMaker() as maker:
                return RowBlock(maker.name, maker, self.ttl(mode))
            case tuple() as blocks:
                return FixedBlock(self.source.name, blocks, self.ttl(mode))
            case CompiledHistory():
                raise AssertionError(self.path)  # it is no block of a message
            case text:
                return TextBlock(self.source.name, text, self.ttl(mode))

    def texts(self) -> list[str]:
        """Its fixed texts."""
        if isinstance(self.content, str):
            return [self.content]
        blocks = self.content if isinstance(self.content, tuple) else ()
        return [str(orjson.loads(block.sent + b"}").get("text", "")) for block in blocks]

    def objects(self, mode: Mode) -> list[dict[str, Any]]:
        """The text blocks of `system`."""
        texts = self.texts()
        last = len(texts) - 1
        return [text_block(text, self.ttl(mode) if place == last else None) for place, text in enumerate(texts)]


class _Turn(Struct, frozen=True):
    """A further message of the user; `content` is a template where it depends on the row or on replies."""

    source: TextSource
    content: Any

    def text_block(self, mode: Mode) -> TextBlock:
        return TextBlock(self.source.name, self.content, settled_ttl(self.source.cache, mode))


class _Blocks:
    """Compiles blocks: raw files, templates rendered with what all rows share, and what is to be made for a row."""

    def __init__(self, loaded: LoadedJob, sight: Sight) -> None:
        self._loaded = loaded
        self._files = loaded.local_files
        self._sight = sight
        self.context = loaded.context

    def compiled(self, source: Block, path: tuple[str | int, ...]) -> _Placed:
        if not (source.text or source.template or source.file) or source.optional or source.if_ or source.each:
            return _Placed(source, path, self._made(source, path))
        if source.file is None and path[0] != "system":
            template = self._loaded.templates.template(source.name)
            if "row" in template.names():
                return _Placed(source, path, template)
        return _Placed(source, path, self._shared_text(source, path))

    def turn(self, source: TextSource, path: tuple[str | int, ...]) -> _Turn:
        if source.file is None:
            template = self._loaded.templates.template(source.name)
            if {"row", "replies"} & template.names():
                return _Turn(source, template)
        return _Turn(source, self._shared_text(source, path))

    def _shared_text(self, source: TextSource, path: tuple[str | int, ...]) -> str:
        if source.file is not None:
            return self._checked(self._loaded.files[source.name], path)
        with self._located(path):
            text = self._loaded.templates.template(source.name).render(self.context)
        return self._checked(text, path)

    def _checked(self, text: str, path: tuple[str | int, ...]) -> str:
        if not text or text.isspace():
            raise _empty_text(self._loaded.locate(path))
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise PlanError(
                "the text of this block holds half of a surrogate pair, which has no UTF-8 form",
                hint="look for a \\ud800 to \\udfff escape in the variables and assets that it prints",
                code="not-utf8",
                where=self._loaded.locate(path),
            ) from error
        return text

    def _made(self, source: Block, path: tuple[str | int, ...]) -> BlockMaker | tuple[Encoded, ...]:
        """A maker where a row has a part in the block, else the blocks that it makes."""
        reading = MakerReading(self._loaded, path)
        with self._located(path):
            names = reading.names(source)
            by_row = "row" in names
            read = partial(self._of_row, path) if by_row else self._loaded.content_of
            stamp = self._files.stamp if by_row else _no_stamp
            maker = reading.maker(source, self._sight, read, stamp)
            if by_row:
                return maker
            drafts = list(maker.drafts(self.context))
            images = sum(draft.images for draft in drafts)
            return tuple(draft.encode(images) for draft in drafts)

    def _of_row(self, path: tuple[str | int, ...], name: str) -> bytes:
        """The content of a file that a row names. A library that is missing for it is told at the block."""
        try:
            return self._files.of_row(name)
        except SetupError as error:
            error.where = error.where or self._loaded.locate(path)
            raise

    @contextmanager
    def _located(self, path: tuple[str | int, ...]) -> Iterator[None]:
        """What is wrong with a block that all rows share is wrong with the job."""
        where = self._loaded.locate(path)
        try:
            yield
        except TemplateFailure as failure:
            raise PlanError(
                failure.message, hint=failure.hint, code=failure.code, where=self._loaded.place(failure, path)
            ) from failure
        except (Unsendable, Unreadable) as failure:
            raise PlanError(failure.message, hint=failure.hint, code=failure.code, where=where) from failure
        except EmptyText as failure:
            raise _empty_text(where) from failure


def _no_stamp(_: str) -> None:
    """What all rows share is read once anyway."""


def _empty_text(where: Location) -> PlanError:
    return PlanError(
        "the text of this block is empty, which the API refuses",
        hint="give it text, or leave the block out",
        code="empty-text",
        where=where,
    )


def _message_blocks(message: Message, path: tuple[str | int, ...], blocks: _Blocks, loaded: LoadedJob) -> list[_Placed]:
    if message.expand is not None:
        name = ".".join(str(part) for part in (*path, "expand"))
        expression = loaded.templates.expression(Expression.whole(message.expand) or message.expand, name)
        return [_Placed(Block(), path, CompiledHistory(name, expression))]
    placed = [blocks.compiled(source, (*path, "content", i)) for i, source in enumerate(message.content)]
    if all(block.content == () for block in placed):
        raise PlanError(
            "this message has no block: all of its blocks were left out",
            hint="give it one without `if`, `each` or `optional`",
            code="empty-message",
            where=loaded.locate(path),
        )
    return placed


def _shared_body(loaded: LoadedJob, system: Sequence[_Placed], mode: Mode) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The body without `messages`, and the beta names, which travel in a header."""
    job = loaded.job
    params = dict(job.params)
    betas = tuple(params.pop("betas", ()))
    params |= params.pop("extra_body", {})
    output_format = _output_format(loaded)
    if output_format is not None and not job.turns:
        params["output_config"] = {**params.get("output_config", {}), "format": output_format}
    body: dict[str, Any] = {"model": job.model, **{name: params[name] for name in sorted(params)}}
    if loaded.tools:
        body["tools"] = [_sent_tool(tool, mode) for tool in loaded.tools]
    objects = [each for block in system for each in block.objects(mode)]
    if objects:
        body["system"] = objects
    return body, betas


def _asked_for(loaded: LoadedJob) -> Mapping[str, Any] | None:
    """The schema of the structured output that is asked of the model; with `extract` it is checked here alone."""
    output = loaded.job.output
    return loaded.schema if output is not None and output.extract is None else None


def _sent_tool(tool: Tool, mode: Mode) -> dict[str, Any]:
    ttl = settled_ttl(tool.cache, mode)
    return {**tool.definition, "cache_control": cache_control(ttl)} if ttl is not None else dict(tool.definition)


def _output_format(loaded: LoadedJob) -> dict[str, Any] | None:
    """What the last reply of a row is asked to look like; None where any text will do."""
    schema = _asked_for(loaded)
    return None if schema is None else {"type": "json_schema", "schema": _sent_schema(loaded, schema)}


def _sent_schema(loaded: LoadedJob, schema: Mapping[str, Any]) -> dict[str, Any]:
    made = weakened(schema)
    if made.refused:  # told where it is written when the job was loaded; here it comes out of a run's folder
        where = loaded.locate(("output",))
        raise SpecError([Problem(found.code, found.reason, where, found.hint) for found in made.refused])
    return made.schema


def _cache_shape(tools: Sequence[Tool], blocks: Sequence[_Placed], turns: Sequence[_Turn]) -> CacheShape:
    shared_bytes = 0
    prefix_bytes = 0
    for tool in tools:
        shared_bytes += len(encode(tool.definition))
        if tool.cache:
            prefix_bytes = shared_bytes
    all_shared = True
    row_breakpoint = False
    for block in blocks:
        all_shared = all_shared and block.is_shared
        if all_shared:
            shared_bytes += block.length
        if block.source.cache and block.content != ():
            if all_shared:
                prefix_bytes = shared_bytes
            else:
                row_breakpoint = True
    row_breakpoint = row_breakpoint or any(turn.source.cache for turn in turns)  # it stands behind replies
    marks = [*(tool.cache for tool in tools), *(block.source.cache for block in blocks if block.content != ())]
    marks += [turn.source.cache for turn in turns]
    return CacheShape(prefix_bytes, row_breakpoint, {mode: _longest_ttl(marks, mode) for mode in _MODES})


def _longest_ttl(marks: Iterable[bool | CacheTtl | None], mode: Mode) -> CacheTtl | None:
    ttls = {settled_ttl(mark, mode) for mark in marks}
    if "1h" in ttls:
        return "1h"
    return "5m" if "5m" in ttls else None
