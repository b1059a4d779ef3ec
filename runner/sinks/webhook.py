"""The sink of a webhook: records are posted to an address, some at a time, each request signed and under an id.

Owns   the body of a request, which answers are taken for what, and how often it is tried again.
Knows  its options, records as jsonl has them, and one address.

    POST <url>
    content-type: application/json
    webhook-id: <run>.<sink>.<definition>.<start>.<part>     the same for each try, also after a crash
    webhook-timestamp, webhook-signature                     see `signing`

    {"type":"records","data":{"job":"…","run_id":"…","part":1,"records":[…]}}

A receiver that has an id already answers 2xx and does nothing: so each record counts once. An answer of 2xx says that
it is durable there. 408, 425, 429 and 5xx, a connection that fails and no answer in time are tried again, as long as
`retry-after` says where it says so; everything else is an error at once. Redirects are not followed: they would lead
the records, and the headers with them, to where the job does not say.

Source: Standard Webhooks (ids, retries); RFC 9110 section 10.2.3 (retry-after).
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import socket
import ssl
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import ClassVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

from runner.encoding import encode, printable
from runner.errors import DeliveryError
from runner.sinks import DeliveryId, Part, PartLimits, Refused, SinkContext
from runner.sinks.encoders import make_encoder
from runner.sinks.options import WebhookOptions
from runner.sinks.signing import headers_of
from runner.types import Record

BODY_BYTES = 1 << 20
"""Of a request, about: what receivers commonly take. A record that is larger goes alone."""
TIMEOUT_S, CONNECT_S = 30.0, 10.0
"""For a whole try, and for its connection. Receivers are told to answer within 15 to 30 s (Standard Webhooks)."""
MAX_TRIES = 6
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0
LONGEST_RETRY_AFTER_S = 120.0
"""What asks for more is not waited for: `runner export` goes on later."""
_PASSING = frozenset({408, 425, 429})
_READ_BYTES = 4_096
"""Of an answer that is an error, to show; of any other nothing is read."""
_SHOWN_CHARS = 200


class _Passing(Exception):
    """A try that failed for a reason that may pass. `wait_s`: how long the receiver asks to wait."""

    def __init__(self, why: str, wait_s: float | None = None) -> None:
        super().__init__(why)
        self.wait_s = wait_s


class WebhookSink:
    """Records to a webhook."""

    Options: ClassVar[type[WebhookOptions]] = WebhookOptions

    def __init__(self, options: WebhookOptions, context: SinkContext) -> None:
        """Raises SpecError for columns that clash."""
        self._options = options
        self._encoder = make_encoder("jsonl", options, context)
        self._clock = context.clock
        self._pause = context.pause
        self._target = shown(str(context.written.get("url", options.url)))
        self._secrets = _secrets(options)
        self._runner: asyncio.Runner | None = None
        self._session: aiohttp.ClientSession | None = None

    @property
    def kind(self) -> str:
        return "webhook"

    @property
    def target(self) -> str:
        return self._target

    @property
    def limits(self) -> PartLimits:
        return PartLimits(self._options.batch_size, BODY_BYTES)

    @property
    def is_replaced(self) -> bool:
        return False

    def check(self) -> None:
        """Nothing is asked of the receiver: an empty request would be one more that it has to understand."""

    def begin(self, delivery: DeliveryId) -> int | None:  # noqa: ARG002 - the contract: ids come with the parts
        if self._runner is None:
            self._runner = asyncio.Runner()
        return None

    def deliver(self, part: Part) -> Sequence[Refused]:
        assert self._runner is not None, "the sink has begun"
        lines, refused = self._lines(part.records)
        if not lines:
            return refused
        body, wait_s = _body(part, lines), FIRST_WAIT_S
        for tries in range(1, MAX_TRIES + 1):
            failure = self._runner.run(self._tried(part.id, body))
            if failure is None:
                return refused
            if isinstance(failure, _Passing):
                asked_s = failure.wait_s
                if tries == MAX_TRIES or (asked_s is not None and asked_s > LONGEST_RETRY_AFTER_S):
                    raise self._error(f"{failure}, {_times(tries)}", "runner export RUN goes on from here") from failure
                pause_s = asked_s if asked_s is not None else random.uniform(wait_s / 2, wait_s)  # noqa: S311
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)
                if not self._pause(pause_s):
                    raise self._error(f"{failure}, and the run is ending", None) from failure
            else:
                raise failure
        raise AssertionError("the last try returns or raises")

    def finish(self) -> None:
        """Nothing: every answer said that its records are there."""

    def close(self) -> None:
        if self._runner is not None:
            if self._session is not None:
                self._runner.run(self._session.close())
                self._session = None
            self._runner.close()
            self._runner = None

    def _lines(self, records: Sequence[Record]) -> tuple[list[bytes], list[Refused]]:
        """Each record as JSON; and those of which a column cannot be computed."""
        lines, refused = [], []
        for record in records:
            try:
                lines.append(self._encoder.encode([record]).rstrip(b"\n"))
            except DeliveryError as error:
                refused.append(Refused(record.key, error.message))
        return lines, refused

    async def _tried(self, message_id: str, body: bytes) -> _Passing | DeliveryError | None:
        """One try; what went wrong is a value. Ctrl-C leaves the loop, and nobody asks the task that is left there for
        its exception, which asyncio would print then."""
        try:
            await self._post(message_id, body)
        except (_Passing, DeliveryError) as failure:
            return failure
        return None

    async def _post(self, message_id: str, body: bytes) -> None:
        """One try. Raises _Passing, and DeliveryError for what will not pass."""
        timestamp = int(self._clock.now().timestamp())
        headers = {
            "content-type": "application/json",
            **self._options.headers,
            **headers_of(message_id, timestamp, body, self._options.signing_secret),
        }
        url = self._options.url
        if self._session is None:
            self._session = _session()
        try:
            async with self._session.post(
                url, data=body, headers=headers, allow_redirects=False, proxy=_proxy(url)
            ) as answer:
                await self._judge(answer)
        except TimeoutError as error:
            raise _Passing(f"gave no answer within {TIMEOUT_S:g} s") from error
        except (UnicodeError, aiohttp.InvalidURL) as error:
            raise self._error("is an address that no host can have", "mend the sink's `url`") from error
        except (aiohttp.ClientError, OSError) as error:
            raise _Passing(f"cannot be reached or breaks off: {_reason(error)}") from error

    async def _judge(self, answer: aiohttp.ClientResponse) -> None:
        status = answer.status
        if 200 <= status < 300:
            return
        told = f"answered {status}{self._said(await answer.content.read(_READ_BYTES))}"
        if status in _PASSING or status >= 500:
            raise _Passing(told, _retry_after(answer.headers.get("retry-after"), self._clock.now))
        if 300 <= status < 400:
            place = shown(answer.headers.get("location", ""))
            raise self._error(
                f"answered {status}, a redirect to {self._scrubbed(place)!r}, which is not followed",
                "write the address itself in the sink's `url`",
            )
        raise self._error(told, "mend the receiver or the sink's `url` and `headers`; then runner export RUN")

    def _said(self, body: bytes) -> str:
        """The beginning of what the receiver said, in one line and without what it was sent."""
        text = re.sub(r"\s+", " ", printable(body.decode(errors="replace"))).strip()
        text = "".join(character if character.isprintable() else "\ufffd" for character in text)
        return f": {self._scrubbed(text)[:_SHOWN_CHARS]}" if text else ""

    def _scrubbed(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "[redacted]")
        return text

    def _error(self, why: str, hint: str | None) -> DeliveryError:
        return DeliveryError(f"{self._target} {why}", hint=hint, code="delivery-failed")


def _body(part: Part, lines: Sequence[bytes]) -> bytes:
    first = part.records[0]
    head = encode({"job": first.job, "run_id": first.run_id, "part": part.number})
    return b'{"type":"records","data":' + head[:-1] + b',"records":[' + b",".join(lines) + b"]}}"


def shown(url: str) -> str:
    """An address as people may see it: with neither user and password nor what is asked of it."""
    return re.sub(r"//[^/@]*@", "//", url).partition("?")[0].partition("#")[0]


def _secrets(options: WebhookOptions) -> list[str]:
    """What of the options may stand in no message, the longest first. A header's words one by one: `Bearer abc`."""
    parts = urlsplit(options.url)
    values = [options.url, parts.path, parts.query, parts.password or "", options.signing_secret or ""]
    words = [word for value in options.headers.values() for word in (value, *value.split())]
    return sorted({word for word in (*values, *words) if len(word) >= _LEAST_SECRET}, key=len, reverse=True)


