"""Params: every name of the API is decided on, and what is refused is refused with a reason."""

from __future__ import annotations

from typing import Any, get_args, get_type_hints

import anthropic
import pytest
from anthropic import types
from anthropic.types import anthropic_beta_param, message_create_params
from anthropic.types.beta import (
    BetaClearThinking20251015EditParam,
    BetaClearToolUses20250919EditParam,
    BetaOutputConfigParam,
    BetaTokenTaskBudgetParam,
)
from anthropic.types.beta import message_create_params as beta_params

from runner.catalog.api import API_VERSION
from runner.catalog.betas import FAST_BETA, KNOWN_BETAS, NEEDED_BETAS
from runner.catalog.models import ModelFacts
from runner.catalog.parameters import (
    ABOUT,
    BATCH_ONLY_BETAS,
    EFFORT_LEVELS,
    LONG_OUTPUT_BETA,
    REFUSED,
    TAKEN,
    batch_only_betas,
    check_params,
)
from runner.catalog.shapes import ByType, Fields, ListOf

HAIKU = "claude-haiku-5-5"


def codes(params: dict[str, Any], model: str = HAIKU, mode: str = "auto") -> list[tuple[str, str]]:
    return [(".".join(map(str, problem.path)), problem.code) for problem in check_params(model, params, mode=mode)]


def hints(annotation: Any) -> dict[str, Any]:
    return get_type_hints(annotation, include_extras=True)


def test_every_parameter_of_the_sdk_is_taken_or_refused_with_a_reason() -> None:
    of_the_sdk: set[str] = set()
    for params in (
        message_create_params.MessageCreateParamsNonStreaming,
        message_create_params.MessageCreateParamsStreaming,
        beta_params.MessageCreateParamsNonStreaming,
        beta_params.MessageCreateParamsStreaming,
    ):
        of_the_sdk |= hints(params).keys()
    removed = {"temperature", "top_p", "top_k"}
    assert TAKEN.keys() | REFUSED.keys() == of_the_sdk | removed | {"betas", "extra_body"}
    assert not TAKEN.keys() & REFUSED.keys()
    assert ABOUT.keys() == TAKEN.keys()


def test_the_betas_are_those_that_the_sdk_names() -> None:
    _any_text, named = get_args(anthropic_beta_param.AnthropicBetaParam)
    assert set(KNOWN_BETAS) == set(get_args(named))
    assert set(NEEDED_BETAS.values()) | BATCH_ONLY_BETAS | {FAST_BETA} <= set(KNOWN_BETAS)


def test_edits_of_the_context_have_the_fields_of_the_sdk() -> None:
    management = TAKEN["context_management"]
    assert isinstance(management, Fields)
    edits = management.fields["edits"]
    assert isinstance(edits, ListOf)
    assert isinstance(edits.item, ByType)
    kinds = edits.item.kinds
    assert kinds["clear_tool_uses_20250919"].fields.keys() == hints(BetaClearToolUses20250919EditParam).keys()
    assert kinds["clear_thinking_20251015"].fields.keys() == hints(BetaClearThinking20251015EditParam).keys()


def test_thinking_and_output_config_have_the_fields_of_the_sdk() -> None:
    thinking = TAKEN["thinking"]
    assert isinstance(thinking, ByType)
    for name, kind in {
        "enabled": types.ThinkingConfigEnabledParam,
        "disabled": types.ThinkingConfigDisabledParam,
        "adaptive": types.ThinkingConfigAdaptiveParam,
        "between_tools": types.ThinkingConfigBetweenToolsParam,
    }.items():
        assert thinking.kinds[name].fields.keys() == hints(kind).keys()
    assert len(thinking.kinds) == len(get_args(types.ThinkingConfigParam))
    output_config = TAKEN["output_config"]
    assert isinstance(output_config, Fields)
    assert {*output_config.fields, "format"} == hints(BetaOutputConfigParam).keys()
    assert hints(types.OutputConfigParam).keys() <= {*output_config.fields, "format"}
    budget = output_config.fields["task_budget"]
    assert isinstance(budget, Fields)
    assert budget.fields.keys() == hints(BetaTokenTaskBudgetParam).keys()
    levels, _none = get_args(hints(types.OutputConfigParam)["effort"])
    assert set(EFFORT_LEVELS) == set(get_args(levels))


