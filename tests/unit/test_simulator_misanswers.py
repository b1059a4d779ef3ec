from __future__ import annotations

from typing import Any

from runner.simulator.answers import Answer
from runner.simulator.faults import Faults, Rule
from runner.simulator.misanswers import misanswer

WHOLE = Answer(
    [{"type": "thinking", "thinking": "", "signature": "s"}, {"type": "text", "text": '{"label":"good"}'}],
    "end_turn",
    20,
    5,
)


def hit_by(kind: str, **rule: Any) -> Answer:
    faults = Faults((), 0)
    faults.add(Rule.from_json({"kind": kind, **rule}))
    return misanswer({"max_tokens": 1_000}, WHOLE, faults.choose("/v1/messages", b"{}"))


def text_of(answer: Answer) -> str:
    return "".join(block.get("text", "") for block in answer.content)


def test_without_a_fault_or_with_one_of_delivery_the_answer_stays() -> None:
    assert misanswer({}, WHOLE, None) is WHOLE
    assert hit_by("reply_lost") is WHOLE


def test_a_cut_takes_half_the_text_and_all_the_tokens() -> None:
    cut = hit_by("max_tokens")
    assert (cut.stop_reason, cut.output_tokens, text_of(cut)) == ("max_tokens", 1_000, '{"label"')


def test_a_refusal_has_a_category_or_none() -> None:
    assert hit_by("refusal", category="bio").stop_details == {
        "type": "refusal",
        "category": "bio",
        "explanation": "The request was declined under the policy on bio.",
    }
    assert hit_by("refusal", category=None).stop_details == {"type": "refusal", "category": None, "explanation": None}


def test_other_stop_reasons_keep_the_text() -> None:
    for kind, reason in (("pause_turn", "pause_turn"), ("unknown_stop", "paused_for_tea")):
        answer = hit_by(kind)
        assert (answer.stop_reason, text_of(answer)) == (reason, text_of(WHOLE))


def test_content_can_be_empty_no_json_or_off_the_schema() -> None:
    assert hit_by("empty").content == []
    assert text_of(hit_by("not_json")) == 'Here it is: {"label":"good"}'
    assert text_of(hit_by("off_schema")) == '{"unexpected":true}'
