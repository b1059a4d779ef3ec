"""One line of a batch's results: bytes in, a `BatchLine` out.

Owns   the reading of result lines, and the failures that a result can be. Pure: no network, no clock.
Knows  the four types of result by their strings. Nothing of files, batches or rows.

Invariants
  * A line is read in time linear in its length, and ends as a BatchLine or a ValueError, whatever it holds.
  * A type that is not known is a ValueError, never a success.
  * What was billed is not tried again by itself: a `succeeded` result whose message cannot be read is no answer
    (docs/decisions/0008) and may have been billed.

Sources: SDK 2.12 `types/messages/message_batch_individual_response.py`, `message_batch_*_result.py`; the batch guide
(only `succeeded` is billed; `expired` may be sent again unchanged).
"""

from __future__ import annotations

from typing import Any

import orjson

from runner.encoding import decode
from runner.message import reply_of
from runner.providers import BatchLine, failures
from runner.types import Failure

_CANCELED = Failure("canceled", "the batch was canceled before this request was processed", retryable=True)
_EXPIRED = Failure("expired", "the batch expired before this request was processed", retryable=True)


def read_result(line: bytes, secrets: tuple[str, ...] = ()) -> BatchLine:
    """Read one line, without its end. Raises ValueError with a short reason where it is no result."""
    try:
        data = orjson.loads(line)
    except orjson.JSONDecodeError:
        data = _decode(line)
    try:
        custom_id, result = data["custom_id"], data["result"]
        kind = result["type"]
    except (KeyError, TypeError, IndexError):
        raise ValueError("not a result with its custom_id and type") from None
    if type(custom_id) is not str or not custom_id:
        raise ValueError("a result whose custom_id is no text")
    if kind == "succeeded":
        try:
            return BatchLine(custom_id, "succeeded", reply_of(result.get("message")))
        except ValueError as error:
            return BatchLine(custom_id, "errored", None, _unreadable(error))
    if kind == "errored":
        failure = failures.from_result(result.get("error"), secrets=secrets)
        return BatchLine(custom_id, "errored", None, failure, failure.request_id)
    if kind == "canceled":
        return BatchLine(custom_id, "canceled", None, _CANCELED)
    if kind == "expired":
        return BatchLine(custom_id, "expired", None, _EXPIRED)
    raise ValueError(f"a result of the unknown type {str(kind)[:40]!r}")


def _unreadable(error: ValueError) -> Failure:
    return Failure("unexpected_reply", f"the result's message cannot be read: {error}"[:300], may_be_billed=True)


def _decode(line: bytes) -> Any:
    """The slow way, for lone surrogates, which are JSON but have no UTF-8 form; what is no JSON fails here as well."""
    try:
        return decode(line.decode())
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
