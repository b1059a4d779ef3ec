"""Facts of models: asked for once a day, and never in the way."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from runner.clock import Clock
from runner.errors import SetupError
from runner.execution.facts import ask_models, refreshed
from runner.execution.folders import StateFolder
from runner.providers import Provider
from runner.types import Failure
from support.execution_fakes import ADDRESS, MODEL, EchoProvider, OwnApi
from support.frozen_clock import FrozenClock

DAY_S = 24 * 60 * 60


OF_TODAY: Mapping[str, Any] = {"id": MODEL, "display_name": "Of today", "max_tokens": 77}


@dataclass
class Lister(EchoProvider):
    """Lists models, or says why not; counts how often it was asked, and closed."""

    answer: list[Mapping[str, Any]] | Failure = field(default_factory=lambda: [OF_TODAY])
    takes_s: float = 0.0
    asked: int = 0
    closed: int = 0

    async def models(self) -> list[Mapping[str, Any]] | Failure:
        self.asked += 1
        await asyncio.sleep(self.takes_s)
        return self.answer

    async def aclose(self) -> None:
        self.closed += 1


def api(lister: Lister, address: str = ADDRESS) -> OwnApi:
    return OwnApi(address, simulated=False, environ={}, provider=lister)


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    return StateFolder(tmp_path / ".runner")


def test_what_the_api_says_is_kept_for_a_day(state: StateFolder) -> None:
    lister, clock = Lister(), FrozenClock()
    for _ in range(3):
        catalog, told = refreshed(state, api(lister), clock)
        facts = catalog.facts(MODEL)
        assert facts is not None
        assert (facts.display_name, facts.max_tokens, told) == ("Of today", 77, [])
        clock.advance(DAY_S / 3 - 1)
    assert (lister.asked, lister.closed) == (1, 1)
    clock.advance(DAY_S)
    refreshed(state, api(lister), clock)
    assert lister.asked == 2


def test_each_address_is_asked_for_itself(state: StateFolder) -> None:
    lister, clock = Lister(), FrozenClock()
    refreshed(state, api(lister), clock)
    refreshed(state, api(lister, "https://gateway.example"), clock)
    assert lister.asked == 2


def test_a_gateway_without_models_is_told_and_the_snapshot_serves(state: StateFolder) -> None:
    lister = Lister(answer=Failure("not_found_error", "no such page", http_status=404))
    catalog, (told,) = refreshed(state, api(lister), FrozenClock())
    assert (told.code, told.severity) == ("no-models-api", "warning")
    assert "not_found_error" in told.message
    assert catalog.facts(MODEL) is not None
    assert lister.closed == 1


def test_what_was_learned_before_serves_while_the_api_is_silent(state: StateFolder) -> None:
    clock = FrozenClock()
    refreshed(state, api(Lister()), clock)
    clock.advance(2 * DAY_S)
    catalog, told = refreshed(state, api(Lister(answer=Failure("connection_error", "refused"))), clock)
    facts = catalog.facts(MODEL)
    assert facts is not None
    assert facts.max_tokens == 77
    assert "2026-11-22" in told[0].message


def test_an_api_that_never_answers_is_not_waited_for() -> None:
    lister = Lister(takes_s=3_600)
    failure = asyncio.run(ask_models(api(lister), FrozenClock(), patience_s=0.01))
    assert isinstance(failure, Failure)
    assert failure.kind == "timeout"
    assert lister.closed == 1


class Unusable(OwnApi):
    def connect(self, *, max_concurrency: int, clock: Clock) -> Provider:
        raise SetupError("no credential")


def test_without_a_credential_nothing_is_asked_and_nothing_is_told(state: StateFolder) -> None:
    unusable = Unusable(ADDRESS, simulated=False, environ={})
    catalog, told = refreshed(state, unusable, FrozenClock())
    assert catalog.facts(MODEL) is not None
    assert told == []


def test_the_stand_in_s_models_are_those_of_the_snapshot(state: StateFolder) -> None:
    lister = Lister()
    catalog, _ = refreshed(state, OwnApi("simulator", simulated=True, environ={}, provider=lister), FrozenClock())
    facts = catalog.facts(MODEL)
    assert facts is not None
    assert facts.max_tokens != 77
    assert lister.asked == 0


def test_facts_that_cannot_be_kept_serve_all_the_same(state: StateFolder) -> None:
    state.create()
    state.catalog_path(ADDRESS).mkdir()
    lister = Lister()
    for _ in range(2):
        catalog, told = refreshed(state, api(lister), FrozenClock())
        facts = catalog.facts(MODEL)
        assert facts is not None
        assert (facts.max_tokens, told) == (77, [])
    assert lister.asked == 2
