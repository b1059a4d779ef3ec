"""The Files endpoints: upload, list, retrieve, content, delete; and files as requests refer to them.

Owns   their rules, the FileMetadata object, and what a Messages request is told about a file that it may not use.
Knows  the store; `app` gives it authenticated exchanges, `messages` and `batch_rows` ask it what a request names.

An upload goes to a file while it arrives, and is in the books before it is answered. What nobody has specified is
answered as follows: a type that a block cannot show is a 400; an expired file is a 404 with the code `file_expired`,
wherever it is asked for; one that was deleted is a 404 like one that never was.

Source: the SDK's `resources/files.py`, `types/file_*.py` and `pagination.py` (2.12.0): paths, parameters, bounds and
error codes; the API's guide on files for sizes and types. Uploaded files are never downloadable there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from aiohttp import BodyPartReader, MultipartReader, web
from msgspec import Struct

from runner.clock import Clock, to_rfc3339
from runner.simulator.accounts import Accounts
from runner.simulator.acts import FILE_CONTENT, FILE_DELETE, FILE_LIST, FILE_RETRIEVE, FILE_UPLOAD
from runner.simulator.exchange import Exchange, fail
from runner.simulator.faults import Fault, Faults
from runner.simulator.file_store import FileStore, StoredFile
from runner.simulator.media import MEASURED, measured
from runner.simulator.options import Options
from runner.simulator.refusal import Refused

PATH = "/v1/files"

MAX_FILE_BYTES = 500_000_000
"""500 MB, in the stricter reading. Source: guide on files."""
_ENVELOPE_BYTES = 64 * 1024
"""What a multipart body may have around its file."""
_EXPIRES_S = (3_600, 7_776_000)
_PAGE_DEFAULT, _PAGE_MAX, _IDS_MAX = 20, 1_000, 100
_CHUNK_BYTES = 1 << 16

IMAGE_TYPES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
DOCUMENT_TYPES = frozenset({"application/pdf", "text/plain"})
_SHOWN_BY: Mapping[str, frozenset[str]] = {"image": IMAGE_TYPES, "document": DOCUMENT_TYPES}
"""Which block takes which type of file. Source: guide on files, "File types and content blocks"."""


class _Received(Struct, frozen=True):
    path: Path
    filename: str
    mime_type: str
    size_bytes: int
    sha256: str
    pages: int
    width: int
    height: int
    expires_in_s: int | None


class Files:
    def __init__(self, options: Options, clock: Clock, accounts: Accounts, faults: Faults) -> None:
        self._clock = clock
        self._faults = faults
        self.store = FileStore(options.state, accounts.database)
        self._calls: Mapping[
            tuple[str, str], tuple[str, Callable[[Exchange, str, Fault | None], Awaitable[web.StreamResponse]]]
        ] = {
            ("GET", ""): (FILE_RETRIEVE, self._retrieve),
            ("DELETE", ""): (FILE_DELETE, self._delete),
            ("GET", "content"): (FILE_CONTENT, self._content),
        }

    async def handle(self, exchange: Exchange) -> web.StreamResponse:
        """Answer a call of `PATH` or below. Raises Refused."""
        method = exchange.request.method
        file_id, _, action = exchange.path.removeprefix(PATH).lstrip("/").partition("/")
        if not file_id and method == "POST":
            return await self._upload(exchange)
        if not file_id and method == "GET":
            fault = await self._fault(FILE_LIST, exchange)
            return await self._list(exchange, fault)
        found = self._calls.get((method, action))
        if found is None or not file_id:
            raise Refused("Method Not Allowed", 405) if action in ("", "content") else Refused("Not Found", 404)
        place, handler = found
        fault = await self._fault(place, exchange)
        return await handler(exchange, file_id, fault)

    # --- what requests refer to

    def named_in(self, body: Any, workspace: str) -> Mapping[str, StoredFile]:
        """The files that a request names, by id. Raises Refused where one is not there, or is none that its block can
        show. Of a body whose shape is wrong nothing is said here."""
        named: dict[str, StoredFile] = {}
        for block in _blocks(body):
            source = block.get("source")
            if not isinstance(source, dict) or source.get("type") != "file":
                continue
            file_id, kind = source.get("file_id"), str(block.get("type"))
            if not isinstance(file_id, str) or kind not in _SHOWN_BY:
                continue
            file = named[file_id] = self._find(file_id, workspace)
            if file.mime_type not in _SHOWN_BY[kind]:
                raise Refused(f"File {file_id} of type {file.mime_type!r} cannot be used in a block of type {kind!r}")
        return named

    def _find(self, file_id: str, workspace: str) -> StoredFile:
        file = self.store.get(file_id)
        if file is None or file.is_deleted or file.workspace != workspace:
            raise Refused(f"File not found: {file_id}", 404)
        if file.has_expired(self._now()):
            self.store.drop_content(file_id)
            raise Refused(f"File has expired: {file_id}", 404, error_code="file_expired")
        return file

    # --- calls

    async def _fault(self, place: str, exchange: Exchange) -> Fault | None:
        """What shall go wrong; carried out here where it strikes before anything is done."""
        await exchange.request.read()
        fault = self._faults.choose(place, exchange.path.encode())
        if fault is not None and fault.act.before_acceptance:
            await fail(exchange, fault)
        return fault

    async def _upload(self, exchange: Exchange) -> web.StreamResponse:
        if (exchange.request.content_length or 0) > MAX_FILE_BYTES + _ENVELOPE_BYTES:
            raise Refused("Request exceeds the maximum size", 413)
        path = self.store.incoming()
        try:
            received = await _receive(exchange, path)
            fault = self._faults.choose(FILE_UPLOAD, received.sha256.encode(), _looks_in(path, received.filename))
            if fault is not None and fault.act.before_acceptance:
                return await fail(exchange, fault)
            file = self._accept(exchange, received, fault)
        finally:
            path.unlink(missing_ok=True)
        return await exchange.deliver(orjson.dumps(_described(file)), fault)

    def _accept(self, exchange: Exchange, received: _Received, fault: Fault | None) -> StoredFile:
        now = self._now()
        file = StoredFile(
            id=self.store.new_id(),
            workspace=exchange.workspace,
            filename=received.filename,
            mime_type=received.mime_type,
            size_bytes=received.size_bytes,
            sha256=received.sha256,
            pages=received.pages,
            width=received.width,
            height=received.height,
            created_at=now,
            expires_at=None if received.expires_in_s is None else now + received.expires_in_s,
        )
        at = to_rfc3339(self._clock.now())
        self.store.add(file, received.path, at=at, fault=None if fault is None else fault.kind)
        return file

    async def _list(self, exchange: Exchange, fault: Fault | None) -> web.StreamResponse:
        query, now = exchange.request.query, self._now()
        shown = [file for file in self.store.of_workspace(exchange.workspace) if not file.has_expired(now)]
        ids = query.getall("ids[]", []) + query.getall("ids", [])
        if ids:
            if len(set(ids)) > _IDS_MAX:
                raise Refused(f"ids: List should have at most {_IDS_MAX} items")
            named = {"data": [_described(file) for file in shown if file.id in ids], "next_page": None}
            return await exchange.deliver(orjson.dumps(named), fault)
        limit = query.get("limit", str(_PAGE_DEFAULT))
        if not limit.isdigit() or not 1 <= int(limit) <= _PAGE_MAX:
            raise Refused(f"limit: Input should be between 1 and {_PAGE_MAX}")
        start = _position(query.get("page"), [file.id for file in shown])
        page = shown[start : start + int(limit)]
        more = start + int(limit) < len(shown)
        answer: dict[str, Any] = {
            "data": [_described(file) for file in page],
            "next_page": f"page_{page[-1].id}" if more and page else None,
        }
        return await exchange.deliver(orjson.dumps(answer), fault)

    async def _retrieve(self, exchange: Exchange, file_id: str, fault: Fault | None) -> web.StreamResponse:
        return await exchange.deliver(orjson.dumps(_described(self._find(file_id, exchange.workspace))), fault)

    async def _content(self, exchange: Exchange, file_id: str, fault: Fault | None) -> web.StreamResponse:  # noqa: ARG002
        self._find(file_id, exchange.workspace)
        raise Refused(f"File {file_id} is not downloadable", error_code="file_not_downloadable")

    async def _delete(self, exchange: Exchange, file_id: str, fault: Fault | None) -> web.StreamResponse:
        self._find(file_id, exchange.workspace)
        self.store.delete(file_id)
        return await exchange.deliver(orjson.dumps({"id": file_id, "type": "file_deleted"}), fault)

    def _now(self) -> float:
        return self._clock.now().timestamp()


def _blocks(body: Any) -> Iterator[Mapping[str, Any]]:
    """The blocks of all messages, those inside a tool's result too; as far as the body has the shape of one."""
    messages = body.get("messages") if isinstance(body, dict) else None
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content") if isinstance(message, dict) else None
        for block in content if isinstance(content, list) else ():
            if not isinstance(block, dict):
                continue
            yield block
            inner = block.get("content") if block.get("type") == "tool_result" else None
            yield from (one for one in inner if isinstance(one, dict)) if isinstance(inner, list) else ()


