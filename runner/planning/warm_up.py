"""The warm-up: whether a request without an answer fills the cache before the rows of a run in parallel mode.

Owns   the arithmetic before a run, and the request itself: what all rows share, with `max_tokens: 0`. Pure; in
       pico-dollars.
Knows  a compiled job, prices, and what is known of the model. `planning.priming` is the same for batch mode.

Without it the first row goes alone until its reply has begun, and writes the cache on its way. That costs nothing, and
where few rows wait it is all there is to it. A warm-up costs one more reading of the shared block. For that it
cannot be held up by what is in the first row (a long document, a refusal), and where
rows have documents of their own, all of those can be written at once as soon as it is there.

It has the settings of the real requests, thinking and effort too, since these invalidate the cache. The API takes
`max_tokens: 0` neither with a stream, `thinking: enabled`, `output_config.format` or a forced `tool_choice`, nor in
batches (prompt caching guide, "Pre-warming"): there the first row leads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from msgspec import Struct

from runner.catalog.models import ModelFacts
from runner.catalog.prices import Prices
from runner.encoding import encode
from runner.planning.estimate import tokens_in
from runner.planning.identity import request_identity
from runner.planning.pieces import (
    CompiledHistory,
    CompiledMessage,
    FixedBlock,
    RowBlock,
    TextBlock,
    cache_control,
    text_block,
)
from runner.planning.priming import shared_cost, why_not_shared
from runner.planning.requests import CompiledJob
from runner.types import Request, Usage

MOST_EXTRA_SHARE = 1 / 200
"""Of what the shared block costs over all requests: what its additional reading may come to. With a 5m breakpoint and
reads at a tenth that is so from about 190 requests on."""

_SOMETHING = "."
"""Messages may not be empty. It stands behind the last breakpoint, so it is not cached."""


class WarmUp(Struct, frozen=True):
    """Whether it pays; `why` completes the sentence "the cache is (not) filled before the rows, because …"."""

    pays: bool
    why: str


def consider_warm_up(
    compiled: CompiledJob, *, facts: ModelFacts | None, prices: Prices, requests: int, at_once: int
) -> WarmUp:
    """Whether a run in parallel mode that has so many requests to send, so many at once, should be warmed up."""
    obstacle = why_not_shared(compiled.cache, compiled.model, facts, requests) or _obstacle(compiled, at_once)
    if obstacle is not None:
        return WarmUp(False, obstacle)
    tokens = tokens_in(compiled.cache.shared_prefix_bytes, facts)
    rates = prices.rates(compiled.model, "parallel", tokens)
    if rates is None:
        return WarmUp(False, f"the price of {compiled.model} is not known")
    ttl = compiled.cache.ttl["parallel"] or "5m"
    all_of_it = shared_cost(tokens, requests, rates, 1.0, ttl)
    if rates.cost(Usage(cache_read_input_tokens=tokens)) > all_of_it * MOST_EXTRA_SHARE:
        return WarmUp(False, f"for {requests:,} requests the first row does as well, and costs nothing")
    return WarmUp(
        True, f"{requests:,} requests can read about {tokens:,} tokens that are there before the first leaves"
    )


def warm_up_request(compiled: CompiledJob) -> Request:
    """What writes the prefixes that all rows of a job share, and asks for nothing."""
    shared = {**compiled.shared, "max_tokens": 0}
    whole = {**shared, "messages": _shared_messages(compiled.messages)}
    body = encode(whole)
    return Request(
        hash=request_identity(whole, compiled.betas),
        prefix=compiled.shared_prefixes[-1].digest,
        body=body,
        model=compiled.model,
        max_tokens=0,
        input_bound=compiled.bound_of(len(body) - _silent_bytes(whole["messages"]), compiled.head_weight),
        cache_ttl=compiled.cache.ttl[compiled.mode],
        betas=compiled.betas,
        prefixes=compiled.shared_prefixes,
    )


def _silent_bytes(messages: Sequence[Mapping[str, Any]]) -> int:
    """Of what is sent in base64: the weight of all that rows share stands for it, and maybe for more."""
    sources = (block.get("source") for message in messages for block in message["content"])
    return sum(len(source.get("data", "")) for source in sources if source and source["type"] == "base64")


def _obstacle(compiled: CompiledJob, at_once: int) -> str | None:
    shared = compiled.shared
    if compiled.uploads:
        return "files are uploaded while the rows are rendered, so the first row that has its own fills the cache"
    if at_once < 2:
        return "requests go one after the other, so none waits for the first"
    unfit = "which the API does not take of a request without an answer"
    if (shared.get("thinking") or {}).get("type") == "enabled":
        return f"the job has `thinking: enabled`, {unfit}"
    if (shared.get("output_config") or {}).get("format") is not None:
        return f"the job has structured output, {unfit}"
    if (shared.get("tool_choice") or {}).get("type") in ("any", "tool"):
        return f"the job has a forced `tool_choice`, {unfit}"
    return None


def _shared_messages(messages: Sequence[CompiledMessage | CompiledHistory]) -> list[Mapping[str, Any]]:
    """The messages up to the last breakpoint before any text of a row, as rows have them."""
    kept: list[dict[str, Any]] = []
    up_to_mark: list[dict[str, Any]] = []
    for message in messages:
        if isinstance(message, CompiledHistory):
            break
        kept.append({"role": message.role, "content": []})
        for block in message.blocks:
            made = _as_objects(block)
            if made is None:
                return _with_last_user(up_to_mark)
            kept[-1] = {**kept[-1], "content": [*kept[-1]["content"], *made]}
            if made and block.ttl is not None:
                up_to_mark = list(kept)
    return _with_last_user(up_to_mark)


def _as_objects(block: TextBlock | FixedBlock | RowBlock) -> list[dict[str, Any]] | None:
    """The blocks of the API that all rows have here; None where a row has a part in it."""
    if isinstance(block, FixedBlock):
        objects: list[dict[str, Any]] = [orjson.loads(each.sent + b"}") for each in block.blocks]
        if objects and block.ttl is not None:
            objects[-1]["cache_control"] = cache_control(block.ttl)
        return objects
    if isinstance(block, RowBlock) or not isinstance(block.content, str):
        return None
    return [text_block(block.content, block.ttl)]


def _with_last_user(messages: list[dict[str, Any]]) -> list[Mapping[str, Any]]:
    """The API wants a message, and of most models that the last one is the user's."""
    if messages and messages[-1]["role"] == "user":
        return [*messages]
    return [*messages, {"role": "user", "content": [text_block(_SOMETHING, None)]}]
