"""The calls on files, against servers that answer oddly: what is read, and what is a failure."""

from __future__ import annotations

import asyncio
import email.parser
import email.policy
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from runner.providers import FilePage, RemoteFile
from runner.types import Failure
from support.raw_server import Answer, RawServer, reply, serve
from support.transports import connect

if TYPE_CHECKING:
    from support.transports import AnyProvider

pytestmark = pytest.mark.usefixtures("transport")

KEY = "sk-ant-api03-canary-canary"
FILE: dict[str, Any] = {
    "id": "file_01",
    "type": "file",
    "filename": "a.pdf",
    "mime_type": "application/pdf",
    "size_bytes": 9,
    "created_at": "2026-11-22T10:00:00Z",
    "downloadable": False,
    "expires_at": "2026-12-22T10:00:00Z",
}
DATA = b"%PDF-1.4\n"

T = TypeVar("T")


def ask(answer: Answer, call: Callable[[AnyProvider], Awaitable[T]]) -> tuple[T, RawServer]:
    async def main() -> tuple[T, RawServer]:
        async with asyncio.timeout(60), serve(answer) as server:
            environ = {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": server.address}
            provider = connect(environ, max_concurrency=2)
            try:
                return await call(provider), server
            finally:
                await provider.aclose()

    return asyncio.run(main())


async def chunks() -> AsyncIterator[bytes]:
    yield DATA[:4]
    yield DATA[4:]


async def upload(provider: AnyProvider) -> RemoteFile | Failure:
    return await provider.upload_file(
        chunks(), len(DATA), filename="a.pdf", media_type="application/pdf", expires_in_s=86_400
    )


def without(name: str) -> bytes:
    return json.dumps({key: value for key, value in FILE.items() if key != name}).encode()


def with_(**changes: Any) -> bytes:
    return json.dumps(FILE | changes).encode()


def test_an_upload_is_a_form_with_its_length_and_no_beta() -> None:
    file, server = ask(reply(with_()), upload)
    assert file == RemoteFile(
        "file_01",
        "a.pdf",
        "application/pdf",
        9,
        datetime(2026, 11, 22, 10, tzinfo=UTC),
        datetime(2026, 12, 22, 10, tzinfo=UTC),
    )
    (request,) = server.requests
    assert request.line == "POST /v1/files HTTP/1.1"
    assert "anthropic-beta" not in request.headers
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert int(request.headers["content-length"]) == len(request.body)
    head = f"content-type: {request.headers['content-type']}\r\n\r\n".encode()
    form = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + request.body)
    parts = {part.get_param("name", header="content-disposition"): part for part in form.iter_parts()}
    assert parts["expires_in_seconds"].get_payload(decode=True) == b"86400"
    assert parts["file"].get_filename() == "a.pdf"
    assert parts["file"].get_content_type() == "application/pdf"
    assert parts["file"].get_payload(decode=True) == DATA


def test_a_file_may_have_no_end() -> None:
    for body in (with_(expires_at=None), without("expires_at")):
        file, _ = ask(reply(body), upload)
        assert isinstance(file, RemoteFile)
        assert file.expires_at is None


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"{}",
        with_(type="message"),
        without("id"),
        with_(id="../messages"),
        with_(id=7),
        without("size_bytes"),
        without("created_at"),
        with_(created_at="yesterday"),
        with_(expires_at="2026-12-22T10:00:00"),
        b'{"id":',
    ],
)
def test_what_is_no_file_may_hide_one(body: bytes) -> None:
    failure, _ = ask(reply(body), upload)
    assert isinstance(failure, Failure)
    assert failure.retryable
    assert failure.may_be_billed, "so the list is searched before it is sent again"
    assert KEY not in failure.message


def test_a_login_page_is_no_file() -> None:
    failure, _ = ask(reply(b"<html>", content_type="text/html"), upload)
    assert isinstance(failure, Failure)
    assert failure.kind == "connection_error"


def test_a_full_storage_concerns_every_file() -> None:
    error = {"type": "invalid_request_error", "message": "no room", "details": {"error_code": "storage_quota_exceeded"}}
    body = json.dumps({"type": "error", "error": error}).encode()
    failure, _ = ask(reply(body, status="400 Bad Request"), upload)
    assert isinstance(failure, Failure)
    assert (failure.scope, failure.code, failure.may_be_billed) == ("job", "storage_quota_exceeded", False)


def test_an_expired_file_concerns_its_own_rows() -> None:
    error = {"type": "not_found_error", "message": "gone", "details": {"error_code": "file_expired"}}
    body = json.dumps({"type": "error", "error": error}).encode()
    failure, _ = ask(reply(body, status="404 Not Found"), lambda provider: provider.retrieve_file("file_01"))
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.scope, failure.retryable) == ("not_found_error", "row", False)


def test_an_id_that_is_none_is_asked_of_nobody() -> None:
    with pytest.raises(ValueError, match="not the id of a file"):
        ask(reply(with_()), lambda provider: provider.retrieve_file("../messages"))


def test_a_name_that_would_break_the_form_is_a_bug() -> None:
    async def call(provider: AnyProvider) -> object:
        return await provider.upload_file(chunks(), 9, filename='a"\r\nx: y', media_type="application/pdf")

    with pytest.raises(ValueError, match="no name and type"):
        ask(reply(with_()), call)


@pytest.mark.parametrize("following", [None, "", "page_2"])
def test_a_page_says_where_the_next_begins(following: str | None) -> None:
    body = json.dumps({"data": [FILE], "next_page": following}).encode()
    page, server = ask(reply(body), lambda provider: provider.list_files(page="page_1", limit=3))
    assert isinstance(page, FilePage)
    assert [file.file_id for file in page.files] == ["file_01"]
    assert page.next_page == (following or None)
    assert server.requests[0].line == "GET /v1/files?limit=3&page=page_1 HTTP/1.1"


def test_a_list_that_is_none_is_a_failure() -> None:
    page, _ = ask(reply(b'{"data":{}}'), lambda provider: provider.list_files())
    assert isinstance(page, Failure)


def test_a_deletion_names_the_file() -> None:
    answer, server = ask(
        reply(b'{"id":"file_01","type":"file_deleted"}'), lambda provider: provider.delete_file("file_01")
    )
    assert answer == "file_01"
    assert server.requests[0].line == "DELETE /v1/files/file_01 HTTP/1.1"
