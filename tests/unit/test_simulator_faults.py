from __future__ import annotations

from typing import Any

import pytest

from runner.simulator.acts import BATCH, BATCH_CREATE, BATCH_RESULTS, BATCH_ROW, BATCH_UPLOAD, Act
from runner.simulator.faults import BAD_RETRY_AFTER, KINDS, Faults, Rule
from runner.simulator.refusal import Refused

PATH = "/v1/messages"


def kinds(faults: Faults, bodies: list[bytes]) -> list[str | None]:
    chosen = [faults.choose(PATH, body) for body in bodies]
    return [None if fault is None else fault.kind for fault in chosen]


def with_rules(*rules: dict[str, Any], seed: int = 0) -> Faults:
    faults = Faults((), seed)
    for rule in rules:
        faults.add(Rule.from_json(rule))
    return faults


def test_no_rule_no_fault() -> None:
    assert kinds(Faults((), 0), [b"{}"] * 3) == [None] * 3


def test_the_nth_request_is_hit() -> None:
    assert kinds(with_rules({"kind": "529", "nth": [2, 3]}), [b"{}"] * 4) == [None, "529", "529", None]
    assert kinds(with_rules({"kind": "529", "nth": 1}), [b"{}"] * 2) == ["529", None]


def test_a_rule_strikes_so_many_times_and_then_the_next_takes_over() -> None:
    faults = with_rules({"kind": "500", "times": 2}, {"kind": "reset", "times": 1})
    assert kinds(faults, [b"{}"] * 4) == ["500", "500", "reset", None]


def test_text_is_found_as_json_holds_it() -> None:
    faults = with_rules({"kind": "refusal", "text": 'say "ä"\nnow'})
    assert kinds(faults, [b"{}", '{"t":"please say \\"ä\\"\\nnow"}'.encode()]) == [None, "refusal"]


def test_only_the_named_path_is_hit() -> None:
    faults = with_rules({"kind": "500", "path": "/v1/models"})
    assert faults.choose(PATH, b"") is None
    assert faults.choose("/v1/models", b"") is not None


def test_a_rate_does_not_depend_on_the_order_of_arrival() -> None:
    bodies = [b'{"row":%d}' % row for row in range(2_000)]
    forwards = dict(zip(bodies, kinds(Faults([("529", 0.1)], 7), bodies), strict=True))
    backwards = dict(zip(bodies[::-1], kinds(Faults([("529", 0.1)], 7), bodies[::-1]), strict=True))
    assert forwards == backwards
    assert 150 < sum(kind is not None for kind in forwards.values()) < 250


def test_a_retry_is_a_new_draw_and_a_seed_another_one() -> None:
    tries = kinds(Faults([("529", 0.5)], 1), [b"{}"] * 50)
    assert {None, "529"} == set(tries)
    assert tries != kinds(Faults([("529", 0.5)], 2), [b"{}"] * 50)


def test_clearing_leaves_the_rates_it_was_started_with() -> None:
    faults = Faults([("529", 1.0)], 0)
    faults.add(Rule.from_json({"kind": "500"}))
    faults.clear()
    assert kinds(faults, [b"{}"]) == ["529"]


def test_bad_values_of_retry_after_come_in_turn() -> None:
    faults = with_rules({"kind": "bad_retry_after"})
    headers = []
    for _ in BAD_RETRY_AFTER:
        fault = faults.choose(PATH, b"")
        assert fault is not None
        assert fault.error is not None
        headers.append(fault.error.headers.get("retry-after", ""))
    assert tuple(headers) == BAD_RETRY_AFTER


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_can_be_scripted(kind: str) -> None:
    place = Rule.from_json({"kind": kind}).path
    fault = with_rules({"kind": kind}).choose(place, b"{}")
    assert fault is not None
    assert (fault.error is not None) == (fault.act in (Act.REFUSE, Act.REPLY_ERROR))


def test_an_unknown_kind_or_field_is_refused() -> None:
    with pytest.raises(Refused, match="is none of"):
        Rule.from_json({"kind": "earthquake"})
    with pytest.raises(Refused, match="tiems"):
        Rule.from_json({"kind": "529", "tiems": 1})


def test_every_rule_for_a_batch_as_such_strikes() -> None:
    faults = with_rules({"kind": "late_list"}, {"kind": "stuck", "times": 1}, {"kind": "529", "path": "batch_create"})
    assert [fault.kind for fault in faults.choose_all(BATCH, b"x")] == ["late_list", "stuck"]
    assert [fault.kind for fault in faults.choose_all(BATCH, b"x")] == ["late_list"]


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("529", PATH),
        ("batch_row:529", BATCH_ROW),
        ("expired", BATCH_ROW),
        ("reply_502", BATCH_CREATE),
        ("reply_lost", PATH),
        ("batch_create:reply_lost", BATCH_CREATE),
        ("results_missing", BATCH_RESULTS),
        ("reset_upload", BATCH_UPLOAD),
        ("batch:slow", BATCH),
    ],
)
def test_a_kind_strikes_where_it_belongs_or_where_it_is_told(name: str, place: str) -> None:
    assert Faults([(name, 1.0)], 0).choose(place, b"x") is not None


def test_a_text_can_be_looked_for_elsewhere_than_in_the_body() -> None:
    faults = with_rules({"kind": "529", "text": "row 1"})
    assert faults.choose(PATH, b"row 1", lambda _: False) is None
    assert faults.choose(PATH, b"", lambda needle: needle == b"row 1") is not None


def test_a_request_in_a_batch_that_was_struck_is_drawn_anew() -> None:
    faults = with_rules({"kind": "529", "path": BATCH_ROW, "rate": 0.5})
    rows = [b"%d" % row for row in range(200)]
    first = [row for row in rows if faults.choose(BATCH_ROW, row)]
    second = [row for row in first if faults.choose(BATCH_ROW, row)]
    assert 60 < len(first) < 140
    assert 0 < len(second) < len(first)


def asked(text: str, *, max_tokens: int = 50, said: str = "") -> bytes:
    """A request as it is sent; `said` is what the model answered before."""
    before = f'{{"role":"assistant","content":"{said}"}},' if said else ""
    return f'{{"max_tokens":{max_tokens},"messages":[{before}{{"role":"user","content":"{text}"}}]}}'.encode()


def test_an_invalid_answer_is_mended_once_the_model_is_told_of_it() -> None:
    faults = with_rules({"kind": "invalid"})
    assert kinds(faults, [asked("a"), asked("a", said='{\\"unexpected\\":true}'), asked("a", said="no")]) == [
        "invalid", None, "invalid"
    ]  # fmt: skip


def test_a_cut_off_answer_is_whole_once_it_has_room() -> None:
    faults = with_rules({"kind": "cut_off"})
    assert (
        kinds(faults, [asked("a", max_tokens=room) for room in (50, 1023, 1024, 4096)]) == ["cut_off"] * 2 + [None] * 2
    )
    assert faults.choose(PATH, b"{}", room=2048) is None


def test_how_much_room_an_answer_needs_is_a_matter_of_the_question_alone() -> None:
    faults = with_rules({"kind": "cut_off", "rate": 0.3}, seed=5)
    texts = [f"question {number}" for number in range(200)]
    first = kinds(faults, [asked(text) for text in texts])
    assert 30 < first.count("cut_off") < 90
    assert kinds(faults, [asked(text) for text in texts]) == first, "another try is no other draw"
    assert kinds(faults, [asked(text, max_tokens=900) for text in texts]) == first, "nor is a little more room"
    assert kinds(faults, [asked(text, max_tokens=1024) for text in texts]) == [None] * 200
