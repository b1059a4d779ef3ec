"""The stand-in's batch endpoints as the unmodified SDK sees them."""

from __future__ import annotations

import time  # noqa: TID251 - waits for another process
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import orjson
import pytest
from anthropic import Anthropic
from anthropic.types.messages import MessageBatch, MessageBatchIndividualResponse

from support.api import SimulatedApi, simulated_api

MODEL = "claude-haiku-5-5"
CANCEL_S = 60.0
"""How long a batch stays canceling, by the stand-in's clock, which is set forward."""
PATIENCE_S = 3.0
"""After which a client gives up on an answer that never comes. The stand-in must have had its turn by then."""
ENDED_WITHIN_S = 60.0


@pytest.fixture(scope="module")
def api_options() -> dict[str, Any]:
    return {
        "key": "*",
        "batch_latency": "10ms",
        "batch_cancel_s": CANCEL_S,
        "batch_queue": 400,
        "batch_start": "at_once",
    }


@pytest.fixture
def client(api: SimulatedApi) -> Iterator[Anthropic]:
    with client_of(api) as client:
        yield client


def client_of(api: SimulatedApi, key: str | None = None) -> Anthropic:
    return Anthropic(base_url=api.base_url, api_key=key or api.api_key, max_retries=0, timeout=20)


def ask(text: str, **params: Any) -> dict[str, Any]:
    return {"model": MODEL, "max_tokens": 500, "messages": [{"role": "user", "content": text}], **params}


def asks(count: int, prefix: str = "row") -> Any:
    return [{"custom_id": f"{prefix}-{index}", "params": ask(f"{prefix} {index}")} for index in range(count)]


def one(**params: Any) -> Any:
    return [{"custom_id": "only", "params": ask("A question.", **params)}]


def wait(client: Anthropic, batch_id: str) -> MessageBatch:
    give_up = time.monotonic() + ENDED_WITHIN_S
    while (batch := client.messages.batches.retrieve(batch_id)).processing_status != "ended":
        assert time.monotonic() < give_up, f"{batch_id} has not ended"
        time.sleep(0.01)
    return batch


def run(client: Anthropic, requests: Any) -> MessageBatch:
    return wait(client, client.messages.batches.create(requests=requests).id)


def results(client: Anthropic, batch: MessageBatch) -> dict[str, MessageBatchIndividualResponse]:
    return {result.custom_id: result for result in client.messages.batches.results(batch.id)}


def raw_results(api: SimulatedApi, batch: MessageBatch) -> httpx2.Response:
    assert batch.results_url is not None
    headers = {"x-api-key": api.api_key, "anthropic-version": "2026-10-21"}
    return httpx2.get(batch.results_url, headers=headers, timeout=20)


def ends(client: Anthropic, batch: MessageBatch) -> dict[str, str]:
    return {name: result.result.type for name, result in results(client, batch).items()}


def error_of(client: Anthropic, **params: Any) -> tuple[str, str]:
    result = results(client, run(client, one(**params)))["only"].result
    assert result.type == "errored"
    return result.error.error.type, result.error.error.message


# --- the life of a batch


def test_a_batch_is_created_retrieved_and_collected(api: SimulatedApi, client: Anthropic) -> None:
    created = client.messages.batches.create(requests=asks(150))
    assert created.id.startswith("msgbatch_")
    assert created.processing_status == "in_progress"
    assert created.request_counts.to_dict() == {
        "processing": 150, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0,
    }  # fmt: skip
    assert (created.results_url, created.ended_at, created.archived_at) == (None, None, None)
    assert created.expires_at - created.created_at == timedelta(hours=24)
    ended = wait(client, created.id)
    assert ended.request_counts.succeeded == 150
    assert ended.request_counts.processing == 0
    assert ended.ended_at is not None
    assert ended.ended_at >= ended.created_at
    order = [result.custom_id for result in client.messages.batches.results(created.id)]
    assert len(order) == 150
    assert set(order) == {f"row-{index}" for index in range(150)}
    assert order != [f"row-{index}" for index in range(150)]
    assert [batch["id"] for batch in api.batches()] == [created.id]


