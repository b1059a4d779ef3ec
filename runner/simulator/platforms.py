"""The platforms' own envelopes around the Messages API: paths, bodies, signatures, streams and errors.

Owns   what Bedrock, Vertex AI, Foundry, Claude Platform on AWS and Claude Models on Google Cloud put around a request
       and its reply, so that the SDK's clients for them meet what they expect. What is asked and answered stays the
       business of `messages`.
Knows  HTTP and JSON. No signature is verified: the stand-in has no secrets.

    /model/{id}/invoke, /model/{id}/invoke-with-response-stream                     Bedrock: the model leaves the body
    …/publishers/anthropic/models/{model}:rawPredict, :streamRawPredict             Vertex AI, the same
    …/publishers/anthropic/models/count-tokens:rawPredict
    /anthropic/v1/…                                                                 Foundry
    /v1/projects/…/invoke/v1/…                                                      Claude Models on Google Cloud

Source: SDK 2.12 `lib/bedrock/_client.py`, `lib/bedrock/_stream_decoder.py`, `lib/vertex/_client.py`, `lib/foundry.py`,
`lib/aws/_client.py`, `lib/google_cloud/_client.py`; AWS's event stream encoding (prelude, headers, payload, two
CRC-32) and error shape (`x-amzn-errortype`, `message`); Google's error model (`code`, `message`, `status`).
"""

from __future__ import annotations

import base64
import re
import struct
import zlib
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import unquote

import orjson
from msgspec import Struct

from runner.simulator.refusal import Refused

FRAMES = "application/vnd.amazon.eventstream"

Shape = Literal["anthropic", "aws", "google", "azure"]

_BEDROCK = re.compile(r"^/model/(?P<model>[^/]+)/(?P<how>invoke|invoke-with-response-stream)$")
_VERTEX = re.compile(
    r"^(?:/v1)?/projects/[^/]+/locations/[^/]+/publishers/anthropic/models/"
    r"(?P<model>[^/:]+):(?P<how>rawPredict|streamRawPredict)$"
)
_GOOGLE_CLOUD = re.compile(r"^/v1/projects/[^/]+/locations/[^/]+/workspaces/[^/]+/invoke(?P<path>/v1/.+)$")
_FOUNDRY = "/anthropic"
_CREDENTIAL = re.compile(r"Credential=(?P<key>[^/,\s]+)/")
_ON_BEDROCK = re.compile(r"^(?:.*/)?(?:[a-z-]{2,8}\.)?anthropic\.(?P<model>claude-.+?)(?:-v\d+)?(?::\d+)?$")
_COUNT = "count-tokens"


class Envelope(Struct, frozen=True):
    """How a request came. `path` is the one of Anthropic's API; `model` is what the path said of it; `frames`: the
    reply is streamed in AWS's frames."""

    path: str
    shape: Shape = "anthropic"
    model: str | None = None
    stream: bool = False
    frames: bool = False

    @property
    def has_version_header(self) -> bool:
        """Bedrock and Vertex AI say the version in the body."""
        return self.shape not in ("aws", "google")

    def body(self, data: bytes) -> tuple[bytes, str | None, str | None]:
        """The body as Anthropic's API takes it, with the version and betas that it held. Raises Refused."""
        if self.model is None and not self.path.endswith("/count_tokens"):
            return data, None, None
        try:
            body: Any = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise Refused(f"The request body is not valid JSON: {error}") from None
        if not isinstance(body, dict):
            raise Refused("Input should be a valid dictionary or object to extract fields from")
        version, betas = body.pop("anthropic_version", None), body.pop("anthropic_beta", None)
        if self.model is not None:
            if "model" in body:
                raise Refused("model: Extra inputs are not permitted")
            body["model"] = self.model
        if self.stream:
            body["stream"] = True
        return orjson.dumps(body), version, ",".join(betas) if isinstance(betas, list) else betas


ANTHROPIC = Envelope("")


