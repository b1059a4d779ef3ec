"""One request of a batch: from its line to the line of its result.

Owns   how a request in a batch ends (succeeded, errored, canceled, expired) and what it is billed; the scope of the
       batches' prompt cache, and which of its entries a request reads.
Knows  validation, answers and prices through the same modules as live requests; files and states are `batch_work`'s.

Cache. All requests of a batch start when it is created. Which entry of its own batch a request can read is a setting:
none where all start at once; some, drawn by `batch_hit_rate`, where they start one after the other. Entries of batches
that were processed before this one was created are read by all. (Source: batch guide, "best effort", 30 to 98 %.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import orjson
from msgspec import Struct

from runner.clock import Clock
from runner.simulator.accounts import Entry
from runner.simulator.acts import BATCH_ROW, Act
from runner.simulator.answers import answer
from runner.simulator.batch_shapes import Line, Shape
from runner.simulator.batch_store import Batch
from runner.simulator.bill import cost_pico, used_by
from runner.simulator.envelope import Envelope
from runner.simulator.faults import Fault, Faults
from runner.simulator.files import Files
from runner.simulator.misanswers import misanswer
from runner.simulator.models import Card
from runner.simulator.options import Options
from runner.simulator.prompt import Prompt, read_prompt
from runner.simulator.prompt_cache import PromptCache
from runner.simulator.refusal import Refused
from runner.simulator.validation import check_row, check_size

End = Literal["succeeded", "errored", "canceled", "expired"]


class RowResult(Struct, frozen=True):
    """`line` is JSON with its line end; `entry` is there for what is billed."""

    end: End
    line: bytes
    entry: Entry | None = None


class Cutoff(Struct, frozen=True):
    """When processing stopped (epoch seconds), and what becomes of requests that were not done by then."""

    at: float
    end: Literal["canceled", "expired"]


class _WallClock:
    """A clock whose monotonic seconds are those since the epoch: batches outlive the process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def now(self) -> datetime:
        return self._clock.now()

    def monotonic(self) -> float:
        return self._clock.now().timestamp()

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)


class RowAnswers:
    def __init__(self, options: Options, clock: Clock, faults: Faults, files: Files) -> None:
        self.cache = PromptCache(_WallClock(clock))
        self._options = options
        self._faults = faults
        self._files = files

    def process(self, request: Line, batch: Batch, index: int, cutoff: Cutoff | None, at: str) -> RowResult:
        """End one request.

        Args:
            index: its place in the batch, from 0.
            cutoff: what stopped the batch, None where nothing did.
            at: the time for the books.
        """
        custom_id = request.custom_id
        if cutoff is not None and _done_at(batch, custom_id) > cutoff.at:
            return RowResult(cutoff.end, _line(custom_id, b'{"type":"%s"}' % cutoff.end.encode()))
        fault = self._choose(request)
        if fault is not None and fault.act in (Act.EXPIRED, Act.CANCELED):
            end: End = "expired" if fault.act is Act.EXPIRED else "canceled"
            return RowResult(end, _line(custom_id, b'{"type":"%s"}' % end.encode()))
        request_id = f"req_{batch.id[-12:]}{index:06x}"
        try:
            if fault is not None and fault.error is not None:
                raise fault.error
            return self._succeed(request, batch, index, fault, at)
        except Refused as refused:
            return RowResult("errored", _line(custom_id, b'{"type":"errored","error":%s}' % refused.body(request_id)))

    def _choose(self, request: Line) -> Fault | None:
        if not self._faults.any_at(BATCH_ROW):
            return None
        # The draw must not depend on how the request is kept, nor on what it shares with others.
        row = request.custom_id.encode() + orjson.dumps(request.params.get("messages"))
        room = request.params.get("max_tokens")
        return self._faults.choose(
            BATCH_ROW,
            row,
            lambda needle: needle in row + orjson.dumps(request.params),
            room=room if isinstance(room, int) else 0,
        )

    def _succeed(self, request: Line, batch: Batch, index: int, fault: Fault | None, at: str) -> RowResult:
        params, custom_id = request.params, request.custom_id
        card = _check(request, batch)
        files = self._files.named_in(params, batch.workspace)
        prompt = read_prompt(params, card, request.memo, files)
        check_size(prompt.tokens, card)
        reply = misanswer(params, answer(params, prompt, card, self._options.reply_tokens), fault)
        scope = (batch.workspace, card.id)
        own = batch.id if self._hits(prompt, custom_id) else ""
        use = self.cache.look(prompt, scope, card.cache_minimum, at=batch.created_at, own=own)
        self.cache.refresh(use)
        self.cache.begin(use, batch.id)
        usage = used_by(reply, use)
        message_id = f"msg_{batch.id[-12:]}{index:06x}"
        geo = params.get("inference_geo") or "global"
        message = Envelope(message_id, card.id, reply, usage, "batch", inference_geo=geo).message()
        kind = b"paused_for_tea" if fault is not None and fault.act is Act.UNKNOWN_RESULT else b"succeeded"
        entry = Entry(
            at=at,
            request_hash=prompt.digest,
            echo=prompt.echo,
            message_id=message_id,
            model=card.id,
            usage=usage,
            cost_pico=cost_pico(card.id, usage, "batch", geo=geo),
            fault=None if fault is None else fault.kind,
            mode="batch",
            batch_id=batch.id,
            custom_id=custom_id,
        )
        line = _line(custom_id, b'{"type":"%s","message":%s}' % (kind, message))
        return RowResult("succeeded", line, None if batch.is_foreign else entry)

    def _hits(self, prompt: Prompt, custom_id: str) -> bool:
        """Whether the request comes late enough to read what its own batch has written."""
        if self._options.batch_start == "at_once":
            return False
        return _share(prompt.digest, custom_id) < self._options.batch_hit_rate


def _check(request: Line, batch: Batch) -> Card:
    """Check the params. Requests of one shape that differ in a plain message only are valid if one of them is.
    Raises Refused."""
    shape = request.shape
    if shape is None or not _is_plain(request.params, shape):
        return check_row(request.params, batch.version, batch.betas)
    key = ("checked", batch.version, batch.betas)
    card: Card | None = shape.memo.get(key)
    if card is None:
        card = shape.memo[key] = check_row(request.params, batch.version, batch.betas)
    return card


def _is_plain(params: Mapping[str, Any], shape: Shape) -> bool:
    """Whether the row's own part is one message of a user, a text that is not empty."""
    messages = params.get("messages")
    if len(params) != len(shape.shared) + 1 or "messages" in shape.shared or not isinstance(messages, list):
        return False
    message = messages[0] if len(messages) == 1 else None
    if not isinstance(message, dict) or message.keys() != {"role", "content"} or message["role"] != "user":
        return False
    return isinstance(message["content"], str) and bool(message["content"].strip())


def _done_at(batch: Batch, custom_id: str) -> float:
    """When a request is done: spread evenly over the time that its batch takes. Some of a stuck batch never are."""
    place = _share(batch.id, custom_id)
    done_share = float(batch.traits.get("done_share", 1.0))
    if place >= done_share:
        return float("inf")
    return batch.created_at + batch.latency_s * place / done_share


def _share(*parts: str) -> float:
    return int.from_bytes(hashlib.blake2b("/".join(parts).encode(), digest_size=8).digest(), "big") / 2**64


def _line(custom_id: str, result: bytes) -> bytes:
    return b'{"custom_id":"%s","result":%s}\n' % (custom_id.encode(), result)