def test_each_request_gets_the_answer_that_it_gets_in_parallel_mode(api: SimulatedApi, client: Anthropic) -> None:
    single = client.messages.create(**ask("row 1"))
    result = results(client, run(client, asks(3)))["row-1"].result
    assert result.type == "succeeded"
    assert result.message.content == single.content
    assert result.message.usage.service_tier == "batch"
    modes = api.accounts()["modes"]
    per_mode = [modes[mode]["cost_pico"] for mode in ("parallel", "batch")]
    assert {entry["cost_pico"] for entry in api.requests() if entry["custom_id"] == "row-1"} == {per_mode[0] // 2}
    assert [entry["mode"] for entry in api.requests()] == ["parallel", "batch", "batch", "batch"]


def test_the_list_is_newest_first_and_paged_both_ways(client: Anthropic) -> None:
    ids = [client.messages.batches.create(requests=one()).id for _ in range(5)][::-1]
    first = client.messages.batches.list(limit=2)
    assert [batch.id for batch in first.data] == ids[:2]
    assert (first.has_more, first.first_id, first.last_id) == (True, ids[0], ids[1])
    assert [batch.id for batch in client.messages.batches.list(limit=2)] == ids
    assert [batch.id for batch in client.messages.batches.list(after_id=ids[3]).data] == ids[4:]
    before = client.messages.batches.list(limit=2, before_id=ids[3])
    assert [batch.id for batch in before.data] == ids[1:3]
    assert before.has_more


def test_an_empty_list_is_a_page_too(client: Anthropic) -> None:
    page = client.messages.batches.list()
    assert (page.data, page.has_more, page.first_id, page.last_id) == ([], False, None, None)


def test_another_workspace_sees_nothing(api: SimulatedApi, client: Anthropic) -> None:
    batch = run(client, one())
    with client_of(api, "another-key") as other:
        assert other.messages.batches.list().data == []
        for call in (other.messages.batches.retrieve, other.messages.batches.cancel, other.messages.batches.delete):
            with pytest.raises(anthropic.NotFoundError):
                call(batch.id)


def test_a_deleted_batch_is_gone(client: Anthropic) -> None:
    batch = run(client, one())
    deleted = client.messages.batches.delete(batch.id)
    assert (deleted.id, deleted.type) == (batch.id, "message_batch_deleted")
    with pytest.raises(anthropic.NotFoundError):
        client.messages.batches.retrieve(batch.id)
    assert client.messages.batches.list().data == []


def test_a_canceled_batch_keeps_what_was_done(api: SimulatedApi, client: Anthropic) -> None:
    api.fault("stuck", share=0.5)
    batch = client.messages.batches.create(requests=asks(40))
    canceling = client.messages.batches.cancel(batch.id)
    assert canceling.processing_status == "canceling"
    assert canceling.cancel_initiated_at is not None
    assert canceling.request_counts.processing == 40
    assert client.messages.batches.cancel(batch.id).processing_status == "canceling"
    api.advance(CANCEL_S)
    ended = wait(client, batch.id)
    counts = ended.request_counts
    assert counts.succeeded + counts.canceled == 40
    assert 0 < counts.succeeded < 40
    seen = list(ends(client, ended).values())
    assert (seen.count("succeeded"), seen.count("canceled")) == (counts.succeeded, counts.canceled)
    assert api.accounts()["requests"] == counts.succeeded


def test_a_batch_expires_after_a_day_and_is_archived_after_29(api: SimulatedApi, client: Anthropic) -> None:
    api.fault("slow", path="batch", seconds=25 * 3600)
    batch = client.messages.batches.create(requests=asks(200))
    assert client.messages.batches.retrieve(batch.id).processing_status == "in_progress"
    api.advance(24 * 3600)
    ended = wait(client, batch.id)
    counts = ended.request_counts
    assert counts.succeeded + counts.expired == 200
    assert 0 < counts.expired < 40
    assert counts.expired == list(ends(client, ended).values()).count("expired")
    assert api.accounts()["requests"] == counts.succeeded
    api.advance(28 * 24 * 3600 + 60)
    archived = client.messages.batches.retrieve(batch.id)
    assert archived.archived_at is not None
    assert archived.results_url is None
    with pytest.raises(anthropic.AnthropicError, match="results_url"):
        client.messages.batches.results(batch.id)
    assert raw_results(api, ended).status_code == 404


# --- refusals


@pytest.mark.parametrize(
    ("requests", "message"),
    [
        ([], "requests: List should have at least 1 item"),
        ([{"custom_id": "a"}], "requests.0.params: Field required"),
        ([{"params": {}}], "requests.0.custom_id: Field required"),
        ([{"custom_id": "a", "params": {}, "more": 1}], "requests.0.more: Extra inputs are not permitted"),
        ([{"custom_id": "a", "params": 1}], "requests.0.params: Input should be a valid dictionary"),
        ([{"custom_id": 1, "params": {}}], "requests.0.custom_id: Input should be a valid string"),
        ([*asks(2), {"custom_id": "x" * 65, "params": {}}], "requests.2.custom_id: String should have at most 64"),
        ([*asks(3), {"custom_id": "a b", "params": {}}], "requests.3.custom_id: String should match pattern"),
        ([{"custom_id": "a\n", "params": {}}], "requests.0.custom_id: String should match pattern"),
        ([{"custom_id": "", "params": {}}], "requests.0.custom_id: String should match pattern"),
        ([*asks(5), *asks(1)], "requests.5.custom_id: Value should be unique"),
        (["a"], "requests.0: Input should be a valid dictionary"),
        ("a", "requests: Input should be a valid list"),
    ],
)
def test_a_bad_envelope_is_refused_at_once(api: SimulatedApi, client: Anthropic, requests: Any, message: str) -> None:
    with pytest.raises(anthropic.BadRequestError) as caught:
        client.messages.batches.create(requests=requests)
    assert caught.value.type == "invalid_request_error"
    assert message in str(caught.value)
    assert api.batches() == []


def test_other_keys_and_other_json_are_refused(client: Anthropic) -> None:
    for body, message in (
        (b'{"requests":[],"model":"x"}', "model: Extra inputs"),
        (b"{}", "requests: Field required"),
        (b"[]", "valid dictionary"),
        (b'{"requests":[{"custom_id":"a","params":{}}]', "not valid JSON"),
        (b"", "not valid JSON"),
    ):
        with pytest.raises(anthropic.BadRequestError, match=message):
            client.post("/v1/messages/batches", content=body, cast_to=object)


def test_more_requests_than_a_batch_may_have_are_refused(client: Anthropic) -> None:
    body = b'{"requests":[' + b",".join(b'{"custom_id":"%d","params":{}}' % index for index in range(100_001)) + b"]}"
    with pytest.raises(anthropic.BadRequestError, match="at most 100000"):
        client.post("/v1/messages/batches", content=body, cast_to=object)


def test_a_body_that_is_too_large_is_refused(client: Anthropic) -> None:
    with pytest.raises(anthropic.APIStatusError) as caught:
        client.post("/v1/messages/batches", content=b" " * 256_000_001, cast_to=object)
    assert (caught.value.status_code, caught.value.type) == (413, "request_too_large")


def test_a_full_queue_is_a_rate_limit(api: SimulatedApi, client: Anthropic) -> None:
    api.fault("stuck", times=1)
    client.messages.batches.create(requests=asks(300))
    with pytest.raises(anthropic.RateLimitError):
        client.messages.batches.create(requests=asks(101))
    assert len(api.batches()) == 1
    assert api.end_batches() == 1
    wait(client, api.batches()[0]["id"])
    assert run(client, asks(101)).request_counts.succeeded == 101


def test_calls_that_come_too_early_or_too_late_are_refused(api: SimulatedApi, client: Anthropic) -> None:
    api.fault("stuck", times=1)
    batch = client.messages.batches.create(requests=one())
    with pytest.raises(anthropic.AnthropicError, match="results_url"):
        client.messages.batches.results(batch.id)
    with pytest.raises(anthropic.BadRequestError, match="cancel it first"):
        client.messages.batches.delete(batch.id)
    api.end_batches(batch.id)
    wait(client, batch.id)
    with pytest.raises(anthropic.BadRequestError, match="already ended"):
        client.messages.batches.cancel(batch.id)


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 1001}, {"after_id": "msgbatch_x"}, {"before_id": "x"}])
def test_a_bad_page_is_refused(client: Anthropic, query: dict[str, Any]) -> None:
    with pytest.raises(anthropic.BadRequestError):
        client.messages.batches.list(**query)


