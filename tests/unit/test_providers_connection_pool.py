"""Connections of our own against servers of raw bytes: what is kept, what is closed, what is told."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop
from yarl import URL

from runner.providers.connection import Connection, ConnectionEnded
from runner.providers.connection_pool import KEEP_ALIVE_S, ConnectionPool
from runner.providers.direct import Direct
from runner.providers.failures import NotConnected
from runner.providers.incoming import BadResponse
from support.loopback_tls import authority_file, server_context
from support.raw_server import Answer, Exchange, RawServer, serve

WHOLE = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
LARGE = b"x" * 20_000_000
"""More than the kernel takes of a request that nobody reads."""

LOOPS: list[Any] = [asyncio.new_event_loop, uvloop.new_event_loop]


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Awaitable[Any]], Any]:
    """Both loops' transports: they differ in when they tell of what."""

    def on_loop(coroutine: Any) -> Any:
        with asyncio.Runner(loop_factory=request.param) as runner:
            return runner.run(asyncio.wait_for(coroutine, 60))

    return on_loop


class Asked:
    """A `Direct` to a server, and its pool."""

    def __init__(self, server: RawServer, tls: ssl.SSLContext | None = None) -> None:
        origin = URL(server.address)
        assert origin.host is not None
        assert origin.port is not None
        self.pool = ConnectionPool(origin.host, origin.port, tls, connect_timeout_s=30)
        self.direct = Direct(origin, {"x-fixed": "1"}, self.pool)
        self.head = self.direct.head("POST", "/v1/messages", {})

    async def post(self, body: bytes = b"{}") -> bytes:
        return (await self.direct.post(self.head, body)).body

    @property
    def idle(self) -> list[Connection]:
        return self.pool._idle


@asynccontextmanager
async def asked(answer: Answer, **options: Any) -> AsyncIterator[tuple[Asked, RawServer]]:
    async with serve(answer, **options) as server:
        asked = Asked(server)
        try:
            yield asked, server
        finally:
            await asked.direct.aclose()


async def until(true: Callable[[], object]) -> None:
    while not true():  # noqa: ASYNC110  # nothing tells of it
        await asyncio.sleep(0.005)


def always(answer: bytes) -> Answer:
    """The same bytes for every request of a connection, which is kept."""

    async def answers(exchange: Exchange) -> None:
        await exchange.send(answer)
        while await exchange.reader.readuntil(b"{}"):
            await exchange.send(answer)

    return answers


def once(*pieces: bytes) -> Answer:
    async def answers(exchange: Exchange) -> None:
        for piece in pieces:
            await exchange.send(piece)
            await asyncio.sleep(0)

    return answers


def test_a_connection_is_used_again_and_the_last_one_first(run: Callable[[Any], Any]) -> None:
    async def main() -> None:
        async with asked(always(WHOLE)) as (client, server):
            await asyncio.gather(*(client.post() for _ in range(3)))
            assert len(client.idle) == len(server.requests) == 3
            last = client.idle[-1]
            for _ in range(4):
                assert await client.post() == b"{}"
                assert client.idle[-1] is last
            assert len(server.requests) == 3

    run(main())


def test_a_request_is_told_once_and_in_full(run: Callable[[Any], Any]) -> None:
    async def main() -> None:
        for body in (b"{}", b"y" * 1_000_000):
            async with asked(once(WHOLE)) as (client, server):
                await client.post(body)
                (request,) = server.requests
                assert request.line == "POST /v1/messages HTTP/1.1"
                assert request.body == body
                assert request.headers == {
                    "host": server.address.removeprefix("http://"),
                    "x-fixed": "1",
                    "content-length": str(len(body)),
                }

    run(main())


def test_headers_that_frame_a_request_are_said_here_alone() -> None:
    pool: Any = None
    direct = Direct(URL("https://api.example"), {"Content-Length": "1", "Transfer-Encoding": "chunked", "A": "b"}, pool)
    head = direct.head("POST", "/x", {"Expect": "100-continue", "a": "c"})
    assert head == b"POST /x HTTP/1.1\r\nhost: api.example\r\na: c\r\n"