_LEAST_SECRET = 7
"""Characters: `Bearer` is a word that receivers may say."""


def _session() -> aiohttp.ClientSession:
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S, sock_connect=CONNECT_S)
    return aiohttp.ClientSession(
        timeout=timeout, cookie_jar=aiohttp.DummyCookieJar(), connector=aiohttp.TCPConnector(limit=1)
    )


def _proxy(url: str) -> str | None:
    """The proxy that the environment names for an address."""
    parts = urlsplit(url)
    proxies = getproxies()
    found = proxies.get(parts.scheme) or proxies.get("all")
    return None if not found or proxy_bypass(parts.netloc.rpartition("@")[2]) else found


def _retry_after(value: str | None, now: Callable[[], datetime]) -> float | None:
    """Seconds, or a date; what is neither says nothing."""
    if value is None:
        return None
    if re.fullmatch(r"[0-9]{1,9}", value.strip()):
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
        return max(0.0, ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now()).total_seconds())
    except (ValueError, OverflowError):  # a year of twenty digits
        return None


def _reason(error: Exception) -> str:
    """What the system says, without addresses: those may be secrets."""
    system = getattr(error, "os_error", error)
    if isinstance(system, ssl.SSLError):
        return (system.reason or "TLS").replace("_", " ").lower()
    if isinstance(system, socket.gaierror):
        return system.strerror or "the name is not known"
    if isinstance(system, OSError) and system.errno is not None and system.errno > 0:
        return os.strerror(system.errno)
    return type(error).__name__


def _times(tries: int) -> str:
    return "once" if tries == 1 else f"{tries} times"