# --- params are checked later


@pytest.mark.parametrize(
    ("params", "kind", "message"),
    [
        ({"stream": True}, "invalid_request_error", "stream"),
        ({"max_tokens": 0}, "invalid_request_error", "max_tokens"),
        ({"speed": "fast", "model": "claude-opus-5"}, "invalid_request_error", "speed"),
        ({"temperature": 0.5}, "invalid_request_error", "temperature: Extra inputs"),
        ({"betas": ["x"]}, "invalid_request_error", "betas: Extra inputs"),
        ({"model": "claude-2"}, "not_found_error", "model: claude-2"),
        ({"messages": []}, "invalid_request_error", "messages"),
    ],
)
def test_bad_params_are_a_result(
    api: SimulatedApi, client: Anthropic, params: dict[str, Any], kind: str, message: str
) -> None:
    found = error_of(client, **params)
    assert found[0] == kind
    assert message in found[1]
    assert api.accounts()["requests"] == 0


def test_one_bad_request_among_many_alike_is_the_only_one_that_fails(client: Anthropic) -> None:
    system = [{"type": "text", "text": "A rule that everybody has to follow. " * 30}]
    requests = with_system(60, system)
    requests[40]["params"]["messages"][0]["content"] = " "
    requests[50]["params"]["max_tokens"] = -1
    seen = ends(client, run(client, requests))
    assert {name for name, end in seen.items() if end == "errored"} == {"r40", "r50"}


