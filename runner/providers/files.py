"""The Files API: each call once, and whatever happens as a value.

Owns   the calls on files: addresses, the multipart body of an upload, and what counts as an answer.
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

import re
import secrets as random
from collections.abc import AsyncIterable, AsyncIterator
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import urlencode

from runner.clock import Clock
from runner.providers import FilePage, RemoteFile
from runner.providers.calls import Calls
from runner.providers.exchange import Wire
from runner.types import Failure

PATH = "/v1/files"

_FILE_ID = re.compile(r"[A-Za-z0-9_-]{1,200}")
"""Ids may change in form and length (SDK), but nothing else may stand in a path."""
_PLAIN_NAME = re.compile(r"[A-Za-z0-9 ._-]{1,255}")
_MEDIA_TYPE = re.compile(r"[a-z0-9.+-]+/[a-z0-9.+-]+")


class Files:
    """The calls of `FileProvider`. `reply_s`: how long the API may think about a file that it has whole."""

    def __init__(self, wire: Wire, *, clock: Clock, secrets: tuple[str, ...], reply_s: float, stall_s: float) -> None:
        self._calls = Calls(wire, clock=clock, secrets=secrets, reply_s=reply_s, stall_s=stall_s)
        self._wire = wire

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
        return await self._calls.send(
            PATH, {"content-type": form.content_type}, form.around(chunks), whole_bytes, file_of
        )

    async def retrieve(self, file_id: str) -> RemoteFile | Failure:
        return await self._calls.ask(partial(self._wire.get, _path(file_id), {}), file_of)

    async def list(self, page: str | None, limit: int) -> FilePage | Failure:
        query = urlencode({"limit": limit, **({"page": page} if page is not None else {})})
        return await self._calls.ask(partial(self._wire.get, f"{PATH}?{query}", {}), _page_of)

    async def delete(self, file_id: str) -> str | Failure:
        return await self._calls.ask(partial(self._wire.delete, _path(file_id), {}), _id_of)


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


def _path(file_id: str) -> str:
    if not _FILE_ID.fullmatch(file_id):
        raise ValueError(f"not the id of a file: {file_id[:80]!r}")
    return f"{PATH}/{file_id}"