def test_a_connection_that_the_server_closes_is_not_kept(run: Callable[[Any], Any]) -> None:
    async def main() -> None:
        async with asked(once(WHOLE)) as (client, server):
            await client.post()
            (connection,) = client.idle
            await until(lambda: connection.closed)
            assert await client.post() == b"{}"
            assert len(server.requests) == 2

    run(main())


def test_what_nobody_asked_for_closes_an_idle_connection(run: Callable[[Any], Any]) -> None:
    async def main() -> None:
        goes_on = asyncio.Event()

        async def twice(exchange: Exchange) -> None:
            await exchange.send(WHOLE)
            if len(server.requests) == 1:
                await goes_on.wait()
                await exchange.send(WHOLE.replace(b"{}", b"no"))
                await asyncio.sleep(60)

        async with asked(twice) as (client, server):
            await client.post()
            (connection,) = client.idle
            goes_on.set()
            await until(lambda: connection.closed)
            assert await client.post() == b"{}"
            assert len(server.requests) == 2

    run(main())


def test_what_comes_with_a_response_and_behind_it_closes_the_connection(run: Callable[[Any], Any]) -> None:
    async def main() -> None:
        async with asked(once(WHOLE + WHOLE.replace(b"{}", b"no"))) as (client, server):
            assert [await client.post() for _ in range(2)] == [b"{}", b"{}"]
            assert client.idle == []
            assert len(server.requests) == 2

    run(main())


def test_a_response_may_be_faster_than_its_request(run: Callable[[Any], Any]) -> None:
    async def refuse(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\n{}")
        await asyncio.sleep(60)

    async def main() -> None:
        async with asked(refuse, read_body=False) as (client, _):
            response = await client.direct.post(client.head, LARGE)
            assert (response.status, response.body) == (413, b"{}")
            assert client.idle == [], "half a request has left, so that nothing else can follow"

    run(main())


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_large_request_waits_for_the_network_in_one_copy(
    run: Callable[[Any], Any], encrypted: bool, tmp_path: Path
) -> None:
    trusting = ssl.create_default_context(cafile=authority_file(tmp_path))
    context = server_context(tmp_path)

    async def main() -> None:
        goes_on = asyncio.Event()
        received = 0

        async def read_late(exchange: Exchange) -> None:
            nonlocal received
            await goes_on.wait()
            while received < len(LARGE):
                received += len(await exchange.reader.read(1_000_000))
            await exchange.send(WHOLE)

        async with serve(read_late, read_body=False, tls=context if encrypted else None) as server:
            client = Asked(server, trusting if encrypted else None)
            connection = await client.pool.open()
            head = b"%scontent-length: %d\r\n\r\n" % (client.head, len(LARGE))
            task = asyncio.create_task(connection.ask(head, LARGE))
            await until(lambda: connection._waits)
            await asyncio.sleep(0.1)
            transport = connection._transport
            assert transport is not None
            assert transport.get_write_buffer_size() < 2_000_000
            goes_on.set()
            assert (await task).body == b"{}"
            assert received == len(LARGE)
            assert client.idle == [connection]
            await client.direct.aclose()

    run(main())


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200", WHOLE[:-1], b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n"]
)
def test_a_connection_that_ends_before_the_response_is_told(run: Callable[[Any], Any], answer: bytes) -> None:
    async def main() -> None:
        async with asked(once(answer)) as (client, server):
            with pytest.raises(ConnectionEnded):
                await client.post()
            with pytest.raises(ConnectionEnded):
                await (await client.direct.stream(client.head, b"{}")).read()
            assert client.idle == []
            assert len(server.requests) == 2

    run(main())


