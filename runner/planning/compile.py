"""Compile: a loaded job becomes something that makes requests.

Owns   what is done once a job: rendering the system blocks, reading raw files, settling the times-to-live, building
       the body that all rows share, and telling which blocks depend on the row.
Knows  the job's models, its templates and the catalog. Rendering a row is `planning.requests`.

A message block whose template never names `row` is rendered here, once: it is shared text, and what is wrong with it
is found before anything is sent. What is wrong in general is a `PlanError` that says where; only a row's own text can
fail later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runner.catalog.models import snapshot_facts
from runner.catalog.schema_subset import api_subset, outside_subset
from runner.encoding import encode
from runner.errors import PlanError, Problem, SpecError
from runner.planning.requests import (
    CacheShape,
    CompiledHistory,
    CompiledJob,
    CompiledMessage,
    TextBlock,
    cache_control,
    text_block,
)
from runner.spec.job import Message, TextSource
from runner.spec.loaded import LoadedJob
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
    texts = _Texts(loaded)
    system = [_Block(source, ("system", i), texts.shared(source, ("system", i))) for i, source in enumerate(job.system)]
    messages = [_message_blocks(message, ("messages", i), texts) for i, message in enumerate(job.messages)]
    _check_prefill(loaded, messages[-1])
    in_order = [*system, *(block for blocks in messages for block in blocks)]

    shared, betas = _shared_body(loaded, system, mode)
    return CompiledJob(
        name=job.name,
        mode=mode,
        shared=shared,
        messages=[
            _compiled_message(message, blocks, mode) for message, blocks in zip(job.messages, messages, strict=True)
        ],
        betas=betas,
        context=texts.context,
        schema=_asked_for(loaded),
        cache=_cache_shape(loaded.tools, in_order),
        prefill=may_prefill(loaded),
    )


def _check_prefill(loaded: LoadedJob, last: Sequence[_Block]) -> None:
    """A last message of the assistant whose text no row changes must not end in white space."""
    if loaded.job.messages[-1].role != "assistant":
        return
    content, path = last[-1].content, last[-1].path
    if isinstance(content, str) and content != content.rstrip():
        raise PlanError(
            "a last message of the assistant ends in white space, which the API refuses",
            hint="end it with its last word; the model goes on with the space",
            code="no-prefill",
            where=loaded.locate(path),
        )


def may_prefill(loaded: LoadedJob) -> bool:
    """Whether a request may end with the assistant's message; of a model that nobody knows, yes."""
    facts = snapshot_facts(loaded.job.model)
    return loaded.schema is None and (facts is None or facts.prefill is not False)


def _compiled_message(message: Message, blocks: Sequence[_Block], mode: Mode) -> CompiledMessage | CompiledHistory:
    if message.expand is not None:
        (block,) = blocks
        return CompiledHistory(block.content.name, block.content)
    return CompiledMessage(message.role, tuple(block.compiled(mode) for block in blocks))


def settled_ttl(cache: bool | CacheTtl | None, mode: Mode) -> CacheTtl | None:
    """The time-to-live that a block's `cache` means.

    `true` takes 5m in parallel mode, where rows follow at once, and 1h in batch mode, where nobody knows when they
    start (batch guide: "use the 1-hour cache duration").
    """
    if cache is True:
        return "1h" if mode == "batch" else "5m"
    return cache or None


@dataclass(frozen=True, slots=True)
class _Block:
    """A text block of the job with its place in the file; `content` is a template only where the text depends on the
    row."""

    source: TextSource
    path: tuple[str | int, ...]
    content: Any

    @property
    def is_shared(self) -> bool:
        return isinstance(self.content, str)

    def ttl(self, mode: Mode) -> CacheTtl | None:
        return settled_ttl(self.source.cache, mode)

    def compiled(self, mode: Mode) -> TextBlock:
        return TextBlock(self.source.name, self.content, self.ttl(mode))


