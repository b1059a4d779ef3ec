"""The two servers that are measured against, in processes of their own, and what each saw.

Owns   starting the lean server, and one view of it and of the stand-in: where it is, forgetting, and `Seen`.
Knows  the stand-in's books by their file, so that twenty thousand entries need not pass the measuring process, which
       has to stay small (`children`).
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from benchmarks.results import ROOT
from runner.simulator import Running

_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Seen:
    """Messages as the server saw them since it last forgot.

    `received` counts requests, refused ones too; `served_s` is from the first request to the last reply; `first_at` is
    the machine's monotonic clock, None where the server cannot tell it; `laps` are such times, one every so many
    replies.
    """

    received: int
    succeeded: int
    refused: int
    max_in_flight: int
    served_s: float
    first_at: float | None = None
    laps: Sequence[float] = ()


class Server(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def environ(self) -> Mapping[str, str]:
        """The variables that point the SDK here."""
        ...

    def reset(self) -> None: ...

    def seen(self) -> Seen: ...


@dataclass(frozen=True, slots=True)
class StandIn:
    """Runner's stand-in, as users run it. `latency_s` is what it was started with, and constant."""

    running: Running
    latency_s: float = 0.0
    name: str = "the stand-in"

    @property
    def environ(self) -> Mapping[str, str]:
        return self.running.environ

    def reset(self) -> None:
        self.running.controls.reset()

    def seen(self) -> Seen:
        traffic = self.running.controls.traffic()
        by_status: Mapping[str, int] = traffic["by_status"]
        # An entry is committed within the turn of the loop in which its request was accepted; the reply follows.
        first, last = self.query("SELECT min(julianday(at)), max(julianday(at)) FROM billed")[0]
        served_s = (last - first) * 86_400 + self.latency_s if first is not None else 0.0
        refused = by_status.get("429", 0)
        return Seen(traffic["received"], by_status.get("200", 0), refused, traffic["max_in_flight"], served_s)

    def query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Ask the books."""
        import apsw  # some 4 MB, which programs are measured against that need no books

        books = apsw.Connection(str(self.running.state / "accounts.db"), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            return [tuple(row) for row in books.execute(sql, values)]
        finally:
            books.close()


@dataclass(frozen=True, slots=True)
class Lean:
    """`benchmarks.lean_server`. It asks for no key; each has one of its own, as accounts have."""

    base_url: str
    key: str
    name: str = "a lean server"

    @property
    def environ(self) -> Mapping[str, str]:
        return {"ANTHROPIC_BASE_URL": self.base_url, "ANTHROPIC_API_KEY": self.key}

    def reset(self) -> None:
        self._call("POST", "/bench/reset")

    def seen(self) -> Seen:
        told = self._call("GET", "/bench/seen")
        served_s = told["last_at"] - told["first_at"]
        return Seen(
            told["received"], told["replied"], 0, told["max_in_flight"], served_s, told["first_at"], told["laps"]
        )

    def _call(self, method: str, path: str) -> Any:
        with _opener.open(urllib.request.Request(self.base_url + path, method=method), timeout=_TIMEOUT_S) as response:
            return json.loads(response.read())


_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Without the machine's proxies: the servers are on the loopback."""


@contextmanager
def lean(latency_s: float = 0.0, *, reply: str | None = None) -> Iterator[Lean]:
    """Start a lean server, which replies with the text `reply`; it ends on leaving."""
    child = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.lean_server", "--latency", str(latency_s)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, **({"LEAN_REPLY": reply} if reply is not None else {})},
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        yield Lean(json.loads(child.stdout.readline())["base_url"], f"bench-{secrets.token_hex(8)}")
    finally:
        child.stdin.close()
        child.stdout.close()
        child.wait(_TIMEOUT_S)
