"""One row, one request: its exact bytes, its prefix, its bounds, and what happens to a row that cannot be sent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import pytest

from runner.catalog.api import MAX_REQUEST_BYTES
from runner.planning.conversation import appended
from runner.planning.identity import request_identity
from runner.planning.pieces import CompiledHistory, CompiledMessage, TextBlock, text_block
from runner.planning.requests import (
    FRAMING_TOKENS,
    SCHEMA_TOKENS,
    Appended,
    CacheShape,
    CompiledJob,
    hidden_tokens,
)
from runner.templating import Expression, Printed, TemplateSet
from runner.types import CacheTtl, Failure, Request, Row

SHARED: dict[str, Any] = {"model": "claude-haiku-5-5", "max_tokens": 1024, "system": [text_block("Label.", None)]}
TEMPLATES = TemplateSet.from_sources(
    {
        "review": "Review: {{ row.text }}",
        "broken": "line one\n{{ row.nothing }}",
        "tone": "{{ vars.tone }} {{ row.text }}",
    }
)


def compiled(
    *messages: CompiledMessage, shared: Mapping[str, Any] = SHARED, betas: tuple[str, ...] = ()
) -> CompiledJob:
    return CompiledJob(
        name="reviews",
        mode="parallel",
        shared=shared,
        messages=messages,
        betas=betas,
        context={"vars": {"tone": "strict"}, "assets": {}, "job": {"name": "reviews"}},
        schema=None,
        cache=CacheShape(0, False, {"parallel": "5m", "batch": "1h"}),
    )


def block(name: str, ttl: CacheTtl | None = None) -> TextBlock:
    return TextBlock(name, TEMPLATES.template(name), ttl)


def fixed(text: str, ttl: CacheTtl | None = None) -> TextBlock:
    return TextBlock("fixed", text, ttl)


def user(*blocks: TextBlock) -> CompiledMessage:
    return CompiledMessage("user", blocks)


def row(text: Any = "good", key: str = "r-1") -> Row:
    return Row(key, 0, {"text": text})


def sent(job: CompiledJob, of: Row) -> Request:
    request = job.request(of)
    assert isinstance(request, Request)
    return request


def failure(job: CompiledJob, of: Row) -> Failure:
    found = job.request(of)
    assert isinstance(found, Failure)
    return found


def test_nulls_that_a_row_shows_as_nothing_are_counted() -> None:
    job = compiled(user(block("review"), block("tone")))
    printed = Printed()
    for text in (None, "good", None):
        job.request(row(text), printed)
    assert printed.nulls == 4


def test_the_body_is_golden() -> None:
    job = compiled(
        user(fixed("Handbook", "1h"), block("review", "5m")),
        CompiledMessage("assistant", (fixed("Yes."),)),
        betas=("b",),
    )
    request = sent(job, row('“ok”\n"\\\x01 好'))
    assert request.body.decode() == (
        '{"model":"claude-haiku-5-5","max_tokens":1024,"system":[{"type":"text","text":"Label."}],"messages":['
        '{"role":"user","content":[{"type":"text","text":"Handbook","cache_control":{"type":"ephemeral","ttl":"1h"}},'
        '{"type":"text","text":"Review: “ok”\\n\\"\\\\\\u0001 好","cache_control":{"type":"ephemeral","ttl":"5m"}}]},'
        '{"role":"assistant","content":[{"type":"text","text":"Yes."}]}]}'
    )
    assert (request.model, request.max_tokens, request.betas) == ("claude-haiku-5-5", 1024, ("b",))


def test_the_identity_is_that_of_the_whole_body() -> None:
    job = compiled(user(fixed("Handbook", "1h"), block("review", "5m"), fixed("End")), betas=("b",))
    request = sent(job, row("好"))
    assert request.hash == request_identity(json.loads(request.body), ["b"])
    assert len(request.hash) == hashlib.sha256().digest_size


def test_the_bytes_that_rows_share_reach_up_to_the_first_of_the_rows_own() -> None:
    request = sent(compiled(user(fixed("Handbook"), block("review"))), row("x"))
    assert request.body[: request.shared_bytes].endswith(b'{"type":"text","text":')
    assert request.body[request.shared_bytes :] == b'"Review: x"}]}]}'
    same = sent(compiled(user(fixed("Handbook"))), row("x"))
    assert same.shared_bytes == len(same.body) - 2


def test_templates_see_the_row_and_what_rows_share() -> None:
    body = json.loads(sent(compiled(user(block("tone"))), row("x")).body)
    assert body["messages"][0]["content"][0]["text"] == "strict x"


def test_the_input_is_bounded_by_the_bytes_and_an_allowance() -> None:
    request = sent(compiled(user(block("review"))), row())
    assert request.input_bound == len(request.body) + FRAMING_TOKENS


def test_structured_output_adds_the_schema_once_more() -> None:
    output_format = {"type": "json_schema", "schema": {"type": "object"}}
    size = len(json.dumps(output_format, separators=(",", ":")))
    assert hidden_tokens({"output_config": {"format": output_format}}) == FRAMING_TOKENS + SCHEMA_TOKENS + size
    assert hidden_tokens({"output_config": {"effort": "low"}}) == FRAMING_TOKENS


def test_nothing_marked_means_no_prefix() -> None:
    assert sent(compiled(user(block("review"))), row()).prefix == b""


def test_a_marked_system_block_is_a_prefix_that_all_rows_share() -> None:
    job = compiled(user(block("review")), shared={**SHARED, "system": [text_block("Label.", "5m")]})
    first, second = sent(job, row("a")), sent(job, row("b"))
    assert len(first.prefix) == 16
    assert first.prefix == second.prefix
    assert first.hash != second.hash


def test_a_mark_on_shared_text_in_a_message_is_shared_too() -> None:
    job = compiled(user(fixed("Handbook", "5m"), block("review")))
    other = compiled(user(fixed("Handbook!", "5m"), block("review")))
    assert sent(job, row("a")).prefix == sent(job, row("b")).prefix != sent(other, row("a")).prefix


def test_a_mark_behind_a_rows_own_text_makes_a_prefix_for_each_text() -> None:
    job = compiled(user(block("review", "5m"), block("tone")))
    same = [sent(job, Row("k1", 0, {"text": "a"})).prefix, sent(job, Row("k2", 1, {"text": "a"})).prefix]
    assert same[0] == same[1] != sent(job, row("b")).prefix


def test_a_request_knows_the_prefix_of_each_breakpoint_from_the_shortest_to_the_longest() -> None:
    shared = {**SHARED, "system": [text_block("Label.", "1h"), text_block("Rubric.", "1h")]}
    job = compiled(user(fixed("Handbook", "5m"), block("review", "5m"), block("tone")), shared=shared)
    one, two = sent(job, row("a")).prefixes, sent(job, row("b")).prefixes
    assert [prefix.ttl for prefix in one] == ["1h", "1h", "5m", "5m"]
    assert one[:3] == two[:3] == job.shared_prefixes
    assert one[3].digest != two[3].digest
    assert len({prefix.digest for prefix in one}) == 4
    sizes = [prefix.size_bytes for prefix in one]
    assert sizes[:2] == [len("Label."), len("Label.Rubric.")]
    assert sizes == sorted(sizes)
    assert sizes[2] >= len("Label.Rubric.Handbook")
    assert sent(job, row("a" * 1_000)).prefixes[3].size_bytes >= sizes[3] + 999
    assert sent(job, row("a")).prefix == one[3].digest


def test_rows_that_add_no_prefix_share_the_tuple() -> None:
    job = compiled(user(fixed("Handbook", "5m"), block("review")))
    assert job.row_prefixes == 0
    assert sent(job, row("a")).prefixes is sent(job, row("b")).prefixes is job.shared_prefixes


def test_prefixes_can_be_had_without_the_request() -> None:
    job = compiled(user(block("tone", "1h"), fixed("Now:"), block("review", "5m"), block("broken")))
    prefixes = job.prefixes(row("a"))
    assert job.row_prefixes == 2
    assert prefixes is not None
    assert [prefix.ttl for prefix in prefixes] == ["1h", "5m"]
    whole = compiled(user(block("tone", "1h"), fixed("Now:"), block("review", "5m"), block("tone")))
    assert sent(whole, row("a")).prefixes == whole.prefixes(row("a")) == prefixes, "what follows has no part in them"
    assert compiled(user(block("broken", "5m"))).prefixes(row("a")) is None
    assert job.prefixes(row("a\ud83d")) is None


def test_params_that_invalidate_the_cache_are_part_of_the_prefix_and_max_tokens_is_not() -> None:
    def prefix(**params: Any) -> bytes:
        shared = {**SHARED, "system": [text_block("Label.", "5m")], **params}
        return sent(compiled(user(block("review")), shared=shared), row()).prefix

    assert prefix(max_tokens=5) == prefix()
    assert prefix(output_config={"effort": "low"}) != prefix()
    assert prefix(thinking={"type": "disabled"}) != prefix()
    assert prefix(model="claude-sonnet-5-5") != prefix()


def test_the_time_to_live_is_no_part_of_identity_or_prefix() -> None:
    short, long = (compiled(user(block("review", ttl))) for ttl in ("5m", "1h"))
    assert sent(short, row()).hash == sent(long, row()).hash
    assert sent(short, row()).prefix == sent(long, row()).prefix
    assert sent(short, row()).body != sent(long, row()).body


def test_a_template_that_fails_is_the_rows_failure_with_place_and_key() -> None:
    found = failure(compiled(user(block("broken"))), row(key="r-17"))
    assert found.kind == "render_error"
    assert found.message.startswith("broken:2: ")
    assert found.message.endswith("; row 'r-17'")


@pytest.mark.parametrize("text", ["", " \n\t "])
def test_empty_text_is_a_render_error(text: str) -> None:
    templates = TemplateSet.from_sources({"only": "{{ row.text }}"})
    job = compiled(user(TextBlock("only", templates.template("only"))))
    found = failure(job, row(text))
    assert found.kind == "render_error"
    assert found.message == "only: the text is empty, which the API refuses; row 'r-1'"


def test_half_of_a_surrogate_pair_is_an_input_error() -> None:
    found = failure(compiled(user(block("review"))), row("a\ud83d"))
    assert found.kind == "input_error"


def test_a_body_above_the_limit_is_too_large() -> None:
    # A template of its own kind: the bounds of real ones end long before this limit.
    class Large:
        def render(self, context: Mapping[str, Any], printed: Printed | None = None) -> str:
            return str(context["row"]["text"])

    job = compiled(user(TextBlock("large", Large())))
    room = MAX_REQUEST_BYTES - len(sent(job, row("x")).body) + 1
    assert len(sent(job, row("x" * room)).body) == MAX_REQUEST_BYTES
    found = failure(job, row("x" * (room + 1)))
    assert found.kind == "too_large"
    assert "32,000,001 bytes" in found.message


@pytest.mark.parametrize(
    ("shape", "minimum", "reaches"),
    [
        (CacheShape(0, False, {}), 512, False),
        (CacheShape(511, False, {}), 512, False),
        (CacheShape(512, False, {}), 512, True),
        (CacheShape(0, True, {}), 512, True),
        (CacheShape(1, False, {}), None, True),
        (CacheShape(0, False, {}), None, False),
    ],
)
def test_a_prefix_with_fewer_bytes_than_tokens_are_needed_is_surely_not_cached(
    shape: CacheShape, minimum: int | None, reaches: bool
) -> None:
    assert shape.reaches(minimum) is reaches


NOTHING = Appended(b"", b"")
PAST = CompiledHistory("messages.1.expand", Expression("row.past", "messages.1.expand"))
HELLO = {"role": "user", "content": "Hello"}
HI = {"role": "assistant", "content": "Hi!"}


def of_history(
    *messages: CompiledMessage | CompiledHistory, past: Any, prefill: bool = True, more: Appended = NOTHING
) -> Request | Failure:
    job = CompiledJob(
        name="chats",
        mode="parallel",
        shared=SHARED,
        messages=messages,
        betas=(),
        context={},
        schema=None,
        cache=CacheShape(0, False, {"parallel": None, "batch": None}),
        prefill=prefill,
    )
    return job.request(Row("r-1", 0, {"text": "good", "past": past}), more=more)


@pytest.mark.parametrize(
    ("messages", "past", "told"),
    [
        ([PAST, user(block("review"))], [HI], "messages.1.expand: the conversation begins with a message of the assis"),
        ([PAST], [], "messages.1.expand: the list is empty, and there is no other message; row 'r-1'"),
        ([PAST], None, "the list is empty"),
        (
            [user(block("review")), PAST],
            [HELLO, HI],
            "message of the assistant, which claude-haiku-5-5 does",
        ),
        (
            [user(block("review")), PAST],
            ["x"],
            "item 0: expected {role, content}, found the text 'x'; row 'r-1'",
        ),
        ([PAST, CompiledMessage("assistant", [fixed("Yes")])], [], "begins with a message of the assistant"),
    ],
)
def test_a_conversation_that_the_api_refuses_is_an_input_error_of_its_row(
    messages: list[CompiledMessage | CompiledHistory], past: Any, told: str
) -> None:
    failure = of_history(*messages, past=past, prefill=False)
    assert isinstance(failure, Failure)
    assert failure.kind == "input_error"
    assert told in failure.message


def test_a_history_may_end_with_the_assistant_where_the_model_goes_on_from_there() -> None:
    assert isinstance(of_history(user(block("review")), PAST, past=[HI]), Request)
    spaced = of_history(user(block("review")), PAST, past=[{"role": "assistant", "content": "Hi "}])
    assert isinstance(spaced, Failure)
    assert "ends in white space" in spaced.message


def test_what_the_user_says_in_a_later_turn_may_end_in_white_space() -> None:
    """Only a last message of the assistant may not; here the job has one, and the turn stands behind it."""
    begun = CompiledMessage("assistant", [block("review")])
    why = {"role": "user", "content": [text_block("Why?\n", None)]}
    assert isinstance(of_history(PAST, user(block("review")), begun, past=[HELLO], more=appended([why])), Request)


def test_a_document_of_a_history_that_only_the_api_sees_leaves_the_input_unbounded() -> None:
    document = {"type": "document", "source": {"type": "url", "url": "https://example.org/a.pdf"}}
    request = of_history(PAST, user(block("review")), past=[{"role": "user", "content": [document]}])
    assert isinstance(request, Request)
    assert request.input_bound is None


def test_a_prefill_that_a_row_ends_in_white_space_is_a_render_error() -> None:
    job = compiled(user(fixed("Label it.")), CompiledMessage("assistant", [block("review")]))
    assert isinstance(job.request(row("good")), Request)
    assert "review: a last message of the assistant ends in white space" in failure(job, row("good ")).message
