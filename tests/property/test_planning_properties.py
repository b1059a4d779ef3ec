"""What holds for every job and row: bodies are plain encodings, identities see what the model sees and nothing else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from runner.encoding import encode
from runner.planning.identity import request_identity
from runner.planning.pieces import CompiledHistory, CompiledMessage, TextBlock, text_block
from runner.planning.requests import CacheShape, CompiledJob
from runner.templating import Expression, TemplateSet
from runner.types import CacheTtl, Request, Row

ROW_TEXT = TemplateSet.from_sources({"row": "{{ row.text }}"}).template("row")

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30).map(str.rstrip).filter(bool)
ttls: st.SearchStrategy[CacheTtl | None] = st.sampled_from([None, "5m", "1h"])
blocks = st.builds(TextBlock, st.just("block"), st.one_of(texts, st.just(ROW_TEXT)), ttls)
messages = st.lists(
    st.builds(CompiledMessage, st.sampled_from(["user", "assistant"]), st.lists(blocks, min_size=1, max_size=3)),
    min_size=1,
    max_size=3,
)
shared_bodies = st.fixed_dictionaries(
    {"model": st.just("claude-haiku-5-5"), "max_tokens": st.integers(1, 9)},
    optional={
        "system": st.lists(st.builds(text_block, texts, ttls), min_size=1, max_size=2),
        "output_config": st.just({"effort": "low"}),
        "stop_sequences": st.lists(texts, max_size=2),
        "metadata": st.just({"user_id": "u"}),
        "thinking": st.just({"type": "adaptive"}),
    },
)
betas = st.lists(st.sampled_from(["a", "b", "c"]), max_size=3).map(tuple)


def compiled(
    shared: dict[str, Any], parts: Sequence[CompiledMessage | CompiledHistory], names: tuple[str, ...] = ()
) -> CompiledJob:
    return CompiledJob(
        name="job",
        mode="parallel",
        shared=shared,
        messages=parts,
        betas=names,
        context={},
        schema=None,
        cache=CacheShape(0, False, {"parallel": None, "batch": None}),
    )


def request_for(job: CompiledJob, text: str) -> Request:
    request = job.request(Row("k", 0, {"text": text}))
    assert isinstance(request, Request)
    return request


@given(shared=shared_bodies, parts=messages, names=betas, text=texts)
def test_a_body_is_the_plain_encoding_of_what_it_says(
    shared: dict[str, Any], parts: list[CompiledMessage], names: tuple[str, ...], text: str
) -> None:
    request = request_for(compiled(shared, parts, names), text)
    body = json.loads(request.body)
    assert encode(body) == request.body
    assert {key: value for key, value in body.items() if key != "messages"} == shared
    said = [(message["role"], [block["text"] for block in message["content"]]) for message in body["messages"]]
    meant = [(part.role, texts_of(part, text)) for part in parts]
    assert said == meant
    assert request.hash == request_identity(body, names)


@given(shared=shared_bodies, parts=messages, text=texts)
def test_cache_marks_change_no_identity(shared: dict[str, Any], parts: list[CompiledMessage], text: str) -> None:
    bare = [CompiledMessage(part.role, [TextBlock(b.name, b.content) for b in text_blocks(part)]) for part in parts]
    system = [text_block(block["text"], None) for block in shared.get("system", ())]
    unmarked = {**shared, "system": system} if system else shared
    assert request_for(compiled(shared, parts), text).hash == request_for(compiled(unmarked, bare), text).hash


@given(shared=shared_bodies, parts=messages, text=texts, other=texts)
def test_rows_have_one_identity_exactly_when_they_say_the_same(
    shared: dict[str, Any], parts: list[CompiledMessage], text: str, other: str
) -> None:
    job = compiled(shared, parts)
    one, two = request_for(job, text), request_for(job, other)
    assert (one.hash == two.hash) == (one.body == two.body)


@given(shared=shared_bodies, parts=messages, text=texts, other=texts)
def test_what_rows_are_said_to_share_is_the_same_in_both(
    shared: dict[str, Any], parts: list[CompiledMessage], text: str, other: str
) -> None:
    one, two = (request_for(compiled(shared, parts), each) for each in (text, other))
    assert one.shared_bytes == two.shared_bytes >= len(encode(shared)) - 1
    assert one.body[: one.shared_bytes] == two.body[: two.shared_bytes]


@given(shared=shared_bodies, parts=messages, text=texts, other=texts)
def test_equal_prefixes_begin_with_equal_text(
    shared: dict[str, Any], parts: list[CompiledMessage], text: str, other: str
) -> None:
    """Up to and with its last breakpoint, a request says what every other of its prefix says."""
    job = compiled(shared, parts)
    one, two = request_for(job, text), request_for(job, other)
    marked = any("cache_control" in block for block in shared.get("system", ()))
    marked = marked or any(block.ttl for part in parts for block in part.blocks)
    assert bool(one.prefix) == bool(two.prefix) == marked
    if marked:
        assert (one.prefix == two.prefix) == (_up_to_last_mark(one.body) == _up_to_last_mark(two.body))


@given(shared=shared_bodies, parts=messages, text=texts, other=texts)
def test_each_prefix_is_that_of_the_text_up_to_its_mark(
    shared: dict[str, Any], parts: list[CompiledMessage], text: str, other: str
) -> None:
    job = compiled(shared, parts)
    one, two = request_for(job, text), request_for(job, other)
    ours, theirs = _up_to_marks(one.body), _up_to_marks(two.body)
    assert [p.digest == q.digest for p, q in zip(one.prefixes, two.prefixes, strict=True)] == [
        mine == yours for mine, yours in zip(ours, theirs, strict=True)
    ]
    assert all(p.size_bytes >= len("".join(mine).encode()) for p, mine in zip(one.prefixes, ours, strict=True))
    assert one.prefixes == job.prefixes(Row("r", 0, {"text": text}))
    assert one.prefixes[: len(job.shared_prefixes)] == job.shared_prefixes
    assert len(one.prefixes) == len(job.shared_prefixes) + job.row_prefixes


def _up_to_last_mark(body: bytes) -> list[str]:
    return _up_to_marks(body)[-1]


def _up_to_marks(body: bytes) -> list[list[str]]:
    """The texts of all blocks up to each mark."""
    decoded = json.loads(body)
    flat = [*decoded.get("system", ()), *(block for message in decoded["messages"] for block in message["content"])]
    marks = [index for index, block in enumerate(flat) if "cache_control" in block]
    return [[block["text"] for block in flat[: mark + 1]] for mark in marks]


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()),
    lambda children: st.one_of(st.lists(children, max_size=3), st.dictionaries(st.text(), children, max_size=3)),
    max_leaves=8,
).filter(lambda value: encode(value) is not None)


@given(body=st.dictionaries(st.text(min_size=1, max_size=5), json_values, max_size=5), data=st.data())
def test_the_order_of_top_level_keys_changes_no_identity(body: dict[str, Any], data: st.DataObject) -> None:
    keys = data.draw(st.permutations(sorted(body)))
    assert request_identity({key: body[key] for key in keys}) == request_identity(body)


contents = st.one_of(texts, st.lists(texts, min_size=1))
pasts = st.lists(st.tuples(st.sampled_from(["user", "assistant"]), contents), max_size=3)


def texts_of(message: CompiledMessage, of_row: str) -> list[str]:
    return [block.content if isinstance(block.content, str) else of_row for block in text_blocks(message)]


def text_blocks(message: CompiledMessage) -> list[TextBlock]:
    return [block for block in message.blocks if isinstance(block, TextBlock)]


@given(shared=shared_bodies, parts=messages, text=texts, histories=st.lists(pasts, max_size=2), data=st.data())
def test_histories_stand_where_the_job_says_whatever_a_row_holds(
    shared: dict[str, Any],
    parts: list[CompiledMessage],
    text: str,
    histories: list[list[tuple[str, Any]]],
    data: st.DataObject,
) -> None:
    """A request says exactly its messages, in order, or it says which end of the conversation is wrong."""
    whole: list[CompiledMessage | CompiledHistory] = list(parts)
    said: list[list[tuple[str, list[str]]]] = [[(part.role, texts_of(part, text))] for part in parts]
    held = {}
    for number, past in enumerate(histories):
        place = data.draw(st.integers(0, len(whole)))
        whole.insert(place, CompiledHistory(f"past {number}", Expression(f"row.past_{number}", "past")))
        held[f"past_{number}"] = [
            {"role": role, "content": c if isinstance(c, str) else [{"type": "text", "text": t} for t in c]}
            for role, c in past
        ]
        said.insert(place, [(role, [content] if isinstance(content, str) else content) for role, content in past])
    meant = [each for spoken in said for each in spoken]
    job = compiled(shared, whole)
    row = Row("k", 0, {"text": text, **held})
    request = job.request(row)
    if not isinstance(request, Request):
        assert request.kind == "input_error"
        assert meant[0][0] == "assistant"
        return
    body = json.loads(request.body)
    assert encode(body) == request.body
    assert [(m["role"], [block["text"] for block in m["content"]]) for m in body["messages"]] == meant
    assert request.hash == request_identity(body)
    assert request.prefixes == job.prefixes(row)