def test_a_long_output_needs_its_beta(client: Anthropic) -> None:
    assert error_of(client, max_tokens=200_000)[0] == "invalid_request_error"
    beta = {"anthropic-beta": "output-300k-2026-03-24"}
    batch = client.messages.batches.create(requests=one(max_tokens=200_000), extra_headers=beta)
    assert wait(client, batch.id).request_counts.succeeded == 1


def test_sampling_needs_the_older_version(client: Anthropic) -> None:
    older = {"anthropic-version": "2023-06-01"}
    batch = client.messages.batches.create(requests=one(temperature=0.5), extra_headers=older)
    assert wait(client, batch.id).request_counts.succeeded == 1


# --- the cache of batches


def cached(text: str, ttl: str = "1h") -> list[dict[str, Any]]:
    return [{"type": "text", "text": text * 100, "cache_control": {"type": "ephemeral", "ttl": ttl}}]


def usage_of(client: Anthropic, batch: MessageBatch) -> tuple[int, int]:
    """Requests that wrote, requests that read."""
    wrote = read = 0
    for result in results(client, batch).values():
        assert result.result.type == "succeeded"
        usage = result.result.message.usage
        wrote += (usage.cache_creation_input_tokens or 0) > 0
        read += (usage.cache_read_input_tokens or 0) > 0
    return wrote, read


def with_system(count: int, system: Any) -> Any:
    return [{"custom_id": f"r{index}", "params": ask(f"row {index}", system=system)} for index in range(count)]


def test_requests_of_one_batch_that_start_at_once_all_write_and_the_next_batch_reads(
    api: SimulatedApi, client: Anthropic
) -> None:
    system = cached("A rule that everybody has to follow. ")
    assert usage_of(client, run(client, with_system(20, system))) == (20, 0)
    assert usage_of(client, run(client, with_system(20, system))) == (0, 20)
    api.advance(3700)
    assert usage_of(client, run(client, with_system(2, system))) == (2, 0)


def test_batches_and_live_requests_do_not_share_a_cache(client: Anthropic) -> None:
    system: Any = cached("A rule that only some have to follow. ")
    client.messages.create(**ask("live", system=system))
    assert usage_of(client, run(client, with_system(1, system))) == (1, 0)
    other: Any = cached("A rule that nobody has to follow. ")
    run(client, with_system(1, other))
    assert client.messages.create(**ask("live", system=other)).usage.cache_read_input_tokens == 0