def test_a_reset_is_told_with_its_cause(run: Callable[[Any], Any]) -> None:
    async def reset(exchange: Exchange) -> None:
        exchange.reset()

    async def main() -> None:
        async with asked(reset) as (client, _):
            with pytest.raises(ConnectionEnded) as caught:
                await client.post()
            assert isinstance(caught.value.__cause__, ConnectionResetError)

    run(main())


def test_a_response_that_drips_in_is_read(run: Callable[[Any], Any]) -> None:
    slow = b"HTTP/1.1 100 Continue\r\n\r\n" + WHOLE

    async def main() -> None:
        async with asked(once(*(bytes([byte]) for byte in slow))) as (client, _):
            assert await client.post() == b"{}"

    run(main())


def test_a_body_without_a_length_may_end_half_a_connection(run: Callable[[Any], Any]) -> None:
    async def half(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\n\r\n{}")
        exchange.writer.write_eof()
        await exchange.reader.read()

    async def main() -> None:
        async with asked(half) as (client, _):
            assert await client.post() == b"{}"
            assert await (await client.direct.stream(client.head, b"{}")).read() == b"{}"
            assert client.idle == []

    run(main())


def test_no_http_closes_the_connection(run: Callable[[Any], Any]) -> None:
    async def main() -> None:
        async with asked(once(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")) as (client, _):
            with pytest.raises(BadResponse):
                await client.post()
            assert client.idle == []

    run(main())


def test_who_is_canceled_takes_the_connection_along(run: Callable[[Any], Any]) -> None:
    async def main() -> None:
        arrived, gone = asyncio.Event(), asyncio.Event()

        async def silence(exchange: Exchange) -> None:
            arrived.set()
            await exchange.reader.read()
            gone.set()

        async with asked(silence) as (client, _):
            task = asyncio.create_task(client.post())
            await arrived.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await gone.wait()
            assert client.idle == []

    run(main())


def test_who_is_canceled_when_the_response_is_there_leaves_the_connection_to_others(run: Callable[[Any], Any]) -> None:
    async def main() -> None:
        async with asked(always(WHOLE)) as (client, server):
            others: list[asyncio.Task[bytes]] = []

            def free(connection: Connection) -> None:
                client.idle.append(connection)
                if not others:
                    task.cancel()
                    others.append(asyncio.create_task(client.post()))  # is on its way before the canceled one notices

            client.pool._free = free
            task = asyncio.create_task(client.post())
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await others[0] == b"{}"
            assert len(server.requests) == 1

    run(main())


def test_a_stream_holds_a_server_back_that_is_faster_than_its_reader(run: Callable[[Any], Any]) -> None:
    total = 30_000_000

    async def main() -> None:
        sent = 0

        async def flood(exchange: Exchange) -> None:
            nonlocal sent
            await exchange.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % total)
            while sent < total:
                await exchange.send(b"x" * 100_000)
                sent += 100_000
            await exchange.reader.read()

        async with asked(flood) as (client, _):
            response = await client.direct.stream(client.head, b"{}")
            await until(lambda: response._holds)
            stuck = -1
            while stuck != sent:  # until the kernel's own buffers are full as well
                stuck = sent
                await asyncio.sleep(0.1)
            assert response._unread < 1_000_000
            assert sent < total
            assert sum([len(piece) async for piece in response.chunks()]) == total
            assert len(client.idle) == 1, "read to its end, so that the connection is kept"
            response.close()
            assert len(client.idle) == 1

    run(main())


def test_a_connection_that_was_held_back_at_the_end_of_a_stream_is_used_again(run: Callable[[Any], Any]) -> None:
    piece, end = b"x" * 1_000_000, b"0\r\n\r\n"

    async def main() -> None:
        connection = Connection(asyncio.get_running_loop(), free.append)
        transport = Held()
        connection.connection_made(transport)
        task = asyncio.create_task(connection.open(b"", b""))
        await until(lambda: transport.written)
        head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
        connection.data_received(
            head + b"%x\r\n%s\r\n" % (len(piece), piece) + end
        )  # more than may wait, and all of it
        assert free == [connection]
        assert not transport.paused
        assert await (await task).read() == piece

    free: list[Connection] = []
    run(main())


class Held(asyncio.Transport):
    """A transport that remembers whether it was held back."""

    paused = written = False

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self.written = True

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


def test_a_stream_that_is_left_closes_its_connection(run: Callable[[Any], Any]) -> None:
    async def main() -> None:
        gone = asyncio.Event()

        async def begin(exchange: Exchange) -> None:
            await exchange.send(b"HTTP/1.1 200 OK\r\n\r\n{")
            await exchange.reader.read()
            gone.set()

        async with asked(begin) as (client, _):
            response = await client.direct.stream(client.head, b"{}")
            async for piece in response.chunks():
                assert piece == b"{"
                break
            response.close()
            await gone.wait()
            assert client.idle == []

    run(main())


def test_connections_that_are_idle_for_long_are_closed(run: Callable[[Any], Any]) -> None:
    async def main() -> None:
        async with asked(always(WHOLE)) as (client, server):
            await asyncio.gather(*(client.post() for _ in range(3)))
            first, second, third = client.idle
            first.idle_since -= KEEP_ALIVE_S
            second.idle_since -= KEEP_ALIVE_S
            client.pool._sweep()
            assert (first.closed, second.closed, third.closed) == (True, True, False)
            assert client.idle == [third]
            third.idle_since -= KEEP_ALIVE_S  # and before the next sweep
            await client.post()
            assert third.closed
            assert len(server.requests) == 4

    run(main())


def test_where_nobody_listens_nothing_was_sent(run: Callable[[Any], Any]) -> None:
    async def main() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            client = Asked(RawServer(f"http://127.0.0.1:{taken.getsockname()[1]}"))
            with pytest.raises(NotConnected) as caught:
                await client.post()
            assert isinstance(caught.value.__cause__, OSError)
            await client.direct.aclose()

    run(main())


def test_a_name_is_looked_up_once_for_all_who_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0

    async def main() -> None:
        loop = asyncio.get_running_loop()
        real = loop.getaddrinfo

        async def counted(*arguments: Any, **options: Any) -> Any:
            nonlocal looks
            looks += 1
            await asyncio.sleep(0.01)
            return await real(*arguments, **options)

        monkeypatch.setattr(loop, "getaddrinfo", counted)
        async with asked(always(WHOLE)) as (client, server):
            given_up = asyncio.create_task(client.post())
            others = [asyncio.create_task(client.post()) for _ in range(5)]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            given_up.cancel()
            await asyncio.gather(*others)
            assert len(server.requests) == 5

    asyncio.run(main())
    assert looks == 1


def test_all_of_it_over_tls(run: Callable[[Any], Any], tmp_path: Path) -> None:
    trusting = ssl.create_default_context(cafile=authority_file(tmp_path))

    async def main() -> None:
        async with serve(always(WHOLE), tls=server_context(tmp_path)) as server:
            client = Asked(server, trusting)
            assert await client.post(b"y" * 1_000_000) == b"{}"
            (connection,) = client.idle
            assert await client.post() == b"{}"
            assert client.idle == [connection]
            assert await (await client.direct.stream(client.head, b"{}")).read() == b"{}"
            assert len(server.requests) == 1
            await client.direct.aclose()
            await until(lambda: connection.closed)
            stranger = Asked(server, ssl.create_default_context())
            with pytest.raises(NotConnected) as caught:
                await stranger.post()
            assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
            await stranger.direct.aclose()

    run(main())


def test_silent_connections_are_asked_after_and_nothing_is_delayed(run: Callable[[Any], Any]) -> None:
    async def main() -> None:
        async with asked(always(WHOLE)) as (client, _):
            await client.post()
            transport = client.idle[0]._transport
            assert transport is not None
            sock = transport.get_extra_info("socket")
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)

    run(main())
