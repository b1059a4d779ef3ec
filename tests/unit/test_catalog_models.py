"""Facts of models: the Models API over the snapshot, field by field."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, get_args

import pytest
from anthropic.resources.messages.messages import DEPRECATED_MODELS
from anthropic.types import Model
from anthropic.types.model_capabilities import ModelCapabilities

from runner.catalog.models import Catalog, cache_minimum, model_of_platform, similar_model, snapshot_facts
from runner.catalog.snapshot import MODELS, RETIRED, SUCCESSORS

AT = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)


def said(**fields: Any) -> dict[str, Any]:
    """An object of the Models API."""
    return {
        "type": "model",
        "id": "claude-haiku-5-5",
        "display_name": "Claude Haiku 5.5",
        "created_at": "2026-10-07T00:00:00Z",
        "lifecycle": "active",
        "deprecated_at": None,
        "retires_at": None,
        "max_input_tokens": 1_000_000,
        "max_tokens": 64_000,
        "capabilities": None,
        **fields,
    }


def test_every_model_that_the_sdk_names_is_known_or_retired() -> None:
    names = get_args(get_args(Model)[0])
    assert names
    assert [name for name in names if snapshot_facts(name) is None] == []


def test_every_model_that_the_sdk_calls_deprecated_is_known_as_such() -> None:
    for name in DEPRECATED_MODELS:
        facts = snapshot_facts(name)
        assert facts is not None
        assert facts.lifecycle in ("deprecated", "retired")
        assert facts.retires_at is not None


def test_names_in_the_snapshot_are_unique() -> None:
    names = [known.id for known in MODELS]
    assert len(set(names)) == len(names)
    assert not set(names) & RETIRED.keys()


def test_a_dated_name_has_the_facts_of_its_model() -> None:
    dated, undated = snapshot_facts("claude-haiku-4-5-20251001"), snapshot_facts("claude-haiku-4-5")
    assert dated is not None
    assert undated is not None
    assert dated.max_tokens == undated.max_tokens == 64_000
    assert dated.id == "claude-haiku-4-5-20251001"


def test_a_model_that_nobody_knows_has_no_facts_but_a_neighbour() -> None:
    assert snapshot_facts("claude-haiku-55") is None
    assert similar_model("claude-haiku-55") == "claude-haiku-5-5"
    assert similar_model("gpt") is None


@pytest.mark.parametrize(
    ("model", "tokens"),
    [
        ("claude-haiku-5-5", 512),
        ("claude-sonnet-4-6", 1024),
        ("claude-opus-4-7", 2048),
        ("claude-haiku-4-5-20251001", 4096),
        ("claude-fable-5-2", None),
        ("claude-none", None),
    ],
)
def test_cache_minimums_are_those_of_the_guide(model: str, tokens: int | None) -> None:
    assert cache_minimum(model) == tokens


def test_without_a_cache_the_snapshot_speaks(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path / "models.json")
    assert catalog.fetched_at is None
    assert catalog.facts("claude-haiku-5-5") == snapshot_facts("claude-haiku-5-5")


def test_what_the_api_says_stands_above_the_snapshot_and_survives(tmp_path: Path) -> None:
    path = tmp_path / "models.json"
    Catalog(path).update([said(max_tokens=50_000, retires_at="2027-01-31T00:00:00Z", lifecycle="deprecated")], at=AT)
    catalog = Catalog(path)
    facts = catalog.facts("claude-haiku-5-5")
    assert catalog.fetched_at == AT
    assert facts is not None
    assert (facts.max_tokens, facts.lifecycle, facts.retires_at) == (50_000, "deprecated", date(2027, 1, 31))
    assert facts.display_name == "Claude Haiku 5.5"
    assert facts.source == "Models API, 2026-11-22"


def test_what_the_api_leaves_null_comes_from_the_snapshot() -> None:
    catalog = Catalog()
    catalog.update([said(max_tokens=None, max_input_tokens=None, capabilities=None)], at=AT)
    facts, known = catalog.facts("claude-haiku-5-5"), snapshot_facts("claude-haiku-5-5")
    assert facts is not None
    assert known is not None
    assert (facts.max_tokens, facts.effort, facts.thinking) == (known.max_tokens, known.effort, known.thinking)
    assert facts.cache_minimum == 512


def test_capabilities_are_read_one_by_one() -> None:
    yes, no = {"supported": True}, {"supported": False}
    catalog = Catalog()
    capabilities = {
        "batch": yes,
        "structured_outputs": no,
        "effort": {"supported": True, "low": yes, "medium": yes, "high": yes, "xhigh": None, "max": no},
        "thinking": {"supported": True, "types": {"adaptive": yes, "enabled": no, "disabled": None}},
    }
    catalog.update([said(id="new-model", display_name="New", capabilities=capabilities)], at=AT)
    facts = catalog.facts("new-model")
    assert facts is not None
    assert (facts.batch, facts.structured_outputs) == (True, False)
    assert facts.effort == frozenset({"low", "medium", "high"})
    assert facts.thinking == {"adaptive": True, "enabled": False}


def test_a_model_without_effort_has_no_levels() -> None:
    catalog = Catalog()
    catalog.update([said(capabilities={"effort": {"supported": False, "low": {"supported": True}}})], at=AT)
    facts = catalog.facts("claude-haiku-5-5")
    assert facts is not None
    assert facts.effort == frozenset()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 99}', '{"format": 1}', "\x00"])
def test_a_damaged_cache_is_an_empty_one(tmp_path: Path, content: str) -> None:
    path = tmp_path / "models.json"
    path.write_text(content)
    catalog = Catalog(path)
    assert catalog.fetched_at is None
    assert catalog.facts("claude-haiku-5-5") == snapshot_facts("claude-haiku-5-5")


def test_an_update_leaves_no_other_file_behind(tmp_path: Path) -> None:
    path = tmp_path / "models.json"
    Catalog(path).update([said()], at=AT)
    assert [entry.name for entry in tmp_path.iterdir()] == ["models.json"]


def test_every_capability_that_the_api_tells_is_read() -> None:
    def yes(value: bool = True) -> dict[str, bool]:
        return {"supported": value}

    catalog = Catalog()
    catalog.update(
        [
            said(
                line="haiku",
                deprecated_at="2026-11-01T00:00:00Z",
                capabilities={
                    "batch": yes(),
                    "citations": yes(False),
                    "code_execution": yes(False),
                    "context_management": yes() | {"clear_thinking_20251015": yes(), "compact_20260112": yes(False)},
                    "effort": yes() | {"low": yes(), "high": yes(), "max": yes(False), "xhigh": None},
                    "image_input": yes(),
                    "pdf_input": yes(False),
                    "server_tools": yes() | {"web_search": yes(), "code_execution": yes(False)},
                    "structured_outputs": yes(False),
                    "thinking": yes() | {"types": {"adaptive": yes(), "enabled": yes(False)}},
                },
            )
        ],
        at=AT,
    )
    facts = catalog.facts("claude-haiku-5-5")
    assert facts is not None
    assert (facts.line, facts.deprecated_at) == ("haiku", date(2026, 11, 1))
    assert (facts.batch, facts.image_input, facts.web_search) == (True, True, True)
    not_had = (facts.citations, facts.pdf_input, facts.structured_outputs, facts.code_execution)
    assert not_had == (False, False, False, False)
    assert facts.tool_calls_from_code is False
    assert facts.context_management == frozenset({"clear_thinking_20251015"})
    assert facts.effort == frozenset({"low", "high"})
    assert (facts.thinking["adaptive"], facts.thinking["enabled"]) == (True, False)


def test_capabilities_of_the_sdk_are_all_read() -> None:
    """A new one fails here, before a user misses it."""
    read = {
        "batch", "citations", "code_execution", "context_management", "effort", "image_input", "pdf_input",
        "server_tools", "structured_outputs", "thinking",
    }  # fmt: skip
    assert set(ModelCapabilities.model_fields) == read


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("anthropic.claude-haiku-5-5", "claude-haiku-5-5"),
        ("us.anthropic.claude-haiku-4-5-20251001-v1:0", "claude-haiku-4-5-20251001"),
        ("global.anthropic.claude-opus-4-6-v1", "claude-opus-4-6"),
        (
            "arn:aws:bedrock:us-east-1:1:inference-profile/eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "claude-sonnet-4-5-20250929",
        ),
        ("claude-haiku-4-5@20251001", "claude-haiku-4-5-20251001"),
        ("claude-haiku-5-5@default", "claude-haiku-5-5"),
        ("claude-haiku-5-5", None),
        ("my-deployment", None),
    ],
)
def test_names_of_platforms_lead_to_the_model(name: str, own: str | None) -> None:
    assert model_of_platform(name) == own


def test_on_a_platform_a_model_can_the_same_and_is_retired_by_its_own_calendar() -> None:
    facts = snapshot_facts("us.anthropic.claude-sonnet-4-5-20250929-v1:0")
    assert facts is not None
    assert (facts.max_tokens, facts.lifecycle, facts.retires_at) == (64_000, "active", None)
    assert snapshot_facts("anthropic.claude-3-opus-20240229-v1:0") is None
    assert cache_minimum("claude-haiku-4-5@20251001") == 4096


def test_a_retired_model_names_one_to_move_to() -> None:
    assert SUCCESSORS.keys() >= RETIRED.keys()
    for successor in SUCCESSORS.values():
        facts = snapshot_facts(successor)
        assert facts is not None
        assert facts.lifecycle == "active"
