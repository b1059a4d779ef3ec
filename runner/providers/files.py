"""The Files API: each call once, and whatever happens as a value.

Owns   the calls on files: addresses, the multipart body of an upload, deadlines, and what counts as an answer.
Knows  HTTP, through a `Wire`. Nothing of the SDK, of retries, or of who needs a file.

Invariants
  * An upload is sent once, with its length, piece by piece: no more of a file than one piece is held here. A failure
    says `may_be_billed` wherever the whole body had left and no refusal came back: the file may be there.
  * No call follows a redirect, and no wait is without an end.

Source: SDK 2.12 `resources/files.py`, `types/file_metadata.py`, `types/deleted_file.py`, `pagination.py`
(`AsyncPageCursor`). Without a beta header since the API's general release. The SDK's own `upload` reads the whole file
into memory, so the form is written here: two parts, RFC 7578.
"""

from __future__ import annotations

import asyncio
import re
import secrets as random
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import urlencode

from runner.clock import Clock
from runner.providers import FilePage, RemoteFile, failures
from runner.providers.batches import QUESTION_S, UPLOAD_BYTES_PER_S
from runner.providers.exchange import Reading, Response, Wire
from runner.providers.upload import Upload
from runner.types import Failure

PATH = "/v1/files"

_FILE_ID = re.compile(r"[A-Za-z0-9_-]{1,200}")
"""Ids may change in form and length (SDK), but nothing else may stand in a path."""
_PLAIN_NAME = re.compile(r"[A-Za-z0-9 ._-]{1,255}")
_MEDIA_TYPE = re.compile(r"[a-z0-9.+-]+/[a-z0-9.+-]+")

T = TypeVar("T")


class Files:
    """The calls of `FileProvider`. `reply_s`: how long the API may think about a file that it has whole."""

    def __init__(self, wire: Wire, *, clock: Clock, secrets: tuple[str, ...], reply_s: float, stall_s: float) -> None:
        self._wire = wire
        self._reading = Reading(wire, clock, secrets)
        self._reply_s = reply_s
        self._stall_s = stall_s

    async def upload(
        self,
        chunks: AsyncIterable[bytes],
        size_bytes: int,
        filename: str,
        media_type: str,
        expires_in_s: int | None,
    ) -> RemoteFile | Failure:
        """POST a file, once; see the contract."""
        form = _Form(filename, media_type, expires_in_s)
        whole_bytes = len(form.head) + size_bytes + len(form.tail)
        headers = {"content-type": form.content_type, "content-length": str(whole_bytes)}
        wall_s = whole_bytes / UPLOAD_BYTES_PER_S + self._reply_s
        deadline = asyncio.timeout(wall_s)
        upload = Upload(form.around(chunks), whole_bytes, deadline, stall_s=self._stall_s, reply_s=self._reply_s)
        try:
            async with deadline:
                response = await self._wire.post(PATH, headers, wall_s, upload)
        except (*self._wire.errors, *self._wire.credential_errors) as error:
            answer: RemoteFile | Failure = self._no_answer(error, upload, deadline)
        else:
            answer = self._reading.object_of(response, file_of, media_type="application/json")
        finally:
            await upload.close()
        if upload.raised is not None:
            raise upload.raised
        return failures.of_upload(answer, whole=upload.whole) if isinstance(answer, Failure) else answer

    async def retrieve(self, file_id: str) -> RemoteFile | Failure:
        return await self._ask(lambda left_s: self._wire.get(_path(file_id), {}, left_s), file_of)

    async def list(self, page: str | None, limit: int) -> FilePage | Failure:
        query = urlencode({"limit": limit, **({"page": page} if page is not None else {})})
        return await self._ask(lambda left_s: self._wire.get(f"{PATH}?{query}", {}, left_s), _page_of)

    async def delete(self, file_id: str) -> str | Failure:
        return await self._ask(lambda left_s: self._wire.delete(_path(file_id), {}, left_s), _id_of)

    def _no_answer(self, error: Exception, upload: Upload, deadline: asyncio.Timeout) -> Failure:
        if not deadline.expired():
            return self._reading.failure_of(error)
        if upload.whole:
            return failures.deadline_passed(self._reply_s)
        return failures.stood_still(self._stall_s)

    async def _ask(self, send: Callable[[float], Awaitable[Response]], read: Callable[[Any], T]) -> T | Failure:
        """A question that may be asked again; `send` is told how long it may take."""
        deadline_s = min(QUESTION_S, self._reply_s)
        try:
            async with asyncio.timeout(deadline_s) as deadline:
                response = await send(deadline_s)
        except (*self._wire.errors, *self._wire.credential_errors) as error:
            passed = deadline.expired()
            return _of_file(failures.deadline_passed(deadline_s) if passed else self._reading.failure_of(error))
        answer = self._reading.object_of(response, read)
        return _of_file(answer) if isinstance(answer, Failure) else answer


class _Form:
    """The multipart body around a file. The boundary is random, so that no file holds it."""

    def __init__(self, filename: str, media_type: str, expires_in_s: int | None) -> None:
        if not _PLAIN_NAME.fullmatch(filename) or not _MEDIA_TYPE.fullmatch(media_type):
            raise ValueError(f"no name and type of a file: {filename!r}, {media_type!r}")
        boundary = f"runner-{random.token_hex(16)}"
        expires = (
            ""
            if expires_in_s is None
            else f'--{boundary}\r\nContent-Disposition: form-data; name="expires_in_seconds"\r\n\r\n{expires_in_s}\r\n'
        )
        opening = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n'
        self.head = f"{expires}{opening}Content-Type: {media_type}\r\n\r\n".encode()
        self.tail = f"\r\n--{boundary}--\r\n".encode()
        self.content_type = f"multipart/form-data; boundary={boundary}"

    async def around(self, chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
        yield self.head
        async for chunk in chunks:
            yield chunk
        yield self.tail


def file_of(answer: Any) -> RemoteFile:
    """Read a FileMetadata object. Raises ValueError."""
    if not isinstance(answer, dict) or answer.get("type", "file") != "file":
        raise ValueError("no file")
    file_id, size = answer.get("id"), answer.get("size_bytes")
    if not isinstance(file_id, str) or not _FILE_ID.fullmatch(file_id) or not isinstance(size, int):
        raise ValueError("a file without its id and size")
    expires_at = answer.get("expires_at")
    return RemoteFile(
        file_id,
        str(answer.get("filename", "")),
        str(answer.get("mime_type", "")),
        size,
        _moment(answer.get("created_at")),
        None if expires_at is None else _moment(expires_at),
    )


def _page_of(answer: Any) -> FilePage:
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, list):
        raise ValueError("no list of files")
    following = answer.get("next_page")
    return FilePage([file_of(one) for one in data], following if isinstance(following, str) and following else None)


def _id_of(answer: Any) -> str:
    if not isinstance(answer, dict) or not isinstance(answer.get("id"), str):
        raise ValueError("no deleted file")
    return str(answer["id"])


def _moment(value: Any) -> datetime:
    if not isinstance(value, str):
        raise ValueError("no time")
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        raise ValueError("a time without its zone")
    return moment


def _of_file(failure: Failure) -> Failure:
    """Said of a question about one file, which buys nothing; that it is not there says nothing of the job."""
    return failures.of_batch(failure)


def _path(file_id: str) -> str:
    if not _FILE_ID.fullmatch(file_id):
        raise ValueError(f"not the id of a file: {file_id[:80]!r}")
    return f"{PATH}/{file_id}"
