"""The conformance suite of providers: `check_provider`, over a server that the caller brings.

A provider is made for one event loop, so the suite runs its own. One whose capabilities say `batches` is held to
`BatchProvider` as well, over a `BatchServer`, and one whose say `files` to `FileProvider`, over a `FileServer`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, cast

from runner.encoding import encode
from runner.providers import (
    BatchLine,
    BatchPage,
    BatchProvider,
    FilePage,
    FileProvider,
    Provider,
    RemoteBatch,
    RemoteFile,
    Sent,
)
from runner.types import Failure, Request

Make = Callable[[], Awaitable[Provider]]
"""Makes a provider of the server, on the running loop."""

_MODEL = "claude-haiku-5-5"


class Server(Protocol):
    """What the suite needs of the server behind the provider: how to make the next request fail."""

    def refuse_next(self, status: int) -> None:
        """Answer the next Messages request with this status, in the API's error shape."""
        ...

    def drop_next(self) -> None:
        """Take the next Messages request and close the connection without an answer."""
        ...

    def received(self) -> int:
        """How many Messages requests have arrived so far."""
        ...


class BatchServer(Server, Protocol):
    """What the suite needs of a server that takes batches, besides."""

    def refuse_next_batch(self, status: int) -> None:
        """Answer the next create of a batch with this status, in the API's error shape."""
        ...

    def drop_next_batch(self) -> None:
        """Accept the next batch and close the connection without an answer."""
        ...

    def end_batches(self) -> None:
        """End all batches that are open; their results can be had."""
        ...

    def batches(self) -> int:
        """How many batches have been accepted so far."""
        ...


class FileServer(Server, Protocol):
    """What the suite needs of a server that keeps files, besides."""

    def refuse_next_upload(self, status: int) -> None:
        """Answer the next upload with this status, in the API's error shape, and keep nothing of it."""
        ...

    def drop_next_upload(self) -> None:
        """Keep the next upload and close the connection without an answer."""
        ...

    def uploads(self) -> list[bytes]:
        """The SHA-256 of every file that was kept, in order."""
        ...


def sample_request(text: str = "Say something.", *, max_tokens: int = 64, model: str = _MODEL) -> Request:
    """A small sound request."""
    body: dict[str, Any] = {
        "model": model,
        "max_tokens": max_tokens,
        "messages": [{"role": "user", "content": text}],
    }
    encoded = encode(body)
    return Request(
        hash=b"\x00" * 32, prefix=b"", body=encoded, model=model, max_tokens=max_tokens, input_bound=len(encoded)
    )


def check_provider(open_server: Callable[[], AbstractAsyncContextManager[tuple[Server, Make]]]) -> None:
    """Run the whole suite; each part gets a fresh provider."""
    parts = (_answers, _streams, _never_retries, _fails_as_values, _closes_twice, _counts, _lists_models)
    batch_parts = (_takes_a_batch, _cancels_a_batch, _creates_once, _withholds_the_rest, _knows_no_other_batch)
    file_parts = (_keeps_a_file, _uploads_once, _keeps_no_part_of_a_file, _knows_no_other_file)
    for part in (*parts, *map(_if_batches, batch_parts), *map(_if_files, file_parts)):
        asyncio.run(_run(open_server, part))


async def _run(
    open_server: Callable[[], AbstractAsyncContextManager[tuple[Server, Make]]],
    part: Callable[[Server, Provider], Awaitable[None]],
) -> None:
    async with open_server() as (server, make):
        provider = await make()
        try:
            await part(server, provider)
        finally:
            await provider.aclose()


async def _answers(server: Server, provider: Provider) -> None:
    sent = await provider.send(sample_request())
    _check_success(sent)
    assert server.received() == 1, "one send is one request"


async def _streams(_server: Server, provider: Provider) -> None:
    plain = await provider.send(sample_request())
    begun: list[bool] = []
    streamed = await provider.send(sample_request(), on_begin=lambda: begun.append(True))
    assert begun == [True], "on_begin is called once, when the reply has begun"
    _check_success(streamed)
    assert plain.reply is not None and streamed.reply is not None  # noqa: PT018
    assert streamed.reply.content == plain.reply.content, "a streamed reply is the same reply"
    assert streamed.reply.stop_reason == plain.reply.stop_reason
    assert streamed.reply.usage.prompt_tokens == plain.reply.usage.prompt_tokens
    assert streamed.reply.usage.output_tokens == plain.reply.usage.output_tokens
    long = await provider.send(sample_request(max_tokens=32_000))
    assert long.reply is not None, "a request that may write much is answered as well"