def test_staggered_requests_read_what_their_own_batch_has_written(tmp_path: Path) -> None:
    with simulated_api(tmp_path, batch_latency="0s", batch_hit_rate=0.8) as api, client_of(api) as client:
        wrote, read = usage_of(client, run(client, with_system(100, cached("A rule. " * 5))))
    assert wrote + read == 100
    assert 60 <= read <= 95


# --- lost replies to create


@pytest.mark.parametrize(
    "kind", ["reply_lost", "truncated", "reply_hangs", "reply_500", "reply_502", "reply_504", "reply_529", "reply_429"]
)
def test_a_create_whose_reply_is_lost_has_been_bought(api: SimulatedApi, client: Anthropic, kind: str) -> None:
    api.fault(kind, path="batch_create", times=1)
    with pytest.raises(anthropic.APIError):
        client.messages.batches.create(requests=asks(2), timeout=PATIENCE_S)
    [batch] = api.batches()
    assert (batch["fault"], batch["requests"]) == (kind, 2)
    assert [found.id for found in client.messages.batches.list()] == [batch["id"]]
    client.messages.batches.create(requests=asks(2))
    totals = api.accounts()
    assert (totals["batches"], totals["batch_requests"], totals["batches_repeated"]) == (2, 4, 1)


def test_a_reply_that_says_nothing_has_been_bought_too(api: SimulatedApi, client: Anthropic) -> None:
    api.fault("reply_html", times=1)
    page: object = client.messages.batches.create(requests=asks(1))
    assert isinstance(page, str)
    api.fault("reply_garbage", times=1)
    assert client.messages.batches.with_raw_response.create(requests=asks(2)).http_response.json() == {"accepted": True}
    assert len(api.batches()) == 2


@pytest.mark.parametrize("kind", ["reset", "hang", "500", "503", "529", "429", "reset_upload"])
def test_a_create_that_fails_before_it_is_accepted_has_not(api: SimulatedApi, client: Anthropic, kind: str) -> None:
    place = {} if kind == "reset_upload" else {"path": "batch_create"}
    api.fault(kind, times=1, **place)
    with pytest.raises(anthropic.APIError):
        client.messages.batches.create(requests=asks(50), timeout=PATIENCE_S)
    assert api.batches() == []
    assert run(client, asks(2)).request_counts.succeeded == 2


# --- batches that are seen wrongly


def test_a_batch_can_be_late_to_be_seen(api: SimulatedApi, client: Anthropic) -> None:
    api.fault("late_retrieve", seconds=30, times=1)
    api.fault("late_list", seconds=60, times=1)
    batch = client.messages.batches.create(requests=one())
    with pytest.raises(anthropic.NotFoundError):
        client.messages.batches.retrieve(batch.id)
    assert client.messages.batches.list().data == []
    api.advance(31)
    assert client.messages.batches.retrieve(batch.id).id == batch.id
    assert client.messages.batches.list().data == []
    api.advance(31)
    assert [found.id for found in client.messages.batches.list()] == [batch.id]


def test_results_can_be_late(api: SimulatedApi, client: Anthropic) -> None:
    api.fault("late_results", seconds=30, times=1)
    batch = run(client, one())
    with pytest.raises(anthropic.NotFoundError):
        client.messages.batches.results(batch.id)
    api.advance(31)
    assert set(results(client, batch)) == {"only"}


def test_a_stuck_batch_outlives_its_expiry_and_ends_when_canceled(api: SimulatedApi, client: Anthropic) -> None:
    api.fault("stuck", times=1)
    batch = client.messages.batches.create(requests=asks(4))
    api.advance(26 * 3600)
    assert client.messages.batches.retrieve(batch.id).processing_status == "in_progress"
    client.messages.batches.cancel(batch.id)
    api.advance(CANCEL_S)
    assert wait(client, batch.id).request_counts.processing == 0


def test_a_batch_can_stay_canceling(api: SimulatedApi, client: Anthropic) -> None:
    api.fault("stuck_canceling", times=1)
    batch = client.messages.batches.create(requests=asks(4))
    client.messages.batches.cancel(batch.id)
    api.advance(26 * 3600)
    assert client.messages.batches.retrieve(batch.id).processing_status == "canceling"
    api.end_batches(batch.id)
    assert wait(client, batch.id).request_counts.canceled > 0


