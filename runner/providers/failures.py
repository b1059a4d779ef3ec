"""Anything that went wrong with a call, as a `Failure`: by one table, decided nowhere else.

Owns   the reading of error replies, of `retry-after`, and of what the network did; and the scrubbing of every text
       that leaves the provider, so that no credential is in a failure's message.
Knows  HTTP and the exceptions of the transports, those of libraries by their names. Not the SDK itself, nor what a
       retry is.

The three questions that each failure answers:
  * `retryable`: may the same request work later? By the status (408, 409, 429, 5xx), or by the type of an error that
    arrives inside a stream or a batch's results, where the status was 200.
  * `scope`: could any other row work? No for a refused key, a missing permission, an unknown model, an exhausted
    balance.
  * `may_be_billed`: only a clean error reply, or a connection that never stood, proves that nothing was bought.

Sources: the API's error page and SDK 2.12 `_exceptions.py`, `_error_classes.py`, `types/shared/*_details.py` for
types and error codes; SDK `_vendor/httpx_aiohttp/transport.py` for how aiohttp's exceptions are wrapped (a dropped
keep-alive connection is reported there as a connect error, so the cause is read, not the wrapper).
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal

import orjson
from msgspec import Struct
from msgspec.structs import replace

from runner.providers import platform_errors
from runner.providers.platform_errors import ApiError
from runner.types import Failure


class NotConnected(ConnectionError):
    """No connection came to stand, so that nothing was sent: what connections of our own raise."""


class _Rule(Struct, frozen=True):
    kind: str
    retryable: bool = False
    scope: Literal["row", "job"] = "row"


_BY_STATUS = {
    400: _Rule("invalid_request_error"),
    401: _Rule("authentication_error", scope="job"),
    402: _Rule("billing_error", scope="job"),
    403: _Rule("permission_error", scope="job"),
    404: _Rule("not_found_error", scope="job"),
    408: _Rule("timeout_error", retryable=True),
    409: _Rule("conflict_error", retryable=True),
    413: _Rule("too_large"),
    422: _Rule("invalid_request_error"),
    429: _Rule("rate_limit_error", retryable=True),
    504: _Rule("timeout_error", retryable=True),
    529: _Rule("overloaded_error", retryable=True),
}
_OTHER_4XX = _Rule("invalid_request_error")
_OTHER_5XX = _Rule("api_error", retryable=True)
_NO_API = _Rule("connection_error", retryable=True)
"""A status that the API does not use (a redirect nobody followed): something else answered."""

_STATUS_OF_TYPE = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""What the status would have been, for an error inside a stream or a batch's results."""

_SPEND_CODES = frozenset({
    "enforced_spend_limit_reached",
    "contract_spend_limit_reached",
    "linked_organization_spend_limit_reached",
    "linked_organization_billing_unavailable",
})  # fmt: skip
_HOLD_CODES = frozenset({"organization_on_hold", "storage_quota_exceeded"})
_SPEND_MESSAGES = ("you have reached your specified", "your credit balance is too low")
"""400s without an error code that mean money; matched at the start, since a message may quote what a row says further
on."""

_KIND = re.compile(r"[a-z][a-z_]{0,63}")
_MAX_MESSAGE = 1_000
"""Characters of a server's message that are kept: an error page is no message."""

_CREDENTIAL = re.compile(r"sk-ant-[A-Za-z0-9_-]+|(?<=://)[^/@\s]+(?=@)|(?i:(?<=bearer )\S+)")
SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "x-api-key", "cookie", "set-cookie"})

_NEVER_CONNECTED: Mapping[str, Sequence[str]] = {
    "aiohttp": ("ClientConnectorError", "ConnectionTimeoutError", "ClientHttpProxyError"),
    "httpx2": ("ConnectTimeout",),
}
_TIMED_OUT: Mapping[str, Sequence[str]] = {"httpx2": ("TimeoutException",)}
"""By library, which is not loaded for it: what it raises cannot come from one that is not."""


