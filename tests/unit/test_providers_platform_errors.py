"""Errors of AWS, Google and Azure, as failures of a row or of the job."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from runner.providers import failures
from runner.types import Failure

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def failure(status: int, body: Any, **headers: str) -> Failure:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return failures.from_response(status, named, json.dumps(body).encode(), now=NOW)


@pytest.mark.parametrize(
    ("status", "code", "kind", "retryable", "scope"),
    [
        (429, "ThrottlingException", "rate_limit_error", True, "row"),
        (403, "AccessDeniedException", "permission_error", False, "job"),
        (403, "ExpiredTokenException", "authentication_error", False, "job"),
        (403, "UnrecognizedClientException", "authentication_error", False, "job"),
        (400, "ValidationException", "invalid_request_error", False, "row"),
        (400, "ServiceQuotaExceededException", "rate_limit_error", True, "row"),
        (404, "ResourceNotFoundException", "not_found_error", False, "job"),
        (408, "ModelTimeoutException", "timeout_error", True, "row"),
        (424, "ModelErrorException", "api_error", True, "row"),
        (429, "ModelNotReadyException", "rate_limit_error", True, "row"),
        (503, "ServiceUnavailableException", "overloaded_error", True, "row"),
        (500, "InternalServerException", "api_error", True, "row"),
        (429, "SomethingNewException", "rate_limit_error", True, "row"),
    ],
)
def test_aws_says_it_in_a_header(status: int, code: str, kind: str, retryable: bool, scope: str) -> None:
    found = failure(status, {"message": "No."}, x_amzn_errortype=f"{code}:http://x/", x_amzn_requestid="r-1")
    assert (found.kind, found.retryable, found.scope) == (kind, retryable, scope)
    assert (found.message, found.request_id, found.http_status, found.may_be_billed) == ("No.", "r-1", status, False)


def test_a_model_that_aws_does_not_know_is_every_rows() -> None:
    found = failure(
        400, {"message": "The provided model identifier is invalid."}, x_amzn_errortype="ValidationException"
    )
    assert (found.kind, found.scope) == ("not_found_error", "job")


@pytest.mark.parametrize(
    ("status", "named", "kind", "scope"),
    [
        (429, "RESOURCE_EXHAUSTED", "rate_limit_error", "row"),
        (403, "PERMISSION_DENIED", "permission_error", "job"),
        (401, "UNAUTHENTICATED", "authentication_error", "job"),
        (404, "NOT_FOUND", "not_found_error", "job"),
        (400, "INVALID_ARGUMENT", "invalid_request_error", "row"),
        (503, "UNAVAILABLE", "overloaded_error", "row"),
    ],
)
@pytest.mark.parametrize("in_a_list", [False, True])
def test_google_says_it_in_its_error_model(status: int, named: str, kind: str, scope: str, in_a_list: bool) -> None:
    error = {"error": {"code": status, "message": "No.", "status": named}}
    found = failure(status, [error] if in_a_list else error)
    assert (found.kind, found.scope, found.message) == (kind, scope, "No.")
    assert found.may_be_billed is False


def test_azure_says_it_by_a_code_that_is_a_text() -> None:
    found = failure(401, {"error": {"code": "401", "message": "Access denied."}}, apim_request_id="a-1")
    assert (found.kind, found.scope, found.request_id) == ("authentication_error", "job", "a-1")
    found = failure(404, {"error": {"code": "DeploymentNotFound", "message": "No such deployment."}})
    assert (found.kind, found.scope) == ("not_found_error", "job")


@pytest.mark.parametrize("body", [{}, {"message": "hello"}, {"error": "x"}, {"error": {"code": 1, "message": "m"}}, []])
def test_what_has_no_platforms_shape_is_a_page_of_something_between(body: Any) -> None:
    found = failure(403, body)
    assert (found.kind, found.scope) == ("permission_error", "row")
    assert "without the API's error object" in found.message


def test_an_error_in_a_stream_of_aws_is_read() -> None:
    throttled = {"type": "error", "error": {"type": "throttlingException", "message": "Slow down."}}
    found = failures.from_stream_event(throttled, "r-1")
    assert (found.kind, found.retryable, found.message) == ("rate_limit_error", True, "Slow down.")
    broken = {"type": "error", "error": {"type": "modelStreamErrorException", "message": "Broke."}}
    assert failures.from_stream_event(broken, None).kind == "api_error"


def test_a_platforms_id_of_a_request_serves_where_there_is_none_of_the_api() -> None:
    assert failures.told_headers({"x-amzn-requestid": "r-1"})["request-id"] == "r-1"
    assert failures.told_headers({"x-amzn-requestid": "r-1", "request-id": "req_1"})["request-id"] == "req_1"
    assert "request-id" not in failures.told_headers({})
