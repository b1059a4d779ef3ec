"""What the tests' own HTTP servers share: a thread that serves on loopback, and a handler's bodies, answers and ranges.

Owns   how a server is started and ended, and what of HTTP/1.1 every fake of a service needs. What a service answers is
       each fake's own.

    class _Hub(Handler):
        def do_GET(self) -> None:
            self.send(200, b"...", {"ETag": '"x"'})

    with http_server(_Hub) as address:
        ...
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ENDS_WITHIN_S = 5.0


@contextmanager
def http_server(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """The address of a server, as `http://127.0.0.1:<port>`; `handler` answers, in a thread for each connection."""
    server = _Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(ENDS_WITHIN_S)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no news; what the fake does wrong is printed."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """Keeps its connections open, and logs nothing."""

    protocol_version = "HTTP/1.1"

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def send(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        """Answer with `body` and its length; the answer to a HEAD has the length alone."""
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_content(self, data: bytes, headers: Mapping[str, str], wanted: str | None) -> None:
        """Answer with all of `data`, or with the range `wanted`, as `bytes=<first>-<last>`."""
        if not wanted:
            self.send(200, data, headers)
            return
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        start, end = int(first), min(int(last or len(data)), len(data) - 1)
        self.send(206, data[start : end + 1], {**headers, "Content-Range": f"bytes {start}-{end}/{len(data)}"})

    def log_message(self, *_: Any) -> None:
        pass


def listed(names: Iterable[str], prefix: str, delimiter: str) -> tuple[list[str], list[str]]:
    """What a store lists: the names that begin with `prefix`, and, where one goes on beyond the next `delimiter`, the
    part up to there in its place. Both are in order."""
    found, folders = [], set()
    for name in sorted(names):
        if not name.startswith(prefix):
            continue
        folder, split, _ = name.removeprefix(prefix).partition(delimiter) if delimiter else (name, "", "")
        if split:
            folders.add(prefix + folder + split)
        else:
            found.append(name)
    return found, sorted(folders)