def open_envelope(path: str) -> Envelope:
    """Read a request's path; whatever is no platform's is Anthropic's own."""
    found = _BEDROCK.match(path)
    if found is not None:
        frames = found["how"] != "invoke"
        return Envelope("/v1/messages", "aws", own_name(unquote(found["model"])), frames, frames)
    found = _VERTEX.match(path)
    if found is not None:
        if found["model"] == _COUNT:
            return Envelope("/v1/messages/count_tokens", "google")
        return Envelope("/v1/messages", "google", own_name(unquote(found["model"])), found["how"] != "rawPredict")
    found = _GOOGLE_CLOUD.match(path)
    if found is not None:
        return Envelope(found["path"])
    if path.startswith(f"{_FOUNDRY}/"):
        return Envelope(path.removeprefix(_FOUNDRY), "azure")
    return Envelope(path)


def key_of(headers: Mapping[str, str]) -> str:
    """The credential of a request: a key, a token, or the access key that an AWS signature names."""
    authorization = headers.get("authorization", "")
    signed = _CREDENTIAL.search(authorization)
    if signed is not None:
        return signed["key"]
    return authorization.removeprefix("Bearer ").strip() or headers.get("x-api-key", "")


def error_body(refused: Refused, request_id: str, shape: Shape) -> tuple[bytes, Mapping[str, str]]:
    """An error as the platform tells it, with the headers that go with it. What the model's own side refuses comes in
    Anthropic's shape on Google's and Microsoft's platforms; what their gates refuse, in theirs."""
    if shape == "aws":
        code = _AWS_CODES.get(refused.status, "InternalServerException")
        return orjson.dumps({"message": refused.message}), {"x-amzn-errortype": f"{code}:http://internal.amazon.com/"}
    if shape == "google" and refused.status in _GOOGLE_STATUSES:
        error: dict[str, Any] = {"code": refused.status, "message": refused.message}
        return orjson.dumps({"error": error | {"status": _GOOGLE_STATUSES[refused.status]}}), {}
    if shape == "azure" and refused.status in (401, 403):
        return orjson.dumps({"error": {"code": str(refused.status), "message": refused.message}}), {}
    return refused.body(request_id), {}


_AWS_CODES = {
    400: "ValidationException",
    401: "UnrecognizedClientException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    413: "ValidationException",
    424: "ModelErrorException",
    429: "ThrottlingException",
    500: "InternalServerException",
    503: "ServiceUnavailableException",
    529: "ServiceUnavailableException",
}
_GOOGLE_STATUSES = {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED"}


def status_of(status: int, shape: Shape) -> int:
    """The status by which the platform answers: 529 is Anthropic's own."""
    return 503 if status == 529 and shape in ("aws", "google") else status


class Frames:
    """Server-sent events in, AWS's frames out."""

    def __init__(self) -> None:
        self._rest = b""

    def of(self, data: bytes) -> bytes:
        """The frames of the events that are whole by now."""
        *events, self._rest = (self._rest + data).split(b"\n\n")
        return b"".join(self._frame(event) for event in events if event.strip())

    def _frame(self, event: bytes) -> bytes:
        lines = event.split(b"\n")
        payload = b"".join(line.removeprefix(b"data:").strip() for line in lines if line.startswith(b"data:"))
        said = orjson.loads(payload)
        if said.get("type") == "error":
            message = orjson.dumps({"message": said["error"]["message"]})
            return frame({":message-type": "exception", ":exception-type": "modelStreamErrorException"}, message)
        headers = {":event-type": "chunk", ":content-type": "application/json", ":message-type": "event"}
        return frame(headers, orjson.dumps({"bytes": base64.b64encode(payload).decode()}))


def frame(headers: Mapping[str, str], payload: bytes) -> bytes:
    """One message of AWS's event stream."""
    block = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack(">II", 16 + len(block) + len(payload), len(block))
    head = prelude + struct.pack(">I", zlib.crc32(prelude)) + block + payload
    return head + struct.pack(">I", zlib.crc32(head))


def own_name(model: str) -> str:
    """Anthropic's own name for a model that a platform names in its way."""
    found = _ON_BEDROCK.match(model)
    return found["model"] if found is not None else model.replace("@default", "").replace("@", "-")