def test_tallies_can_be_wrong(api: SimulatedApi, client: Anthropic) -> None:
    api.fault("bad_tallies", times=1)
    assert run(client, asks(3)).request_counts.succeeded == 4


def test_batches_of_somebody_else_are_in_the_list_and_nobody_here_pays(api: SimulatedApi, client: Anthropic) -> None:
    api.fault("decoys", times=1)
    mine = run(client, asks(3))
    listed = {batch.id: batch for batch in client.messages.batches.list()}
    others = [wait(client, batch_id) for batch_id in listed if batch_id != mine.id]
    assert sorted(batch.request_counts.succeeded for batch in others) == [3, 4]
    assert {batch.created_at for batch in others} == {mine.created_at}
    assert set(results(client, others[0])).isdisjoint(results(client, mine))
    assert (api.accounts()["requests"], len(api.batches())) == (3, 1)


def test_a_pager_can_loop(api: SimulatedApi, client: Anthropic) -> None:
    newest = [client.messages.batches.create(requests=one()).id for _ in range(3)][-1]
    api.fault("pager_loops")
    page = client.messages.batches.list(limit=1)
    assert [page.data[0].id, page.get_next_page().data[0].id, page.has_more] == [newest, newest, True]


# --- requests that end otherwise


@pytest.mark.parametrize(
    ("kind", "error_type"),
    [
        ("400", "invalid_request_error"),
        ("429", "rate_limit_error"),
        ("500", "api_error"),
        ("529", "overloaded_error"),
        ("billing_error", "billing_error"),
    ],
)
def test_a_request_can_be_errored_with_any_type(
    api: SimulatedApi, client: Anthropic, kind: str, error_type: str
) -> None:
    api.fault(kind, path="batch_row", text="row 2")
    seen = results(client, run(client, asks(4)))
    bad = seen.pop("row-2").result
    assert bad.type == "errored"
    assert bad.error.type == "error"
    assert (bad.error.error.type, bool(bad.error.request_id)) == (error_type, True)
    assert {result.result.type for result in seen.values()} == {"succeeded"}
    assert api.accounts()["requests"] == 3


@pytest.mark.parametrize(("kind", "billed"), [("expired", 0), ("canceled", 0), ("unknown_result", 1)])
def test_a_request_can_end_in_another_way(api: SimulatedApi, client: Anthropic, kind: str, billed: int) -> None:
    api.fault(kind, path="batch_row", times=1)
    batch = run(client, one())
    assert orjson.loads(raw_results(api, batch).content)["result"]["type"] == {"unknown_result": "paused_for_tea"}.get(
        kind, kind
    )
    assert api.accounts()["requests"] == billed


@pytest.mark.parametrize(
    ("kind", "stop_reason"),
    [
        ("refusal", "refusal"),
        ("max_tokens", "max_tokens"),
        ("pause_turn", "pause_turn"),
        ("unknown_stop", "paused_for_tea"),
    ],
)
def test_a_request_can_succeed_and_be_no_success(
    api: SimulatedApi, client: Anthropic, kind: str, stop_reason: str
) -> None:
    api.fault(kind, path="batch_row")
    result = results(client, run(client, one()))["only"].result
    assert result.type == "succeeded"
    assert result.message.stop_reason == stop_reason


def test_a_share_of_requests_is_struck_and_a_retry_is_a_new_draw(api: SimulatedApi, client: Anthropic) -> None:
    api.fault("529", path="batch_row", rate=0.2)
    first = ends(client, run(client, asks(200)))
    struck = {name for name, end in first.items() if end == "errored"}
    assert 20 <= len(struck) <= 60
    again = [request for request in asks(200) if request["custom_id"] in struck]
    second = ends(client, run(client, again))
    assert list(second.values()).count("succeeded") > 0


# --- results that do not arrive as they should


def fetch(api: SimulatedApi, client: Anthropic, kind: str, count: int = 5, **rule: Any) -> bytes:
    batch = run(client, asks(count))
    whole = raw_results(api, batch).content
    assert whole.count(b"\n") == count
    path = {} if kind.startswith("results_") else {"path": "batch_results"}
    api.fault(kind, times=1, **path, **rule)
    content = raw_results(api, batch).content
    assert raw_results(api, batch).content == whole
    return content


