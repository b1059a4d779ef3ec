"""A closed set of templates, read and checked when the job is loaded; rendering touches no file.

Owns   `TemplateSet` (what a job's templates are, with everything they include, import and extend) and `Template` (one
       of them, rendered with a row's values within bounds).
Knows  where templates are found only while `load` runs. A set restored from its sources renders the same text.

A template's last newline is kept where it is included, so that `{% include "a.j2" %}` on a line of its own stays a
line, and is not part of the text where the template itself is rendered.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import jinja2
from jinja2 import nodes
from jinja2.runtime import Context

from runner.templating.analysis import ColumnUse, Uses, uses_of
from runner.templating.bounds import DEFAULT_BOUNDS, Bounds, Meter, Printed, active, too_much_text
from runner.templating.closure import Closure
from runner.templating.expressions import Expression
from runner.templating.failure import (
    RENDER_ERRORS,
    TemplateFailure,
    TemplateNotFound,
    all_at_once,
    did_you_mean,
    failure_of,
)
from runner.templating.finder import TemplateFinder
from runner.templating.lookups import items_of
from runner.templating.sandbox import GLOBALS, Sandbox
from runner.templating.syntax import Parsed, compile_into


class Template:
    """One template of a set. Made by `TemplateSet`; safe to use from several threads."""

    def __init__(self, parsed: Parsed, code: jinja2.Template, known: Mapping[str, Parsed], bounds: Bounds) -> None:
        self.name = parsed.name
        self.text = parsed.text
        self._parsed = parsed
        self._known = known
        self._bounds = bounds
        self._environment = code.environment
        self._root = code.root_render_func
        self._blocks = code.blocks
        self._drops_newline = _ends_in_newline(parsed, known)

    def render(self, context: Mapping[str, Any], printed: Printed | None = None) -> str:
        """The text for these variables. `printed` counts what cannot be seen in it.

        Raises TemplateFailure with the template and line that failed, also inside includes and macros.
        """
        bounds = self._bounds
        meter = Meter(bounds, context)
        token = active.set(meter)
        try:
            chunks = []
            size = 0
            limit = bounds.output_bytes
            state = Context(self._environment, {**GLOBALS, **context}, self.name, self._blocks)
            events = cast("Generator[str]", self._root(state))
            for chunk in events:
                size += len(chunk)
                if size > limit:
                    # Raised where the template stands, so that the failure has its line.
                    events.throw(too_much_text(size, limit))
                chunks.append(chunk)
            text = "".join(chunks)
            if self._drops_newline and text.endswith("\n"):
                text = text[:-1]
            if size * 4 > limit and (written := len(text.encode("utf-8", "surrogatepass"))) > limit:
                raise too_much_text(written, limit)
        except RENDER_ERRORS as error:
            raise failure_of(error, self.name) from error
        finally:
            active.reset(token)
        if printed is not None:
            printed.nulls += meter.nulls
        return text

    @cached_property
    def uses(self) -> Uses:
        """Everything it takes from outside, includes and macros followed."""
        return uses_of(self._parsed, self._known)

    def names(self) -> frozenset[str]:
        """The variables it takes from outside."""
        return frozenset(use.name for use in self.uses.names if not use.hidden)

    def columns(self, variable: str = "row") -> tuple[ColumnUse, ...]:
        """The items of a variable that it looks up by name, and where."""
        return self.uses.columns(variable)

    def items(self, variable: str) -> frozenset[str] | None:
        """All items of a variable that it may look at; None where it may be any."""
        return items_of(self._parsed, self._known, variable)


class TemplateSet:
    """Templates by name, closed: every template that one of them names is in the set."""

    def __init__(
        self, parsed: Mapping[str, Parsed], bounds: Bounds = DEFAULT_BOUNDS, paths: Mapping[str, Path] | None = None
    ) -> None:
        """Compile what has been parsed and found complete. Raises TemplateFailure with all that is wrong."""
        self.sources: Mapping[str, str] = MappingProxyType({name: each.text for name, each in sorted(parsed.items())})
        self.paths: Mapping[str, Path] = MappingProxyType(dict(paths or {}))
        self._bounds = bounds
        sandbox = Sandbox()
        self._templates: dict[str, Template] = {}
        failures = []
        for name, each in parsed.items():
            try:
                code = compile_into(sandbox, each)
            except TemplateFailure as failure:
                failures.append(failure)
                continue
            sandbox.closed[name] = code
            self._templates[name] = Template(each, code, parsed, bounds)
        if failures:
            raise all_at_once(failures)

    @classmethod
    def load(
        cls,
        finder: TemplateFinder,
        names: Iterable[str],
        inline: Mapping[str, str] | None = None,
        bounds: Bounds = DEFAULT_BOUNDS,
    ) -> TemplateSet:
        """Read the templates that a job names, the texts it holds itself (`inline`, by a name of the caller's choice),
        and all that these include, import or extend.

        Raises TemplateFailure; its `failures` are everything that is wrong with any of them.
        """
        closure = Closure(finder)
        templates = closure.follow(names, inline or {})
        roots = [*dict.fromkeys((*names, *(inline or {})))]
        made = cls(templates, bounds, closure.paths)
        failures = {
            (failure.template, failure.line, failure.message): failure
            for name in roots
            for failure in made.template(name).uses.failures
        }
        if failures:
            raise all_at_once([*failures.values()])
        return made

    @classmethod
    def from_sources(cls, sources: Mapping[str, str], bounds: Bounds = DEFAULT_BOUNDS) -> TemplateSet:
        """The set that these texts are: what `sources` of another set gave."""
        return cls(Closure(None).follow((), sources), bounds)

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) over the names and texts, sorted by name."""
        digest = hashlib.sha256()
        for name, text in self.sources.items():
            for part in (name.encode("utf-8", "surrogatepass"), text.encode("utf-8", "surrogatepass")):
                digest.update(len(part).to_bytes(8, "big"))
                digest.update(part)
        return digest.hexdigest()

    def __contains__(self, name: object) -> bool:
        return name in self._templates

    def template(self, name: str) -> Template:
        """The template of that name. Raises TemplateNotFound."""
        try:
            return self._templates[name]
        except KeyError:
            near = did_you_mean(name, self._templates, what="Templates")
            raise TemplateNotFound(name, f"there is no template {name!r} in this set", near) from None

    def expression(self, text: str, name: str, *, null_safe: bool = False) -> Expression:
        """An expression under the same bounds; see `Expression`."""
        return Expression(text, name, null_safe=null_safe, bounds=self._bounds)


def _ends_in_newline(parsed: Parsed, known: Mapping[str, Parsed]) -> bool:
    """Whether the last thing a template prints is a newline that its author typed at the end of the file."""
    seen: set[str] = set()
    while parsed.name not in seen:
        seen.add(parsed.name)
        parents = [node.template for node in parsed.tree.body if isinstance(node, nodes.Extends)]
        if not parents:
            break
        if not isinstance(parents[0], nodes.Const) or parents[0].value not in known:
            return False
        parsed = known[parents[0].value]
    last = parsed.tree.body[-1] if parsed.tree.body else None
    data = last.nodes[-1] if isinstance(last, nodes.Output) and last.nodes else None
    return isinstance(data, nodes.TemplateData) and data.data.endswith("\n")