def test_the_api_version_is_the_one_that_the_sdk_sends() -> None:
    client = anthropic.Anthropic(api_key="none")
    assert client.default_headers["anthropic-version"] == API_VERSION
    client.close()


def test_a_usual_job_has_nothing_wrong() -> None:
    assert (
        codes(
            {
                "max_tokens": 1024,
                "output_config": {"effort": "low"},
                "thinking": {"type": "adaptive", "display": "omitted"},
                "stop_sequences": ["###"],
                "metadata": {"user_id": "u-1"},
                "service_tier": "auto",
                "inference_geo": "us",
                "betas": ["context-1m-2025-08-07"],
            }
        )
        == []
    )


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_refused_parameter_says_why_and_what_to_do(name: str) -> None:
    (problem,) = check_params(HAIKU, {"max_tokens": 1, name: 1})
    assert problem.path == (name,)
    assert problem.code in ("refused-param", "wrong-place", "not-supported-yet")
    assert problem.hint


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ({}, ("max_tokens", "missing-key")),
        ({"max_tokens": 0}, ("max_tokens", "out-of-range")),
        ({"max_tokens": "1024"}, ("max_tokens", "wrong-type")),
        ({"max_tokens": True}, ("max_tokens", "wrong-type")),
        ({"max_tokens": 10.0}, ("max_tokens", "wrong-type")),
        ({"max_tokens": None}, ("max_tokens", "wrong-type")),
        ({"max_tokens": 200_000}, ("max_tokens", "out-of-range")),
        ({"max_tokens": 1, "max_token": 1}, ("max_token", "unknown-param")),
        ({"max_tokens": 1, "output_config": {"effort": "lo"}}, ("output_config.effort", "unknown-value")),
        ({"max_tokens": 1, "output_config": {"efort": "low"}}, ("output_config.efort", "unknown-param")),
        ({"max_tokens": 1, "output_config": "low"}, ("output_config", "wrong-type")),
        ({"max_tokens": 1, "output_config": {"format": {}}}, ("output_config.format", "wrong-place")),
        ({"max_tokens": 1, "thinking": "adaptive"}, ("thinking", "wrong-type")),
        ({"max_tokens": 1, "thinking": {}}, ("thinking", "missing-key")),
        ({"max_tokens": 1, "thinking": {"type": "on"}}, ("thinking.type", "unknown-value")),
        ({"max_tokens": 1, "thinking": {"type": True}}, ("thinking.type", "unknown-value")),
        ({"max_tokens": 1, "thinking": {"type": ["enabled"]}}, ("thinking.type", "unknown-value")),
        (
            {"max_tokens": 1, "thinking": {"type": "adaptive", "budget_tokens": 1}},
            ("thinking.budget_tokens", "unknown-param"),
        ),
        ({"max_tokens": 1, "stop_sequences": "###"}, ("stop_sequences", "wrong-type")),
        ({"max_tokens": 1, "stop_sequences": ["a", 1]}, ("stop_sequences.1", "wrong-type")),
        ({"max_tokens": 1, "stop_sequences": [" "]}, ("stop_sequences.0", "out-of-range")),
        ({"max_tokens": 1, "betas": "b"}, ("betas", "wrong-type")),
        ({"max_tokens": 1, "metadata": {"user": "x"}}, ("metadata.user", "unknown-param")),
        ({"max_tokens": 1, "service_tier": "priority"}, ("service_tier", "unknown-value")),
        ({"max_tokens": 1, "inference_geo": "eu"}, ("inference_geo", "unknown-value")),
        ({"max_tokens": 1, "betas": ["contxt-1m-2025-08-07"]}, ("betas.0", "unknown-beta")),
        ({"max_tokens": 1, "context_management": {"edits": []}}, ("context_management", "missing-beta")),
        (
            {"max_tokens": 1, "context_management": {"edits": [{"type": "compact_20260112"}]}},
            ("context_management.edits.0.type", "refused-value"),
        ),
        (
            {"max_tokens": 1, "output_config": {"task_budget": {"type": "tokens", "total": 9}}},
            ("output_config.task_budget", "missing-beta"),
        ),
        ({"max_tokens": 1, "extra_body": []}, ("extra_body", "wrong-type")),
        ({"max_tokens": 1, "extra_body": {"model": "m"}}, ("extra_body.model", "wrong-place")),
        ({"max_tokens": 1, "extra_body": {"speed": "fast"}}, ("extra_body.speed", "wrong-place")),
        ({"max_tokens": 1, "extra_body": {"new_thing": 1}}, ("extra_body", "extra-body")),
    ],
)
def test_what_does_not_fit_is_told_at_its_key(params: dict[str, Any], problem: tuple[str, str]) -> None:
    assert codes(params) == [problem]


