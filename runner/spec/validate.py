"""A shaped tree to a `Job`, and pydantic's errors to problems at the places that caused them.

Owns   the words for what a value must be. Pydantic's own messages speak of inputs, instances and unions.
Knows  trees and models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from runner.encoding import encode
from runner.errors import Problem
from runner.spec.hints import choice_hint
from runner.spec.job import Job, JobFile
from runner.spec.model import Model
from runner.spec.node import MapNode, Node, Path, ScalarNode, child, find, locate
from runner.spec.shape import Excused, missing_choices

_MAX_SHOWN = 40
"""Characters of a value that a message shows."""

_EXPECTED: Mapping[str, str] = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "tuple_type": "a list",
    "list_type": "a list",
    "string_too_short": "text that is not empty",
    "finite_number": "a finite number",
}

_EXPECTED_WITH: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "greater_than_equal": lambda ctx: f"a number of at least {ctx['ge']}",
    "less_than_equal": lambda ctx: f"a number of at most {ctx['le']}",
    "literal_error": lambda ctx: f"one of {ctx['expected']}".replace("'", "`").replace("True", "`true`"),
    "too_short": lambda ctx: f"at least {ctx['min_length']} item{'s' if ctx['min_length'] > 1 else ''}",
    "too_long": lambda ctx: f"at most {ctx['max_length']} item{'s' if ctx['max_length'] > 1 else ''}",
    "string_too_long": lambda ctx: f"at most {ctx['max_length']} characters",
}


def validate(tree: MapNode, values: Mapping[str, Any], excused: Excused) -> tuple[Job | None, list[Problem]]:
    """Check the values of a job.

    Args:
        tree: where the values stand.
        values: the tree's plain value; it may hold more than the tree.
        excused: mappings of which nothing is said to be missing, because what is wrong with them has been told.
    """
    unchosen = missing_choices(tree, Job)
    problems = [
        _missing(tree, (*path, *names))
        if len(names) == 1
        else Problem(
            "missing-key", f"{_among(names)} is missing", locate(tree, path), f"give one of {', '.join(names)}"
        )
        for path, names in unchosen
        if not excused.covers(find(tree, path), names)
    ]
    try:
        # Strict JSON mode: no text becomes a number, and lists may fill tuples.
        return Job.model_validate_json(encode(values)), problems
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        details = [
            (_tree_path(tree, detail["loc"]), detail) for detail in found if not _is_beside_the_point(tree, detail)
        ]
    told = {path for path, _ in unchosen}
    seen: set[Path] = set()
    for path, detail in details:
        # A list is also called too short where an item of it is wrong.
        spoiled = detail["type"] == "too_short" and any(other[: len(path)] == path != other for other, _ in details)
        if path in seen or spoiled:
            continue
        seen.add(path)
        if detail["type"] != "missing":
            problems.append(_wrong_value(tree, path, detail))
        elif path[:-1] not in told and not excused.covers(find(tree, path[:-1]), (str(path[-1]),)):
            problems.append(_missing(tree, path))
    return None, problems


def _is_word_or_mapping(detail: ErrorDetails) -> bool:
    """Whether this is what the words among the members of a union say: the other member is a mapping."""
    return bool(detail["loc"]) and str(detail["loc"][-1]).startswith("literal[")


def _is_beside_the_point(tree: MapNode, detail: ErrorDetails) -> bool:
    """That a mapping is none of the words which might stand in its place; what is wrong with it is told besides."""
    return _is_word_or_mapping(detail) and isinstance(find(tree, _tree_path(tree, detail["loc"][:-1])), MapNode)


def _missing(tree: MapNode, path: Path) -> Problem:
    name = str(path[-1])
    # `messages` may be written as `prompt`.
    names = next((group for group in JobFile.one_of if len(path) == 1 and name in group), (name,))
    where = locate(tree, path[:-1]) if len(path) > 1 else tree.span.source.location(tree.span.line, tree.span.column)
    above = "".join(f"{part}." for part in path[:-1])
    return Problem(
        "missing-key", f"{_among([above + each for each in names])} is missing", where, f"add `{names[0]}: …`"
    )


def _wrong_value(tree: MapNode, path: Path, detail: ErrorDetails) -> Problem:
    kind = detail["type"]
    node = find(tree, path)
    where = locate(tree, path)
    found = _shown(node)
    context = detail.get("ctx", {})
    name = _dotted(path)
    if kind == "string_pattern_mismatch" and path[-1:] == ("xml_tag",):
        hint = "its name alone, without brackets: letters, digits, `_`, `-`, `.`, the first a letter or `_`"
        return Problem("bad-value", f"`{name}`: {found} is no name of a tag", where, hint)
    if kind == "string_pattern_mismatch":
        hint = "letters, digits, `_`, `-` and `.`, the first a letter or digit; set `name: …`"
        return Problem("bad-value", f"`{name}`: {found} cannot be a name of files and folders", where, hint)
    expected = expected_by(detail) + (", or a mapping" if _is_word_or_mapping(detail) else "")
    return Problem("wrong-value", f"`{name}`: expected {expected}, found {found}", where, _hint(kind, node, context))


def expected_by(detail: ErrorDetails) -> str:
    """What a value must be, in our own words where there are any."""
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "model_type" and context["class_name"] in _with_short_form():
        return "text, or a mapping"
    if kind in _EXPECTED:
        return _EXPECTED[kind]
    if kind in _EXPECTED_WITH:
        return _EXPECTED_WITH[kind](context)
    return str(context.get("expected", detail["msg"]))


@cache
def _with_short_form() -> frozenset[str]:
    """The models that a text may stand for, by the names that pydantic gives them."""
    found, models = set(), [Model]
    while models:
        model = models.pop()
        models += model.__subclasses__()
        if model.short is not None:
            found.add(model.__name__)
    return frozenset(found)


def _hint(kind: str, node: Node | None, context: Mapping[str, Any]) -> str | None:
    value = node.value if isinstance(node, ScalarNode) else None
    if kind == "string_type" and value is not None:
        return f'to mean the text, put it in quotes: "{_yaml(value)}"'
    if kind == "bool_type" and isinstance(value, str) and value.lower() in ("yes", "on", "no", "off"):
        return f"write {'true' if value.lower() in ('yes', 'on') else 'false'}: in YAML 1.2 `{value}` is text"
    if kind in ("int_type", "float_type") and isinstance(value, str) and value.lstrip("-").isdecimal():
        return f"write it without quotes: {value}"
    if kind == "literal_error" and isinstance(value, str):
        options = [
            part.strip(" '")
            for part in str(context["expected"]).replace(" or ", ", ").replace("True", "true").split(",")
        ]
        return choice_hint(value, options, "Values")
    return None


def _tree_path(tree: Node, loc: tuple[int | str, ...]) -> Path:
    """Pydantic's location without the segments that name a member of a union. The last one stays where it is
    missing."""
    path: Path = ()
    node: Node | None = tree
    for position, part in enumerate(loc):
        below = child(node, part) if node is not None else None
        if below is not None:
            path, node = (*path, part), below
        elif position == len(loc) - 1 and isinstance(node, MapNode):
            path = (*path, part)
    return path


def _shown(node: Node | None) -> str:
    if isinstance(node, ScalarNode):
        if isinstance(node.value, str):
            text = node.value if len(node.value) <= _MAX_SHOWN else node.value[:_MAX_SHOWN] + "…"
            return f"the text {text!r}"
        return f"`{_yaml(node.value)}`"
    return "a mapping" if isinstance(node, MapNode) else "a list"


def _yaml(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def _dotted(path: Path) -> str:
    return ".".join(str(part) for part in path)


def _among(names: Sequence[str]) -> str:
    return " or ".join(f"`{name}`" for name in names)
