"""Errors of the platforms that serve Claude, as the API would tell them.

Owns   the shapes of AWS, Google and Azure, and which of the API's types each error is.
Knows  statuses, headers and bytes. What a type means for a row or a job is decided in `failures`, as for the API's own.

Only what has one of these shapes is an error of a platform; any other body is a page of something in between.

    AWS      `x-amzn-errortype: ThrottlingException:…`, {"message": …}; in a stream {"type": "throttlingException", …}
    Google   {"error": {"code": 429, "message": …, "status": "RESOURCE_EXHAUSTED"}}, also in a list
    Azure    {"error": {"code": "401", "message": …}}

Sources: Amazon Bedrock's "Troubleshooting API error codes" and the error sections of InvokeModel; Google's API error
model (AIP-193); Azure's REST error guidelines; read November 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from msgspec import Struct


class ApiError(Struct, frozen=True):
    """The API's error object, as far as the bytes hold one. `code` is the platform's own, or the API's error code."""

    type: str
    message: str
    code: str | None
    request_id: str | None


_BY_AWS_CODE = {
    "accessdenied": "permission_error",
    "accountproblem": "permission_error",
    "expiredtoken": "authentication_error",
    "incompletesignature": "authentication_error",
    "invalidclienttokenid": "authentication_error",
    "invalidsignature": "authentication_error",
    "unrecognizedclient": "authentication_error",
    "missingauthenticationtoken": "authentication_error",
    "notauthorized": "permission_error",
    "optinrequired": "permission_error",
    "resourcenotfound": "not_found_error",
    "throttling": "rate_limit_error",
    "modelnotready": "rate_limit_error",
    "servicequotaexceeded": "rate_limit_error",
    "modeltimeout": "timeout_error",
    "modelerror": "api_error",
    "modelstreamerror": "api_error",
    "internalserver": "api_error",
    "internalfailure": "api_error",
    "serviceunavailable": "overloaded_error",
    "validation": "invalid_request_error",
}
"""By code, without case and the word that it ends in (`Exception`, `Error`)."""

_BY_STATUS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def read(status: int, headers: Mapping[str, str], body: bytes) -> ApiError | None:
    """Read a reply whose status is no success; None where it is no platform's error. `headers` are lower-case."""
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if isinstance(data, list) and len(data) == 1:
        data = data[0]
    if not isinstance(data, dict):
        return None
    code = headers.get("x-amzn-errortype", "").partition(":")[0]
    message = data.get("message") or data.get("Message")
    if code and isinstance(message, str):
        return ApiError(_aws_type(code, message) or _of_status(status), message, code, headers.get("x-amzn-requestid"))
    error = data.get("error")
    if not isinstance(error, dict) or not isinstance(error.get("message"), str):
        return None
    named = error.get("status") or error.get("code")
    if error.get("code") != status and not isinstance(error.get("code"), str):
        return None
    return ApiError(_of_status(status), error["message"], str(named), headers.get("apim-request-id"))


def in_stream(data: Mapping[str, Any]) -> ApiError | None:
    """An error among AWS's frames, as the SDK hands it on."""
    error = data.get("error")
    if not isinstance(error, Mapping) or not isinstance(error.get("type"), str):
        return None
    message = error["message"] if isinstance(error.get("message"), str) else ""
    kind = _aws_type(error["type"], message)
    return ApiError(kind, message, error["type"], None) if kind is not None else None


def _aws_type(code: str, message: str) -> str | None:
    if message.startswith("The provided model identifier is invalid"):
        return "not_found_error"  # a ValidationException, and every row's
    folded = code.lower().removesuffix("exception")
    return _BY_AWS_CODE.get(folded) or _BY_AWS_CODE.get(folded.removesuffix("error"))


def _of_status(status: int) -> str:
    return _BY_STATUS.get(status, "api_error" if status >= 500 else "invalid_request_error")
