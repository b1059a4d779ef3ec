"""What a block of content may say, where it may stand, and what of it the API takes only together.

Owns   the rules between the keys of a block, between a block and its place (`system`, the assistant's turns), and
       between the blocks of a request (citations), as far as the job file shows them.
Knows  the shaped tree. Keys by themselves are `spec.content`'s; rows are looked at when they are rendered.
Source: the SDK's types of blocks and of `system` (2.12.0: `Union[str, Iterable[TextBlockParam]]`); the versioning page
        (2026-10-21) on documents in the assistant's turns; the citations and structured outputs guides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from runner.catalog.models import snapshot_facts
from runner.errors import Problem
from runner.media.scaling import can_scale
from runner.spec.hints import choice_hint
from runner.spec.media import INSTALL
from runner.spec.node import ListNode, MapNode, Node, child, find, plain
from runner.spec.origins import Origin, Unreadable, origin_of
from runner.spec.output_checks import INSTEAD, is_structured

_EVERYWHERE = frozenset({"cache", "optional", "if", "each"})
_KEYS: Mapping[str, frozenset[str]] = {
    "text": _EVERYWHERE,
    "template": _EVERYWHERE,
    "file": _EVERYWHERE,
    "image": _EVERYWHERE | {"resize", "upload"},
    "document": _EVERYWHERE | {"title", "context", "citations", "upload"},
    "search_result": _EVERYWHERE | {"title", "content", "citations"},
}
_MEDIA = ("image", "document", "search_result")


def check_blocks(tree: MapNode) -> list[Problem]:
    """All that is wrong with the blocks of a job, in file order."""
    system = list(_items(tree.get("system")))
    in_messages = [(role, block) for role, blocks in _messages(tree) for block in blocks]
    return [
        *(problem for block in system for problem in (*_keys(block), *_not_in_system(block))),
        *(problem for _, block in in_messages for problem in (*_keys(block), *_upload(block))),
        *(problem for role, block in in_messages if role == "assistant" for problem in _not_by_assistant(block)),
        *_unbounded(tree, [block for _, block in in_messages]),
        *_citations([block for _, block in in_messages], structured=is_structured(tree)),
    ]


def block_warnings(tree: MapNode) -> list[Problem]:
    """Images that could not be scaled if they had to be; said once."""
    if can_scale():
        return []
    for _, blocks in _messages(tree):
        for block in blocks:
            image = block.entries.get("image")
            if image is not None and child(block, "resize") is None:
                message = "images over the API's limits cannot be made smaller here, so their rows would fail"
                hint = f"{INSTALL}, or say that they may fail: `resize: refuse`"
                return [Problem("cannot-scale", message, image.key.location(), hint, "warning")]
    return []


def _messages(tree: MapNode) -> Iterator[tuple[str, Sequence[MapNode]]]:
    for message in _items(tree.get("messages")):
        role = child(message, "role")
        yield str(plain(role)) if role is not None else "user", list(_items(child(message, "content")))


def _items(node: Node | None) -> Iterator[MapNode]:
    for item in node.items if isinstance(node, ListNode) else ():
        if isinstance(item, MapNode):
            yield item


def _kind(block: MapNode) -> str | None:
    return next((key for key in _KEYS if key in block.entries), None)


def _keys(block: MapNode) -> Iterator[Problem]:
    """Keys that do not go with what the block is, keys that it needs, and an extra that `resize` needs."""
    kind = _kind(block)
    if kind is None:
        return
    for name, entry in block.entries.items():
        if name != kind and name not in _KEYS[kind]:
            owners = [f"`{owner}`" for owner, keys in _KEYS.items() if name in keys]
            hint = f"it goes with {' and '.join(owners)}" if owners else choice_hint(name, sorted(_KEYS[kind]), "Keys")
            found = f"`{name}` is no key of a block of kind `{kind}`"
            yield Problem("misplaced-key", found, entry.key.location(), hint)
    if kind == "search_result":
        for name in ("title", "content"):
            if name not in block.entries:
                where = block.entries[kind].key.location()
                yield Problem("missing-key", f"a search result needs `{name}`", where, f"add `{name}: …`")
    resize = block.entries.get("resize")
    if kind == "image" and resize is not None and plain(resize.value) == "fit" and not can_scale():
        found = "`resize: fit` needs Pillow, which is not installed"
        yield Problem("missing-extra", found, resize.value.span.location(), INSTALL)


def _upload(block: MapNode) -> Iterator[Problem]:
    """`upload` where there is nothing to upload, as far as the job file shows it."""
    upload = block.entries.get("upload")
    if upload is None:
        return
    document, image = block.entries.get("document"), child(block, "image")
    source = child(document.value, "source") if document is not None else image
    where = upload.key.location()
    if document is not None and source is None:
        found = "`upload` does nothing for a document that is written here, or made by a template"
        yield Problem("nothing-to-upload", found, where, "drop it: only a file is uploaded, from a path or a column")
        return
    origin = _written_origin(source)
    if origin is not None:
        noun = "an address that the API fetches itself" if origin == "url" else "the id of a file that the API has"
        yield Problem("nothing-to-upload", f"`upload` does nothing for {noun}", where, "drop it")


def _written_origin(source: Node | None) -> Origin | None:
    """What a source that no template has a part in is, where it is no path."""
    text = plain(source) if source is not None else None
    if not isinstance(text, str) or "{{" in text or "{%" in text:
        return None
    try:
        origin = origin_of(text.strip())
    except Unreadable:
        return None  # told where it is read
    return None if origin in ("path", "store") else origin


def _not_in_system(block: MapNode) -> Iterator[Problem]:
    kind = _kind(block)
    if kind in _MEDIA:
        found = f"the API takes only text in `system`, not `{kind}`"
        hint = "put it first in the first user message: all rows share it there too, and `cache` works"
        yield Problem("not-in-system", found, block.entries[str(kind)].key.location(), hint)


def _not_by_assistant(block: MapNode) -> Iterator[Problem]:
    document = block.entries.get("document")
    if document is not None:
        found = "the API takes no document in a message of the assistant"
        yield Problem("document-by-assistant", found, document.key.location(), "put it into a message of the user")


def _unbounded(tree: MapNode, blocks: Sequence[MapNode]) -> Iterator[Problem]:
    """Under a cap each request has a bound. That of a PDF, an address or a file id is at last the model's context."""
    cap, model = find(tree, ("limits", "max_cost_usd")), tree.get("model")
    name = plain(model) if model is not None else None
    if cap is None or plain(cap) is None or not isinstance(name, str):
        return
    facts = snapshot_facts(name)
    if facts is not None and facts.max_input_tokens is not None:
        return
    for block in blocks:
        document = block.entries.get("document")
        if document is not None and child(document.value, "source") is not None:
            found = f"under a cap, nothing bounds what a document costs: the context of {name!r} is not known"
            hint = "send its text (`document: {text: …}`), take a model that is known, or drop `limits.max_cost_usd`"
            yield Problem("unbounded-cost", found, document.key.location(), hint)


def _citations(blocks: Sequence[MapNode], *, structured: bool) -> Iterator[Problem]:
    """On for all documents and search results of a request or for none, and never with structured output."""
    citing = [block for block in blocks if _kind(block) in ("document", "search_result")]
    on = [block for block in citing if (node := child(block, "citations")) is not None and plain(node) is True]
    if not on:
        return
    for block in citing:
        if block not in on:
            kind = str(_kind(block))
            found = "citations are on for another block and not for this one; the API wants all or none"
            yield Problem("mixed-citations", found, block.entries[kind].key.location(), "write `citations: true` here")
    if structured:
        found = "citations and structured output exclude one another"
        where = on[0].entries["citations"].key.location()
        yield Problem("citations-with-schema", found, where, f"drop `citations`, {INSTEAD}")
