"""Downloading a batch's results, from servers that cut, disguise and delay them."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from runner.providers.download import PIECE_BYTES
from runner.providers.unfolding import Gzip
from runner.types import Failure
from support.idle_time import run_in_idle_time
from support.raw_server import Answer, Exchange, RawServer, reply, serve
from support.transports import connect

if TYPE_CHECKING:
    from support.transports import AnyProvider

pytestmark = pytest.mark.usefixtures("transport")

KEY = "sk-ant-api03-canary-canary"
LINES = b"".join(b'{"custom_id":"k-%d","result":{"type":"expired"}}\n' % number for number in range(20_000))
HTML = b"\n<html><title>Sign in</title></html>"


@asynccontextmanager
async def provider_of(address: str, **changes: Any) -> AsyncIterator[AnyProvider]:
    environ = {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": address}
    provider = connect(environ, max_concurrency=4, **changes)
    try:
        yield provider
    finally:
        await provider.aclose()


def download(
    answer: Answer, write: Callable[[bytes], Awaitable[None]] | None = None, **changes: Any
) -> tuple[int | Failure, list[bytes], RawServer]:
    """One download: what was returned, the pieces that were written, the server."""
    pieces: list[bytes] = []

    async def keep(piece: bytes) -> None:
        pieces.append(piece)

    async def main() -> tuple[int | Failure, list[bytes], RawServer]:
        async with asyncio.timeout(60), serve(answer) as server, provider_of(server.address, **changes) as provider:
            return await provider.download_results("msgbatch_01", write or keep), pieces, server

    return run_in_idle_time(main())


def failed(answer: tuple[int | Failure, list[bytes], RawServer]) -> Failure:
    failure = answer[0]
    assert isinstance(failure, Failure), failure
    assert KEY not in failure.message
    assert not failure.may_be_billed
    assert len(answer[2].requests) == 1
    return failure


def chunked(body: bytes, *, end: bytes = b"0\r\n\r\n", kind: str = "application/x-jsonl") -> Answer:
    async def answer(exchange: Exchange) -> None:
        await exchange.send(f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n".encode())
        for start in range(0, len(body), 10_000):
            part = body[start : start + 10_000]
            await exchange.send(b"%x\r\n%s\r\n" % (len(part), part))
        await exchange.send(end)

    return answer


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(reply(LINES, content_type="application/x-jsonl"), id="with a length"),
        pytest.param(reply(LINES, content_type=None), id="without a type"),
        pytest.param(reply(LINES, content_type="text/plain"), id="with a wrong type"),
        pytest.param(reply(LINES, length=None), id="without a length"),
        pytest.param(chunked(LINES), id="chunked"),
        pytest.param(reply(gzip.compress(LINES), content_encoding="gzip"), id="compressed"),
        pytest.param(
            reply(gzip.compress(LINES[:999]) + gzip.compress(LINES[999:]), content_encoding="gzip"), id="in two members"
        ),
    ],
)
def test_results_are_written_as_they_are_in_large_pieces(answer: Answer) -> None:
    got, pieces, server = download(answer)
    assert b"".join(pieces) == LINES
    assert got == len(LINES)
    assert all(len(piece) >= PIECE_BYTES for piece in pieces[:-1])
    (request,) = server.requests
    assert request.line == "GET /v1/messages/batches/msgbatch_01/results HTTP/1.1"
    assert request.headers["authorization"] == f"Bearer {KEY}"


def test_no_results_are_none() -> None:
    got, pieces, _ = download(reply(b""))
    assert (got, pieces) == (0, [])


async def _reset_in_the_middle(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(LINES) + LINES[:400_000])
    await asyncio.sleep(0.1)
    exchange.reset()


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(reply(LINES[:-1_000], length=len(LINES)), id="shorter than its length"),
        pytest.param(chunked(LINES, end=b""), id="chunked, without an end"),
        pytest.param(chunked(LINES, end=b"ff\r\nabc"), id="chunked, cut in a chunk"),
        pytest.param(_reset_in_the_middle, id="reset"),
        pytest.param(reply(gzip.compress(LINES)[:-9], content_encoding="gzip", length=None), id="compressed and cut"),
        pytest.param(reply(gzip.compress(LINES)[:-8] + b"12345678", content_encoding="gzip"), id="a wrong checksum"),
        pytest.param(reply(b"\x1f\x8b broken", content_encoding="gzip"), id="not compressed"),
        pytest.param(reply(LINES, content_encoding="br"), id="an encoding that nobody asked for"),
        pytest.param(reply(LINES, status="206 Partial Content"), id="a part"),
        pytest.param(reply(b"", status="204 No Content", content_type=None, length=None), id="no content"),
        pytest.param(reply(b"oops", status="502 Bad Gateway"), id="502"),
        pytest.param(
            reply(b'{"type":"error","error":{"type":"overloaded_error","message":"x"}}', status="529 x"), id="529"
        ),
    ],
)
def test_results_that_are_seen_to_be_cut_or_none_are_a_failure(answer: Answer) -> None:
    failure = failed(download(answer))
    assert (failure.retryable, failure.scope) == (True, "row")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(reply(HTML, content_type="text/html; charset=utf-8"), id="a page"),
        pytest.param(reply(HTML, content_type="application/x-jsonl"), id="in disguise"),
        pytest.param(reply(HTML + b" " * 600_000, content_type=None), id="large"),
        pytest.param(reply(LINES, content_type="text/html"), id="what calls itself a page"),
        pytest.param(reply(gzip.compress(HTML), content_encoding="gzip"), id="compressed"),
    ],
)
def test_nothing_of_a_page_is_written(answer: Answer) -> None:
    outcome = download(answer)
    assert "page" in failed(outcome).message
    assert outcome[1] == []


def test_results_that_are_gone_are_not_found() -> None:
    body = json.dumps({"type": "error", "error": {"type": "not_found_error", "message": "archived"}}).encode()
    failure = failed(download(reply(body, status="404 x")))
    assert (failure.http_status, failure.scope, failure.retryable) == (404, "row", False)


def test_a_redirect_is_not_followed_and_the_key_goes_nowhere_else() -> None:
    async def main() -> None:
        async with serve(reply(LINES)) as elsewhere:
            redirect = reply(
                b"", status="307 x", location=f"{elsewhere.address}/v1/messages/batches/msgbatch_01/results"
            )
            async with serve(redirect) as server, provider_of(server.address) as provider:

                async def write(_piece: bytes) -> None:
                    raise AssertionError("nothing is written")

                failure = await provider.download_results("msgbatch_01", write)
                assert isinstance(failure, Failure)
                assert (failure.http_status, failure.retryable) == (307, True)
                assert len(server.requests) == 1
            assert elsewhere.requests == []

    asyncio.run(main())


@pytest.mark.parametrize("error", [OSError(28, "disk full"), TimeoutError("the writer"), RuntimeError("closed")])
def test_what_write_raises_is_raised(error: Exception) -> None:
    async def write(_piece: bytes) -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        download(reply(LINES), write)
    assert raised.value is error


async def _silent(_exchange: Exchange) -> None:
    await asyncio.sleep(30)


async def _stands_still(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(LINES) + LINES[:300_000])
    await asyncio.sleep(30)


async def _trickles_a_head(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nx-slow: ")
    while True:
        await exchange.send(b"a")
        await asyncio.sleep(0.02)


async def _trickles(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(LINES))
    while True:
        await exchange.send(b"a")
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("answer", [_silent, _stands_still, _trickles_a_head, _trickles])
def test_a_server_that_does_not_move_on_is_left(answer: Answer) -> None:
    failure = failed(download(answer, stall_s=0.4))
    assert (failure.kind, failure.retryable) == ("timeout", True)


def test_a_download_may_take_longer_than_the_stall_bound_if_it_moves_on() -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(LINES))
        for start in range(0, len(LINES), 100_000):
            await exchange.send(LINES[start : start + 100_000])
            await asyncio.sleep(0.1)

    got, _, _ = download(answer, stall_s=0.5)
    assert got == len(LINES)


def test_the_time_that_writing_takes_is_not_the_servers() -> None:
    async def write(_piece: bytes) -> None:
        await asyncio.sleep(0.3)

    got, _, _ = download(reply(LINES), write, stall_s=0.2)
    assert got == len(LINES)


def test_what_a_few_compressed_bytes_unfold_to_comes_in_bounded_parts() -> None:
    zeros = gzip.compress(b"\0" * 30_000_000)
    parts = [len(part) for part in Gzip().parts(zeros)]
    assert sum(parts) == 30_000_000
    assert max(parts) <= PIECE_BYTES


def test_gzip_knows_its_end_wherever_it_is_cut() -> None:
    data = gzip.compress(b"one") + gzip.compress(b"two" * 1_000)
    for seed in range(30):
        cut = random.Random(seed).randrange(len(data) + 1)
        unfolded = Gzip()
        list(unfolded.parts(data[:cut]))
        assert unfolded.whole == (cut in {0, len(gzip.compress(b"one")), len(data)})
        list(unfolded.parts(data[cut:]))
        assert unfolded.whole
