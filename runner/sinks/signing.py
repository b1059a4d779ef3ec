"""What a request to a webhook is signed with, so that its receiver knows who sent it, and when.

Owns   the three headers of Standard Webhooks: `webhook-id`, `webhook-timestamp`, `webhook-signature`.
Knows  bytes.

Signed is `<id>.<timestamp>.<body>`, by HMAC-SHA256 with the key that the secret holds in base64 behind `whsec_`; the
signature is written in base64 behind `v1,`. The id is the same for each try, the timestamp (seconds since 1970) that of
the try.

Source: github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md.
"""

from __future__ import annotations

import base64
import hmac

from runner.sinks.options import SECRET_PREFIX


def headers_of(message_id: str, timestamp: int, body: bytes, secret: str | None) -> dict[str, str]:
    """The headers of one try; without a secret there is no signature."""
    headers = {"webhook-id": message_id, "webhook-timestamp": str(timestamp)}
    if secret is not None:
        headers["webhook-signature"] = f"v1,{signature(message_id, timestamp, body, secret)}"
    return headers


def signature(message_id: str, timestamp: int, body: bytes, secret: str) -> str:
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    signed = f"{message_id}.{timestamp}.".encode() + body
    return base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
