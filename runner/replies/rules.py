"""Rules: what a schema cannot say of an output, as Jinja expressions over the record.

Owns   evaluating the rules of a job over one reply, and the words for those that do not hold.
Knows  expressions and replies. Which names a rule may use is `spec.texts.RULE`; the check of a job has found every
       other name before.

A rule holds where its expression is true. One that gives anything but true or false, or that cannot be evaluated, does
not hold: a reply is never taken for sound because its check broke. As in a sink's columns, what belongs to a null is
null, and a field that the schema has and the reply left out is null.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

from msgspec import Struct

from runner.encoding import encode_text
from runner.templating import Expression, TemplateFailure
from runner.types import Reply, Row

Severity = Literal["error", "warn"]

_OF_THE_ROW = frozenset({"key", "row"})
"""Names whose values are in the run's rows, which are looked up for a rule that uses one of them only."""
_MAX_SHOWN = 80
"""Characters of a value or of a message that a problem shows."""


class Rule(Struct, frozen=True):
    """One rule as the job has it. `severity`: an `error` makes the reply invalid, a `warn` is told."""

    text: str
    message: str | None = None
    severity: Severity = "error"


class _Compiled:
    """A rule ready to be asked."""

    def __init__(self, rule: Rule, number: int) -> None:
        self.rule = rule
        self.expression = Expression(rule.text, f"output.rules.{number}", null_safe=True)
        self.fields = tuple(dict.fromkeys(use.column for use in self.expression.columns("output")))

    def problem(self, context: Mapping[str, Any]) -> str | None:
        """What is wrong where the rule does not hold; led by the JSON pointer of the field that it is about."""
        try:
            holds = self.expression.evaluate(context)
        except TemplateFailure as failure:
            return self._told(f"cannot be evaluated: {_shortened(failure.message)}", context)
        if holds is True:
            return None
        if holds is False:
            return self._told("does not hold", context)
        return self._told(f"gives {_shown(holds)}, neither true nor false", context)

    def _told(self, how: str, context: Mapping[str, Any]) -> str:
        place = "/" + (self.fields[0].replace("~", "~0").replace("/", "~1") if len(self.fields) == 1 else "")
        rule = f"the rule `{_shortened(self.rule.text)}` {how}"
        said = f"{self.rule.message} ({rule})" if self.rule.message else rule
        output = context["output"]
        found = [
            f"{name}: {_shown(output[name])}" for name in self.fields if isinstance(output, Mapping) and name in output
        ]
        return f"{place}: {said}" + (f"; found {', '.join(found)}" if found else "")


class Rules:
    """The rules of one job. Raises TemplateFailure for a text that is no expression.

    `shared` is what every rule sees beside the reply and its row (`vars`, `assets`). `fields` are those of an output
    that is an object.
    """

    def __init__(self, rules: Sequence[Rule], shared: Mapping[str, Any], fields: Sequence[str] = ()) -> None:
        compiled = [_Compiled(rule, number) for number, rule in enumerate(rules)]
        self._errors = [rule for rule in compiled if rule.rule.severity == "error"]
        self._warns = [rule for rule in compiled if rule.rule.severity == "warn"]
        self._shared = dict(shared)
        self._absent = dict.fromkeys(fields)

    @cached_property
    def needs_row(self) -> bool:
        """Whether what makes a reply invalid depends on its row."""
        return any(rule.expression.names() & _OF_THE_ROW for rule in self._errors)

    @property
    def warns(self) -> bool:
        return bool(self._warns)

    def problems(self, output: Any, text: str, reply: Reply, row: Row | None) -> Iterator[str]:
        """The rules of severity `error` that do not hold, in the job's order."""
        if self._errors:
            context = self._context(output, text, reply, row)
            yield from (problem for rule in self._errors if (problem := rule.problem(context)) is not None)

    def warnings(self, output: Any, text: str, reply: Reply, row: Row) -> Iterator[tuple[str, str]]:
        """The rules of severity `warn` that do not hold: the rule's text, and what is wrong."""
        if self._warns:
            context = self._context(output, text, reply, row)
            for rule in self._warns:
                problem = rule.problem(context)
                if problem is not None:
                    yield rule.rule.text, problem

    def _context(self, output: Any, text: str, reply: Reply, row: Row | None) -> dict[str, Any]:
        """Everything that `spec.texts.RULE` names. Without a row its names are there and empty: no rule uses them."""
        if self._absent and isinstance(output, Mapping):
            output = {**self._absent, **output}
        return {
            **self._shared,
            "output": output,
            "text": text,
            "stop_reason": reply.stop_reason,
            "model": reply.model,
            "content": reply.content,
            "key": row.key if row is not None else None,
            "row": row.values if row is not None else {},
        }


def _shown(value: Any) -> str:
    try:
        return _shortened(encode_text(value))
    except (TypeError, ValueError):
        return type(value).__name__


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"
