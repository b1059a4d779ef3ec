"""A server that answers what `gcsfs` asks of Google Cloud Storage: one bucket, held in memory (JSON API, version 1)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from support.http_server import Handler, http_server, listed

BUCKET = "bucket-of-tests"


@dataclass
class GoogleStore:
    """`objects` are contents by name, `metadata` what was said of them beside."""

    address: str
    objects: dict[str, bytes] = field(default_factory=dict)
    metadata: dict[str, Mapping[str, str]] = field(default_factory=dict)
    uploads: dict[str, tuple[dict[str, Any], bytearray]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    def url(self, key: str) -> str:
        return f"gs://{BUCKET}/{key}"

    def put(self, key: str, data: bytes, metadata: Mapping[str, str] | None = None) -> None:
        self.objects[key] = data
        self.metadata[key] = metadata or {}

    def about(self, key: str) -> dict[str, Any]:
        data = self.objects[key]
        return {
            "kind": "storage#object", "name": key, "bucket": BUCKET, "size": str(len(data)), "etag": f"{hash(data):x}",
            "generation": "1", "metadata": self.metadata[key], "storageClass": "STANDARD",
            "updated": "2026-01-01T00:00:00.000Z", "timeCreated": "2026-01-01T00:00:00.000Z",
        }  # fmt: skip


@contextmanager
def google_store() -> Iterator[GoogleStore]:
    with http_server(_Google) as address:
        _Google.store = GoogleStore(address)  # one server at a time
        yield _Google.store


class _Google(Handler):
    store: GoogleStore

    def _answer(self) -> None:
        body = self.body()
        self.store.requests.append(f"{self.command} {self.path}")
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        path = parts.path
        if path.startswith("/upload/"):
            self._upload(query, body)
            return
        name = unquote(path.partition("/o/")[2])
        if path.endswith(f"/b/{BUCKET}/o"):
            self._list(query)
        elif path.rstrip("/").endswith(f"/b/{BUCKET}"):
            self._json({"name": BUCKET, "kind": "storage#bucket"})
        elif f"/b/{BUCKET}/o/" not in path or name not in self.store.objects:
            self._json({"error": {"code": 404, "message": "Not Found"}}, 404)
        elif query.get("alt") == "media" or path.startswith("/download/"):
            self.send_content(self.store.objects[name], {}, self.headers.get("Range"))
        else:
            self._json(self.store.about(name))

    do_GET = _answer  # noqa: N815  # the names that http.server wants
    do_POST = _answer  # noqa: N815
    do_PUT = _answer  # noqa: N815
    do_DELETE = _answer  # noqa: N815

    def _list(self, query: Mapping[str, str]) -> None:
        names, folders = listed(self.store.objects, query.get("prefix", ""), query.get("delimiter", ""))
        items = [self.store.about(name) for name in names]
        self._json({"kind": "storage#objects", "items": items, "prefixes": folders})

    def _upload(self, query: Mapping[str, str], body: bytes) -> None:
        if query.get("uploadType") == "multipart":
            boundary = self.headers["Content-Type"].partition("boundary=")[2].strip('"').encode()
            _, about, content = body.split(b"--" + boundary)[:3]
            said = json.loads(about.partition(b"\n\n")[2])
            data = content.partition(b"\n\n")[2].removesuffix(b"\n")
            self.store.put(said["name"], data, said.get("metadata"))
            self._json(self.store.about(said["name"]))
        elif "upload_id" not in query:
            key = str(len(self.store.uploads))
            self.store.uploads[key] = json.loads(body), bytearray()
            location = f"{self.store.address}/upload/storage/v1/b/{BUCKET}/o?uploadType=resumable&upload_id={key}"
            self.send(200, headers={"Location": location})
        else:
            said, arrived = self.store.uploads[query["upload_id"]]
            span, _, total = self.headers["Content-Range"].removeprefix("bytes ").partition("/")
            del arrived[int(span.partition("-")[0]) :]
            arrived += body
            if len(arrived) < int(total):
                self.send(308, headers={"Range": f"bytes=0-{len(arrived) - 1}"})
                return
            del self.store.uploads[query["upload_id"]]
            self.store.put(said["name"], bytes(arrived), said.get("metadata"))
            self._json(self.store.about(said["name"]))

    def _json(self, value: Any, status: int = 200) -> None:
        self.send(status, json.dumps(value).encode(), {"Content-Type": "application/json"})
