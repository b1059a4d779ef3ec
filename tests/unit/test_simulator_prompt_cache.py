from __future__ import annotations

from typing import Any

import pytest

from runner.simulator.models import card_of
from runner.simulator.prompt import read_prompt
from runner.simulator.prompt_cache import CacheUse, PromptCache
from support.frozen_clock import FrozenClock

CARD = card_of("claude-haiku-5-5")
LONG = "A rule that everybody has to follow. " * 100
SCOPE = ("workspace", CARD.id)


class Api:
    """A cache, with requests put to it as JSON bodies."""

    def __init__(self) -> None:
        self.clock = FrozenClock()
        self.cache = PromptCache(self.clock)

    def start(self, body: dict[str, Any], scope: tuple[str, str] = SCOPE) -> CacheUse:
        use = self.cache.look(read_prompt(body, CARD), scope, CARD.cache_minimum)
        self.cache.refresh(use)
        return use

    def ask(self, body: dict[str, Any], scope: tuple[str, str] = SCOPE) -> CacheUse:
        use = self.start(body, scope)
        self.cache.begin(use)
        return use


@pytest.fixture
def api() -> Api:
    return Api()


def block(text: str, ttl: str | None = None) -> dict[str, Any]:
    mark = {} if ttl is None else {"cache_control": {"type": "ephemeral", "ttl": ttl}}
    return {"type": "text", "text": text, **mark}


def body(system: list[dict[str, Any]], question: str = "Why?", **more: Any) -> dict[str, Any]:
    return {
        "model": CARD.id,
        "max_tokens": 9,
        "system": system,
        "messages": [{"role": "user", "content": question}],
        **more,
    }


def test_the_four_counts_add_up_to_the_prompt(api: Api) -> None:
    asked = body([block(LONG, "1h"), block(LONG, "5m")])
    total = read_prompt(asked, CARD).tokens
    for use in (api.ask(asked), api.ask(asked)):
        assert use.read + use.written_5m + use.written_1h + use.uncached == total


def test_each_part_is_written_with_the_lifetime_of_the_mark_that_ends_it(api: Api) -> None:
    use = api.ask(body([block(LONG, "1h"), block(LONG, "5m")]))
    assert use.written_1h > CARD.cache_minimum
    assert use.written_5m == CARD.tokens(len(LONG))


def test_an_entry_is_readable_only_when_the_reply_that_writes_it_has_begun(api: Api) -> None:
    first = api.start(body([block(LONG, "5m")]))
    second = api.start(body([block(LONG, "5m")], "Else?"))
    assert second.read == 0
    assert second.written_5m == first.written_5m > 0
    api.cache.begin(first)
    assert api.start(body([block(LONG, "5m")], "Third?")).read == first.written_5m


def test_a_prefix_below_the_minimum_is_never_cached(api: Api) -> None:
    short = body([block("Be brief.", "5m")])
    assert [api.ask(short).written_5m, api.ask(short).read] == [0, 0]


def test_entries_live_from_the_start_of_the_last_request_that_read_them(api: Api) -> None:
    asked = body([block(LONG, "5m")])
    api.ask(asked)
    for _ in range(3):
        api.clock.advance(290)
        assert api.ask(asked).read > 0
    api.clock.advance(301)
    assert api.ask(asked).read == 0


def test_an_hour_outlives_five_minutes(api: Api) -> None:
    asked = body([block(LONG, "1h"), block(LONG, "5m")])
    first = api.ask(asked)
    api.clock.advance(3000)
    later = api.ask(asked)
    assert (later.read, later.written_5m) == (first.written_1h, first.written_5m)


def test_a_look_that_was_not_accepted_renews_nothing(api: Api) -> None:
    asked = body([block(LONG, "5m")])
    api.ask(asked)
    api.clock.advance(200)
    api.cache.look(read_prompt(asked, CARD), SCOPE, CARD.cache_minimum)
    api.clock.advance(150)
    assert api.ask(asked).read == 0


def test_workspaces_and_models_share_nothing(api: Api) -> None:
    asked = body([block(LONG, "5m")])
    api.ask(asked)
    assert api.ask(asked, ("other", CARD.id)).read == 0
    assert api.ask(asked, ("workspace", "claude-opus-5-5")).read == 0
    assert api.ask(asked).read > 0


