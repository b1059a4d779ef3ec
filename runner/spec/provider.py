"""The provider of a job, and what it lacks of what the job asks for.

Owns   the check of its name and options, and of mode and params against what it offers.
Knows  the tree (for places) and plugins by name. Whether this machine can reach it is no matter of the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from runner.errors import Problem, SetupError, SpecError
from runner.plugins import find_provider
from runner.spec.hints import choice_hint
from runner.spec.node import MapNode, ScalarNode, locate, plain


def provider_problems(tree: MapNode) -> Iterator[Problem]:
    """What is wrong with `provider`, or does not go with it."""
    node = tree.get("provider")
    if not isinstance(node, MapNode):
        return
    values = plain(node)
    name = values.get("name", "anthropic")
    if not isinstance(name, str):
        return
    try:
        options = find_provider(name).options()
    except SpecError as error:
        where = locate(tree, ("provider", "name"))
        yield from (Problem(found.code, found.message, where, found.hint) for found in error.problems)
        return
    taken = [field for field, info in options.model_fields.items() if info.annotation is not type(None)]
    for key in values:
        if key != "name" and key not in taken:
            where = locate(tree, ("provider", key), key=True)
            yield Problem("unknown-key", f"`{key}` is no option of the provider {name!r}", where, _options(key, taken))
    yield from _unsafe_address(tree, values, options)
    yield from _lacks(tree, options)


def _unsafe_address(tree: MapNode, values: Any, options: Any) -> Iterator[Problem]:
    address = values.get("base_url")
    if not isinstance(address, str) or "base_url" not in options.model_fields or not address:
        return
    try:
        options(base_url=address).address({})
    except SetupError as error:
        if error.code == "unsafe-address":
            where = locate(tree, ("provider", "base_url"))
            yield Problem(error.code, error.message, where, "write an https:// address, or leave `base_url` out")
    except ValidationError:
        return  # an option of another provider: that is told


def _options(key: str, taken: list[str]) -> str:
    return choice_hint(key, taken, "Options here") if taken else "its address and credential come from the environment"


def _lacks(tree: MapNode, options: Any) -> Iterator[Problem]:
    offers = getattr(options, "offers", None)
    if offers is None:
        return  # options that are none: told where the provider is made
    mode, params, model = tree.get("mode"), tree.get("params"), tree.get("model")
    if isinstance(mode, ScalarNode) and mode.value == "batch" and not offers.batches:
        hint = "write `mode: parallel`, or `mode: auto`, which is parallel there"
        yield Problem("no-batches", f"{options.label} has no Message Batches API", mode.span.location(), hint)
    for param, reason in offers.refused_params.items():
        if isinstance(params, MapNode) and params.get(param) is not None:
            where = locate(tree, ("params", param), key=True)
            message = f"{options.label} takes no `{param}`: {reason}"
            yield Problem("refused-param", message, where, "leave it out, or take another provider")
    if isinstance(model, ScalarNode) and isinstance(model.value, str):
        hint = options.naming(model.value)
        if hint is not None:
            message = f"{options.label} names models in its own way, and {model.value!r} is not such a name"
            yield Problem("model-name", message, model.span.location(), hint, "warning")
