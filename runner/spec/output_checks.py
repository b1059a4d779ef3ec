"""What the parts of `output` make of one another: where the output comes from, and what rules can see of it.

Owns   the checks of `output.extract` and `output.rules` against the schema, and `is_structured`: whether structured
       output is asked of the model, which excludes other things.
Knows  the tree (for places) and the JSON Schema that `output` means.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from runner.errors import Problem, SetupError
from runner.spec.hints import choice_hint
from runner.spec.node import ListNode, MapNode, ScalarNode, child, find
from runner.spec.regexes import BadRegex, compile_regex
from runner.spec.texts import locate_in_scalar
from runner.templating import Expression, TemplateFailure

INSTEAD = "or take the output out of the reply's text: `extract: {json: true}`"
"""What there is where structured output cannot be."""


def is_structured(tree: MapNode) -> bool:
    """Whether the job asks the API for structured output."""
    output = tree.get("output")
    if output is None or child(output, "extract") is not None:
        return False
    return any(child(output, key) is not None for key in ("fields", "labels", "schema"))


def check_output(tree: MapNode, schema: Mapping[str, Any] | None) -> Iterator[Problem]:
    """All problems of this kind."""
    output = tree.get("output")
    if not isinstance(output, MapNode):
        return
    groups = None
    regex = find(output, ("extract", "regex"))
    if isinstance(regex, ScalarNode) and isinstance(regex.value, str) and regex.value:
        try:
            groups = tuple(compile_regex(regex.value).groupindex)
        except BadRegex as error:
            yield Problem("bad-regex", error.message, regex.span.location(), error.hint)
        except SetupError as error:
            yield Problem(error.code, error.message, regex.span.location(), error.hint)
        else:
            yield from _groups(regex, groups, schema, has_labels=output.get("labels") is not None)
    if schema is None and output.get("schema") is None and output.get("fields") is None:
        yield from _fields_of_text(output, groups)


def _groups(
    regex: ScalarNode, groups: tuple[str, ...], schema: Mapping[str, Any] | None, *, has_labels: bool
) -> Iterator[Problem]:
    """Groups that the schema has no place for, and fields that no group fills: every reply would be invalid."""
    if schema is None:
        return
    where = regex.span.location()
    fields = schema.get("properties")
    fields = fields if isinstance(fields, Mapping) else {}
    if not groups:
        if fields and not has_labels:
            hint = f"name its groups after the fields: `(?P<{next(iter(fields))}>…)`"
            yield Problem(
                "extract-mismatch", "the expression has no named groups, and the output has fields", where, hint
            )
        return
    for name in groups:
        if fields and name not in fields:
            hint = choice_hint(name, fields, "Fields of the output")
            yield Problem(
                "extract-mismatch", f"the output has no field `{name}`, which the expression names", where, hint
            )
    required = schema.get("required")
    for name in required if isinstance(required, list) else ():
        if name not in groups:
            hint = f"add a group `(?P<{name}>…)`, or take the field out"
            yield Problem(
                "extract-mismatch",
                f"no group of the expression is called `{name}`, which every output needs",
                where,
                hint,
            )


def _fields_of_text(output: MapNode, groups: tuple[str, ...] | None) -> Iterator[Problem]:
    """`output.<field>` in a rule where the output is text, or an object of an expression's groups."""
    if output.get("labels") is not None or find(output, ("extract", "json")) is not None:
        return
    if groups is None and find(output, ("extract", "regex")) is not None:
        return
    rules = output.get("rules")
    for number, item in enumerate(rules.items if isinstance(rules, ListNode) else ()):
        node = child(item, "rule")
        if not isinstance(node, ScalarNode) or not isinstance(node.value, str):
            continue
        try:
            uses = Expression(node.value, f"output.rules.{number}").columns("output")
        except TemplateFailure:
            continue
        for use in uses:
            if use.column in (groups or ()) or use.optional:
                continue
            where = locate_in_scalar(node, use.line, f"output.{use.column}")
            if groups:
                hint = choice_hint(use.column, groups, "Groups of the expression")
                yield Problem("unknown-field", f"`output` has no field `{use.column}`", where, hint)
            else:
                hint = "give the output `fields`, or compare the text itself: `output`"
                yield Problem("unknown-field", f"`output` is text here and has no field `{use.column}`", where, hint)
