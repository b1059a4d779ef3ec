"""The calls on batches, against servers that misbehave on the wire."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from runner.providers import BatchPage, RemoteBatch
from runner.providers.upload import PIECE_BYTES, WrongSize
from runner.types import Failure
from support.idle_time import run_in_idle_time
from support.raw_server import Answer, Exchange, RawServer, reply, serve
from support.transports import connect

if TYPE_CHECKING:
    from support.transports import AnyProvider

pytestmark = pytest.mark.usefixtures("transport")

KEY = "sk-ant-api03-canary-canary"
BATCH: dict[str, Any] = {
    "id": "msgbatch_01",
    "type": "message_batch",
    "processing_status": "in_progress",
    "request_counts": {"processing": 2, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0},
    "created_at": "2026-11-22T10:00:00Z",
    "expires_at": "2026-11-23T10:00:00Z",
    "ended_at": None,
    "archived_at": None,
    "cancel_initiated_at": None,
    "results_url": "http://elsewhere.example/results",
}
BODY = json.dumps(BATCH).encode()
HTML = b"<html><title>Sign in</title></html>"

T = TypeVar("T")


@asynccontextmanager
async def provider_of(address: str, **changes: Any) -> AsyncIterator[AnyProvider]:
    environ = {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": address}
    provider = connect(environ, max_concurrency=4, **changes)
    try:
        yield provider
    finally:
        await provider.aclose()


def ask(
    answer: Answer, call: Callable[[AnyProvider], Awaitable[T]], *, read_body: bool = True, **changes: Any
) -> tuple[T, RawServer]:
    async def main() -> tuple[T, RawServer]:
        async with (
            asyncio.timeout(60),
            serve(answer, read_body=read_body) as server,
            provider_of(server.address, **changes) as provider,
        ):
            return await call(provider), server

    return run_in_idle_time(main())


class Chunks:
    """A body in chunks; `pulled` counts them, `raising` comes instead of the chunk at that place."""

    def __init__(self, count: int = 3, size: int = 10, *, raising: tuple[int, BaseException] | None = None) -> None:
        self.chunks = [bytes([97 + number % 26]) * size for number in range(count)]
        self.raising = raising
        self.pulled = 0

    @property
    def size_bytes(self) -> int:
        return sum(map(len, self.chunks))

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for number, chunk in enumerate(self.chunks):
            if self.raising is not None and self.raising[0] == number:
                raise self.raising[1]
            self.pulled += 1
            yield chunk


def create(chunks: Chunks, **changes: Any) -> Callable[[AnyProvider], Awaitable[RemoteBatch | Failure]]:
    async def call(provider: AnyProvider) -> RemoteBatch | Failure:
        return await provider.create_batch(chunks, changes.get("size_bytes", chunks.size_bytes), ("one-1", "two-2"))

    return call


def created(answer: Answer, chunks: Chunks | None = None, **changes: Any) -> tuple[RemoteBatch | Failure, RawServer]:
    return ask(answer, create(chunks or Chunks()), **changes)


def failed(answer: object) -> Failure:
    assert isinstance(answer, Failure), answer
    assert KEY not in answer.message
    return answer


# -- create ------------------------------------------------------------------------------------------------------------


def test_a_batch_is_posted_with_its_length_as_it_was_prepared() -> None:
    chunks = Chunks()
    batch, server = created(reply(BODY), chunks)
    assert isinstance(batch, RemoteBatch)
    assert (batch.batch_id, batch.status, batch.requests) == ("msgbatch_01", "in_progress", 2)
    (request,) = server.requests
    assert request.line == "POST /v1/messages/batches HTTP/1.1"
    assert request.body == b"".join(chunks.chunks)
    assert request.headers["content-length"] == "30"
    assert "transfer-encoding" not in request.headers
    assert request.headers["content-type"] == "application/json"
    assert request.headers["anthropic-beta"] == "one-1,two-2"
    assert request.headers["authorization"] == f"Bearer {KEY}"


def test_chunks_are_pulled_as_the_server_takes_them() -> None:
    """What is ahead of the server is what the kernel and one piece hold, not the body."""
    chunks = Chunks(400, 100_000)
    ahead: list[int] = []

    async def answer(exchange: Exchange) -> None:
        left = chunks.size_bytes
        while left:
            left -= len(await exchange.reader.read(left))
            ahead.append(chunks.pulled * 100_000 - (chunks.size_bytes - left))
        await reply(BODY)(exchange)

    async def slow(exchange: Exchange) -> None:
        await asyncio.sleep(0.3)
        ahead.append(chunks.pulled * 100_000)
        await answer(exchange)

    batch, _ = created(slow, chunks, read_body=False)
    assert isinstance(batch, RemoteBatch)
    assert max(ahead) < 16_000_000, "loopback's own buffers hold some megabytes"
    assert chunks.pulled == 400


async def _reset(exchange: Exchange) -> None:
    exchange.reset()


async def _close(exchange: Exchange) -> None:
    exchange.writer.close()


async def _reset_in_the_head(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\ncontent-type: applic")
    exchange.reset()


async def _reset_in_the_body(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{")
    await asyncio.sleep(0.05)
    exchange.reset()


async def _silent(_exchange: Exchange) -> None:
    await asyncio.sleep(30)


async def _trickle(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nx-slow: ")
    while True:
        await exchange.send(b"a")
        await asyncio.sleep(0.02)


def _changed(**changes: Any) -> bytes:
    return json.dumps(BATCH | changes).encode()


LOST = [
    pytest.param(_reset, id="reset"),
    pytest.param(_close, id="closed"),
    pytest.param(_reset_in_the_head, id="reset in the head"),
    pytest.param(_reset_in_the_body, id="reset in the body"),
    pytest.param(_silent, id="silence"),
    pytest.param(_trickle, id="a trickle"),
    pytest.param(reply(b"bad gateway", status="502 Bad Gateway", content_type="text/html"), id="502"),
    pytest.param(reply(b'{"type":"error","error":{"type":"api_error","message":"x"}}', status="500 x"), id="500"),
    pytest.param(reply(b"", status="408 x"), id="408"),
    pytest.param(reply(b'{"type":"error","error":{"type":"conflict_error","message":"x"}}', status="409 x"), id="409"),
    pytest.param(reply(b"", status="302 Found", location="/v1/messages/batches"), id="a redirect"),
    pytest.param(reply(HTML, content_type="text/html"), id="html"),
    pytest.param(reply(HTML), id="html that claims to be JSON"),
    pytest.param(reply(BODY, content_type="text/plain"), id="a wrong type"),
    pytest.param(reply(BODY, content_type=None), id="no type"),
    pytest.param(reply(BODY[:-20], length=len(BODY)), id="half, with a length"),
    pytest.param(reply(BODY[:-20], length=None), id="half, without a length"),
    pytest.param(reply(b""), id="nothing"),
    pytest.param(reply(b'"a text"'), id="a str"),
    pytest.param(reply(b"[" * 200_000), id="nested without end"),
    pytest.param(reply(_changed(type="message")), id="another object"),
    pytest.param(reply(_changed(id=7)), id="an id that is no text"),
    pytest.param(reply(_changed(id="../x")), id="an id that is a path"),
    pytest.param(reply(_changed(processing_status="paused")), id="an unknown status"),
    pytest.param(reply(_changed(request_counts={"processing": 1})), id="missing counts"),
    pytest.param(reply(_changed(created_at="yesterday")), id="no time"),
    pytest.param(reply(b"\x1f\x8b broken", content_encoding="gzip"), id="broken gzip"),
]


@pytest.mark.parametrize("answer", LOST)
def test_a_lost_or_unreadable_answer_may_hide_a_batch(answer: Answer) -> None:
    outcome, server = created(answer, deadline_s=0.5)
    failure = failed(outcome)
    assert (failure.may_be_billed, failure.retryable, failure.scope) == (True, True, "row")
    assert len(server.requests) == 1, "it is sent once"


@pytest.mark.parametrize(
    ("status", "kind", "scope"),
    [
        (400, "invalid_request_error", "row"),
        (401, "authentication_error", "job"),
        (403, "permission_error", "job"),
        (404, "not_found_error", "job"),
        (413, "too_large", "row"),
        (422, "invalid_request_error", "row"),
        (429, "rate_limit_error", "row"),
    ],
)
@pytest.mark.parametrize("early", [False, True], ids=["after the body", "in the middle of the body"])
def test_a_refusal_is_clean(status: int, kind: str, scope: str, early: bool) -> None:
    name = "request_too_large" if kind == "too_large" else kind
    body = json.dumps({"type": "error", "error": {"type": name, "message": "no"}}).encode()
    refuse = reply(body, status=f"{status} no", retry_after="7")
    chunks = Chunks(400, 100_000) if early else Chunks()

    async def early_refusal(exchange: Exchange) -> None:
        await exchange.reader.read(1_000)
        await refuse(exchange)
        await asyncio.sleep(0.3)  # the rest is never read, and the connection is not closed at once

    outcome, _ = created(early_refusal if early else refuse, chunks, read_body=not early)
    failure = failed(outcome)
    assert (failure.http_status, failure.kind, failure.scope) == (status, kind, scope)
    assert not failure.may_be_billed
    assert failure.retry_after_s == (7 if status == 429 else None)
    if early:
        assert chunks.pulled < 400, "nothing more is pulled once the answer is known"


def test_a_server_that_refuses_and_hangs_up_is_a_refusal_or_a_broken_pipe_but_buys_nothing() -> None:
    """With the answer in the same moment as the reset, the kernel may drop it: then the broken connection is told."""
    for _ in range(5):
        chunks = Chunks(400, 100_000)

        async def answer(exchange: Exchange) -> None:
            await reply(b"{}", status="413 no")(exchange)

        outcome, _ = created(answer, chunks, read_body=False)
        failure = failed(outcome)
        assert failure.kind in {"too_large", "connection_error"}
        assert not failure.may_be_billed
        assert chunks.pulled < 400


@pytest.mark.parametrize("answer", [_reset, _silent])
def test_an_upload_that_breaks_off_or_stands_still_buys_nothing(answer: Answer) -> None:
    chunks = Chunks(400, 100_000)
    outcome, _ = created(answer, chunks, read_body=False, stall_s=0.3)
    failure = failed(outcome)
    assert failure.kind == ("timeout" if answer is _silent else "connection_error")
    assert (failure.may_be_billed, failure.retryable) == (False, True)
    assert chunks.pulled < 400


def test_the_time_that_the_source_takes_is_not_a_stall() -> None:
    class Slow(Chunks):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            async for chunk in super().__aiter__():
                await asyncio.sleep(0.15)
                yield chunk

    batch, _ = created(reply(BODY), Slow(), stall_s=0.1)
    assert isinstance(batch, RemoteBatch)


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("error", [RuntimeError("row 7"), OSError(28, "disk full"), TimeoutError("the writer")])
def test_what_the_chunks_raise_is_raised_and_nothing_follows(place: int, error: Exception) -> None:
    got: list[bytes] = []
    over = asyncio.Event()

    async def answer(exchange: Exchange) -> None:
        got.append(await exchange.reader.read())
        over.set()

    async def call(provider: AnyProvider) -> BaseException:
        chunks = Chunks(raising=(place, error))
        try:
            await provider.create_batch(chunks, chunks.size_bytes)
        except Exception as raised:  # noqa: BLE001
            if place:
                await asyncio.wait_for(over.wait(), 5)
            return raised
        raise AssertionError("it was not raised")

    raised, _ = ask(answer, call, read_body=False)
    assert raised is error
    assert b"".join(got) == (b"a" * 10 + b"b" * 10)[: place * 10]


@pytest.mark.parametrize("said", [29, 31])
def test_a_body_of_another_size_is_a_mistake_that_is_told(said: int) -> None:
    with pytest.raises(WrongSize, match="30" if said == 31 else "29"):
        ask(reply(BODY), create(Chunks(), size_bytes=said), read_body=False)


def test_large_chunks_are_sent_in_pieces() -> None:
    chunks = Chunks(1, 3 * PIECE_BYTES + 1)
    batch, server = created(reply(BODY), chunks)
    assert isinstance(batch, RemoteBatch)
    assert server.requests[0].body == chunks.chunks[0]


def test_where_no_connection_stood_nothing_was_sent() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]

    async def main(address: str) -> RemoteBatch | Failure:
        async with provider_of(address) as provider:
            return await create(Chunks())(provider)

    async def tls() -> RemoteBatch | Failure:
        async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
            return await main(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}")

    for outcome in (
        asyncio.run(main(f"http://127.0.0.1:{port}")),
        asyncio.run(tls()),
    ):
        failure = failed(outcome)
        assert (failure.may_be_billed, failure.retryable, failure.http_status) == (False, True, None)


def test_a_create_that_is_cancelled_pulls_no_more() -> None:
    async def call(provider: AnyProvider) -> int:
        chunks = Chunks(400, 100_000)
        task = asyncio.create_task(provider.create_batch(chunks, chunks.size_bytes))
        async with asyncio.timeout(60):
            while not chunks.pulled:  # noqa: ASYNC110 - the source tells nobody when it is asked
                await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        pulled = chunks.pulled
        await asyncio.sleep(0.05)
        assert chunks.pulled == pulled
        return pulled

    pulled, _ = ask(_silent, call, read_body=False)
    assert 0 < pulled < 400


def test_a_source_that_is_being_waited_for_can_be_closed_when_its_create_is_cancelled() -> None:
    closed: list[bool] = []

    async def source() -> AsyncGenerator[bytes, None]:
        try:
            yield b"a"
            await asyncio.sleep(30)
        finally:
            closed.append(True)

    async def call(provider: AnyProvider) -> None:
        async def create_and_close() -> None:
            async with aclosing(source()) as chunks:
                await provider.create_batch(chunks, 2)

        task = asyncio.create_task(create_and_close())
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert closed == [True]

    ask(_silent, call, read_body=False)


def test_a_create_has_a_connection_of_its_own() -> None:
    """This server closes each connection after one answer without saying so."""

    async def answer(exchange: Exchange) -> None:
        await exchange.send(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY
        )
        await asyncio.sleep(0.05)

    async def call(provider: AnyProvider) -> list[object]:
        chunks = Chunks(1)
        return [
            await provider.retrieve_batch("msgbatch_01"),
            await provider.create_batch(chunks, 10),
            await provider.create_batch(chunks, 10),
        ]

    answers, _ = ask(answer, call)
    assert all(isinstance(answer, RemoteBatch) for answer in answers), answers


# -- questions ---------------------------------------------------------------------------------------------------------

QUESTIONS: list[Any] = [
    pytest.param(lambda provider: provider.retrieve_batch("msgbatch_01"), id="retrieve"),
    pytest.param(lambda provider: provider.cancel_batch("msgbatch_01"), id="cancel"),
    pytest.param(lambda provider: provider.list_batches(), id="list"),
]


def test_questions_go_to_their_paths() -> None:
    async def call(provider: AnyProvider) -> tuple[Any, Any, Any, Any]:
        return (
            await provider.retrieve_batch("msgbatch_01"),
            await provider.cancel_batch("msgbatch_01"),
            await provider.list_batches(),
            await provider.list_batches(after_id="a b", limit=3),
        )

    async def answer(exchange: Exchange) -> None:
        page = json.dumps({"data": [BATCH], "has_more": True, "first_id": "x", "last_id": "y"}).encode()
        await reply(page if exchange.line.startswith("GET /v1/messages/batches?") else BODY)(exchange)

    (batch, canceled, page, _), server = ask(answer, call)
    assert batch == canceled == page.batches[0]
    assert isinstance(page, BatchPage)
    assert page.has_more
    assert [request.line for request in server.requests] == [
        "GET /v1/messages/batches/msgbatch_01 HTTP/1.1",
        "POST /v1/messages/batches/msgbatch_01/cancel HTTP/1.1",
        "GET /v1/messages/batches?limit=100 HTTP/1.1",
        "GET /v1/messages/batches?limit=3&after_id=a+b HTTP/1.1",
    ]


TOLD = [param for param in LOST if param.id not in {"a wrong type", "no type"}]
"""A question's answer need not say its type."""