async def _never_retries(server: Server, provider: Provider) -> None:
    for status in (500, 529, 429):
        before = server.received()
        server.refuse_next(status)
        sent = await provider.send(sample_request())
        assert server.received() == before + 1, "a provider makes exactly one try"
        assert _failure(sent).retryable, "whether it may be tried again is said, not done"
    before = server.received()
    server.drop_next()
    assert _failure(await provider.send(sample_request())).may_be_billed, "a lost answer may be billed"
    assert server.received() == before + 1, "a dropped connection is not tried again either"


async def _fails_as_values(server: Server, provider: Provider) -> None:
    for status, scope in ((400, "row"), (401, "job"), (403, "job")):
        server.refuse_next(status)
        failure = _failure(await provider.send(sample_request()))
        assert (failure.http_status, failure.scope, failure.retryable) == (status, scope, False)
        assert not failure.may_be_billed, "a clean error reply is not billed"
        server.refuse_next(status)
        begun: list[bool] = []
        failure = _failure(await provider.send(sample_request(), on_begin=lambda: begun.append(True)))  # noqa: B023
        assert failure.http_status == status, "a streamed request fails as the other does"
        assert not begun, "a refused request has not begun"


async def _closes_twice(_server: Server, provider: Provider) -> None:
    await provider.send(sample_request())
    await provider.aclose()


async def _counts(_server: Server, provider: Provider) -> None:
    if not provider.capabilities.count_tokens:
        return
    short = await provider.count_tokens(sample_request("one"))
    long = await provider.count_tokens(sample_request("one " * 200))
    assert isinstance(short, int) and isinstance(long, int), "a count, where the server has it"  # noqa: PT018
    assert 0 < short < long


async def _lists_models(_server: Server, provider: Provider) -> None:
    if not provider.capabilities.models:
        return
    listed = await provider.models()
    assert not isinstance(listed, Failure), "the list, where the server has it"
    assert all(isinstance(model.get("id"), str) for model in listed)


# -- batches -----------------------------------------------------------------------------------------------------------

_Part = Callable[[Server, Provider], Awaitable[None]]
_PATIENCE_POLLS = 500


def _if_batches(part: Callable[[BatchServer, BatchProvider], Awaitable[None]]) -> _Part:
    async def checked(server: Server, provider: Provider) -> None:
        if provider.capabilities.batches:
            await part(cast(BatchServer, server), cast(BatchProvider, provider))

    return checked


def _sample_batch(count: int = 3) -> bytes:
    requests = (
        b'{"custom_id":"row-%d","params":%s}' % (number, sample_request(f"Say {number}.").body)
        for number in range(count)
    )
    return b'{"requests":[' + b",".join(requests) + b"]}"


async def _in_chunks(body: bytes, *, size: int = 100, until: int | None = None) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        if until is not None and start >= until:
            raise LookupError("the source has broken")
        yield body[start : start + size]


async def _create(provider: BatchProvider) -> RemoteBatch | Failure:
    body = _sample_batch()
    return await provider.create_batch(_in_chunks(body), len(body))


async def _takes_a_batch(server: BatchServer, provider: BatchProvider) -> None:
    created = _good(await _create(provider))
    assert created.requests == 3, "the tallies add up to the number of requests"
    assert created.created_at < created.expires_at
    older = _good(await _create(provider))
    server.end_batches()
    batch = await _ended(provider, created.batch_id)
    assert batch.tallies["succeeded"] == 3, "once a batch has ended, its tallies say how"
    assert batch.ended_at is not None
    await _check_results(provider, created.batch_id)

    page = await provider.list_batches(limit=1)
    assert isinstance(page, BatchPage), page
    assert [found.batch_id for found in page.batches] == [older.batch_id], "the newest is the first"
    assert page.has_more, "`has_more` where older ones follow"
    page = await provider.list_batches(after_id=older.batch_id)
    assert isinstance(page, BatchPage), page
    assert [found.batch_id for found in page.batches] == [created.batch_id], "`after_id` goes on behind that batch"
    assert not page.has_more


