"""What holds for every mixture of blocks: bodies are plain encodings, identities are those of whole bodies."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from runner.encoding import encode
from runner.planning.blocks import BlockMaker, Value, further_of, media_shape, search_result_shape, text_shape
from runner.planning.content import Sight
from runner.planning.identity import request_identity
from runner.planning.pieces import CompiledMessage, FixedBlock, RowBlock, TextBlock
from runner.planning.requests import CacheShape, CompiledJob
from runner.spec.origins import Unreadable
from runner.templating import Expression, TemplateSet
from runner.types import CacheTtl, Request, Row
from support.media import pdf, picture

FILES: Mapping[str, bytes] = {
    "a.png": picture(30, 20), "b.jpg": picture(20, 30, "JPEG"), "note.txt": "größe\n".encode(), "c.pdf": pdf(2),
}  # fmt: skip


def read(name: str) -> bytes:
    if name not in FILES:
        raise Unreadable(f"there is no {name}", "give it", missing=True)
    return FILES[name]


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(
    lambda text: text.strip() != ""
)
ttls: st.SearchStrategy[CacheTtl | None] = st.sampled_from([None, "5m", "1h"])
images = st.sampled_from(["a.png", "b.jpg", "none.png", "https://example.org/a", "file_a", FILES["a.png"], None])
documents = st.sampled_from(["note.txt", "c.pdf", "none", "https://example.org/b", "file_b", FILES["c.pdf"], None, ""])
rows = st.fixed_dictionaries(
    {
        "text": texts,
        "images": st.lists(images, max_size=3),
        "documents": st.lists(documents, max_size=3),
        "parts": st.lists(texts, max_size=3),
        "on": st.booleans(),
    }
)


def value(expression: str) -> Value:
    template = TemplateSet.from_sources({"v": f"{{{{ {expression} }}}}"}).template("v")
    return Value(f"{{{{ {expression} }}}}", template, Expression(expression, "v"))


def media(kind: Any, expression: str, title: str | None = None) -> BlockMaker:
    further = further_of(Value(title) if title else None, None, None)
    shape = media_shape(
        kind, value(expression), further, name="block", sight=Sight(), read=read, optional=True, resize=None
    )
    return BlockMaker("block", shape)


MAKERS = (
    media("image", "row.images"),
    media("document", "row.documents", "A title"),
    BlockMaker("block", text_shape(value("item"), optional=False), each=Expression("row.parts", "each")),
    BlockMaker("block", text_shape(value("row.text"), optional=False), condition=Expression("row.on", "if")),
    BlockMaker(
        "block",
        search_result_shape(Value("s"), Value("t"), [value("row.parts")], name="block", citations=False, optional=True),
    ),
)
FIXED = tuple(draft.encode(1) for draft in media("document", "['c.pdf', 'note.txt']").drafts({}))

blocks = st.one_of(
    st.builds(RowBlock, st.just("block"), st.sampled_from(MAKERS), ttls),
    st.builds(FixedBlock, st.just("block"), st.sampled_from([FIXED, FIXED[:1], ()]), ttls),
    st.builds(
        TextBlock,
        st.just("block"),
        st.one_of(texts, st.just(TemplateSet.from_sources({"r": "{{ row.text }}"}).template("r"))),
        ttls,
    ),
)
messages = st.lists(
    st.builds(CompiledMessage, st.just("user"), st.lists(blocks, min_size=1, max_size=5)), min_size=1, max_size=2
)


def job_of(parts: list[CompiledMessage]) -> CompiledJob:
    return CompiledJob(
        name="job",
        mode="parallel",
        shared={"model": "claude-haiku-5-5", "max_tokens": 9},
        messages=parts,
        betas=(),
        context={},
        schema=None,
        cache=CacheShape(0, False, {"parallel": None, "batch": None}),
    )


@given(parts=messages, values=rows)
def test_a_body_with_content_is_the_plain_encoding_of_what_it_says(
    parts: list[CompiledMessage], values: dict[str, Any]
) -> None:
    job = job_of(parts)
    request = job.request(Row("k", 0, values))
    if not isinstance(request, Request):
        assert "no block" in request.message
        return
    body = json.loads(request.body)
    assert encode(body) == request.body
    assert request.hash == request_identity(body)
    assert job.prefixes(Row("k", 0, values)) == request.prefixes
    said = [block for message in body["messages"] for block in message["content"]]
    assert len(request.prefixes) == sum("cache_control" in block for block in said)
    sources = [block["source"] for block in said if block["type"] in ("image", "document")]
    in_base64 = [source["data"] for source in sources if source["type"] == "base64"]
    assert request.silent_bytes == sum(map(len, in_base64))
    assert set(in_base64) <= {b64encode(data).decode() for data in FILES.values()}
    assert request.body[: request.shared_bytes] == job.request(Row("k", 0, values)).body[: request.shared_bytes]  # type: ignore[union-attr]


@given(parts=messages, values=rows)
def test_an_image_or_document_has_one_identity_under_a_path_and_as_bytes(
    parts: list[CompiledMessage], values: dict[str, Any]
) -> None:
    as_bytes = {
        **values,
        "images": [FILES.get(str(each), each) for each in values["images"]],
        "documents": [FILES.get(str(each), each) for each in values["documents"]],
    }
    one, two = (job_of(parts).request(Row("k", 0, row)) for row in (values, as_bytes))
    if isinstance(one, Request) and isinstance(two, Request):
        assert (one.hash, one.body, one.prefixes) == (two.hash, two.body, two.prefixes)
