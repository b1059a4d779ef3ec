"""POST /v1/messages and /v1/messages/count_tokens: from a body to a billed reply.

Owns   the order in which a request is taken: validation, limits, cache accounting, answer, entry in the books, and only
       then the first byte of a reply. Faults that strike before all this are the business of `app`.
Knows  its parts by their interfaces; the rules are in them. `take` and `settle` need no HTTP, so that requests that
       arrive in another envelope are answered and billed by the same code.

A reply begins after a quarter of its latency: from then on the prefix it wrote can be read from the cache.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import secrets
from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web
from msgspec import Struct

from runner.clock import Clock, to_rfc3339
from runner.simulator.accounts import Accounts, Entry
from runner.simulator.acts import Act
from runner.simulator.answers import answer
from runner.simulator.bill import cost_pico, used_by
from runner.simulator.envelope import Envelope, event
from runner.simulator.exchange import Exchange, write_spread
from runner.simulator.faults import Fault
from runner.simulator.files import Files
from runner.simulator.limits import Limits
from runner.simulator.misanswers import misanswer
from runner.simulator.models import Card
from runner.simulator.options import Options
from runner.simulator.prompt import Prompt, read_prompt
from runner.simulator.prompt_cache import CacheUse, PromptCache
from runner.simulator.refusal import Refused
from runner.simulator.validation import check_count, check_create, check_size

_BEGIN_SHARE = 0.25
"""The part of a reply's latency that passes before its first byte."""


class Taken(Struct, frozen=True):
    """An accepted request with its answer, not yet billed."""

    prompt: Prompt
    envelope: Envelope
    cache: CacheUse


class Messages:
    def __init__(self, options: Options, clock: Clock, accounts: Accounts, files: Files) -> None:
        self.cache = PromptCache(clock)
        self.limits = Limits(
            clock,
            rpm=options.rpm,
            itpm=options.itpm,
            otpm=options.otpm,
            burst_s=options.burst_s,
            window_s=options.window_s,
            ramp=options.ramp,
            retry_after=options.retry_after,
            max_concurrency=options.max_concurrency,
        )
        self._options = options
        self._clock = clock
        self._accounts = accounts
        self._files = files
        self._random = random.Random(options.seed)
        self._mark = secrets.token_hex(6)
        self._numbers = itertools.count(1)
        self._in_flight = 0

    async def create(self, exchange: Exchange, data: bytes, fault: Fault | None) -> web.StreamResponse:
        """Answer a Messages request. Raises Refused."""
        self._in_flight += 1
        try:
            body = decode(data)
            card = check_create(body, exchange.version, exchange.betas)
            try:
                taken = self.take(body, card, exchange.workspace, fault)
            finally:
                exchange.headers.update(self.limits.headers(card.line))
            number = await self.settle(taken, fault)
            return await self._deliver(exchange, taken, number, fault, stream=bool(body.get("stream")))
        finally:
            self._in_flight -= 1

    async def count(self, exchange: Exchange, data: bytes, _: Fault | None) -> web.StreamResponse:
        """Answer a count_tokens request. Nothing is billed, and caching is ignored. Raises Refused."""
        body = decode(data)
        card = check_count(body, exchange.version, exchange.betas)
        files = self._files.named_in(body, exchange.workspace)
        return await exchange.reply(orjson.dumps({"input_tokens": read_prompt(body, card, files=files).tokens}))

    def take(self, body: Mapping[str, Any], card: Card, workspace: str, fault: Fault | None) -> Taken:
        """Accept a valid request: its answer, and what it will be billed. Raises Refused at a limit."""
        prompt = read_prompt(body, card, files=self._files.named_in(body, workspace))
        check_size(prompt.tokens, card)
        reply = misanswer(body, answer(body, prompt, card, self._options.reply_tokens), fault)
        use = self.cache.look(prompt, (workspace, card.id), card.cache_minimum)
        self.limits.admit(card.line, use.billed_input, reply.output_tokens, self._in_flight)
        self.cache.refresh(use)
        usage = used_by(reply, use)
        message_id = f"msg_sim{self._mark}{next(self._numbers):08x}"
        speed, geo = body.get("speed") or "standard", body.get("inference_geo") or "global"
        return Taken(prompt, Envelope(message_id, card.id, reply, usage, speed=speed, inference_geo=geo), use)

    async def settle(self, taken: Taken, fault: Fault | None = None) -> int:
        """Enter an accepted request in the books; returns its number there once that is durable."""
        envelope, prompt = taken.envelope, taken.prompt
        return await self._accounts.bill(
            Entry(
                at=to_rfc3339(self._clock.now()),
                request_hash=prompt.digest,
                echo=prompt.echo,
                message_id=envelope.message_id,
                model=envelope.model,
                usage=envelope.usage,
                cost_pico=cost_pico(
                    envelope.model, envelope.usage, fast=envelope.speed == "fast", geo=envelope.inference_geo
                ),
                fault=None if fault is None else fault.kind,
            )
        )

    async def _deliver(
        self, exchange: Exchange, taken: Taken, number: int, fault: Fault | None, *, stream: bool
    ) -> web.StreamResponse:
        latency_s = self._options.latency.draw(self._random.gauss(0, 1))
        if fault is not None and fault.act is Act.SLOW:
            latency_s += fault.rule.seconds
        await _pause(latency_s * _BEGIN_SHARE)
        self.cache.begin(taken.cache)
        # A reply without tokens (`max_tokens: 0`) is there as soon as it has begun.
        rest_s = latency_s * (1 - _BEGIN_SHARE) if taken.envelope.answer.output_tokens else 0.0
        if fault is not None and fault.act in (_SPOILED if stream else _SPOILED - _IN_STREAM):
            return await _spoil(exchange, taken.envelope, fault, rest_s, stream=stream)
        if stream:
            response = await exchange.open_stream()
            await exchange.write(response, taken.envelope.opening())
            await write_spread(exchange, response, taken.envelope.events(), rest_s)
            await response.write_eof()
        else:
            await _pause(rest_s)
            response = await exchange.reply(taken.envelope.message())
        self._accounts.delivered(number)
        return response