@pytest.mark.parametrize(("further", "found"), [(19, True), (20, False)])
def test_the_look_back_covers_twenty_positions_with_the_breakpoint_itself(api: Api, further: int, found: bool) -> None:
    api.ask(body([block(LONG, "5m")]))
    blocks = [block(f"part {number}") for number in range(further - 1)]
    longer = [block(LONG), *blocks, block("last part", "5m")]
    assert (api.ask(body(longer)).read > 0) is found


@pytest.mark.parametrize(
    ("change", "read"),
    [
        ({"output_config": {"effort": "low"}}, "system"),
        ({"thinking": {"type": "adaptive"}}, "system"),
        ({"metadata": {"user_id": "u"}}, "all"),
        ({"stop_sequences": ["x"]}, "all"),
        ({"speed": "fast"}, "tools"),
        ({"tools": [{"name": "b", "input_schema": {"type": "object", "description": LONG}}]}, "nothing"),
    ],
)
def test_what_changes_a_level_invalidates_it_and_what_follows(api: Api, change: dict[str, Any], read: str) -> None:
    mark = {"cache_control": {"type": "ephemeral"}}
    tool = {"name": "a", "input_schema": {"type": "object", "description": LONG}, **mark}
    asked = body([block(LONG, "5m")], tools=[tool])
    asked["messages"] = [{"role": "user", "content": [block(LONG, "5m")]}]
    api.ask(asked)
    positions = [entry.tokens for entry in read_prompt(asked, CARD).blocks]
    expected = {"nothing": 0, "tools": positions[0], "system": positions[1], "all": positions[2]}
    if "tools" in change:
        change = {"tools": [{**change["tools"][0], **mark}]}
    assert api.ask({**asked, **change}).read == expected[read]


def test_switching_citations_on_invalidates_from_the_system_on(api: Api) -> None:
    pdf = {"type": "document", "source": {"type": "url", "url": "https://example.com/x.pdf"}}
    asked = body([block(LONG, "5m")])
    api.ask({**asked, "messages": [{"role": "user", "content": [pdf]}]})
    cited = {**pdf, "citations": {"enabled": True}}
    assert api.ask({**asked, "messages": [{"role": "user", "content": [cited]}]}).read == 0


def test_the_automatic_mark_caches_up_to_the_last_block(api: Api) -> None:
    asked = body([block(LONG)], cache_control={"type": "ephemeral"})
    first, again = api.ask(asked), api.ask(asked)
    assert first.uncached == 0
    assert again.read == first.written_5m == read_prompt(asked, CARD).tokens


def test_dead_entries_are_swept(api: Api) -> None:
    for number in range(5_000):
        api.ask(body([block(f"{number} {LONG}", "5m")]))
        api.clock.advance(1)
    assert len(api.cache._entries) < 4_500


# --- as of a moment, for batches


def ask_in_batch(api: Api, batch: str, at: float, own: str = "") -> CacheUse:
    prompt = read_prompt(body([block(LONG, "1h")]), CARD)
    use = api.cache.look(prompt, SCOPE, CARD.cache_minimum, at=at, own=own)
    api.cache.refresh(use)
    api.cache.begin(use, batch)
    return use


def test_a_batch_reads_only_what_was_there_when_it_began(api: Api) -> None:
    api.clock.advance(60)
    assert ask_in_batch(api, "first", at=0).writes
    assert ask_in_batch(api, "began before the first was processed", at=30).writes
    assert ask_in_batch(api, "began after", at=61).reads


def test_a_batch_reads_its_own_entries_only_when_it_may(api: Api) -> None:
    api.clock.advance(60)
    assert ask_in_batch(api, "mine", at=0, own="mine").writes
    assert ask_in_batch(api, "mine", at=0).writes
    assert ask_in_batch(api, "mine", at=0, own="mine").reads


def test_an_entry_of_a_batch_lives_from_the_start_of_its_requests(api: Api) -> None:
    api.clock.advance(3_000)
    ask_in_batch(api, "first", at=0)
    assert ask_in_batch(api, "in time", at=3_599).reads
    assert ask_in_batch(api, "renewed by the last", at=7_198).reads
    assert ask_in_batch(api, "too late", at=10_798).writes
