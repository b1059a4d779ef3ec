"""What each error of the API and the network becomes."""

from __future__ import annotations

import inspect
import json
import re
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime

import aiohttp
import anthropic
import httpx2
import pytest
from aiohttp.client_reqrep import ConnectionKey
from anthropic.types.shared import error_details

from runner.providers import failures
from runner.types import Failure

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)


def read(status: int, body: bytes | Mapping[str, object], **headers: str) -> Failure:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return failures.from_response(
        status,
        {name.replace("_", "-"): value for name, value in headers.items()},
        data,
        now=NOW,
        secrets=("s3cr3t-key",),
    )


def api_error(kind: str, message: str = "no", code: str | None = None) -> dict[str, object]:
    error: dict[str, object] = {"type": kind, "message": message}
    if code:
        error["details"] = {"error_code": code}
    return {"type": "error", "error": error, "request_id": "req_b"}


@pytest.mark.parametrize(
    ("status", "kind", "retryable", "scope"),
    [
        (400, "invalid_request_error", False, "row"),
        (401, "authentication_error", False, "job"),
        (402, "billing_error", False, "job"),
        (403, "permission_error", False, "job"),
        (404, "not_found_error", False, "job"),
        (408, "timeout_error", True, "row"),
        (409, "conflict_error", True, "row"),
        (413, "request_too_large", False, "row"),
        (422, "invalid_request_error", False, "row"),
        (429, "rate_limit_error", True, "row"),
        (500, "api_error", True, "row"),
        (502, "api_error", True, "row"),
        (503, "api_error", True, "row"),
        (504, "timeout_error", True, "row"),
        (529, "overloaded_error", True, "row"),
    ],
)
def test_each_status_of_the_api_has_its_kind_and_is_not_billed(
    status: int, kind: str, retryable: bool, scope: str
) -> None:
    failure = read(status, api_error(kind, "what it says"))
    expected = "too_large" if kind == "request_too_large" else kind
    assert (failure.kind, failure.retryable, failure.scope) == (expected, retryable, scope)
    assert (failure.http_status, failure.request_id, failure.message) == (status, "req_b", "what it says")
    assert not failure.may_be_billed


@pytest.mark.parametrize(
    ("status", "kind"), [(429, "rate_limit_error"), (500, "api_error"), (503, "api_error"), (529, "overloaded_error")]
)
def test_a_passing_error_of_a_gateways_own_type_has_the_kind_of_its_status(status: int, kind: str) -> None:
    """Kinds decide whether the run slows down, and whether a later run sends the row again."""
    failure = read(status, api_error("service_unavailable"))
    assert (failure.kind, failure.retryable) == (kind, True)
    assert read(400, api_error("unprocessable")).kind == "unprocessable"


@pytest.mark.parametrize("message", ["model: claude-profile-5", "model: filer-1"])
def test_a_model_whose_name_holds_file_is_still_every_rows(message: str) -> None:
    assert read(404, api_error("not_found_error", message)).scope == "job"


@pytest.mark.parametrize("status", [400, 401, 402, 404, 409, 412, 413, 422, 429, 431, 499])
def test_a_4xx_without_the_apis_object_is_clean_all_the_same(status: int) -> None:
    failure = read(status, b"<html><h1>Bad</h1></html>")
    assert not failure.may_be_billed
    assert failure.kind == read(status, api_error(failure.kind)).kind
    assert "<h1>Bad</h1>" in failure.message


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504, 529, 302])
def test_a_gateways_own_error_leaves_open_what_happened_behind_it(status: int) -> None:
    failure = read(status, b"<html>Bad gateway</html>")
    assert failure.may_be_billed
    assert failure.retryable


def test_a_filters_403_concerns_one_request_and_the_apis_all_of_them() -> None:
    assert read(403, b"<html>Attention required</html>").scope == "row"
    assert read(403, api_error("permission_error")).scope == "job"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (429, api_error("rate_limit_error", code="enforced_spend_limit_reached")),
        (429, api_error("rate_limit_error", code="contract_spend_limit_reached")),
        (402, api_error("billing_error", code="linked_organization_spend_limit_reached")),
        (400, api_error("invalid_request_error", "You have reached your specified workspace API usage limits. You …")),
        (400, api_error("invalid_request_error", "You have reached your specified API usage limits.")),
        (400, api_error("invalid_request_error", "Your credit balance is too low to access the Anthropic API.")),
    ],
)
def test_exhausted_money_stops_the_job_whatever_its_status(status: int, body: dict[str, object]) -> None:
    failure = read(status, body, retry_after="30")
    assert (failure.kind, failure.scope, failure.retryable) == ("billing_error", "job", False)
    assert failure.http_status == status
    assert failure.retry_after_s is None