def from_response(
    status: int, headers: Mapping[str, str], body: bytes, *, now: datetime, secrets: Sequence[str] = ()
) -> Failure:
    """Read a reply whose status is no success. `headers` have lower-case names; `now` dates an HTTP-date without
    `Date`."""
    error, as_status = _api_error(body), status
    if error is None:
        error = platform_errors.read(status, headers, body)
        as_status = _STATUS_OF_TYPE[error.type] if error is not None else status  # platforms use statuses otherwise
    rule = _rule_of(as_status, error)
    if error is not None:
        message = error.message or f"HTTP {status}"
    else:
        message = f"HTTP {status}, without the API's error object: {_excerpt(body)}"
    return Failure(
        kind=rule.kind,
        message=scrub(message, secrets),
        retryable=rule.retryable,
        retry_after_s=retry_after_s(headers, now) if rule.retryable else None,
        http_status=status,
        request_id=headers.get("request-id") or (error.request_id if error else None),
        scope=rule.scope,
        # A gateway's own 5xx says nothing of what the API behind it did; its 4xx means that it let nothing through.
        may_be_billed=error is None and (status == 408 or not 400 <= status < 500),
        code=error.code if error is not None else None,
    )


def from_stream_event(data: Mapping[str, Any], request_id: str | None, *, secrets: Sequence[str] = ()) -> Failure:
    """Read an `error` event inside a stream: the reply had begun, so its input may be billed."""
    error = _error_of(data) or platform_errors.in_stream(data)
    error = error or ApiError("api_error", "the stream ended with an error of an unknown shape", None, None)
    return replace(
        _of_type(error, secrets), http_status=200, request_id=request_id or error.request_id, may_be_billed=True
    )


def from_result(data: Any, *, secrets: Sequence[str] = ()) -> Failure:
    """Read the error of an `errored` result of a batch, which is never billed (batch guide)."""
    error = _error_of(data) or ApiError("api_error", "the result holds an error of an unknown shape", None, None)
    return _of_type(error, secrets)


def of_create(failure: Failure, *, whole: bool) -> Failure:
    """The same failure, said of the creation of a batch or a file. `whole`: all of its body had left.

    A part of a body cannot be accepted, and 4xx but 408 and 409 are refusals; whatever else was answered may hide what
    was created, also an error of the API's own: a batch lives on where the answer to its creation got lost.
    """
    status = failure.http_status
    refused = 400 <= status < 500 and status not in (408, 409) if status is not None else not failure.may_be_billed
    return replace(failure, may_be_billed=whole and not refused)


def of_question(failure: Failure) -> Failure:
    """The same failure, said of a question about one batch or file, which buys nothing. One that is not found may show
    up later, so that it says nothing of the job."""
    return replace(failure, scope="row" if failure.http_status == 404 else failure.scope, may_be_billed=False)


def from_transport(error: BaseException, *, secrets: Sequence[str] = ()) -> Failure:
    """Read what the network did. Only a connection that never stood proves that nothing was sent."""
    causes = tuple(_causes(error))
    never_connected: tuple[type[BaseException], ...] = (NotConnected, *_loaded(_NEVER_CONNECTED))
    late: tuple[type[BaseException], ...] = (TimeoutError, *_loaded(_TIMED_OUT))
    refused = any(isinstance(cause, never_connected) for cause in causes)
    timed_out = any(isinstance(cause, late) for cause in causes)
    root = causes[-1]
    text = str(root).strip()
    return Failure(
        kind="timeout" if timed_out and not refused else "connection_error",
        message=scrub(f"{type(root).__name__}: {text}" if text else type(root).__name__, secrets),
        retryable=True,
        may_be_billed=not refused,
    )


def bad_reply(what: str, status: int, request_id: str | None, *, secrets: Sequence[str] = ()) -> Failure:
    """A success by its status whose body is no message: a login page, a cut-off body. It may have been billed."""
    return Failure(
        kind="connection_error",
        message=scrub(what, secrets),
        retryable=True,
        http_status=status,
        request_id=request_id,
        may_be_billed=True,
    )


def deadline_passed(deadline_s: float) -> Failure:
    """The reply was not complete within the attempt's own deadline."""
    return Failure(
        kind="timeout", message=f"no complete reply within {deadline_s:g} s", retryable=True, may_be_billed=True
    )


def stood_still(stall_s: float) -> Failure:
    """A long transfer that did not move on within its bound."""
    return Failure(
        kind="timeout", message=f"the transfer stood still for {stall_s:g} s", retryable=True, may_be_billed=True
    )


