"""Errors in the shape of the real API.

Owns   `Refused`, which any part of the stand-in raises to answer a request with an error, and the body it becomes:
       {"type": "error", "error": {"type", "message", "details"?}, "request_id"}.
Source: the API's "Errors" page and the SDK's `types/shared/error_response.py` (2.12.0).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

TYPE_BY_STATUS: Mapping[int, str] = {
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
    500: "api_error",
    501: "api_error",
    503: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class Refused(Exception):
    """The request is answered with this error. `headers` are added to the usual ones."""

    def __init__(
        self,
        message: str,
        status: int = 400,
        *,
        kind: str | None = None,
        error_code: str | None = None,
        details: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.kind = kind or TYPE_BY_STATUS.get(status, "api_error" if status >= 500 else "invalid_request_error")
        self.error_code = error_code
        self.details = details or {}
        self.headers = headers or {}

    def error(self) -> dict[str, Any]:
        """The inner object, as stream events carry it."""
        error: dict[str, Any] = {"type": self.kind, "message": self.message}
        if self.error_code is not None:
            error["details"] = {"error_code": self.error_code, **self.details}
        return error

    def body(self, request_id: str) -> bytes:
        return orjson.dumps({"type": "error", "error": self.error(), "request_id": request_id})