def test_a_message_that_quotes_a_row_about_money_is_the_rows_own_fault() -> None:
    failure = read(
        400, api_error("invalid_request_error", "messages.0: 'your credit balance is too low' is not allowed")
    )
    assert (failure.kind, failure.scope) == ("invalid_request_error", "row")


def test_an_organization_on_hold_stops_the_job() -> None:
    failure = read(400, api_error("invalid_request_error", code="organization_on_hold"))
    assert (failure.kind, failure.scope, failure.retryable) == ("invalid_request_error", "job", False)


def test_an_unknown_model_stops_the_job_and_a_file_that_is_gone_does_not() -> None:
    assert read(404, api_error("not_found_error", "model: claude-nope")).scope == "job"
    assert read(404, api_error("not_found_error", "gone", code="file_expired")).scope == "row"
    assert read(404, api_error("not_found_error", "File not found: file_1")).scope == "row"


def test_a_ramp_limit_is_an_ordinary_429() -> None:
    failure = read(429, api_error("rate_limit_error", code="ramp_limit_exceeded"), retry_after="7")
    assert (failure.scope, failure.retryable, failure.retry_after_s) == ("row", True, 7.0)


def test_every_error_class_of_the_sdk_has_a_status_that_the_table_reads() -> None:
    statuses = {
        value.status_code
        for value in vars(anthropic).values()
        if isinstance(value, type)
        and issubclass(value, anthropic.APIStatusError)
        and isinstance(vars(value).get("status_code"), int)
    }
    assert {400, 401, 403, 404, 409, 422, 429} <= statuses
    for status in statuses:
        assert read(status, api_error("x_error")).http_status == status


