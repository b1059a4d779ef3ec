"""What is known of the API's models.

Owns   `ModelFacts`, the cache of what the Models API said (one JSON file in the state folder), and the snapshot
       beneath it.
Knows  the Models API's objects. It sends nothing: whoever may, asks the API and hands the objects to `Catalog.update`.

Facts come from the Models API where it answered, field by field, and from the snapshot where it gave null or was
      never asked.
What neither knows is None, and nothing is then checked against it: a gateway without a Models API still works.
A dated id (`claude-haiku-4-5-20251001`) is known by its undated name too.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct, field
from msgspec.structs import replace

from runner.catalog.snapshot import MODELS, RETIRED, SNAPSHOT_DATE, SUCCESSORS, Fast, KnownModel

CACHE_FORMAT = 1

Lifecycle = Literal["active", "deprecated", "retired"]

_DATED = re.compile(r"-\d{8}$")
_ON_BEDROCK = re.compile(r"^(?:.*/)?(?:[a-z-]{2,8}\.)?anthropic\.(?P<model>claude-[a-z0-9.-]+?)(?:-v\d+)?(?::\d+)?$")
"""`us.anthropic.claude-haiku-4-5-20251001-v1:0`, also behind the ARN of an inference profile (Bedrock's model ids)."""
_ON_VERTEX = re.compile(r"^(?P<model>claude-[a-z0-9.-]+)@(?P<day>\d{8}|default)$")
"""`claude-haiku-4-5@20251001` (Vertex AI's model ids)."""


class ModelFacts(Struct, frozen=True):
    """Facts of one model; None (or a missing key of `thinking`) is "not known".

    `thinking`: which `thinking.type` values it takes. `effort`: its effort levels, empty where it has none.
    `thinks_unasked`: it thinks where the job says nothing of thinking. `long_output_tokens`: the longest reply in a
    batch that asks for long outputs. `prefill`: the last message may be the assistant's. `wide_tokenizer`: about 30 %
    more tokens for the same text than models before 4.7. `image_input`, `pdf_input`: it takes such blocks.
    `code_execution`, `web_search`: the server tools of these names; `tool_calls_from_code`: code in the first may call
    other tools. `context_management`: names of the edits it takes, empty where it takes none. `fast`: it has no fast
    mode, has one, or has one behind a beta; `fast_until`: the day on which that ends. `inference_geo`: it takes that
    parameter. `successor`: a model to move to. `source` says where the facts come from and as of when.
    """

    id: str
    display_name: str
    lifecycle: Lifecycle = "active"
    retires_at: date | None = None
    max_input_tokens: int | None = None
    max_tokens: int | None = None
    long_output_tokens: int | None = None
    effort: frozenset[str] | None = None
    thinking: Mapping[str, bool] = field(default_factory=dict)
    thinks_unasked: bool = False
    prefill: bool | None = None
    batch: bool | None = None
    structured_outputs: bool | None = None
    citations: bool | None = None
    image_input: bool | None = None
    pdf_input: bool | None = None
    code_execution: bool | None = None
    web_search: bool | None = None
    tool_calls_from_code: bool | None = None
    context_management: frozenset[str] | None = None
    fast: Fast | None = None
    fast_until: date | None = None
    inference_geo: bool | None = None
    line: str | None = None
    deprecated_at: date | None = None
    successor: str | None = None
    wide_tokenizer: bool = True
    cache_minimum: int | None = None
    source: str = ""


class Catalog:
    """Facts of models, from a cache file over the snapshot. A file that is missing or damaged is an empty cache."""

    def __init__(self, cache_file: Path | None = None) -> None:
        self._cache_file = cache_file
        self._fetched_at, self._models = _read_cache(cache_file)

    @property
    def fetched_at(self) -> datetime | None:
        """When the Models API was last asked; None where it never was."""
        return self._fetched_at

    def facts(self, model: str) -> ModelFacts | None:
        """What is known of a model; None where nobody has heard of it."""
        known = snapshot_facts(model)
        said = self._models.get(model)
        if said is None:
            return known
        return _merged(said, known, f"Models API, {self._fetched_at:%Y-%m-%d}")

    def update(self, models: Iterable[Mapping[str, Any]], *, at: datetime) -> None:
        """Take in objects of the Models API and keep them; models that are not among them are forgotten."""
        self._models = {str(model["id"]): dict(model) for model in models}
        self._fetched_at = at.astimezone(UTC)
        if self._cache_file is not None:
            _write_cache(self._cache_file, self._fetched_at, self._models.values())


def model_of_platform(model: str) -> str | None:
    """Anthropic's own name for a model that a platform names in its way; None for a name that is no platform's."""
    found = _ON_BEDROCK.match(model)
    if found is not None:
        return found["model"]
    found = _ON_VERTEX.match(model)
    if found is not None:
        return found["model"] if found["day"] == "default" else f"{found['model']}-{found['day']}"
    return None


def snapshot_facts(model: str) -> ModelFacts | None:
    """What the snapshot knows of a model. On platforms that name models in their own way it is what the model can do;
    when a model is retired there is the platform's own affair."""
    own_name = model_of_platform(model)
    if own_name is not None:
        known_by_name = snapshot_facts(own_name)
        if known_by_name is None or known_by_name.lifecycle == "retired":
            return None
        return replace(known_by_name, id=model, lifecycle="active", retires_at=None, deprecated_at=None)
    if model in RETIRED:
        day = date.fromisoformat(RETIRED[model])
        successor = SUCCESSORS.get(model)
        return ModelFacts(model, model, "retired", day, successor=successor, source=f"snapshot, {SNAPSHOT_DATE}")
    known = _SNAPSHOT.get(_DATED.sub("", model))
    if known is None:
        return None
    return ModelFacts(
        id=model,
        display_name=model,
        lifecycle="deprecated" if known.retires_at else "active",
        retires_at=date.fromisoformat(known.retires_at) if known.retires_at else None,
        max_input_tokens=known.max_input_tokens,
        max_tokens=known.max_tokens,
        long_output_tokens=known.long_output_tokens,
        effort=frozenset(known.effort),
        thinking=known.thinking or {},
        thinks_unasked=known.thinks_unasked,
        prefill=known.prefill,
        fast=known.fast,
        fast_until=date.fromisoformat(known.fast_until) if known.fast_until else None,
        inference_geo=known.inference_geo,
        successor=SUCCESSORS.get(known.id),
        wide_tokenizer=known.wide_tokenizer,
        cache_minimum=known.cache_minimum,
        source=f"snapshot, {SNAPSHOT_DATE}",
    )


_SNAPSHOT: Mapping[str, KnownModel] = {known.id: known for known in MODELS}


def cache_minimum(model: str) -> int | None:
    """Tokens of the shortest prefix that the model caches; None where it is not known.

    Shorter ones are silently not cached. The Models API does not say it: this is the prompt caching guide's table
    ("Cache limitations"), as of the snapshot's date.
    """
    known = _SNAPSHOT.get(_DATED.sub("", model_of_platform(model) or model))
    return known.cache_minimum if known is not None else None


def _merged(said: Mapping[str, Any], known: ModelFacts | None, source: str) -> ModelFacts:
    """The Models API's object over what the snapshot knows; its numbers and capabilities may be null."""
    capabilities = said.get("capabilities") or {}
    base = known or ModelFacts(str(said["id"]), str(said["id"]))
    return replace(
        base,
        id=str(said["id"]),
        display_name=said.get("display_name") or base.display_name,
        lifecycle=said.get("lifecycle") or base.lifecycle,
        line=said.get("line") or base.line,
        deprecated_at=_day(said.get("deprecated_at")) if "deprecated_at" in said else base.deprecated_at,
        retires_at=_day(said.get("retires_at")) if "retires_at" in said else base.retires_at,
        max_input_tokens=_or(said.get("max_input_tokens"), base.max_input_tokens),
        max_tokens=_or(said.get("max_tokens"), base.max_tokens),
        effort=_effort(capabilities.get("effort"), base.effort),
        thinking={**base.thinking, **_thinking(capabilities.get("thinking"))},
        context_management=_or(_names(capabilities.get("context_management")), base.context_management),
        code_execution=_or(_tool(capabilities, "code_execution"), base.code_execution),
        web_search=_or(_tool(capabilities, "web_search"), base.web_search),
        tool_calls_from_code=_or(_supported(capabilities.get("code_execution")), base.tool_calls_from_code),
        source=source,
        **{name: _or(_supported(capabilities.get(name)), getattr(base, name)) for name in _YES_OR_NO},
    )


_YES_OR_NO = ("batch", "structured_outputs", "citations", "image_input", "pdf_input")
"""Capabilities that are no more than supported or not, by their names in the API."""


def _or(value: Any, otherwise: Any) -> Any:
    return otherwise if value is None else value


def _supported(capability: Any) -> bool | None:
    return capability.get("supported") if isinstance(capability, Mapping) else None


def _effort(capability: Any, otherwise: frozenset[str] | None) -> frozenset[str] | None:
    names = _names(capability)
    return otherwise if names is None else names


def _names(capability: Any) -> frozenset[str] | None:
    """What is supported of a capability with several names; None where it is not said."""
    if not isinstance(capability, Mapping):
        return None
    if capability.get("supported") is False:
        return frozenset()
    return frozenset(name for name, support in capability.items() if _supported(support))


def _tool(capabilities: Mapping[str, Any], name: str) -> bool | None:
    tools = capabilities.get("server_tools")
    if not isinstance(tools, Mapping):
        return None
    return False if tools.get("supported") is False else _supported(tools.get(name))


def _thinking(capability: Any) -> dict[str, bool]:
    types = capability.get("types") if isinstance(capability, Mapping) else None
    supports = {kind: _supported(support) for kind, support in (types or {}).items()}
    return {kind: supported for kind, supported in supports.items() if supported is not None}


def _day(timestamp: Any) -> date | None:
    return datetime.fromisoformat(timestamp).date() if isinstance(timestamp, str) else None


def _read_cache(path: Path | None) -> tuple[datetime | None, dict[str, Mapping[str, Any]]]:
    if path is None:
        return None, {}
    try:
        stored = json.loads(path.read_bytes())
        if stored["format"] != CACHE_FORMAT:
            return None, {}
        return datetime.fromisoformat(stored["fetched_at"]), {str(model["id"]): model for model in stored["models"]}
    except (OSError, ValueError, KeyError, TypeError):
        # It can be fetched again at any time, so a damaged cache is worth no error.
        return None, {}


def _write_cache(path: Path, fetched_at: datetime, models: Iterable[Mapping[str, Any]]) -> None:
    """Replace the file in one step, so that a reader or a crash never sees half of it, nor another thread's."""
    staged = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    content = {"format": CACHE_FORMAT, "fetched_at": fetched_at.isoformat(), "models": list(models)}
    staged.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")
    staged.replace(path)


def similar_model(model: str) -> str | None:
    """The model of the snapshot whose name is nearest to one that nobody knows."""
    return next(iter(get_close_matches(model, _SNAPSHOT, n=1, cutoff=0.7)), None)
