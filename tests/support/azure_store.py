"""A server that answers what `adlfs` asks of Azure Blob Storage: one container, held in memory (REST API, XML)."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from support.http_server import Handler, http_server, listed

ACCOUNT = "accountoftests"
CONTAINER = "container-of-tests"
_WHEN = "Thu, 01 Jan 2026 00:00:00 GMT"


@dataclass
class AzureStore:
    """`blobs` are contents by name, `blocks` what was sent of one and is not committed yet."""

    address: str
    blobs: dict[str, bytes] = field(default_factory=dict)
    blocks: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    @property
    def connection(self) -> str:
        key = b64encode(b"made up").decode()
        account = f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={key}"
        return f"{account};BlobEndpoint={self.address}/{ACCOUNT};"

    def url(self, key: str) -> str:
        return f"az://{CONTAINER}/{key}"


@contextmanager
def azure_store() -> Iterator[AzureStore]:
    with http_server(_Azure) as address:
        _Azure.store = AzureStore(address)  # one server at a time
        yield _Azure.store


class _Azure(Handler):
    store: AzureStore

    def _answer(self) -> None:
        body = self.body()
        self.store.requests.append(f"{self.command} {self.path}")
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        container, _, name = unquote(parts.path).removeprefix(f"/{ACCOUNT}").lstrip("/").partition("/")
        if query.get("comp") == "list" and not container:
            self._containers()
        elif container != CONTAINER:
            self.send(404, headers={"x-ms-error-code": "ContainerNotFound"})
        elif query.get("comp") == "list":
            self._list(query)
        elif not name:
            self.send(200, headers=_headers(b""))
        elif self.command == "PUT":
            self._put(name, query, body)
        elif name not in self.store.blobs:
            self.send(404, headers={"x-ms-error-code": "BlobNotFound"})
        else:
            self._content(self.store.blobs[name])

    do_GET = _answer  # noqa: N815  # the names that http.server wants
    do_HEAD = _answer  # noqa: N815
    do_PUT = _answer  # noqa: N815
    do_POST = _answer  # noqa: N815

    def _put(self, name: str, query: Mapping[str, str], body: bytes) -> None:
        if query.get("comp") == "block":
            self.store.blocks[query["blockid"]] = body
        elif query.get("comp") == "blocklist":
            ids = re.findall(r"<Latest>([^<]+)</Latest>", body.decode())
            self.store.blobs[name] = b"".join(self.store.blocks.pop(each) for each in ids)
        else:
            self.store.blobs[name] = body
        self.send(201, headers={"ETag": '"0x1"', "Last-Modified": _WHEN, "x-ms-request-server-encrypted": "false"})

    def _containers(self) -> None:
        about = f"<Properties><Last-Modified>{_WHEN}</Last-Modified><Etag>x</Etag></Properties>"
        self._xml(f"<Containers><Container><Name>{CONTAINER}</Name>{about}</Container></Containers><NextMarker />")

    def _list(self, query: Mapping[str, str]) -> None:
        names, folders = listed(self.store.blobs, query.get("prefix", ""), query.get("delimiter", ""))
        blobs = []
        for name in names:
            about = "".join(f"<{key}>{value}</{key}>" for key, value in _properties(self.store.blobs[name]).items())
            blobs.append(f"<Blob><Name>{escape(name)}</Name><Properties>{about}</Properties></Blob>")
        found = "".join(f"<BlobPrefix><Name>{escape(name)}</Name></BlobPrefix>" for name in folders)
        self._xml(f"<Blobs>{''.join(blobs)}{found}</Blobs><NextMarker />")

    def _content(self, data: bytes) -> None:
        wanted = self.headers.get("x-ms-range") or self.headers.get("Range")
        self.send_content(data, _headers(data), None if self.command == "HEAD" else wanted)

    def _xml(self, inside: str) -> None:
        about = f'ServiceEndpoint="{self.store.address}/{ACCOUNT}/" ContainerName="{CONTAINER}"'
        body = f'<?xml version="1.0" encoding="utf-8"?><EnumerationResults {about}>{inside}</EnumerationResults>'
        self.send(200, body.encode(), {"Content-Type": "application/xml"})

    def send(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        super().send(status, body, {"x-ms-version": "2025-01-05", **(headers or {})})


def _properties(data: bytes) -> dict[str, str]:
    return {
        "Last-Modified": _WHEN,
        "Etag": f"0x{hash(data):x}",
        "Content-Length": str(len(data)),
        "Content-Type": "application/octet-stream",
        "BlobType": "BlockBlob",
    }


def _headers(data: bytes) -> dict[str, str]:
    return {
        "ETag": f'"0x{hash(data):x}"',
        "Last-Modified": _WHEN,
        "Accept-Ranges": "bytes",
        "Content-Type": "application/octet-stream",
        "x-ms-blob-type": "BlockBlob",
        "x-ms-creation-time": _WHEN,
    }