@pytest.mark.parametrize("answer", TOLD)
def test_a_question_without_a_good_answer_is_a_failure(answer: Answer) -> None:
    _check_question(answer, QUESTIONS[0].values[0])


@pytest.mark.parametrize("call", QUESTIONS[1:])
def test_so_is_any_other_question(call: Any) -> None:
    for answer in (_reset, _silent, reply(HTML), reply(b"{}", status="500 x"), reply(b"{}")):
        _check_question(answer, call)


def _check_question(answer: Answer, call: Any) -> None:
    outcome, _ = ask(answer, call, deadline_s=0.3)
    failure = failed(outcome)
    assert (failure.may_be_billed, failure.retryable, failure.scope) == (False, True, "row")


@pytest.mark.parametrize("call", QUESTIONS[:2])
def test_a_batch_that_is_not_found_is_no_verdict_on_the_job(call: Any) -> None:
    body = b'{"type":"error","error":{"type":"not_found_error","message":"no such batch"},"request_id":"req_1"}'
    outcome, _ = ask(reply(body, status="404 x"), call)
    failure = failed(outcome)
    assert (failure.http_status, failure.kind, failure.scope, failure.may_be_billed) == (
        404,
        "not_found_error",
        "row",
        False,
    )


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("call", QUESTIONS)
def test_a_refused_key_is_the_jobs(call: Any, status: int) -> None:
    kind = "authentication_error" if status == 401 else "permission_error"
    body = json.dumps({"type": "error", "error": {"type": kind, "message": f"key {KEY}"}}).encode()
    outcome, _ = ask(reply(body, status=f"{status} x"), call)
    assert (failed(outcome).scope, failed(outcome).http_status) == ("job", status)


@pytest.mark.parametrize("batch_id", ["", "..", "a/b", "a?b", "é"])
def test_what_is_no_id_makes_no_address(batch_id: str) -> None:
    with pytest.raises(ValueError, match="not the id of a batch"):
        ask(reply(BODY), lambda provider: provider.retrieve_batch(batch_id))
