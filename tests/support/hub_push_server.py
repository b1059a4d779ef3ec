"""The endpoints of the Hugging Face Hub that a push of one file needs, on loopback: repositories, pre-upload, LFS's
basic transfer, commits. What it holds is in memory."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from runner.encoding import decode, encode
from support.http_server import Handler, http_server


@dataclass
class Hub:
    """`repositories`: what each was made with. `commits`: (dataset, message, file, content), in order."""

    large_from: int = 1 << 20
    """Files of so many bytes go by LFS."""
    url: str = ""
    repositories: dict[str, dict[str, Any]] = field(default_factory=dict)
    commits: list[tuple[str, str, str, bytes]] = field(default_factory=list)
    objects: dict[str, bytes] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)
    refuses_with: int | None = None

    def content(self, dataset: str, path: str) -> bytes | None:
        return next((body for name, _, file, body in reversed(self.commits) if (name, file) == (dataset, path)), None)

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        if self.refuses_with is not None:
            return self.refuses_with, {"error": "no such token"}
        parts = path.strip("/").split("/")
        match method, parts:
            case "POST", ["api", "repos", "create"]:
                told = decode(body)
                name = f"{told['organization']}/{told['name']}"
                if name in self.repositories:
                    return 409, {"error": "You already created this dataset repo", "url": f"{self.url}/datasets/{name}"}
                self.repositories[name] = told
                return 200, {"url": f"{self.url}/datasets/{name}"}
            case "POST", ["api", "datasets", owner, name, "preupload", _]:
                return 200, {"files": [self._mode(f"{owner}/{name}", file) for file in decode(body)["files"]]}
            case "POST", ["api", "datasets", owner, name, "commit", _]:
                return 200, self._commit(f"{owner}/{name}", [decode(line) for line in body.splitlines() if line])
            case "GET", ["api", "datasets", owner, name, *_]:
                return 200, {"id": f"{owner}/{name}", "sha": "0" * 40, "siblings": []}
            case "POST", ["datasets", _, _, "info", "lfs", "objects", "batch"]:
                found = decode(body)["objects"]
                put = [{**each, "actions": {"upload": {"href": f"{self.url}/put/{each['oid']}"}}} for each in found]
                return 200, {"transfer": "basic", "objects": put}
            case "PUT", ["put", oid]:
                self.objects[oid] = body
                return 200, {}
        return 404, {"error": f"{method} {path}"}

    def _mode(self, dataset: str, file: dict[str, Any]) -> dict[str, Any]:
        held = self.content(dataset, file["path"])
        mode = "lfs" if file["size"] >= self.large_from else "regular"
        oid = None
        if held is not None:
            git = hashlib.sha1(b"blob %d\0" % len(held) + held, usedforsecurity=False).hexdigest()
            oid = hashlib.sha256(held).hexdigest() if mode == "lfs" else git
        return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid}

    def _commit(self, dataset: str, lines: list[Any]) -> dict[str, Any]:
        summary = lines[0]["value"]["summary"]
        for line in lines[1:]:
            value = line["value"]
            content = self.objects[value["oid"]] if line["key"] == "lfsFile" else base64.b64decode(value["content"])
            self.commits.append((dataset, summary, value["path"], content))
        return {"success": True, "commitOid": "1" * 40, "commitUrl": f"{self.url}/datasets/{dataset}/commit/1"}


@contextmanager
def hub_server() -> Iterator[Hub]:
    hub = Hub()

    class HubHandler(Handler):
        def _answer(self) -> None:
            hub.tokens.add(self.headers.get("authorization", ""))
            status, told = hub.answer(self.command, urlsplit(self.path).path.replace(".git/", "/"), self.body())
            self.send(status, encode(told), {"content-type": "application/json"})

        do_GET = do_POST = do_PUT = _answer  # noqa: N815 - http.server's names

    with http_server(HubHandler) as hub.url:
        yield hub
