"""A server that answers what the `datasets` library asks of the Hugging Face Hub: one dataset, `org/name`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from support.http_server import Handler, http_server

_COMMIT = "a" * 40


@dataclass
class HubServer:
    """`requests` are the methods and paths that were asked for."""

    address: str
    files: Mapping[str, bytes]
    requests: list[str] = field(default_factory=list)


@contextmanager
def hub_server(files: Mapping[str, bytes]) -> Iterator[HubServer]:
    with http_server(_Hub) as address:
        _Hub.hub = HubServer(address, files)  # one server at a time
        yield _Hub.hub


class _Hub(Handler):
    hub: HubServer

    def _answer(self) -> None:
        self.body()
        self.hub.requests.append(f"{self.command} {self.path}")
        path = self.path.partition("?")[0]
        if path.startswith("/api/datasets/org/name/tree/"):
            self._tree(path.partition("/tree/")[2].partition("/")[2])
        elif path.startswith("/api/datasets/org/name"):
            siblings = [{"rfilename": name} for name in self.hub.files]
            self._json({"id": "org/name", "sha": _COMMIT, "private": False, "tags": [], "siblings": siblings})
        elif path.startswith("/datasets/org/name/resolve/"):
            self._file(path.partition("/resolve/")[2].partition("/")[2])
        else:
            self.send(404, b'{"error": "not found"}', {"X-Error-Code": "RepoNotFound"})

    do_GET = _answer  # noqa: N815  # the names that http.server wants
    do_HEAD = _answer  # noqa: N815
    do_POST = _answer  # noqa: N815

    def _tree(self, folder: str) -> None:
        inside = [name for name in self.hub.files if name.startswith(f"{folder}/" if folder else "")]
        below = {name[len(folder) :].lstrip("/").partition("/")[0] for name in inside}
        entries: list[dict[str, Any]] = []
        for name in sorted(below):
            path = f"{folder}/{name}" if folder else name
            data = self.hub.files.get(path)
            kind = "directory" if data is None else "file"
            entries.append({"type": kind, "oid": "b" * 40, "size": len(data or b""), "path": path})
        self._json(entries)

    def _file(self, name: str) -> None:
        data = self.hub.files.get(name)
        headers = {"ETag": '"x"', "X-Repo-Commit": _COMMIT, "Accept-Ranges": "bytes"}
        if data is None:
            self.send(404, b"{}", {"X-Error-Code": "EntryNotFound"})
        else:
            self.send_content(data, headers, self.headers.get("Range"))

    def _json(self, value: Any) -> None:
        self.send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})
