"""Both transports against servers that misbehave, or lead elsewhere: what one does the other does."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from runner.catalog.api import API_VERSION
from runner.errors import SetupError
from runner.providers import Sent
from runner.providers.arrival import MAX_UNSTREAMED_TOKENS
from runner.testing.providers import sample_request
from runner.types import Failure, Request
from support.engine_fakes import body_of
from support.idle_time import run_in_idle_time
from support.loopback_tls import authority_file, server_context
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

    return run_in_idle_time(main())


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

    return run_in_idle_time(main())


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


# -- who is spoken to --------------------------------------------------------------------------------------------------


def send_to(address: str, **environ: str) -> Sent:
    """One send to an address, with this environment besides."""

    async def main() -> Sent:
        provider = connect({"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": address, **environ}, max_concurrency=4)
        try:
            return await provider.send(sample_request())
        finally:
            await provider.aclose()

    return asyncio.run(main())


async def _send_over_tls(tmp_path: Path, *, name: str = "localhost") -> tuple[Sent, RawServer]:
    async with serve(reply(MESSAGE), tls=server_context(tmp_path)) as server:
        address = server.address.replace("localhost", name)
        async with provider_of(RawServer(address)) as provider:
            return await provider.send(sample_request()), server


def test_a_certificate_is_checked_against_ssl_cert_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority_file(tmp_path)))
    sent, server = asyncio.run(_send_over_tls(tmp_path))
    assert sent.body == MESSAGE
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"


def test_an_authority_that_is_not_known_gets_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    sent, server = asyncio.run(_send_over_tls(tmp_path))
    failure = failure_of(sent)
    assert (failure.kind, failure.retryable, failure.may_be_billed) == ("connection_error", True, False)
    assert server.requests == []


def test_a_certificate_of_another_host_gets_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority_file(tmp_path)))
    sent, server = asyncio.run(_send_over_tls(tmp_path, name="127.0.0.1"))
    failure = failure_of(sent)
    assert (failure.kind, failure.may_be_billed) == ("connection_error", False)
    assert server.requests == []


def test_a_name_that_is_not_known_was_sent_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_arguments: Any, **_options: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    failure = failure_of(send_to("https://nowhere.invalid"))
    assert (failure.kind, failure.retryable, failure.may_be_billed) == ("connection_error", True, False)


@pytest.mark.parametrize("name", ["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"])
def test_what_every_request_says_of_itself(name: str) -> None:
    async def main() -> dict[str, str]:
        async with serve(reply(MESSAGE)) as server:
            environ = {name: KEY, "ANTHROPIC_BASE_URL": f"{server.address}/gateway/"}
            headers = "anthropic-beta: of-the-user\nX-Team: one: two"
            provider = connect({**environ, "ANTHROPIC_CUSTOM_HEADERS": headers}, max_concurrency=1)
            await provider.send(sample_request())
            await provider.aclose()
            assert server.requests[0].line == "POST /gateway/v1/messages HTTP/1.1"
            return server.requests[0].headers

    headers = asyncio.run(main())
    assert headers["authorization"] == f"Bearer {KEY}"
    assert headers["anthropic-version"] == API_VERSION
    assert headers["content-type"] == "application/json"
    assert headers["accept"] == "application/json"
    assert headers["content-length"] == str(len(sample_request().body))
    assert headers["anthropic-beta"] == "of-the-user"
    assert headers["x-team"] == "one: two"
    assert "python" in headers["user-agent"].lower() or headers["user-agent"].startswith("runner/")


def test_the_headers_of_the_environment_win() -> None:
    async def main() -> Exchange:
        async with serve(reply(MESSAGE)) as server:
            own = "anthropic-version: 2023-06-01\nUser-Agent: mine\nauthorization: Bearer of-a-gateway"
            environ = {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": server.address, "ANTHROPIC_CUSTOM_HEADERS": own}
            provider = connect(environ, max_concurrency=1)
            await provider.send(sample_request())
            await provider.aclose()
            return server.requests[0]

    headers = asyncio.run(main()).headers
    assert (headers["anthropic-version"], headers["user-agent"]) == ("2023-06-01", "mine")
    assert headers["authorization"] == "Bearer of-a-gateway"


def test_headers_that_carry_credentials_are_not_kept() -> None:
    answers = (
        reply(MESSAGE, set_cookie="session=canary", X_Odd="1", authorization="canary"),
        reply(_error("api_error", "x"), status="500 No", set_cookie="session=canary", X_Odd="1"),
    )
    for answer in answers:
        headers = try_once(answer)[0].headers
        assert headers is not None
        assert headers["x-odd"] == "1"
        assert set(headers) & {"set-cookie", "authorization"} == set()
        assert headers.get("set-cookie") is None
        assert "authorization" not in headers
        assert "canary" not in repr(dict(headers)) + repr(headers)
        assert all(name == name.lower() for name in headers)
        assert len(headers) == len(list(headers))


# -- connections that are kept -----------------------------------------------------------------------------------------


def test_a_connection_is_kept_and_one_that_was_closed_meanwhile_is_replaced() -> None:
    connections = 0

    async def keep(exchange: Exchange) -> None:
        nonlocal connections
        connections += 1
        for number in range(2):
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(MESSAGE)
            await exchange.send(head + MESSAGE)
            if number == 0:
                await exchange.reader.readuntil(b"\r\n\r\n")
                await exchange.reader.readexactly(len(sample_request().body))
        exchange.writer.close()

    async def main() -> list[Sent]:
        async with serve(keep) as server, provider_of(server) as provider:
            sent = [await provider.send(sample_request()) for _ in range(2)]
            await asyncio.sleep(0.1)  # until the end of the connection has arrived
            return [*sent, await provider.send(sample_request())]

    assert [sent.body for sent in asyncio.run(main())] == [MESSAGE] * 3
    assert connections == 2


def test_a_kept_connection_that_ends_under_a_request_may_have_carried_it() -> None:
    async def restart(exchange: Exchange) -> None:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(MESSAGE)
        await exchange.send(head + MESSAGE)
        seen.append(await exchange.reader.readuntil(b"\r\n\r\n"))
        exchange.reset()

    seen: list[bytes] = []

    async def main() -> tuple[Sent, Sent, int]:
        async with serve(restart) as server, provider_of(server) as provider:
            return (
                await provider.send(sample_request()),
                await provider.send(sample_request()),
                len(server.requests),
            )

    first, second, connections = asyncio.run(main())
    assert first.reply is not None
    failure = failure_of(second)
    assert (failure.kind, failure.retryable, failure.may_be_billed) == ("connection_error", True, True)
    assert (connections, len(seen)) == (1, 1), "it is not sent again"


# -- redirects ---------------------------------------------------------------------------------------------------------


def moved(to: str, status: str = "307 Temporary Redirect") -> Answer:
    return reply(b"gone", status=status, content_type="text/plain", location=to)


def by_path(**answers: Answer) -> Answer:
    """Answers by the last part of the path."""

    async def answer(exchange: Exchange) -> None:
        await answers[exchange.line.split()[1].rpartition("/")[2]](exchange)

    return answer


@pytest.mark.parametrize("status", ["307 Temporary Redirect", "308 Permanent Redirect"])
@pytest.mark.parametrize("streamed", [False, True])
def test_a_redirect_on_the_same_origin_is_followed_as_it_was_sent(status: str, streamed: bool) -> None:
    answer = by_path(messages=moved("/elsewhere?a=%20b", status), **{"elsewhere?a=%20b": reply(MESSAGE)})
    sent, requests, begun = try_once(answer, streamed=streamed)
    assert sent.body == MESSAGE
    first, second = requests
    assert second.line == "POST /elsewhere?a=%20b HTTP/1.1"
    assert second.body == first.body
    assert second.headers["authorization"] == f"Bearer {KEY}"
    assert begun == streamed


@pytest.mark.parametrize("status", ["301 Moved Permanently", "302 Found", "303 See Other"])
def test_other_redirects_ask_without_the_request(status: str) -> None:
    sent, requests, _ = try_once(by_path(messages=moved("/page", status), page=reply(HTML, content_type="text/html")))
    assert failure_of(sent).kind == "connection_error"
    assert requests[1].line == "GET /page HTTP/1.1"
    assert requests[1].body == b""
    assert "content-length" not in requests[1].headers


def test_the_credential_follows_no_redirect_to_another_origin() -> None:
    async def main() -> tuple[Sent, RawServer]:
        async with (
            serve(reply(MESSAGE)) as other,
            serve(moved(f"{other.address}/v1/messages")) as server,
            provider_of(server) as provider,
        ):
            return await provider.send(sample_request()), other

    sent, other = asyncio.run(main())
    assert sent.body == MESSAGE
    (request,) = other.requests
    assert request.body == sample_request().body
    assert "authorization" not in request.headers
    assert KEY not in repr(request.headers)


@pytest.mark.parametrize(
    "to",
    ["/v1/messages", "ftp://example.com/", "http://[oops", "mailto:a@example.com", "", f"http://{70 * 'a'}.example/"],
)
def test_a_redirect_that_leads_nowhere_is_a_failure(to: str) -> None:
    sent, requests, _ = try_once(moved(to))
    failure = failure_of(sent)
    assert (failure.kind, failure.retryable) == ("connection_error", True)
    assert len(requests) <= 25


def test_questions_follow_redirects_too() -> None:
    def answered(path: str, body: bytes) -> Answer:
        async def answer(exchange: Exchange) -> None:
            await (reply(body) if path in exchange.line else moved(path))(exchange)

        return answer

    counted, _ = ask(
        answered("/tokens", b'{"input_tokens":42}'), lambda provider: provider.count_tokens(sample_request())
    )
    assert counted == 42
    listed, _ = ask(answered("/all", b'{"data":[{"id":"m"}]}'), lambda provider: provider.models())
    assert [model["id"] for model in listed] == ["m"]


# -- proxies -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def unproxied(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


async def _tunnel(exchange: Exchange) -> None:
    """What a proxy does for CONNECT."""
    host, _, port = exchange.line.split()[1].rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    await exchange.send(b"HTTP/1.1 200 Connection established\r\n\r\n")

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65_536):
            sink.write(data)
            await sink.drain()
        sink.close()

    try:
        await asyncio.gather(pump(exchange.reader, writer), pump(reader, exchange.writer), return_exceptions=True)
    finally:
        writer.close()


# aiohttp would have the SDK's client say the user of a proxy in another way.
_IN_THE_SDK = pytest.mark.filterwarnings("ignore:.*(proxy_auth|BasicAuth):DeprecationWarning")


def proxied(
    proxy: Answer, name: str, monkeypatch: pytest.MonkeyPatch, *, tls: Path | None = None, user: str = ""
) -> tuple[Sent, RawServer, RawServer]:
    """One send with a proxy in the environment: what came back, the proxy, the server behind it."""

    async def main() -> tuple[Sent, RawServer, RawServer]:
        context = server_context(tls) if tls is not None else None
        async with serve(proxy) as between, serve(reply(MESSAGE), tls=context) as server:
            monkeypatch.setenv(name, between.address.replace("//", f"//{user}"))
            async with provider_of(server) as provider:
                return await provider.send(sample_request()), between, server

    return asyncio.run(main())


@_IN_THE_SDK
@pytest.mark.usefixtures("unproxied")
@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_proxy_of_the_environment_is_asked_for_the_whole_address(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sent, proxy, server = proxied(reply(MESSAGE), name, monkeypatch, user="me:pass%20word@")
    assert sent.body == MESSAGE
    assert server.requests == []
    (request,) = proxy.requests
    assert request.line == f"POST {server.address}/v1/messages HTTP/1.1"
    assert request.headers["proxy-authorization"] == f"Basic {base64.b64encode(b'me:pass word').decode()}"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.body == sample_request().body


@_IN_THE_SDK
@pytest.mark.usefixtures("unproxied")
@pytest.mark.parametrize("name", ["HTTPS_PROXY", "ALL_PROXY"])
def test_a_tunnel_is_dug_for_tls_and_the_proxy_never_sees_the_key(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority_file(tmp_path)))
    sent, proxy, server = proxied(_tunnel, name, monkeypatch, tls=tmp_path, user="me:pw@")
    assert sent.body == MESSAGE
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert "proxy-authorization" not in server.requests[0].headers
    (request,) = proxy.requests
    assert request.line.startswith("CONNECT localhost:")
    assert request.headers["proxy-authorization"] == f"Basic {base64.b64encode(b'me:pw').decode()}"
    assert "authorization" not in request.headers
    assert KEY not in repr(request.headers)


@pytest.mark.usefixtures("unproxied")
def test_a_proxy_that_lets_nothing_through_was_sent_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority_file(tmp_path)))
    refusal = reply(b"", status="407 Proxy Authentication Required", content_type=None)
    sent, _, server = proxied(refusal, "HTTPS_PROXY", monkeypatch, tls=tmp_path)
    failure = failure_of(sent)
    assert (failure.kind, failure.retryable, failure.may_be_billed) == ("connection_error", True, False)
    assert server.requests == []


@pytest.mark.usefixtures("unproxied")
def test_no_proxy_goes_straight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "example.com, 127.0.0.0/8")
    sent, proxy, server = proxied(reply(HTML), "ALL_PROXY", monkeypatch)
    assert sent.body == MESSAGE
    assert (len(proxy.requests), len(server.requests)) == (0, 1)