class _Texts:
    """Gives the text of blocks: raw files, templates rendered with what all rows share, or the template itself."""

    def __init__(self, loaded: LoadedJob) -> None:
        self._loaded = loaded
        self.context = loaded.context

    def shared(self, source: TextSource, path: tuple[str | int, ...]) -> str:
        if source.file is not None:
            return self._checked(self._loaded.files[source.name], path)
        try:
            text = self._loaded.templates.template(source.name).render(self.context)
        except TemplateFailure as failure:
            raise PlanError(
                failure.message, hint=failure.hint, code=failure.code, where=self._loaded.place(failure, path)
            ) from failure
        return self._checked(text, path)

    def of_message(self, source: TextSource, path: tuple[str | int, ...]) -> Any:
        if source.file is None:
            template = self._loaded.templates.template(source.name)
            if "row" in template.names():
                return template
        return self.shared(source, path)

    def history(self, text: str, path: tuple[str | int, ...]) -> Any:
        name = ".".join(str(part) for part in (*path, "expand"))
        return self._loaded.templates.expression(Expression.whole(text) or text, name)

    def _checked(self, text: str, path: tuple[str | int, ...]) -> str:
        if not text or text.isspace():
            raise PlanError(
                "the text of this block is empty, which the API refuses",
                hint="give it text, or leave the block out",
                code="empty-text",
                where=self._loaded.locate(path),
            )
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


def _message_blocks(message: Message, path: tuple[str | int, ...], texts: _Texts) -> list[_Block]:
    if message.expand is not None:
        return [_Block(TextSource(), path, texts.history(message.expand, path))]
    blocks = []
    for i, source in enumerate(message.content):
        place = (*path, "content", i)
        blocks.append(_Block(source, place, texts.of_message(source, place)))
    return blocks


def _shared_body(loaded: LoadedJob, system: Sequence[_Block], mode: Mode) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The body without `messages`, and the beta names, which travel in a header."""
    job = loaded.job
    params = dict(job.params)
    betas = tuple(params.pop("betas", ()))
    params |= params.pop("extra_body", {})
    schema = _asked_for(loaded)
    if schema is not None:
        output_format = {"type": "json_schema", "schema": _sent_schema(loaded, schema)}
        params["output_config"] = {**params.get("output_config", {}), "format": output_format}
    body: dict[str, Any] = {"model": job.model, **{name: params[name] for name in sorted(params)}}
    if loaded.tools:
        body["tools"] = [_sent_tool(tool, mode) for tool in loaded.tools]
    if system:
        body["system"] = [text_block(block.content, block.ttl(mode)) for block in system]
    return body, betas


def _asked_for(loaded: LoadedJob) -> Mapping[str, Any] | None:
    """The schema of the structured output that is asked of the model; with `extract` it is checked here alone."""
    output = loaded.job.output
    return loaded.schema if output is not None and output.extract is None else None


def _sent_tool(tool: Tool, mode: Mode) -> dict[str, Any]:
    ttl = settled_ttl(tool.cache, mode)
    return {**tool.definition, "cache_control": cache_control(ttl)} if ttl is not None else dict(tool.definition)


def _sent_schema(loaded: LoadedJob, schema: Mapping[str, Any]) -> dict[str, Any]:
    sent = api_subset(schema)
    problems = outside_subset(sent)
    if problems:
        where = loaded.locate(("output",))
        raise SpecError(
            [Problem("schema-outside-subset", f"{_pointer(path)}: {reason}", where) for path, reason in problems]
        )
    return sent


def _pointer(path: Sequence[str | int]) -> str:
    return "/" + "/".join(str(part) for part in path)


def _cache_shape(tools: Sequence[Tool], blocks: Sequence[_Block]) -> CacheShape:
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
            shared_bytes += len(block.content.encode())
        if block.source.cache:
            if all_shared:
                prefix_bytes = shared_bytes
            else:
                row_breakpoint = True
    marks = [*(tool.cache for tool in tools), *(block.source.cache for block in blocks)]
    return CacheShape(prefix_bytes, row_breakpoint, {mode: _longest_ttl(marks, mode) for mode in _MODES})


def _longest_ttl(marks: Iterable[bool | CacheTtl | None], mode: Mode) -> CacheTtl | None:
    ttls = {settled_ttl(mark, mode) for mark in marks}
    if "1h" in ttls:
        return "1h"
    return "5m" if "5m" in ttls else None
