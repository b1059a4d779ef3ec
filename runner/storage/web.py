"""Files of the web: read in one stream, which begins anew where a connection was lost or the reader jumps.

Owns   requests for a part of a file, and what a status means.
Knows  HTTP, by the standard library: redirects, proxies of the environment and TLS are its own.

A server that gives no parts is read from the beginning each time, up to the place that is wanted. Credentials are those
in the URL, else those that `.netrc` has for the host; they are sent to that host alone, not to where it redirects.

Source: RFC 9110, sections 13.1.5 (If-Range), 14.2 (Range) and 15.3.7 (206); curl, "netrc" (the file, and `NETRC`).
"""

from __future__ import annotations

import base64
import http.client
import ipaddress
import netrc
import os
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from msgspec import Struct

from runner.storage import systems
from runner.storage.addresses import shown
from runner.storage.systems import StorageError, denied, missing

_SKIPPED_AT_ONCE = 1024 * 1024
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


def _user_of(parts: SplitResult) -> str | None:
    """`user:password` for an address. A host has to be named in `.netrc`: what is for all others (`default`) is sent to
    none, and nothing of it goes over the network in the clear. A file that cannot be read has nothing to say; if the
    server wants credentials, that is told."""
    if parts.username is not None:
        return f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    found = _noted()[0].get(parts.hostname or "") if _may_be_noted(parts) else None
    return f"{found[0]}:{found[2] or ''}" if found is not None else None


def _may_be_noted(parts: SplitResult) -> bool:
    """Whether `.netrc` is looked at for an address: what is sent there is read by nobody else."""
    return parts.username is None and (parts.scheme.lower() == "https" or _is_here(parts.hostname or ""))


def _noted() -> tuple[Mapping[str, tuple[str, str, str]], str | None]:
    """What `.netrc` has for hosts (user, account, password), and why it cannot be read, in none of its words: one of
    them may be a password. A file that nobody named need not be there."""
    named = os.environ.get("NETRC")
    name = named or "~/.netrc"
    try:
        return netrc.netrc(Path(name).expanduser()).hosts, None
    except netrc.NetrcParseError as error:
        return {}, f"{name} cannot be read from line {error.lineno} on"
    except (OSError, RuntimeError, UnicodeDecodeError) as error:  # RuntimeError: nobody knows a home
        missing_unnamed = named is None and isinstance(error, FileNotFoundError | RuntimeError)
        return {}, None if missing_unnamed else f"{name} cannot be read"


def _is_here(host: str) -> bool:
    """Whether a host is this machine, and asked without a proxy, which urllib uses for this machine too."""
    try:
        is_loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
    return is_loopback and ("http" not in urllib.request.getproxies() or bool(urllib.request.proxy_bypass(host)))


class Facts(Struct, frozen=True):
    """What a server says of a file: its size, and a mark that changes with it; None where it does not say."""

    size: int | None
    mark: str | None


class WebFile:
    """One file at an address; `fetch` any part of it. Methods raise OSError and http.client.HTTPException, which may
    pass, and StorageError, which does not."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._response: Any = None
        self._at = 0
        self._strong: str | None = None
        self._mark: str | None = None
        self._marked_by = "ETag"

    def facts(self) -> Facts:
        """Begins to read the file. The size is None where it is sent in chunks."""
        self._begin(0)
        headers = self._response.headers
        length = headers.get("Content-Length")
        self._marked_by = "ETag" if headers.get("ETag") else "Last-Modified"
        mark = self._mark = headers.get(self._marked_by)
        self._strong = mark if mark and not mark.startswith("W/") else None
        return Facts(int(length) if length and length.isdecimal() else None, mark)

    def fetch(self, start: int, length: int) -> bytes:
        """Up to `length` bytes from `start`; none at the end of the file."""
        if self._response is None or self._at != start:
            self._begin(start)
        data: bytes = self._response.read(length)
        self._at += len(data)
        return data

    def close(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None

    def _begin(self, start: int) -> None:
        self.close()
        request = self._request(start)
        try:
            self._response = _opener().open(request, timeout=systems.TIMEOUT_S)
        except urllib.error.HTTPError as error:
            with error:
                self._refused(error.code, error.reason)
            raise ConnectionError(f"the server answers {error.code} {error.reason}") from error
        except urllib.error.URLError as error:
            raise ConnectionError(str(error.reason)) from error
        self._require_unchanged()
        self._at = self._starts_at()
        self._skip(start)

    def _request(self, start: int) -> urllib.request.Request:
        parts = urlsplit(self._url)
        host = parts.netloc.rpartition("@")[2]
        request = urllib.request.Request(urlunsplit(parts._replace(netloc=host, fragment="")))  # noqa: S310  # is_web
        request.add_header("Accept-Encoding", "identity")
        request.add_header("User-Agent", "runner")
        user = _user_of(parts)
        if user is not None:
            request.add_unredirected_header("Authorization", f"Basic {base64.b64encode(user.encode()).decode()}")
        if start:
            request.add_header("Range", f"bytes={start}-")
            if self._strong is not None:
                request.add_header("If-Range", self._strong)
        return request

    def _refused(self, status: int, reason: str) -> None:
        if status in (404, 410):
            raise missing(self._url)
        if status in (401, 403):
            parts = urlsplit(self._url)
            why = _noted()[1] if _may_be_noted(parts) else None
            raise denied(self._url, f"the server answers {status} {reason}{f', and {why}' if why else ''}")
        if status < 500 and status not in (408, 416, 425, 429):
            raise StorageError(
                f"{shown(self._url)} cannot be read: the server answers {status} {reason}", hint="look at it"
            )

    def _require_unchanged(self) -> None:
        """Compare what both answers say: one that gives no parts sends the file as it is now."""
        now = self._response.headers.get(self._marked_by)
        if self._mark is not None and now is not None and now != self._mark:
            raise changed(self._url)

    def _starts_at(self) -> int:
        response = self._response
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding not in ("identity", ""):
            message = f"{shown(self._url)} comes encoded as {encoding!r}, which was not asked for"
            raise StorageError(message, hint="download the file, and give its path")
        if response.status != 206:
            return 0
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if match is None:
            raise ConnectionError("the server sends a part of the file and does not say which")
        return int(match.group(1))

    def _skip(self, start: int) -> None:
        while self._at < start:
            skipped = self._response.read(min(start - self._at, _SKIPPED_AT_ONCE))
            if not skipped:
                raise http.client.IncompleteRead(b"")
            self._at += len(skipped)
        if self._at > start:
            raise ConnectionError("the server sends another part of the file than was asked for")


def changed(url: str) -> StorageError:
    """The file was replaced while it was read: no part of the one goes with a part of the other."""
    message = f"{shown(url)} was changed while it was read"
    return StorageError(message, hint="run again, when it is complete", code="changed-source")


@cache
def _opener() -> urllib.request.OpenerDirector:
    """Not before it is needed: from Python 3.12 on, making one reads the system's certificates: 28 ms."""
    return urllib.request.build_opener()