async def _receive(exchange: Exchange, path: Path) -> _Received:
    """Take a multipart body apart. Raises Refused."""
    try:
        reader = await exchange.request.multipart()
    except (AssertionError, ValueError) as error:
        raise Refused("Content-Type: expected multipart/form-data with a boundary") from error
    assert isinstance(reader, MultipartReader)
    file: dict[str, Any] | None = None
    expires_in_s: int | None = None
    try:
        async for part in reader:
            if not isinstance(part, BodyPartReader):
                raise Refused("multipart: nested parts are not permitted")
            match part.name:
                case "file":
                    file = await _take_file(part, path)
                case "expires_in_seconds":
                    expires_in_s = _seconds(await part.text())
                case name:
                    raise Refused(f"{name}: Extra inputs are not permitted")
    except ValueError as error:
        raise Refused(f"multipart: {error}") from error
    if file is None:
        raise Refused("file: Field required")
    return _Received(path=path, expires_in_s=expires_in_s, **file)


def _measured(mime_type: str, path: Path) -> dict[str, int]:
    return measured(mime_type, path.read_bytes() if mime_type in MEASURED else b"")


async def _take_file(part: BodyPartReader, path: Path) -> dict[str, Any]:
    hashing, size = hashlib.sha256(), 0
    with path.open("wb") as out:
        while chunk := await part.read_chunk(_CHUNK_BYTES):
            size += len(chunk)
            if size > MAX_FILE_BYTES:
                raise Refused("Request exceeds the maximum size", 413)
            hashing.update(chunk)
            out.write(chunk)
    mime_type = (part.headers.get("content-type") or "application/octet-stream").partition(";")[0].strip().lower()
    filename = (part.filename or "").rpartition("/")[2]
    return {
        "filename": filename or f"unnamed{_EXTENSIONS.get(mime_type, '')}",
        "mime_type": mime_type,
        "size_bytes": size,
        "sha256": hashing.hexdigest(),
        **_measured(mime_type, path),
    }


