from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.simulator.batch_envelope import EnvelopeReader
from runner.simulator.batch_shapes import read_line
from runner.simulator.refusal import Refused

SHARED: dict[str, Any] = {"model": "m", "max_tokens": 5, "system": 'Rules: {"a":[1]},{"custom_id": "\u00e4" ' * 10}


def read(body: bytes, sizes: list[int] | None = None) -> list[dict[str, Any]]:
    """What a reader makes of a body that comes in pieces of these sizes, over and over."""
    reader = EnvelopeReader()
    lines: list[bytes] = []
    position, turn = 0, 0
    while position < len(body):
        size = sizes[turn % len(sizes)] if sizes else len(body)
        lines += reader.feed(body[position : position + size])
        position, turn = position + size, turn + 1
    lines += reader.finish()
    assert reader.count == len(lines)
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in lines)
    kept = [read_line(line, reader.shapes.all) for line in lines]
    return [{"custom_id": line.custom_id, "params": line.params} for line in kept]


def dump(requests: list[dict[str, Any]], **style: Any) -> bytes:
    style = {"ensure_ascii": False, "separators": (",", ":"), **style}
    return json.dumps({"requests": requests}, **style).encode()


TEXTS = st.text(alphabet=st.sampled_from('ab"\\{}[],: \n\u00e4\u2028😀'), max_size=20) | st.sampled_from(
    ['},{"custom_id":"x"', "]}", '"params":{', "}}"]
)
PARAMS = st.one_of(
    st.builds(lambda text: {**SHARED, "messages": [{"role": "user", "content": text}]}, TEXTS),
    st.builds(lambda text: {"messages": [text], **SHARED}, TEXTS),
    st.builds(lambda text: {"model": "m", "messages": [{"content": text}], "system": SHARED["system"]}, TEXTS),
    st.dictionaries(TEXTS, TEXTS | st.integers() | st.none() | st.lists(TEXTS, max_size=2), max_size=3),
)


@given(
    st.lists(PARAMS, min_size=1, max_size=8),
    st.lists(st.integers(1, 700), min_size=1, max_size=4),
    st.sampled_from([{}, {"separators": (", ", ": ")}, {"indent": 1}, {"ensure_ascii": True}]),
    st.booleans(),
)
def test_every_body_is_read_as_json_says_it_is(
    params: list[dict[str, Any]], sizes: list[int], style: dict[str, Any], params_first: bool
) -> None:
    requests: list[dict[str, Any]] = [{"custom_id": f"r{index}", "params": one} for index, one in enumerate(params)]
    if params_first:
        requests = [{"params": request["params"], "custom_id": request["custom_id"]} for request in requests]
    body = dump(requests, **style)
    assert read(body, sizes) == requests == read(body)


def test_requests_that_are_alike_are_kept_short() -> None:
    reader = EnvelopeReader()
    alike = [
        {"custom_id": f"r{index}", "params": {**SHARED, "messages": [f"row {index}"], "stop_sequences": ["x" * 300]}}
        for index in range(10)
    ]
    lines = reader.feed(dump(alike)) + reader.finish()
    assert [len(line) < 60 for line in lines] == [False, False] + [True] * 8
    assert len(reader.shapes.all) == 1


def test_the_ids_are_hashed_in_their_order() -> None:
    def digest(*ids: str) -> str:
        reader = EnvelopeReader()
        reader.feed(dump([{"custom_id": name, "params": {}} for name in ids]))
        reader.finish()
        return reader.ids_sha256

    assert digest("a", "b") == digest("a", "b") != digest("b", "a")


@pytest.mark.parametrize(
    "body",
    [
        b'{"requests":[{"custom_id":"a","params":{}}',
        b'{"requests":[{"custom_id":"a","params":{}},]}',
        b'{"requests":[{"custom_id":"a","params":{}}{"custom_id":"b","params":{}}]}',
        b'{"requests":[{"custom_id":"a","params":{"x":NaN}}]}',
        b'{"requests":[{"custom_id":"a","params":{}}]} x',
        b'{"requests":[{"custom_id":"a","params":{"x":"\xff"}}]}',
    ],
)
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(Refused, match="not valid JSON"):
        read(body, [7])


def test_a_broken_request_among_many_alike_is_refused() -> None:
    alike = [{"custom_id": f"r{index}", "params": {**SHARED, "messages": [f"row {index}"]}} for index in range(20)]
    body = dump(alike)
    broken = body.replace(b'["row 15"]', b'["row 15"')
    assert len(broken) == len(body) - 1
    with pytest.raises(Refused, match="not valid JSON"):
        read(broken)


def test_an_id_is_checked_in_requests_that_are_kept_short_too() -> None:
    alike = [{"custom_id": f"r{index % 15}", "params": {**SHARED, "messages": [f"row {index}"]}} for index in range(20)]
    with pytest.raises(Refused, match=r"requests\.15\.custom_id"):
        read(dump(alike))


@pytest.mark.parametrize("size", [1, 7, 500])
def test_requests_are_given_out_as_they_come(size: int) -> None:
    reader = EnvelopeReader()
    body = dump([{"custom_id": f"r{index}", "params": {**SHARED, "messages": [index]}} for index in range(20)])
    before_the_end = [line for start in range(0, len(body), size) for line in reader.feed(body[start : start + size])]
    assert len(before_the_end) == 19
    assert len(reader.finish()) == 1
