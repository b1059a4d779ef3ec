from __future__ import annotations

from typing import Any

import orjson

from runner.simulator.batch_shapes import Shape, Shapes, read_line, read_shapes

SYSTEM = [{"type": "text", "text": "A rule. " * 50}]


def request(custom_id: str, **params: Any) -> bytes:
    return orjson.dumps({"custom_id": custom_id, "params": params})


def learned(*requests: bytes) -> Shapes:
    shapes = Shapes()
    for one in requests:
        shapes.learn(one)
    return shapes


def two(make: Any) -> Shape:
    [shape] = learned(make("a", 1), make("b", 2)).all
    return shape


def test_what_stands_before_and_after_the_differing_members_is_shared() -> None:
    shape = two(lambda name, row: request(name, model="m", system=SYSTEM, messages=[row], max_tokens=5, stop=[]))
    assert shape.before.startswith(b',"params":{"model":"m","system":[')
    assert shape.before.endswith(b"}],")
    assert shape.after == b',"max_tokens":5,"stop":[]}}'
    assert shape.shared == {"model": "m", "system": SYSTEM, "max_tokens": 5, "stop": []}


def test_the_shared_part_may_stand_on_one_side_only() -> None:
    first = two(lambda name, row: request(name, messages=[row], system=SYSTEM))
    assert (first.before, first.shared) == (b',"params":{', {"system": SYSTEM})
    last = two(lambda name, row: request(name, system=SYSTEM, messages=[row]))
    assert (last.after, last.shared) == (b"}}", {"system": SYSTEM})


def test_members_that_agree_in_part_are_not_shared() -> None:
    shape = two(lambda name, row: request(name, system=SYSTEM, messages=["the same beginning", row, "and end"]))
    assert shape.shared == {"system": SYSTEM}


def test_one_member_at_least_is_the_requests_own() -> None:
    alike = [request(name, system=SYSTEM, model="m") for name in "abc"]
    shapes = learned(*alike[:2])
    line = shapes.split(alike[2])
    assert line == ("c", b'0 c "model":"m"\n')
    assert read_line(line[1], shapes.all).params == {"model": "m", "system": SYSTEM}


def test_a_request_that_repeats_a_shared_member_is_read_whole() -> None:
    shapes = learned(request("a", system=SYSTEM, messages=[1]), request("b", system=SYSTEM, messages=[2]))
    odd = request("c", system=SYSTEM, messages=[3])[:-2] + b',"system":"other"}}'
    assert orjson.loads(odd)["params"]["system"] == "other"
    assert shapes.split(odd) is None


def test_little_in_common_is_no_shape() -> None:
    assert learned(request("a", model="m", messages=[1]), request("b", model="m", messages=[2])).all == []


def test_shapes_are_written_and_read_again() -> None:
    shape = two(lambda name, row: request(name, system="\u00e4" * 200, messages=[row], model='"'))
    assert read_shapes([shape.to_line()]) == [shape]


def test_shared_values_are_the_same_objects_and_a_memo_is_for_them_alone() -> None:
    shapes = learned(*(request(name, system=SYSTEM, messages=[name]) for name in "ab"))
    lines = [shapes.split(request(name, system=SYSTEM, messages=[name])) for name in "cd"]
    first, second = (read_line(line[1], shapes.all) for line in lines if line is not None)
    assert first.params["system"] is second.params["system"]
    assert first.memo is second.memo is not None
    own_tools = shapes.split(request("e", system=SYSTEM, messages=["e"], tools=[]))
    assert own_tools is not None
    assert read_line(own_tools[1], shapes.all).memo is None