def test_all_problems_come_at_once_in_the_order_of_the_file() -> None:
    params = {"temperature": 0, "max_tokens": "x", "stream": True}
    assert [path for path, _ in codes(params)] == ["temperature", "max_tokens", "stream"]


def test_a_slip_of_the_pen_gets_a_suggestion() -> None:
    (problem,) = check_params(HAIKU, {"max_tokens": 1, "stop_sequence": ["x"]})
    assert problem.hint is not None
    assert "did you mean `stop_sequences`?" in problem.hint


@pytest.mark.parametrize(
    ("model", "params", "path"),
    [
        ("claude-opus-5-5", {"thinking": {"type": "disabled"}}, "thinking.type"),
        ("claude-opus-5-5", {"thinking": {"type": "enabled", "budget_tokens": 1024}}, "thinking.type"),
        ("claude-fable-5-2", {"thinking": {"type": "disabled"}}, "thinking.type"),
        ("claude-sonnet-5-5", {"thinking": {"type": "disabled"}}, "thinking.type"),
        (
            "claude-sonnet-5-5",
            {"thinking": {"type": "between_tools"}, "output_config": {"effort": "max"}},
            "thinking.type",
        ),
        ("claude-opus-5", {"thinking": {"type": "disabled"}, "output_config": {"effort": "xhigh"}}, "thinking.type"),
        ("claude-sonnet-5", {"thinking": {"type": "enabled", "budget_tokens": 1024}}, "thinking.type"),
        ("claude-opus-4-7", {"thinking": {"type": "enabled", "budget_tokens": 1024}}, "thinking.type"),
        ("claude-haiku-4-5", {"thinking": {"type": "adaptive"}}, "thinking.type"),
        ("claude-haiku-4-5", {"output_config": {"effort": "low"}}, "output_config.effort"),
        ("claude-opus-4-6", {"output_config": {"effort": "xhigh"}}, "output_config.effort"),
        ("claude-haiku-4-5", {"max_tokens": 64_001}, "max_tokens"),
        ("claude-haiku-4-5", {"inference_geo": "us"}, "inference_geo"),
        ("claude-haiku-4-5", {"thinking": {"type": "enabled", "budget_tokens": 2048}}, "thinking.budget_tokens"),
    ],
)
def test_what_a_model_refuses_is_refused_here(model: str, params: dict[str, Any], path: str) -> None:
    assert [place for place, _ in codes({"max_tokens": 2048, **params}, model)] == [path]


