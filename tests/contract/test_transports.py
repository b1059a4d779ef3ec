"""Both transports against servers that misbehave, or lead elsewhere: what one does the other does."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from runner.errors import SetupError
from runner.providers import Sent
from runner.providers.arrival import MAX_UNSTREAMED_TOKENS
from runner.testing.providers import sample_request
from runner.types import Failure, Request
from support.engine_fakes import body_of
from support.raw_server import Answer, Exchange, RawServer, reply, serve
from support.transports import connect

if TYPE_CHECKING:
    from support.transports import AnyProvider

pytestmark = pytest.mark.usefixtures("transport")

KEY = "sk-ant-api03-canary-canary"
MESSAGE = body_of("hello")
STREAM = b"".join(
    b"data: %s\n\n" % json.dumps(event).encode()
    for event in (
        {"type": "message_start", "message": json.loads(body_of()) | {"content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hello"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
    )
)


@asynccontextmanager
async def provider_of(server: RawServer, **changes: Any) -> AsyncIterator[AnyProvider]:
    environ = {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": server.address}
    provider = connect(environ, max_concurrency=4, **changes)
    try:
        yield provider
    finally:
        await provider.aclose()


def try_once(
    answer: Answer, request: Request | None = None, *, streamed: bool = False, **changes: Any
) -> tuple[Sent, list[Exchange], int]:
    """One send against one answer: what came back, what the server got, how often the reply was said to have begun."""

    async def main() -> tuple[Sent, list[Exchange], int]:
        begun: list[bool] = []
        async with serve(answer) as server, provider_of(server, **changes) as provider:
            on_begin = (lambda: begun.append(True)) if streamed else None
            sent = await provider.send(request or sample_request(), on_begin=on_begin)
            return sent, server.requests, len(begun)

    return asyncio.run(main())


def failure_of(sent: Sent) -> Failure:
    assert sent.reply is None
    assert sent.failure is not None
    assert sent.body == b""
    return sent.failure


def test_the_requests_bytes_leave_as_they_were_prepared_and_the_replys_are_kept() -> None:
    body = '{"model": "m",  "max_tokens":5,"messages":[{"role":"user","content":"é 🙂 \\u00e9 1.50"}]}'.encode()
    request = Request(b"h" * 32, b"", body, "m", 5, 10, betas=("one-1", "two-2"))
    answered = b" " + MESSAGE + b"\n"
    sent, requests, _ = try_once(reply(answered, request_id="req_7", x_odd="1"), request)
    assert requests[0].body == body
    assert requests[0].line == "POST /v1/messages HTTP/1.1"
    assert requests[0].headers["anthropic-beta"] == "one-1,two-2"
    assert requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert sent.body == answered
    assert sent.reply is not None
    assert (sent.request_id, sent.reply.request_id) == ("req_7", "req_7")
    assert sent.headers is not None
    assert sent.headers["x-odd"] == "1"


def test_a_compressed_reply_is_read() -> None:
    sent, _, _ = try_once(reply(gzip.compress(MESSAGE), content_encoding="gzip"))
    assert sent.body == MESSAGE


def test_a_streamed_request_is_the_same_bytes_with_stream_set_and_gives_the_same_message() -> None:
    sent, requests, begun = try_once(reply(STREAM, content_type="text/event-stream; charset=utf-8"), streamed=True)
    assert begun == 1
    assert json.loads(requests[0].body) == {**json.loads(sample_request().body), "stream": True}
    assert requests[0].body.startswith(sample_request().body[:-1])
    assert json.loads(sent.body) == json.loads(MESSAGE)


def test_what_may_be_long_is_streamed_without_being_asked() -> None:
    for max_tokens, streams in ((MAX_UNSTREAMED_TOKENS, False), (MAX_UNSTREAMED_TOKENS + 1, True)):
        answer = reply(STREAM, content_type="text/event-stream") if streams else reply(MESSAGE)
        sent, requests, _ = try_once(answer, sample_request(max_tokens=max_tokens))
        assert sent.reply is not None
        assert ("stream" in json.loads(requests[0].body)) == streams


def test_a_gateway_that_does_not_stream_is_understood() -> None:
    sent, _, begun = try_once(reply(MESSAGE), streamed=True)
    assert sent.body == MESSAGE
    assert begun == 1


HTML = b"<html><title>Sign in</title></html>"


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(reply(HTML, content_type="text/html"), id="a login page"),
        pytest.param(reply(HTML), id="a page that claims to be JSON"),
        pytest.param(reply(MESSAGE, content_type="text/plain"), id="a wrong content type"),
        pytest.param(reply(MESSAGE, content_type=None), id="no content type"),
        pytest.param(reply(b""), id="an empty body"),
        pytest.param(reply(b"", status="204 No Content", content_type=None, length=None), id="no body at all"),
        pytest.param(reply(MESSAGE[:-40], length=None), id="cut off, without a length"),
        pytest.param(reply(MESSAGE[:-40], length=len(MESSAGE)), id="cut off, with a length"),
        pytest.param(reply(b"null"), id="null"),
        pytest.param(reply(b"[" * 200_000), id="nested without end"),
        pytest.param(reply(b'{"type":"message"}'), id="a message without content"),
        pytest.param(reply(MESSAGE.replace(b'"output_tokens":5', b'"output_tokens":"5"')), id="a count that is a text"),
        pytest.param(reply(MESSAGE.replace(b'"output_tokens":5', b'"output_tokens":-5')), id="a negative count"),
        pytest.param(reply(MESSAGE.replace(b"10", b"NaN")), id="NaN"),
        pytest.param(reply(b"\x1f\x8b broken", content_encoding="gzip"), id="broken gzip"),
        pytest.param(reply(b"", content_type="text/event-stream"), id="an empty stream"),
        pytest.param(reply(STREAM[:-30], content_type="text/event-stream"), id="a stream without its end"),
        pytest.param(reply(STREAM[:400], content_type="text/event-stream", length=5_000), id="a stream cut off"),
    ],
)
def test_a_200_that_is_no_message_is_a_failure_that_may_be_billed(answer: Answer, streamed: bool) -> None:
    sent, _, _ = try_once(answer, streamed=streamed)
    failure = failure_of(sent)
    assert (failure.kind, failure.retryable, failure.may_be_billed, failure.scope) == (
        "connection_error",
        True,
        True,
        "row",
    )


def test_a_reply_cut_inside_an_emoji_is_read() -> None:
    sent, _, _ = try_once(reply(body_of("half \\ud83d")))
    assert sent.reply is not None
    assert sent.reply.content[0]["text"] == "half \ud83d"


def test_a_message_without_content_blocks_is_a_reply_for_the_judge() -> None:
    sent, _, _ = try_once(reply(MESSAGE.replace(b'[{"type":"text","text":"hello"}]', b"[]")))
    assert sent.reply is not None
    assert sent.reply.content == []
    assert sent.reply.usage.output_tokens == 5


async def _reset_at_once(exchange: Exchange) -> None:
    exchange.reset()


async def _close_at_once(exchange: Exchange) -> None:
    exchange.writer.close()


async def _reset_in_the_head(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\ncontent-type: applic")
    exchange.reset()


async def _reset_in_the_body(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{")
    await asyncio.sleep(0.05)
    exchange.reset()


async def _reset_in_the_stream(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + STREAM[:500])
    await asyncio.sleep(0.05)
    exchange.reset()


async def _no_http(exchange: Exchange) -> None:
    await exchange.send(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    "answer", [_reset_at_once, _close_at_once, _reset_in_the_head, _reset_in_the_body, _reset_in_the_stream, _no_http]
)
def test_a_lost_answer_is_one_try_that_may_be_billed(answer: Answer, streamed: bool) -> None:
    sent, requests, _ = try_once(answer, streamed=streamed)
    failure = failure_of(sent)
    assert (failure.kind, failure.retryable, failure.may_be_billed) == ("connection_error", True, True)
    assert len(requests) == 1


async def _silence(_exchange: Exchange) -> None:
    await asyncio.sleep(60)


async def _half_silence(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{")
    await asyncio.sleep(60)


async def _drip(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + STREAM[:400])
    while True:
        await exchange.send(b": drip\n")
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("answer", [_silence, _half_silence, _drip])
def test_no_attempt_outlives_its_deadline(answer: Answer, streamed: bool) -> None:
    sent, _, _ = try_once(answer, sample_request(max_tokens=1), streamed=streamed, deadline_s=0.3)
    failure = failure_of(sent)
    assert (failure.kind, failure.retryable, failure.may_be_billed) == ("timeout", True, True)
    assert failure.message == "no complete reply within 0.3 s"


def _unused_address() -> str:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{sock.getsockname()[1]}"


def test_a_server_that_is_not_there_was_sent_nothing() -> None:
    async def main() -> Sent:
        async with provider_of(RawServer(_unused_address())) as provider:
            return await provider.send(sample_request())

    failure = failure_of(asyncio.run(main()))
    assert (failure.kind, failure.retryable, failure.may_be_billed) == ("connection_error", True, False)


def test_a_server_without_tls_was_sent_nothing() -> None:
    async def answer_in_the_clear(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    async def main() -> Sent:
        async with await asyncio.start_server(answer_in_the_clear, "127.0.0.1", 0) as server:
            address = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            async with provider_of(RawServer(address)) as provider:
                return await provider.send(sample_request())

    failure = failure_of(asyncio.run(main()))
    assert (failure.kind, failure.may_be_billed) == ("connection_error", False)


def _error(kind: str, message: str) -> bytes:
    return json.dumps({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_b"}).encode()


def test_an_error_reply_is_read_with_its_headers_and_not_tried_again() -> None:
    answer = reply(_error("rate_limit_error", "slow"), status="429 Too Many", retry_after="7", request_id="req_h")
    for streamed in (False, True):
        sent, requests, begun = try_once(answer, streamed=streamed)
        failure = failure_of(sent)
        assert (failure.kind, failure.retry_after_s, failure.request_id) == ("rate_limit_error", 7.0, "req_h")
        assert sent.headers is not None
        assert sent.headers["retry-after"] == "7"
        assert (len(requests), begun) == (1, 0)


def test_an_error_inside_a_stream_is_mapped_by_its_type() -> None:
    data = (
        STREAM[:420].rpartition(b"\n\n")[0] + b"\n\nevent: error\ndata: " + _error("overloaded_error", "busy") + b"\n\n"
    )
    sent, _, begun = try_once(reply(data, content_type="text/event-stream"), streamed=True)
    failure = failure_of(sent)
    assert (failure.kind, failure.retryable, failure.may_be_billed, failure.message) == (
        "overloaded_error",
        True,
        True,
        "busy",
    )
    assert begun == 1


def test_no_failure_shows_the_key() -> None:
    for answer in (
        reply(_error("authentication_error", f"bad key {KEY}"), status="401 No"),
        reply(KEY.encode(), content_type="text/html"),
        reply(KEY.encode(), status="502 Bad"),
    ):
        assert "canary" not in failure_of(try_once(answer)[0]).message


def test_what_a_caller_does_wrong_is_a_bug_and_raises() -> None:
    async def main() -> None:
        async with serve(reply(STREAM, content_type="text/event-stream")) as server, provider_of(server) as provider:
            await provider.send(sample_request(), on_begin=lambda: 1 / 0)  # type: ignore[arg-type]

    with pytest.raises(ZeroDivisionError):
        asyncio.run(main())


def test_a_send_that_is_canceled_is_canceled() -> None:
    async def main() -> None:
        arrived = asyncio.Event()

        async def answer(exchange: Exchange) -> None:
            arrived.set()
            await _silence(exchange)

        async with serve(answer) as server, provider_of(server) as provider:
            task = asyncio.create_task(provider.send(sample_request()))
            await arrived.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())


def ask(answer: Answer, call: Callable[[AnyProvider], Awaitable[Any]], **changes: Any) -> tuple[Any, list[Exchange]]:
    async def main() -> tuple[Any, list[Exchange]]:
        async with serve(answer) as server, provider_of(server, **changes) as provider:
            return await call(provider), server.requests

    return asyncio.run(main())


def test_counting_sends_only_what_the_endpoint_takes() -> None:
    body = b'{"model":"m","max_tokens":9,"metadata":{},"messages":[],"system":"s","stop_sequences":[]}'
    request = Request(b"", b"", body, "m", 9, None, betas=("b-1",))
    counted, requests = ask(reply(b'{"input_tokens":42}'), lambda provider: provider.count_tokens(request))
    assert counted == 42
    assert json.loads(requests[0].body) == {"model": "m", "messages": [], "system": "s"}
    assert requests[0].line.startswith("POST /v1/messages/count_tokens ")
    assert requests[0].headers["anthropic-beta"] == "b-1"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(reply(b"{}"), id="an empty object"),
        pytest.param(reply(HTML), id="a page"),
        pytest.param(reply(b"[]"), id="a list"),
        pytest.param(reply(b"no", status="404 No"), id="not there"),
        _reset_at_once,
        _silence,
    ],
)
def test_questions_beside_the_messages_fail_as_values(answer: Answer) -> None:
    counted, _ = ask(answer, lambda provider: provider.count_tokens(sample_request()), deadline_s=0.3)
    assert isinstance(counted, Failure)
    listed, _ = ask(answer, lambda provider: provider.models(), deadline_s=0.3)
    assert isinstance(listed, Failure)


def test_models_are_read_page_by_page() -> None:
    async def answer(exchange: Exchange) -> None:
        second = "after_id=m-1" in exchange.line
        page = {
            "data": [{"id": "m-2" if second else "m-1"}],
            "has_more": not second,
            "last_id": "m-2" if second else "m-1",
        }
        await reply(json.dumps(page).encode())(exchange)

    listed, requests = ask(answer, lambda provider: provider.models())
    assert [model["id"] for model in listed] == ["m-1", "m-2"]
    assert len(requests) == 2


def test_a_list_of_models_that_never_ends_is_left() -> None:
    page = b'{"data":[{"id":"m"}],"has_more":true,"last_id":"m"}'
    listed, requests = ask(reply(page), lambda provider: provider.models())
    assert [model["id"] for model in listed] == ["m"]
    assert len(requests) == 2


def test_the_address_and_workspace_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(environ: dict[str, str]) -> tuple[str, str | None, str]:
        provider = connect(environ, max_concurrency=1)
        try:
            return provider.address, provider.workspace, repr(provider)
        finally:
            await provider.aclose()

    headers = "anthropic-workspace-id: wrkspc_1"
    environ = {
        "ANTHROPIC_API_KEY": KEY,
        "ANTHROPIC_BASE_URL": "https://gw.example/base/",
        "ANTHROPIC_CUSTOM_HEADERS": headers,
    }
    address, workspace, shown = asyncio.run(main(environ))
    assert (address, workspace) == ("https://gw.example/base", "wrkspc_1")
    assert "canary" not in shown
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "https://elsewhere.example")
    assert asyncio.run(main({"ANTHROPIC_API_KEY": KEY}))[0] == "https://api.anthropic.com"


def test_only_the_given_environment_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-of-the-process")
    monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", "X-Secret: of-the-process\nX-Both: process")
    assert "ANTHROPIC_CUSTOM_HEADERS" in os.environ

    async def main() -> Exchange:
        async with serve(reply(MESSAGE)) as server:
            environ = {"ANTHROPIC_AUTH_TOKEN": "token-given", "ANTHROPIC_BASE_URL": server.address}
            provider = connect({**environ, "ANTHROPIC_CUSTOM_HEADERS": "X-Both: given"}, max_concurrency=1)
            await provider.send(sample_request())
            await provider.aclose()
            return server.requests[0]

    seen = asyncio.run(main())
    assert seen.headers["authorization"] == "Bearer token-given"
    assert "x-secret" not in seen.headers
    assert seen.headers["x-both"] == "given"


def test_without_a_credential_nothing_is_connected(tmp_path: Any) -> None:
    with pytest.raises(SetupError) as caught:
        connect({"ANTHROPIC_CONFIG_DIR": str(tmp_path)}, max_concurrency=1)
    assert caught.value.code == "no-credentials"
