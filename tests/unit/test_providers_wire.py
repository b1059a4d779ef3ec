"""What only the transport of our own has: see `tests/contract/test_transports.py` for what both have."""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
import sys

import pytest

import runner
from runner.errors import SetupError
from runner.providers import Sent
from runner.providers.wire import WireProvider, connect
from runner.testing.providers import sample_request
from runner.types import Failure, Request
from support.engine_fakes import body_of
from support.idle_time import run_in_idle_time
from support.raw_server import Exchange, RawServer, reply, serve

MESSAGE = body_of("hello")


def provider_at(server: RawServer, **options: float) -> WireProvider:
    environ = {"ANTHROPIC_API_KEY": "sk-ant-canary", "ANTHROPIC_BASE_URL": server.address}
    return connect(environ, max_concurrency=4, **options)  # type: ignore[arg-type]  # deadline_s, stall_s


def test_a_deadline_and_a_cancellation_at_once_are_a_cancellation() -> None:
    async def main() -> bool:
        arrived = asyncio.Event()

        async def silence(_exchange: Exchange) -> None:
            arrived.set()
            await asyncio.sleep(60)

        async with serve(silence) as server:
            provider = provider_at(server, deadline_s=600)
            task = asyncio.create_task(provider.send(sample_request()))
            await arrived.wait()
            deadlines = provider._deadlines
            deadlines._due[task] = 0.0
            deadlines._ring()
            task.cancel()
            await asyncio.wait([task])
            await provider.aclose()
            return task.cancelled()

    assert asyncio.run(main())


def test_a_task_is_as_it_was_after_a_deadline() -> None:
    async def main() -> tuple[Sent, int]:
        async def silence(_exchange: Exchange) -> None:
            await asyncio.sleep(60)

        async with serve(silence) as server:
            provider = provider_at(server, deadline_s=0.2)
            sent = await provider.send(sample_request(max_tokens=1))
            await provider.aclose()
            task = asyncio.current_task()
            assert task is not None
            await asyncio.sleep(0)  # would raise if the cancellation were still on its way
            return sent, task.cancelling()

    sent, cancelling = run_in_idle_time(main())
    assert sent.failure is not None
    assert sent.failure.kind == "timeout"
    assert cancelling == 0


def test_betas_go_along_with_each_request_and_only_with_theirs() -> None:
    async def main() -> list[str | None]:
        async with serve(reply(MESSAGE)) as server:
            provider = provider_at(server)
            for betas in (("a-1", "b-2"), (), ("a-1", "b-2"), ("c-3",)):
                await provider.send(Request(b"", b"", sample_request().body, "m", 9, None, betas=betas))
            await provider.aclose()
            return [request.headers.get("anthropic-beta") for request in server.requests]

    assert asyncio.run(main()) == ["a-1,b-2", None, "a-1,b-2", "c-3"]


def test_replies_are_asked_for_as_they_are_by_a_program_that_says_its_name() -> None:
    async def main() -> dict[str, str]:
        async with serve(reply(MESSAGE)) as server:
            provider = provider_at(server)
            await provider.send(sample_request())
            await provider.aclose()
            return server.requests[0].headers

    headers = asyncio.run(main())
    assert headers["accept-encoding"] == "identity"
    assert headers["user-agent"] == f"runner/{runner.__version__}"


def test_no_header_of_ones_own_asks_for_replies_that_cannot_be_read() -> None:
    async def main() -> dict[str, str]:
        async with serve(reply(MESSAGE)) as server:
            environ = {"ANTHROPIC_API_KEY": "k", "ANTHROPIC_BASE_URL": server.address}
            environ["ANTHROPIC_CUSTOM_HEADERS"] = "Accept-Encoding: br, zstd\nUser-Agent: mine"
            provider = connect(environ, max_concurrency=1)
            await provider.send(sample_request())
            await provider.aclose()
            return server.requests[0].headers

    headers = asyncio.run(main())
    assert headers["accept-encoding"] == "identity"
    assert headers["user-agent"] == "mine"


def test_a_refused_download_is_read_although_it_was_asked_for_compressed() -> None:
    error = json.dumps({"type": "error", "error": {"type": "not_found_error", "message": "gone"}}).encode()

    async def write(_piece: bytes) -> None:
        raise AssertionError("nothing is written")

    async def main() -> int | Failure:
        answer = reply(gzip.compress(error), status="404 No", content_encoding="gzip")
        async with serve(answer) as server:
            provider = provider_at(server)
            try:
                return await provider.download_results("msgbatch_1", write)
            finally:
                await provider.aclose()

    failure = asyncio.run(main())
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.message) == ("not_found_error", "gone")


def test_an_address_in_the_clear_reads_no_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_arguments: object) -> None:
        raise AssertionError("certificates were read")

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", forbidden)

    async def main() -> None:
        await connect({"ANTHROPIC_API_KEY": "k", "ANTHROPIC_BASE_URL": "http://localhost"}, max_concurrency=1).aclose()

    asyncio.run(main())


def test_a_header_that_would_not_stay_in_its_line_is_told_at_once() -> None:
    async def main(headers: str) -> None:
        connect({"ANTHROPIC_API_KEY": "k", "ANTHROPIC_CUSTOM_HEADERS": headers}, max_concurrency=1)

    for headers in ("X-A: b\rX-C: d", "X A: b", "X-A: b\0c"):
        with pytest.raises(SetupError, match="holds characters that no header may have") as caught:
            asyncio.run(main(headers))
        assert caught.value.code == "bad-credential"


def test_messages_and_questions_load_neither_aiohttp_nor_httpx() -> None:
    script = """
import asyncio, sys
from runner.providers.wire import connect
from runner.testing.providers import sample_request

async def main():
    provider = connect({"ANTHROPIC_API_KEY": "k", "ANTHROPIC_BASE_URL": sys.argv[1]}, max_concurrency=1)
    assert (await provider.send(sample_request())).reply is not None
    assert (await provider.send(sample_request(), on_begin=lambda: None)).reply is not None
    await provider.models()
    await provider.aclose()
    print(sorted({"aiohttp", "httpx2", "anthropic"} & set(sys.modules)))

asyncio.run(main())
"""

    async def main() -> bytes:
        async with serve(reply(MESSAGE)) as server:
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-c", script, server.address, stdout=asyncio.subprocess.PIPE
            )
            return (await child.communicate())[0]

    assert asyncio.run(main()).decode().strip() == "[]"


def test_a_proxy_that_cannot_be_used_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1080")
    monkeypatch.setenv("NO_PROXY", "")

    async def main() -> None:
        connect({"ANTHROPIC_API_KEY": "k", "ANTHROPIC_BASE_URL": "https://localhost"}, max_concurrency=1)

    with pytest.raises(SetupError) as caught:
        asyncio.run(main())
    assert caught.value.code == "bad-proxy"
