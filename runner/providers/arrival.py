"""What came back for a message, as a `Sent`; the same over either transport.

Owns   when a request is streamed and how long its attempt may take, and the reading of a reply's bytes, whole or in
       events.
Knows  statuses, headers and bytes. Nothing of connections, nor of who carried them.

Invariants
  * A reply's bytes are kept as they came and decoded once.
  * Only a success of the type `application/json` that holds a message, or an event stream that ends with one, is a
    reply.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Mapping

from runner.clock import Clock
from runner.message import parse_reply
from runner.providers import Sent, failures
from runner.providers.stream import StreamBroken, StreamedMessage
from runner.types import Request

MAX_UNSTREAMED_TOKENS = 21_333
"""Above this `max_tokens` a reply may take longer than idle connections live, so it is streamed: the SDK's own bound
(`_calculate_nonstreaming_timeout`: 3,600 s for 128,000 tokens, at most 600 s without a stream)."""

DEADLINE_S = 600.0
"""How long one attempt may take in all; the SDK's default timeout, which there bounds each read only. Requests that
may write more than MAX_UNSTREAMED_TOKENS get the SDK's estimate of the longest answer instead: 3,600 s for 128,000
tokens."""
S_PER_OUTPUT_TOKEN = 3_600 / 128_000

CONNECT_TIMEOUT_S = 5.0
"""The SDK's default."""

JSON = "application/json"
EVENTS = "text/event-stream"


def deadline_of(request: Request, deadline_s: float) -> float:
    """How long one attempt at a request may take, in seconds."""
    return max(deadline_s, request.max_tokens * S_PER_OUTPUT_TOKEN)


def with_stream(body: bytes) -> bytes:
    """The same JSON object with `stream` set; the body is not decoded for it."""
    return body.rstrip()[:-1] + b',"stream":true}'


def media_type(headers: Mapping[str, str]) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


class Arrivals:
    """Makes a `Sent` of what arrived. `headers` are lower-case and hold no credential."""

    def __init__(self, clock: Clock, secrets: tuple[str, ...]) -> None:
        self._clock = clock
        self._secrets = secrets

    def whole(self, body: bytes, status: int, headers: Mapping[str, str]) -> Sent:
        """A success whose body has been read."""
        if media_type(headers) != JSON:
            said = headers.get("content-type") or "of no type"
            return self._bad(f"the reply is {said!r}, no message: {body[:200]!r}", status, headers)
        return self.message(body, status, headers)

    async def streamed(
        self,
        chunks: AsyncIterable[bytes],
        status: int,
        headers: Mapping[str, str],
        on_begin: Callable[[], None] | None,
    ) -> Sent:
        """A success of the type EVENTS; its bytes are taken as they come."""
        message = StreamedMessage()
        try:
            async for chunk in chunks:
                message.feed(chunk)
                if on_begin is not None and message.begun:
                    on_begin()
                    on_begin = None
            if message.error is None:
                return self.message(message.body(), status, headers)
        except StreamBroken as error:
            return self._bad(str(error), status, headers)
        failure = failures.from_stream_event(message.error, headers.get("request-id"), secrets=self._secrets)
        return Sent(None, failure, request_id=failure.request_id, headers=headers)

    def message(self, body: bytes, status: int, headers: Mapping[str, str]) -> Sent:
        """A success that says it is a message."""
        request_id = headers.get("request-id")
        try:
            reply = parse_reply(body, request_id)
        except ValueError as error:
            return self._bad(f"the reply is no message ({error}): {body[:200]!r}", status, headers)
        return Sent(reply, None, body, request_id, headers)

    def refused(self, body: bytes, status: int, headers: Mapping[str, str]) -> Sent:
        """Any status that is no success."""
        failure = failures.from_response(status, headers, body, now=self._clock.now(), secrets=self._secrets)
        return Sent(None, failure, request_id=failure.request_id, headers=headers)

    def lost(self, error: BaseException) -> Sent:
        """No response, or not all of it."""
        return Sent(None, failures.from_transport(error, secrets=self._secrets))

    def too_late(self, deadline_s: float) -> Sent:
        return Sent(None, failures.deadline_passed(deadline_s))

    def no_credential(self, error: BaseException) -> Sent:
        return Sent(None, failures.no_credential(str(error), secrets=self._secrets))

    def _bad(self, what: str, status: int, headers: Mapping[str, str]) -> Sent:
        request_id = headers.get("request-id")
        failure = failures.bad_reply(what, status, request_id, secrets=self._secrets)
        return Sent(None, failure, request_id=request_id, headers=headers)
