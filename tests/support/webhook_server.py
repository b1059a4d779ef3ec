"""A receiver of webhooks on loopback: it answers as a script says, and keeps what it was sent.

It takes each `webhook-id` once, as a receiver should; `posts` are all tries all the same.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from runner.encoding import decode
from support.http_server import Handler, http_server


@dataclass(frozen=True, slots=True)
class Answer:
    """What a try gets. `cut`: the connection is closed instead; `late`: after it was taken. `held`: nothing is said
    until the server is closed."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: bool = False
    late: bool = False
    held: bool = False


@dataclass(frozen=True, slots=True)
class Post:
    headers: Mapping[str, str]
    body: bytes
    path: str

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def records(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = decode(self.body)["data"]["records"]
        return found


class Receiver:
    """What was received; `script` is played once, an answer a try, then everything is taken."""

    def __init__(self) -> None:
        self.script: list[Answer] = []
        self.posts: list[Post] = []
        self.taken: dict[str, Post] = {}
        self.closing = threading.Event()
        self._gate = threading.Lock()
        self.address = ""
        self.delay_s = 0.0
        """Before each answer, and after it has been taken."""

    @property
    def url(self) -> str:
        return f"{self.address}/hooks/tok-in-path"

    def keys(self) -> list[str]:
        """Of the records that count, in the order in which they came."""
        return [record["key"] for post in self.taken.values() for record in post.records]

    def clear(self) -> None:
        self.posts, self.taken = [], {}

    def receive(self, post: Post) -> Answer:
        with self._gate:
            self.posts.append(post)
            answer = self.script.pop(0) if self.script else Answer()
            if answer.late or (200 <= answer.status < 300 and not (answer.cut or answer.held)):
                self.taken.setdefault(post.id, post)
        return answer


@contextmanager
def receiver() -> Iterator[Receiver]:
    received = Receiver()

    class Hook(Handler):
        def do_POST(self) -> None:  # noqa: N802 - the name that http.server wants
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = received.receive(Post(headers, self.body(), self.path))
            time.sleep(received.delay_s)
            if answer.held:
                received.closing.wait(20)
            if answer.cut or answer.held:
                self.close_connection = True
                return
            self.send(answer.status, answer.body, answer.headers)

        def do_GET(self) -> None:  # noqa: N802 - the name that http.server wants
            received.receive(Post({"webhook-id": "a GET"}, b"", self.path))
            self.send_error(405)

    with http_server(Hook) as received.address:
        try:
            yield received
        finally:
            received.closing.set()