_EXTENSIONS = {
    "application/pdf": ".pdf", "text/plain": ".txt", "image/jpeg": ".jpg", "image/png": ".png", "image/gif": ".gif",
    "image/webp": ".webp",
}  # fmt: skip


def _seconds(text: str) -> int:
    least, most = _EXPIRES_S
    if not text.isdigit() or not least <= int(text) <= most:
        raise Refused(f"expires_in_seconds: Input should be between {least} and {most}")
    return int(text)


def _looks_in(path: Path, filename: str) -> Callable[[bytes], bool]:
    def contains(needle: bytes) -> bool:
        return needle in filename.encode() or needle in path.read_bytes()

    return contains


def _position(page: str | None, ids: list[str]) -> int:
    """Where a page begins: behind the file that its cursor names."""
    if page is None:
        return 0
    last = page.removeprefix("page_")
    if last not in ids:
        raise Refused(f"page: {page} is not a page cursor")
    return ids.index(last) + 1


def _described(file: StoredFile) -> dict[str, Any]:
    """The FileMetadata object."""
    return {
        "id": file.id,
        "type": "file",
        "filename": file.filename,
        "mime_type": file.mime_type,
        "size_bytes": file.size_bytes,
        "created_at": to_rfc3339(datetime.fromtimestamp(file.created_at, UTC)),
        "downloadable": False,
        "expires_at": None if file.expires_at is None else to_rfc3339(datetime.fromtimestamp(file.expires_at, UTC)),
    }
