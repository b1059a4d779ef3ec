"""The warm-up: when it pays, why not, and what it asks."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from runner.catalog.models import snapshot_facts
from runner.catalog.price_list import prices_for_models
from runner.planning.identity import request_identity
from runner.planning.pieces import CompiledMessage, TextBlock, text_block
from runner.planning.requests import CacheShape, CompiledJob
from runner.planning.warm_up import WarmUp, consider_warm_up, warm_up_request
from runner.templating import TemplateSet
from runner.types import Request, Row

MODEL = "claude-haiku-5-5"
PRICES = prices_for_models([MODEL], at=datetime(2026, 11, 22, tzinfo=UTC))
FACTS = snapshot_facts(MODEL)
RULES = "Be brief. " * 800
ROW = TextBlock("row", TemplateSet.from_sources({"row": "{{ row.text }}"}).template("row"))


def job(*messages: CompiledMessage, cached: bool = True, betas: tuple[str, ...] = (), **params: Any) -> CompiledJob:
    return CompiledJob(
        name="job",
        mode="parallel",
        shared={"model": MODEL, "max_tokens": 50, **params, "system": [text_block(RULES, "5m" if cached else None)]},
        messages=messages or [CompiledMessage("user", [ROW])],
        betas=betas,
        context={},
        schema=None,
        cache=CacheShape(len(RULES) if cached else 0, False, {"parallel": "5m", "batch": "1h"}),
    )


def considered(compiled: CompiledJob, *, requests: int = 1_000, at_once: int = 200, facts: Any = FACTS) -> WarmUp:
    return consider_warm_up(compiled, facts=facts, prices=PRICES, requests=requests, at_once=at_once)


def test_many_requests_behind_a_long_shared_block_are_worth_it() -> None:
    found = considered(job())
    assert found == WarmUp(True, "1,000 requests can read about 2,971 tokens that are there before the first leaves")


def test_for_few_requests_the_first_row_does_as_well() -> None:
    # At 1.25 for the write and 0.1 for each reading, one more reading is half a percent of it from 189 requests on.
    assert not considered(job(), requests=188).pays
    assert considered(job(), requests=189).pays
    assert "costs nothing" in considered(job(), requests=100).why


@pytest.mark.parametrize(
    ("params", "why"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "thinking: enabled"),
        ({"output_config": {"format": {"type": "json_schema", "schema": {}}}}, "structured output"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
    ],
)
def test_what_the_api_does_not_take_of_a_request_without_an_answer_is_not_asked_of_it(
    params: dict[str, Any], why: str
) -> None:
    found = considered(job(**params))
    assert not found.pays
    assert why in found.why


def test_other_settings_are_no_obstacle() -> None:
    assert considered(job(thinking={"type": "disabled"}, output_config={"effort": "low"})).pays


def test_nothing_is_warmed_up_that_is_not_shared_not_cached_or_waited_for() -> None:
    assert "no block" in considered(job(cached=False)).why
    assert "caches from 4,096 on" in considered(job(), facts=snapshot_facts("claude-opus-4-6")).why
    assert "not known" in considered(job(), facts=None).why
    assert "one after the other" in considered(job(), at_once=1).why
    assert not considered(job(), requests=1).pays


def of_row(compiled: CompiledJob) -> Request:
    request = compiled.request(Row("k", 0, {"text": "hello"}))
    assert isinstance(request, Request)
    return request


def test_it_says_what_all_rows_say_with_their_settings_and_asks_for_nothing() -> None:
    compiled = job(thinking={"type": "disabled"}, betas=("b",))
    request = warm_up_request(compiled)
    body, row = json.loads(request.body), json.loads(of_row(compiled).body)
    assert {**row, "max_tokens": 0, "messages": body["messages"]} == body
    assert body["messages"] == [{"role": "user", "content": [{"type": "text", "text": "."}]}]
    assert request.prefixes is compiled.shared_prefixes
    assert (request.max_tokens, request.betas, request.cache_ttl) == (0, ("b",), "5m")
    assert request.hash == request_identity(body, ["b"])
    assert request.input_bound is not None
    assert request.input_bound > len(request.body)


def test_it_goes_up_to_the_last_breakpoint_that_rows_share() -> None:
    handbook, more = TextBlock("handbook", "Handbook", "5m"), TextBlock("more", "More")
    compiled = job(
        CompiledMessage("user", [handbook, more]),
        CompiledMessage("assistant", [TextBlock("yes", "Yes.", "5m")]),
        CompiledMessage("user", [TextBlock("ask", "Now:"), ROW]),
    )
    messages = json.loads(warm_up_request(compiled).body)["messages"]
    row = json.loads(of_row(compiled).body)["messages"]
    assert messages[:2] == row[:2]
    assert messages[2:] == [{"role": "user", "content": [{"type": "text", "text": "."}]}], "no prefill"

    compiled = job(CompiledMessage("user", [handbook, more, ROW]))
    (message,) = json.loads(warm_up_request(compiled).body)["messages"]
    assert message["content"] == json.loads(of_row(compiled).body)["messages"][0]["content"][:1]
