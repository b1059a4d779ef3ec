from __future__ import annotations

from typing import Any

import pytest

from runner.simulator.answers import Answer, answer
from runner.simulator.models import card_of
from runner.simulator.prompt import echo_of, read_prompt


def ask(question: str = "Why?", model: str = "claude-sonnet-4-6", **changes: Any) -> Answer:
    body = {"model": model, "max_tokens": 1_000, "messages": [{"role": "user", "content": question}]} | changes
    card = card_of(model)
    return answer(body, read_prompt(body, card), card, reply_tokens=40)


def text_of(reply: Answer) -> str:
    return "".join(block.get("text", "") for block in reply.content)


def test_a_plain_answer_echoes_the_question() -> None:
    assert text_of(ask("Why?")).startswith(f"[echo {echo_of('Why?')}] ")


def test_answers_are_about_as_long_as_asked_for() -> None:
    sizes = [ask(str(row)).output_tokens for row in range(200)]
    assert 30 < sum(sizes) / len(sizes) < 60
    assert len(set(sizes)) > 10


@pytest.mark.parametrize("max_tokens", [1, 2, 7, 20, 60])
def test_a_cut_answer_uses_all_tokens_and_never_more(max_tokens: int) -> None:
    for model in ("claude-sonnet-4-6", "claude-haiku-5-5"):
        reply = ask("日本語の質問", model, max_tokens=max_tokens)
        assert reply.output_tokens <= max_tokens
        assert (reply.stop_reason == "max_tokens") == (reply.output_tokens == max_tokens)


def test_more_effort_means_more_thinking() -> None:
    thought = [
        ask(model="claude-opus-5-5", output_config={"effort": effort}).thinking_tokens
        for effort in ("low", "medium", "high", "xhigh", "max")
    ]
    assert thought == sorted(thought)
    assert thought[0] > 0


def test_thinking_switched_off_leaves_text_alone() -> None:
    reply = ask(model="claude-haiku-5-5", thinking={"type": "disabled"})
    assert [block["type"] for block in reply.content] == ["text"]
    assert reply.thinking_tokens == 0


def test_a_stop_sequence_ends_the_text_before_it() -> None:
    reply = ask(stop_sequences=["never there", "] "])
    assert (reply.stop_reason, reply.stop_sequence) == ("stop_sequence", "] ")
    assert text_of(reply) == f"[echo {echo_of('Why?')}"


def test_warming_the_cache_answers_nothing() -> None:
    assert ask(max_tokens=0) == Answer([], "max_tokens", 0)