async def _check_results(provider: BatchProvider, batch_id: str) -> None:
    landed = bytearray()

    async def write(piece: bytes) -> None:
        landed.extend(piece)

    got = await provider.download_results(batch_id, write)
    assert got == len(landed), "the bytes that were written"
    lines = {read.custom_id: read for read in map(provider.read_result, bytes(landed).splitlines())}
    assert set(lines) == {"row-0", "row-1", "row-2"}, "each request has a line"
    for read in lines.values():
        assert isinstance(read, BatchLine)
        assert (read.end, read.failure) == ("succeeded", None)
        assert read.reply is not None, "a succeeded line has its reply"
        assert read.reply.content and read.reply.usage.output_tokens > 0  # noqa: PT018
    for line in (b"", b"{}", b'{"custom_id":"row-0","result":{"type":"unheard_of"}}'):
        try:
            read = provider.read_result(line)
        except ValueError:
            continue
        raise AssertionError(f"no result was read as one: {read}")


async def _cancels_a_batch(server: BatchServer, provider: BatchProvider) -> None:
    created = _good(await _create(provider))
    canceled = _good(await provider.cancel_batch(created.batch_id))
    assert canceled.batch_id == created.batch_id
    assert canceled.status in {"canceling", "ended"}
    server.end_batches()
    assert (await _ended(provider, created.batch_id)).requests == 3


async def _creates_once(server: BatchServer, provider: BatchProvider) -> None:
    for status in (400, 429, 500):
        before = server.batches()
        server.refuse_next_batch(status)
        failure = await _create(provider)
        assert isinstance(failure, Failure)
        assert failure.http_status == status, "a refusal is told by its status"
        assert failure.may_be_billed == (status >= 500), "only a 4xx proves that there is no batch"
        assert server.batches() == before, "a create that was refused is not sent again"
    before = server.batches()
    server.drop_next_batch()
    failure = await _create(provider)
    assert isinstance(failure, Failure)
    assert failure.may_be_billed, "a batch may stand behind an answer that was lost"
    assert server.batches() == before + 1, "and it is one"