@pytest.mark.parametrize(
    ("model", "params"),
    [
        ("claude-haiku-5-5", {"thinking": {"type": "disabled"}}),
        ("claude-sonnet-5-5", {"thinking": {"type": "between_tools"}}),
        ("claude-opus-5", {"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}}),
        ("claude-opus-4-6", {"thinking": {"type": "disabled"}, "output_config": {"effort": "max"}}),
        ("claude-haiku-4-5", {"thinking": {"type": "enabled", "budget_tokens": 1024}}),
        ("claude-nobody-knows", {"thinking": {"type": "disabled"}, "max_tokens": 10**6}),
    ],
)
def test_what_a_model_takes_or_nobody_knows_passes(model: str, params: dict[str, Any]) -> None:
    assert codes({"max_tokens": 2048, **params}, model) == []


def test_fresh_facts_stand_above_the_snapshot() -> None:
    facts = ModelFacts("m", "m", max_tokens=10)
    (problem,) = check_params("m", {"max_tokens": 11}, facts)
    assert problem.message == "m writes at most 10 tokens, not 11"


def test_the_betas_of_batches_alone_are_betas_of_the_sdk() -> None:
    _, literals = get_args(types.AnthropicBetaParam)
    assert set(get_args(literals)) >= BATCH_ONLY_BETAS


LONG = {"max_tokens": 300_000, "betas": ["context-1m-2025-08-07", LONG_OUTPUT_BETA]}


def test_long_replies_are_for_batches_alone() -> None:
    assert codes(LONG, mode="batch") == []
    assert codes(LONG, mode="parallel") == codes(LONG, mode="auto") == [("betas.1", "batch-only")]
    assert codes({**LONG, "max_tokens": 300_001}, mode="batch") == [("max_tokens", "out-of-range")]


def test_long_replies_need_their_beta_and_a_model_that_writes_them() -> None:
    (problem,) = check_params(HAIKU, {"max_tokens": 300_000}, mode="batch")
    assert problem.hint is not None
    assert LONG_OUTPUT_BETA in problem.hint
    assert codes(LONG, "claude-fable-5", "batch") == [("max_tokens", "out-of-range")]
    assert codes(LONG, "claude-haiku-5-5-20261001", "batch") == codes(LONG, "of-a-gateway", "batch") == []


@pytest.mark.parametrize("name", ["speed", "stream"])
def test_what_batches_do_not_take_is_told_as_that(name: str) -> None:
    (problem,) = check_params(HAIKU, {"max_tokens": 1, name: "fast"}, mode="batch")
    assert "batch" in problem.message
    assert problem.code == "refused-param"


def test_no_betas_are_no_betas_of_batches() -> None:
    assert batch_only_betas({}) == batch_only_betas({"betas": 5}) == batch_only_betas({"betas": ["x"]}) == []
    assert batch_only_betas({"betas": ["x", LONG_OUTPUT_BETA]}) == [LONG_OUTPUT_BETA]


@pytest.mark.parametrize(
    ("model", "params", "expected"),
    [
        ("claude-opus-5-5", {}, []),
        ("claude-fable-5-2", {}, []),
        ("claude-opus-5", {}, [("speed", "missing-beta")]),
        ("claude-opus-5", {"betas": [FAST_BETA]}, []),
        ("claude-haiku-5-5", {}, [("speed", "refused-value")]),
        ("of-a-gateway", {}, []),
    ],
)
def test_fast_mode_is_for_the_models_that_have_it(
    model: str, params: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    assert codes({"max_tokens": 1, "speed": "fast", **params}, model, "parallel") == expected


def test_fast_mode_cannot_be_left_to_the_choice_of_a_mode() -> None:
    assert codes({"max_tokens": 1, "speed": "fast"}, "claude-opus-5-5") == [("speed", "parallel-only")]


def test_edits_of_the_context_are_checked_against_the_model() -> None:
    params = {
        "max_tokens": 1,
        "betas": ["context-management-2025-06-27"],
        "context_management": {
            "edits": [
                {"type": "clear_thinking_20251015", "keep": "all"},
                {"type": "clear_tool_uses_20250919", "trigger": {"type": "tool_uses", "value": 3}},
            ]
        },
    }
    assert codes(params) == []
    facts = ModelFacts("m", "m", context_management=frozenset({"clear_thinking_20251015"}))
    (problem,) = check_params("m", params, facts)
    assert problem.path == ("context_management", "edits", 1, "type")


def test_a_warning_hides_no_error_and_is_none() -> None:
    (unknown,) = check_params(HAIKU, {"max_tokens": 1, "betas": ["no-such-thing"]})
    assert unknown.severity == "warning"
    assert codes({"max_tokens": 10**6, "betas": ["no-such-thing"]}) == [
        ("betas.0", "unknown-beta"),
        ("max_tokens", "out-of-range"),
    ]


def test_a_cap_is_not_passed_by_in_an_extra_body() -> None:
    params = {"max_tokens": 1, "extra_body": {"fallbacks": "default"}}
    (open_,) = check_params(HAIKU, params)
    assert (open_.code, open_.severity) == ("extra-body", "warning")
    (capped,) = check_params(HAIKU, params, capped=True)
    assert (capped.code, capped.severity) == ("unbounded-cost", "error")
