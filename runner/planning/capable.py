"""Blocks and tools that the model, or the platform that serves it, does not take.

Owns   the comparison of what a job's blocks and tools are with what is known of the model and offered by the provider.
Knows  the job as it is written: what only a row's value decides (an address or a PDF out of a column) is the API's to
       refuse, row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from msgspec import Struct

from runner.catalog.models import ModelFacts
from runner.errors import Location, Problem
from runner.planning.requests import CompiledJob
from runner.spec.content import Block
from runner.spec.job import Job

Place = tuple[str | int, ...]
Locate = Callable[[Place], Location]


class Served(Struct, frozen=True):
    """What a provider takes of content. `label` is its name in messages."""

    label: str = "this API"
    urls: bool = True
    files: bool = True


def block_problems(job: Job, facts: ModelFacts | None, served: Served, locate: Locate) -> Iterator[Problem]:
    """Blocks of the messages that every request would be refused for."""
    for i, message in enumerate(job.messages):
        for j, block in enumerate(message.content):
            place: Place = ("messages", i, "content", j)
            if facts is not None:
                yield from _of_model(block, facts, locate, place)
            yield from _of_provider(block, served, locate, place)


def tool_problems(compiled: CompiledJob, facts: ModelFacts, locate: Locate) -> Iterator[Problem]:
    """Server tools that the model does not have."""
    had = {"web_search_": facts.web_search, "code_execution_": facts.code_execution}
    for number, tool in enumerate(compiled.shared.get("tools") or ()):
        kind = str(tool.get("type", ""))
        if any(kind.startswith(prefix) and has is False for prefix, has in had.items()):
            hint = "take another model, or take the tool out"
            yield Problem("no-server-tool", f"{facts.id} has no tool {kind!r}", locate(("tools", number)), hint)


def _of_model(block: Block, facts: ModelFacts, locate: Locate, place: Place) -> Iterator[Problem]:
    hint = "take another model, or leave the block out"
    if block.image is not None and facts.image_input is False:
        yield Problem("no-images", f"{facts.id} takes no images", locate((*place, "image")), hint)
    if block.citations and facts.citations is False:
        yield Problem("no-citations", f"{facts.id} does not cite", locate((*place, "citations")), "leave it out")
    source = block.document.source if block.document is not None else None
    if source is None or facts.pdf_input is not False:
        return
    where = locate((*place, "document"))
    if source.lower().endswith(".pdf"):
        yield Problem("no-pdf", f"{facts.id} takes no PDF", where, hint)
    elif _is_expression(source):
        message = f"{facts.id} takes no PDF: a row that has one will fail"
        yield Problem("no-pdf", message, where, "give it text, or take another model", "warning")


def _of_provider(block: Block, served: Served, locate: Locate, place: Place) -> Iterator[Problem]:
    document = block.document.source if block.document is not None else None
    for key, source in (("image", block.image), ("document", document)):
        where = locate((*place, key))
        if source is None or _is_expression(source):
            continue
        if source.startswith("https://") and not served.urls:
            message = f"{served.label} fetches no addresses"
            yield Problem("no-urls", message, where, "download the file, and give its path")
        elif source.startswith("file_") and not served.files:
            message = f"{served.label} has no Files API"
            yield Problem("no-files", message, where, "give the file's path")
    if block.upload is not None and not served.files:
        message, hint = f"{served.label} has no Files API to upload to", "leave it out: each request brings the file"
        yield Problem("no-files", message, locate((*place, "upload")), hint)


def _is_expression(source: str) -> bool:
    return "{{" in source