def no_credential(message: str, *, secrets: Sequence[str] = ()) -> Failure:
    """A token could not be had (an expired login, an identity provider that refuses): no request was made."""
    return Failure(kind="authentication_error", message=scrub(message, secrets), scope="job")


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds to wait as the server says it, unclamped; None where it says nothing usable.

    `retry-after-ms`, then `retry-after` in seconds or as an HTTP-date (measured against the reply's own `date`, so
    that a wrong clock here does not matter). NaN, infinities and negative values are no answer.
    """
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        seconds = _number(headers.get(name))
        if seconds is not None:
            return seconds * unit_s
    until = _http_date(headers.get("retry-after"))
    if until is None:
        return None
    return max(0.0, (until - (_http_date(headers.get("date")) or now)).total_seconds())


def scrub(text: str, secrets: Sequence[str] = ()) -> str:
    """Take credentials out of a text and bound its length: the given ones, and whatever has the shape of one."""
    for secret in secrets:
        text = text.replace(secret, "[redacted]")
    text = _CREDENTIAL.sub("[redacted]", text)
    return text if len(text) <= _MAX_MESSAGE else f"{text[:_MAX_MESSAGE]}…"


def redacted(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers fit to be kept: lower-case names, without those that carry credentials."""
    return {name: value for name, value in headers.items() if name not in SECRET_HEADERS}


def told_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """`redacted`, with the platform's id of a request where there is none of the API's."""
    kept = redacted(headers)
    for name in _OTHER_IDS:
        if name in kept:
            kept.setdefault("request-id", kept[name])
    return kept


_OTHER_IDS = ("x-amzn-requestid", "apim-request-id", "x-request-id")
"""AWS's, Azure's, and what gateways use."""


def _of_type(error: ApiError, secrets: Sequence[str]) -> Failure:
    """A failure by an error's type alone, where the status said nothing of it."""
    rule = _rule_of(_STATUS_OF_TYPE.get(error.type, 500), error)
    return Failure(
        kind=rule.kind,
        message=scrub(error.message, secrets),
        retryable=rule.retryable,
        request_id=error.request_id,
        scope=rule.scope,
    )


def _rule_of(status: int, error: ApiError | None) -> _Rule:
    if error is None:
        # A 403 that is not the API's is a filter's verdict on this request's text; stopping for it would stop every
        # resume.
        return _Rule("permission_error") if status == 403 else _rule_of_status(status)
    if error.code in _SPEND_CODES or error.message.lower().startswith(_SPEND_MESSAGES):
        return _Rule("billing_error", scope="job")
    if error.code in _HOLD_CODES:
        return _Rule(error.type, scope="job")
    rule = _rule_of_status(status)
    # The model is every row's ("model: …", whatever its name); a file that is gone is this row's (`file_expired`,
    # "File not found: …").
    what = (error.code or error.message).lower()
    gone_file = status == 404 and "file" in what and not what.startswith("model")
    kind = "too_large" if error.type == "request_too_large" else error.type
    if rule.retryable and kind not in _STATUS_OF_TYPE:
        kind = rule.kind  # a gateway's own word: limits and later runs go by the kind
    return _Rule(kind, rule.retryable, "row" if gone_file else rule.scope)


def _rule_of_status(status: int) -> _Rule:
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status >= 500:
        return _OTHER_5XX
    return _OTHER_4XX if status >= 400 else _NO_API


def _api_error(body: bytes) -> ApiError | None:
    try:
        return _error_of(orjson.loads(body))
    except orjson.JSONDecodeError:
        return None


def _error_of(data: Any) -> ApiError | None:
    error = data.get("error") if isinstance(data, dict) else None
    if not isinstance(error, dict):
        return None
    kind, message, details = error.get("type"), error.get("message"), error.get("details")
    if not isinstance(kind, str) or not _KIND.fullmatch(kind):
        return None
    code = details.get("error_code") if isinstance(details, dict) else None
    request_id = data.get("request_id")
    return ApiError(
        kind,
        message if isinstance(message, str) else "",
        code if isinstance(code, str) else None,
        request_id if isinstance(request_id, str) else None,
    )


def _excerpt(body: bytes) -> str:
    text = " ".join(body[:400].decode("utf-8", "replace").split())
    return f"{text[:200]!r}" if text else "an empty body"


def _loaded(names: Mapping[str, Sequence[str]]) -> Iterator[type[BaseException]]:
    """The exceptions of these names, of the libraries that are loaded."""
    for library, classes in names.items():
        module = sys.modules.get(library)
        if module is not None:
            yield from (getattr(module, name) for name in classes)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception and what it was raised from, outermost first; bounded, since a chain may be a ring."""
    cause: BaseException | None = error
    for _ in range(10):
        if cause is None:
            return
        yield cause
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)


def _number(value: str | None) -> float | None:
    try:
        seconds = float(value) if value is not None else math.nan
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _http_date(value: str | None) -> datetime | None:
    if value is None:
        return None
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None