async def _withholds_the_rest(server: BatchServer, provider: BatchProvider) -> None:
    body = _sample_batch()
    before = server.batches()
    for until in (0, 200, (len(body) - 1) // 100 * 100):  # the last: only the last chunk is missing
        try:
            await provider.create_batch(_in_chunks(body, until=until), len(body))
        except LookupError:
            continue
        raise AssertionError("what the chunks raise is raised")
    assert server.batches() == before, "a body without its last chunk is no batch"


async def _knows_no_other_batch(_server: BatchServer, provider: BatchProvider) -> None:
    async def write(_piece: bytes) -> None:
        raise AssertionError("there is nothing to write")

    unknown = "msgbatch_unheard_of"
    for answer in (
        await provider.retrieve_batch(unknown),
        await provider.cancel_batch(unknown),
        await provider.download_results(unknown, write),
    ):
        assert isinstance(answer, Failure), "a batch that is not known is a failure"
        assert (answer.http_status, answer.scope) == (404, "row"), "which says nothing of the job"


# -- files -------------------------------------------------------------------------------------------------------------

_FILE = b"".join(b"line %d\r\n--\r\n" % number for number in range(50_000))
"""Longer than what is sent at a time, with line ends and dashes like those around a part of a form."""


def _if_files(part: Callable[[FileServer, FileProvider], Awaitable[None]]) -> _Part:
    async def checked(server: Server, provider: Provider) -> None:
        if provider.capabilities.files:
            await part(cast(FileServer, server), cast(FileProvider, provider))

    return checked


async def _upload(provider: FileProvider, data: bytes = _FILE, **options: Any) -> RemoteFile | Failure:
    chunks = _in_chunks(data, size=100_000)
    return await provider.upload_file(chunks, len(data), filename="a b.txt", media_type="text/plain", **options)


async def _keeps_a_file(server: FileServer, provider: FileProvider) -> None:
    file = _kept(await _upload(provider))
    assert server.uploads()[-1] == hashlib.sha256(_FILE).digest(), "the bytes arrive as they are"
    assert (file.filename, file.media_type, file.size_bytes) == ("a b.txt", "text/plain", len(_FILE))
    assert file.expires_at is None, "a file lasts where nothing else is asked for"
    passing = _kept(await _upload(provider, b"", expires_in_s=3_600))
    assert passing.expires_at is not None
    assert 3_590 <= (passing.expires_at - passing.created_at).total_seconds() <= 3_610
    found = _kept(await provider.retrieve_file(file.file_id))
    assert found == file
    assert {file.file_id, passing.file_id} <= await _listed(provider)
    assert await provider.delete_file(file.file_id) == file.file_id
    assert file.file_id not in await _listed(provider)
    _check_gone(await provider.retrieve_file(file.file_id))


async def _listed(provider: FileProvider) -> set[str]:
    """The ids of all files, a page of one at a time."""
    found: list[str] = []
    page: str | None = None
    while True:
        answer = await provider.list_files(page=page, limit=1)
        assert isinstance(answer, FilePage), answer
        found += [file.file_id for file in answer.files]
        if answer.next_page is None:
            break
        page = answer.next_page
    assert len(found) == len(set(found)), "no file is listed twice"
    return set(found)


async def _uploads_once(server: FileServer, provider: FileProvider) -> None:
    for status in (400, 413, 429, 500, 529):
        before = len(server.uploads())
        server.refuse_next_upload(status)
        failure = await _upload(provider)
        assert isinstance(failure, Failure)
        assert failure.http_status == status, "a refusal is told by its status"
        assert failure.may_be_billed == (status >= 500), "only a 4xx proves that the file is not there"
        assert len(server.uploads()) == before, "an upload that was refused is not sent again"
    before = len(server.uploads())
    server.drop_next_upload()
    failure = await _upload(provider)
    assert isinstance(failure, Failure)
    assert failure.retryable and failure.may_be_billed, "a file may stand behind an answer that was lost"  # noqa: PT018
    assert len(server.uploads()) == before + 1, "and it is one"


async def _keeps_no_part_of_a_file(server: FileServer, provider: FileProvider) -> None:
    before = len(server.uploads())
    for until in (0, 250_000, (len(_FILE) - 1) // 100_000 * 100_000):
        try:
            await provider.upload_file(
                _in_chunks(_FILE, size=100_000, until=until), len(_FILE), filename="x", media_type="text/plain"
            )
        except LookupError:
            continue
        raise AssertionError("what the chunks raise is raised")
    assert len(server.uploads()) == before, "a part of a file is no file"


async def _knows_no_other_file(_server: FileServer, provider: FileProvider) -> None:
    _check_gone(await provider.retrieve_file("file_unheard_of"))
    _check_gone(await provider.delete_file("file_unheard_of"))


def _check_gone(answer: object) -> None:
    assert isinstance(answer, Failure), "a file that is not there is a failure"
    assert (answer.http_status, answer.scope) == (404, "row"), "which says nothing of the job"


def _kept(answer: RemoteFile | Failure) -> RemoteFile:
    assert isinstance(answer, RemoteFile), f"a sound call failed: {answer}"
    return answer


async def _ended(provider: BatchProvider, batch_id: str) -> RemoteBatch:
    for _ in range(_PATIENCE_POLLS):
        batch = _good(await provider.retrieve_batch(batch_id))
        if batch.status == "ended":
            return batch
        await asyncio.sleep(0.02)
    raise AssertionError("the server's batch does not end")


def _good(answer: RemoteBatch | Failure) -> RemoteBatch:
    assert isinstance(answer, RemoteBatch), f"a sound call failed: {answer}"
    return answer


def _check_success(sent: Sent) -> None:
    assert sent.failure is None, f"a sound request failed: {sent.failure}"
    reply = sent.reply
    assert reply is not None, "exactly one of reply and failure is set"
    message = json.loads(sent.body)
    assert message["type"] == "message", "`body` is the message object"
    assert (message["id"], message["content"]) == (reply.message_id, list(reply.content))
    assert reply.usage.output_tokens > 0 and reply.usage.prompt_tokens > 0  # noqa: PT018
    assert sent.request_id == reply.request_id
    assert all(name == name.lower() for name in sent.headers or {}), "header names are in lower case"
    assert "authorization" not in (sent.headers or {})


def _failure(sent: Sent) -> Failure:
    assert sent.reply is None, "a failed request has no reply"
    assert sent.failure is not None, "exactly one of reply and failure is set"
    assert sent.body == b"", "a failed request has no body"
    return sent.failure