@pytest.mark.parametrize(
    "kind",
    [
        "results_cut",
        "results_cut_length",
        "results_cut_line",
        "results_cut_line_length",
        "results_reset",
        "reset",
        "reply_lost",
        "truncated",
    ],
)
def test_a_download_that_breaks_is_seen_to(api: SimulatedApi, client: Anthropic, kind: str) -> None:
    with pytest.raises(httpx2.TransportError):
        fetch(api, client, kind)


def test_only_a_whole_download_counts_as_delivered(api: SimulatedApi, client: Anthropic) -> None:
    fetched = run(client, asks(3))
    api.fault("results_short_line", times=1)
    raw_results(api, fetched)
    assert api.accounts()["delivered"] == 0
    raw_results(api, fetched)
    assert api.accounts()["delivered"] == 3


def test_a_download_can_end_early_and_look_whole(api: SimulatedApi, client: Anthropic) -> None:
    torn = fetch(api, client, "results_short")
    assert not torn.endswith(b"\n")
    at_line_end = fetch(api, client, "results_short_line")
    assert at_line_end.endswith(b"\n")
    assert 0 < at_line_end.count(b"\n") < 5


def test_lines_can_be_wrong_in_many_ways(api: SimulatedApi, client: Anthropic) -> None:
    def lines(kind: str, **rule: Any) -> list[bytes]:
        return fetch(api, client, kind, **rule).split(b"\n")[:-1]

    assert len(set(lines("results_doubled"))) == len(lines("results_doubled")) - 1 == 5
    doubled = [orjson.loads(line) for line in lines("results_conflict")]
    assert (len(doubled), len({line["custom_id"] for line in doubled})) == (6, 5)
    assert len(lines("results_missing", lines=2)) == 3
    unknown = {orjson.loads(line)["custom_id"] for line in lines("results_unknown_ids")}
    assert (len(unknown), sum(name.startswith("unknown-row") for name in unknown)) == (6, 1)
    assert len([line for line in lines("results_blank_lines") if not line.strip()]) == 3
    assert all(line.endswith(b"}\r") for line in lines("results_crlf"))
    assert sum(b'"score":NaN}' in line for line in lines("results_nan")) == 1
    assert sum(b"\xff\xfe" in line for line in lines("results_bad_utf8")) == 1
    assert sum(rb'"text":"\ud83d' in line for line in lines("results_surrogate")) == 1
    assert max(map(len, lines("results_long_line", size=3_000_000))) > 3_000_000
    broken = [line for line in lines("results_not_json") if not line.endswith(b"}")]
    assert len(broken) == 1
    types = [orjson.loads(line)["result"]["type"] for line in lines("results_unknown_type")]
    assert types.count("deferred") == 1


def test_content_types_can_be_wrong(api: SimulatedApi, client: Anthropic) -> None:
    batch = run(client, one())

    def content_type() -> str | None:
        return raw_results(api, batch).headers.get("content-type")

    assert content_type() == "application/x-jsonl"
    api.fault("results_no_type", times=1)
    assert content_type() is None
    api.fault("wrong_type", path="batch_results", times=1)
    assert (content_type() or "").startswith("text/plain")
    api.fault("html", path="batch_results", times=1)
    assert (content_type() or "").startswith("text/html")


@pytest.mark.parametrize("place", ["batch_retrieve", "batch_list", "batch_results", "batch_cancel", "batch_delete"])
def test_every_call_can_fail(api: SimulatedApi, client: Anthropic, place: str) -> None:
    batch = run(client, one())
    calls: dict[str, Callable[[], object]] = {
        "batch_retrieve": lambda: client.messages.batches.retrieve(batch.id),
        "batch_list": client.messages.batches.list,
        "batch_results": lambda: client.messages.batches.results(batch.id),
        "batch_cancel": lambda: client.messages.batches.cancel(batch.id),
        "batch_delete": lambda: client.messages.batches.delete(batch.id),
    }
    api.fault("503", path=place, times=1)
    with pytest.raises(anthropic.ServiceUnavailableError):
        calls[place]()