def decode(data: bytes) -> Any:
    """The JSON of a body. Raises Refused."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise Refused(f"The request body is not valid JSON: {error}") from None


async def _pause(seconds: float) -> None:
    """Transport time: what the network and the model take. Not the clock's, which only decides."""
    if seconds > 0:
        await asyncio.sleep(seconds)


_IN_STREAM = frozenset({Act.STREAM_ERROR, Act.STREAM_ENDS})
_SPOILED = _IN_STREAM | {Act.REPLY_LOST, Act.REPLY_HANGS, Act.TRUNCATED, Act.WRONG_TYPE}
"""Faults of a reply that was billed and does not arrive as it should. Those of a stream leave a plain reply whole."""


async def _spoil(
    exchange: Exchange, envelope: Envelope, fault: Fault, rest_s: float, *, stream: bool
) -> web.StreamResponse:
    """Carry out a fault that strikes a billed reply."""
    await _pause(rest_s)
    if fault.act is Act.REPLY_LOST:
        return await exchange.reset()
    if fault.act is Act.REPLY_HANGS:
        return await exchange.hang()
    if fault.act is Act.WRONG_TYPE:
        return await exchange.reply(envelope.message(), content_type="text/plain")
    if not stream:
        return await exchange.cut_short(envelope.message())
    response = await exchange.open_stream()
    pieces = list(envelope.events())
    await exchange.write(response, envelope.opening() + b"".join(pieces[: len(pieces) // 2]))
    if fault.act is Act.TRUNCATED:
        return await exchange.close()
    if fault.act is Act.STREAM_ERROR:
        error = event("error", error=Refused("Overloaded", 529).error(), request_id=exchange.request_id)
        await exchange.write(response, error)
    await response.write_eof()
    return response
