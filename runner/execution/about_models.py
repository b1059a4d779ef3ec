"""What is known of a model, in words: `runner doctor --model`.

Owns   the sentences. What is not known is said as that, and is not checked by `runner check` either.
"""

from __future__ import annotations

from collections.abc import Iterator

from runner.catalog.model_rules import EFFORT_LEVELS
from runner.catalog.models import Catalog, ModelFacts, similar_model
from runner.execution.findings import Finding, Status


def about_model(catalog: Catalog, model: str) -> Finding:
    """All that is known of a model: from the Models API as it was last asked, else from the snapshot."""
    facts = catalog.facts(model)
    if facts is None:
        near = similar_model(model)
        hint = f"did you mean `{near}`?" if near else "its limits and capabilities are not checked"
        return Finding("model", "warning", f"nothing is known of {model!r}", hint)
    status: Status = "error" if facts.lifecycle == "retired" else "warning" if facts.retires_at is not None else "ok"
    move = f"move to `{facts.successor}`" if status != "ok" and facts.successor is not None else None
    return Finding("model", status, "\n".join(_lines(facts)), move)


def _lines(facts: ModelFacts) -> Iterator[str]:
    yield f"{facts.id}: {facts.display_name}, {_lifecycle(facts)} ({facts.source})"
    yield f"reads {_tokens(facts.max_input_tokens)}, writes {_tokens(facts.max_tokens)}{_long(facts)}"
    types = [f"{kind}{'' if taken else ' not'}" for kind, taken in sorted(facts.thinking.items())]
    unasked = "; thinks without being asked" if facts.thinks_unasked else ""
    yield f"thinking: {', '.join(types) or 'not known'}{unasked}"
    yield f"effort: {_effort(facts)}; fast mode: {_fast(facts)}"
    yield "; ".join(f"{words}: {_yes(value)}" for words, value in _capabilities(facts))
    yield f"edits of the context: {_named(facts.context_management)}; {_cached(facts)}"


def _capabilities(facts: ModelFacts) -> Iterator[tuple[str, bool | None]]:
    yield "batches", facts.batch
    yield "structured outputs", facts.structured_outputs
    yield "images", facts.image_input
    yield "PDF", facts.pdf_input
    yield "citations", facts.citations
    yield "prefill", facts.prefill
    yield "web search", facts.web_search
    yield "code execution", facts.code_execution
    yield "inference_geo", facts.inference_geo


def _lifecycle(facts: ModelFacts) -> str:
    if facts.lifecycle == "retired":
        return f"retired since {facts.retires_at}" if facts.retires_at else "retired"
    return f"{facts.lifecycle}, to be retired on {facts.retires_at}" if facts.retires_at else facts.lifecycle


def _tokens(count: int | None) -> str:
    return "a number of tokens that is not known" if count is None else f"{count:,} tokens"


def _long(facts: ModelFacts) -> str:
    return f" ({facts.long_output_tokens:,} in batches, with a beta)" if facts.long_output_tokens else ""


def _effort(facts: ModelFacts) -> str:
    if facts.effort is None:
        return "not known"
    return ", ".join(level for level in EFFORT_LEVELS if level in facts.effort) or "none"


def _fast(facts: ModelFacts) -> str:
    kinds = {None: "not known", "no": "no", "yes": "yes", "beta": "with a beta"}
    return kinds[facts.fast] + (f", until {facts.fast_until}" if facts.fast_until is not None else "")


def _named(names: frozenset[str] | None) -> str:
    return "not known" if names is None else ", ".join(sorted(names)) or "none"


def _cached(facts: ModelFacts) -> str:
    minimum = facts.cache_minimum
    return "shortest cached prefix: not known" if minimum is None else f"shortest cached prefix: {minimum:,} tokens"


def _yes(value: bool | None) -> str:
    return "not known" if value is None else "yes" if value else "no"
