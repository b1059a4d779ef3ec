"""Advice: what will not do what its author thinks, said before anything is sent.

Owns   the comparison of a compiled job with what is known of its model. A problem of severity `error` means that every
       request would be refused; a warning means that the job runs, but dearer or worse than meant.
Knows  the compiled job and the catalog's facts. What is not known is not advised on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import date, timedelta
from typing import Any

from runner.catalog.model_rules import model_problems
from runner.catalog.models import ModelFacts, similar_model
from runner.errors import Location, Problem
from runner.planning.capable import tool_problems
from runner.planning.estimate import Estimate, tokens_in
from runner.planning.requests import CompiledJob
from runner.types import Mode

RETIREMENT_NOTICE = timedelta(days=60)
"""The API announces a retirement at least 60 days before (model deprecations page)."""
SMALL_MAX_TOKENS = 1024
"""The smallest thinking budget that the API takes; a smaller `max_tokens` can go into thinking altogether."""

Locate = Callable[[tuple[str | int, ...]], Location]


def advise(compiled: CompiledJob, facts: ModelFacts | None, *, locate: Locate, today: date) -> list[Problem]:
    """What is worth saying about a job, located in its file. `facts` None: nobody knows the model."""
    always = [*_same_for_every_row(compiled, locate), *_short_lived(compiled, locate), *_cut_json(compiled, locate)]
    if facts is None:
        return [_unknown_model(compiled.model, locate), *always]
    return [
        *always,
        *_lifecycle(facts, locate, today),
        *_params(compiled, facts, locate),
        *tool_problems(compiled, facts, locate),
        *_fast_mode(compiled, facts, locate, today),
        *_refused_features(compiled, facts, locate),
        *_short_prefix(compiled, facts, locate),
        *_thinking_room(compiled, facts, locate),
    ]


def advise_on_others(
    compiled: CompiledJob,
    models: Iterable[str],
    facts_of: Callable[[str], ModelFacts | None],
    *,
    locate: Locate,
    today: date,
) -> Iterator[Problem]:
    """The same of the other models that a job may ask where the first one refuses, as far as they differ."""

    def at_model(_path: tuple[str | int, ...]) -> Location:
        return locate(("output", "on_refusal", "model"))

    for model in models:
        variant, facts = compiled.variant(model=model), facts_of(model)
        if facts is None:
            yield _unknown_model(model, at_model)
        else:
            yield from _lifecycle(facts, at_model, today)
            yield from _refused_features(variant, facts, at_model)


def advise_on_cost(estimate: Estimate, mode: Mode, *, locate: Locate) -> Iterator[Problem]:
    """What the estimate shows: batches that cost more than requests in parallel, which the cache can bring about."""
    batch, parallel = estimate.cost["batch"].expected, estimate.cost["parallel"].expected
    if mode == "batch" and batch is not None and parallel is not None and batch > parallel:
        message = (
            "this is expected to cost more in batches than in parallel: many rows would write the cached block anew"
        )
        hint = "see `priming` in the plan; or write `mode: parallel`, or drop `cache`"
        yield Problem("dearer-in-batches", message, locate(("mode",)), hint, "warning")


def _unknown_model(model: str, locate: Locate) -> Problem:
    close = similar_model(model)
    hint = (f"did you mean `{close}`? " if close else "") + "its limits and cache minimum cannot be checked"
    return Problem("unknown-model", f"nothing is known of model {model!r}", locate(("model",)), hint, "warning")


def _same_for_every_row(compiled: CompiledJob, locate: Locate) -> Iterator[Problem]:
    if compiled.row_templates:
        return
    hint = "use a column, `{{ row.text }}`; a string names a template where it has no spaces and ends in `.j2`"
    message = "no text of the messages uses `row`: every row asks the same"
    yield Problem("same-for-every-row", message, locate(("messages",)), hint, "warning")


def _lifecycle(facts: ModelFacts, locate: Locate, today: date) -> Iterator[Problem]:
    where = locate(("model",))
    if facts.lifecycle == "retired":
        message = f"{facts.id} is retired" + (f" since {facts.retires_at}" if facts.retires_at else "")
        take = f"`{facts.successor}`" if facts.successor else "a current model"
        yield Problem("retired-model", message, where, f"take {take}: requests to this one fail")
    elif facts.retires_at is not None and facts.retires_at - today <= RETIREMENT_NOTICE:
        message = f"{facts.id} is to be retired on {facts.retires_at}"
        take = f"`{facts.successor}`" if facts.successor else "a current model"
        yield Problem("retiring-model", message, where, f"move to {take} before that day", "warning")


def _params(compiled: CompiledJob, facts: ModelFacts, locate: Locate) -> Iterator[Problem]:
    """What this model refuses, by what is known of it now: a job is read by what was known before."""
    for found in model_problems({**compiled.shared, "betas": compiled.betas}, facts):
        yield Problem(found.code, found.message, locate(("params", *found.path)), found.hint, found.severity)


def _fast_mode(compiled: CompiledJob, facts: ModelFacts, locate: Locate, today: date) -> Iterator[Problem]:
    """Fast mode that ends, or has ended."""
    if compiled.shared.get("speed") != "fast" or facts.fast_until is None:
        return
    where, hint = locate(("params", "speed")), "take a newer model, or leave `speed` out"
    if today >= facts.fast_until:
        yield Problem("refused-value", f"{facts.id} has no fast mode since {facts.fast_until}", where, hint)
    elif facts.fast_until - today <= RETIREMENT_NOTICE:
        message = f"fast mode of {facts.id} ends on {facts.fast_until}"
        yield Problem("retiring-model", message, where, hint, "warning")


def _cut_json(compiled: CompiledJob, locate: Locate) -> Iterator[Problem]:
    """A stop sequence in the middle of structured output leaves half of it."""
    if compiled.schema is None or not compiled.shared.get("stop_sequences"):
        return
    message = "a stop sequence may end structured output before it is whole"
    hint = "take `stop_sequences` out: structured output ends by itself"
    yield Problem("cut-json", message, locate(("params", "stop_sequences")), hint, "warning")


def _refused_features(compiled: CompiledJob, facts: ModelFacts, locate: Locate) -> Iterator[Problem]:
    if compiled.mode == "batch" and facts.batch is False:
        message = f"{facts.id} takes no batches"
        yield Problem("no-batches", message, locate(("mode",)), "write `mode: parallel`, or take another model")
    if compiled.schema is not None and facts.structured_outputs is False:
        message = f"{facts.id} has no structured outputs"
        hint = "take another model, or the output out of the text: `extract: {json: true}` under `output`"
        yield Problem("no-structured-outputs", message, locate(("output",)), hint)


def _short_prefix(compiled: CompiledJob, facts: ModelFacts, locate: Locate) -> Iterator[Problem]:
    size_bytes = compiled.cache.shared_prefix_bytes
    if not size_bytes or facts.cache_minimum is None:
        return
    tokens = tokens_in(size_bytes, facts)
    if tokens < facts.cache_minimum:
        message = (
            f"the cached part that rows share has about {tokens:,} tokens; "
            f"{facts.id} caches from {facts.cache_minimum:,} on and silently ignores less"
        )
        where = locate(("system",))
        yield Problem("cache-too-short", message, where, "make it longer, or drop `cache`", "warning")


def _short_lived(compiled: CompiledJob, locate: Locate) -> Iterator[Problem]:
    if compiled.mode == "batch" and compiled.cache.ttl["batch"] == "5m":
        message = "a breakpoint of 5 minutes is mostly gone before the requests of a batch are worked on"
        hint = "write `cache: true`, which is 1h in batches and 5m in parallel"
        yield Problem("short-lived-cache", message, locate(("system",)), hint, "warning")


def _thinking_room(compiled: CompiledJob, facts: ModelFacts, locate: Locate) -> Iterator[Problem]:
    thinking: dict[str, Any] = compiled.shared.get("thinking") or {}
    thinks = thinking["type"] in ("adaptive", "enabled") if thinking else facts.thinks_unasked
    if thinks and compiled.max_tokens < SMALL_MAX_TOKENS:
        message = (
            f"{facts.id} thinks before it answers, and thinking counts towards `max_tokens` ({compiled.max_tokens})"
        )
        hint = f"replies may be cut off before any text: allow {SMALL_MAX_TOKENS} or more, or ask for less thinking"
        yield Problem("little-room-to-think", message, locate(("params", "max_tokens")), hint, "warning")