def test_every_error_code_that_speaks_of_spending_stops_the_job() -> None:
    source = inspect.getsource(inspect.getmodule(error_details) or error_details)
    names = set(re.findall(r"from \.(\w*(?:spend_limit|billing_unavailable)\w*)_error_details import", source))
    assert names == {
        "enforced_spend_limit_reached",
        "contract_spend_limit_reached",
        "linked_organization_spend_limit_reached",
        "linked_organization_billing_unavailable",
    }
    for name in names:
        assert read(429, api_error("rate_limit_error", code=name)).kind == "billing_error"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "nan", "retry-after": "9"}, 9.0),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1e999"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "1e9"}, 1e9),
        ({"retry-after": "Sun, 22 Nov 2026 10:00:30 GMT"}, 30.0),
        ({"retry-after": "Sun, 22 Nov 2026 09:00:00 GMT"}, 0.0),
        ({"retry-after": "Sun, 22 Nov 2026 12:00:05 GMT", "date": "Sun, 22 Nov 2026 12:00:00 GMT"}, 5.0),
        ({"retry-after": "Sun, 99 Nov 2026 12:00:05 GMT"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_in_each_of_its_forms(headers: dict[str, str], expected: float | None) -> None:
    assert failures.retry_after_s(headers, NOW) == expected


def test_an_error_inside_a_stream_goes_by_its_type_and_may_be_billed() -> None:
    failure = failures.from_stream_event(api_error("overloaded_error", "busy"), "req_h")
    assert (failure.kind, failure.retryable, failure.scope) == ("overloaded_error", True, "row")
    assert (failure.may_be_billed, failure.request_id, failure.http_status) == (True, "req_h", 200)
    assert failures.from_stream_event({"type": "error"}, None).kind == "api_error"
    assert failures.from_stream_event(api_error("billing_error"), None).scope == "job"
    assert not failures.from_stream_event(api_error("invalid_request_error"), None).retryable


KEY = ConnectionKey("api.example", 443, True, True, None, None, None)


def raised_from(outer: BaseException, inner: BaseException) -> BaseException:
    outer.__cause__ = inner
    return outer


@pytest.mark.parametrize(
    ("error", "kind", "billed"),
    [
        (aiohttp.ClientConnectorError(KEY, OSError(111, "Connection refused")), "connection_error", False),
        (aiohttp.ClientConnectorDNSError(KEY, OSError(-2, "Name not known")), "connection_error", False),
        (aiohttp.ClientConnectorSSLError(KEY, ssl.SSLError("handshake")), "connection_error", False),
        (
            aiohttp.ClientConnectorCertificateError(KEY, ssl.SSLCertVerificationError("expired")),
            "connection_error",
            False,
        ),
        (aiohttp.ConnectionTimeoutError("connect"), "connection_error", False),
        (aiohttp.ServerDisconnectedError(), "connection_error", True),
        (aiohttp.ClientOSError(104, "Connection reset by peer"), "connection_error", True),
        (aiohttp.ClientPayloadError("not enough data"), "connection_error", True),
        (aiohttp.SocketTimeoutError("read"), "timeout", True),
        (httpx2.ReadTimeout("read"), "timeout", True),
        (httpx2.RemoteProtocolError("half"), "connection_error", True),
        (ConnectionResetError(104, "reset"), "connection_error", True),
        (RuntimeError("unable to perform operation on <TCPTransport closed=True>"), "connection_error", True),
    ],
)
def test_only_a_connection_that_never_stood_is_surely_not_billed(error: BaseException, kind: str, billed: bool) -> None:
    request = httpx2.Request("POST", "https://api.example")
    wrapped = raised_from(anthropic.APIConnectionError(request=request), raised_from(httpx2.ConnectError("x"), error))
    for seen in (error, wrapped):
        failure = failures.from_transport(seen)
        assert (failure.kind, failure.may_be_billed, failure.retryable) == (kind, billed, True)
        assert failure.http_status is None


def test_no_message_shows_a_credential() -> None:
    texts = [
        "bad key s3cr3t-key given",
        "Authorization: Bearer abc.def",
        "key sk-ant-api03-AbC_dEf-123 is wrong",
        "cannot reach http://user:hunter2@proxy:3128",
    ]
    for text in texts:
        shown = read(400, api_error("invalid_request_error", text)).message
        assert "[redacted]" in shown
        for secret in ("s3cr3t", "abc.def", "AbC_dEf", "hunter2"):
            assert secret not in shown
    assert "s3cr3t" not in read(500, b"<p>s3cr3t-key</p>").message
    assert "s3cr3t" not in failures.from_transport(OSError("s3cr3t-key"), secrets=("s3cr3t-key",)).message


def test_a_message_is_bounded() -> None:
    assert len(read(400, api_error("invalid_request_error", "x" * 10_000)).message) <= 1_001
    assert len(read(500, b"y" * 1_000_000).message) < 400


def test_headers_lose_their_credentials() -> None:
    kept = failures.redacted({"authorization": "Bearer x", "x-api-key": "k", "set-cookie": "c", "request-id": "r"})
    assert kept == {"request-id": "r"}


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"{}", b'{"error":"no"}', b'{"error":{"type":7}}', b'{"error":{"type":"A b"}}', b"\xff\xfe"],
)
def test_a_body_of_another_shape_falls_back_to_the_status(body: bytes) -> None:
    assert read(429, body).kind == "rate_limit_error"
    assert read(529, body).kind == "overloaded_error"
    assert read(418, body).kind == "invalid_request_error"


def test_a_failure_keeps_the_request_id_of_the_header_first() -> None:
    assert read(500, api_error("api_error"), request_id="req_h").request_id == "req_h"
    assert read(500, b"", request_id="req_h").request_id == "req_h"


@pytest.mark.parametrize("status", [302, 400, 404, 408, 409, 413, 429, 500, 502, 529])
@pytest.mark.parametrize("body", [b'{"type":"error","error":{"type":"api_error","message":"x"}}', b"<html>"])
def test_a_create_may_hide_a_batch_only_after_its_whole_body_and_without_a_refusal(status: int, body: bytes) -> None:
    failure = read(status, body)
    refused = status in {400, 404, 413, 429}
    assert failures.of_create(failure, whole=True).may_be_billed == (not refused)
    assert not failures.of_create(failure, whole=False).may_be_billed


def test_a_connection_that_never_stood_hides_no_batch_but_a_lost_one_may() -> None:
    never = failures.from_transport(httpx2.ConnectTimeout("x"))
    lost = failures.from_transport(httpx2.ReadError("x"))
    assert not failures.of_create(never, whole=True).may_be_billed
    assert failures.of_create(lost, whole=True).may_be_billed
    assert not failures.of_create(failures.no_credential("no token"), whole=True).may_be_billed
    assert failures.of_create(failures.bad_reply("html", 200, None), whole=True).may_be_billed
    assert not failures.of_question(lost).may_be_billed
