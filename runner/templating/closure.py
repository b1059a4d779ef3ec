"""From the templates that a job names to all that they need.

Owns   `Closure`: parses templates and follows what they include, import and extend until nothing new is named.
Knows  the finder while a job is loaded, and no finder when a run's stored templates are read back: then the set must
       be closed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from runner.templating.failure import TemplateFailure, TemplateNotFound, all_at_once
from runner.templating.finder import TemplateFinder
from runner.templating.syntax import Parsed, Reference, parse


class Closure:
    """One walk over references. `paths` tells afterwards where each template was found."""

    def __init__(self, finder: TemplateFinder | None) -> None:
        self.paths: dict[str, Path] = {}
        self._finder = finder
        self._parsed: dict[str, Parsed] = {}
        self._failures: list[TemplateFailure] = []
        self._absent: dict[str, TemplateFailure] = {}

    def follow(self, names: Iterable[str], texts: Mapping[str, str]) -> dict[str, Parsed]:
        """All templates that are needed, by name. Raises TemplateFailure with all that is wrong with any of them."""
        pending = [self._parse(name, text) for name, text in texts.items()]
        for name in names:
            found = self._obtain(name)
            if isinstance(found, TemplateFailure):
                self._failures.append(found)
            elif found is not None:
                pending.append(found)
        while pending:
            parsed = pending.pop()
            for reference in parsed.references:
                pending.extend(self._resolve(reference, parsed.name))
        self._refuse_circles()
        if self._failures:
            raise all_at_once(self._failures)
        return self._parsed

    def _parse(self, name: str, text: str) -> Parsed:
        parsed = self._parsed[name] = parse(text, name)
        self._failures.extend(parsed.failures)
        return parsed

    def _obtain(self, name: str) -> Parsed | TemplateFailure | None:
        """A template met for the first time, the reason why there is none, or None for one that is known."""
        if name in self._parsed:
            return None
        if name in self._absent:
            return self._absent[name]
        try:
            if self._finder is None:
                raise TemplateNotFound(name, f"the template {name!r} is not among those that were stored")
            path, text = self._finder.find(name)
        except TemplateFailure as failure:
            self._absent[name] = failure
            return failure
        self.paths[name] = path
        return self._parse(name, text)

    def _resolve(self, reference: Reference, referrer: str) -> list[Parsed]:
        """What a tag adds to the set: of a list, all that there are, for `include` takes the first it finds."""
        new: list[Parsed] = []
        reasons: list[TemplateFailure] = []
        for name in reference.names:
            found = self._obtain(name)
            if isinstance(found, TemplateFailure):
                reasons.append(found)
            elif found is not None:
                new.append(found)
        for reason in reasons:
            nothing_there = len(reasons) == len(reference.names)
            if not isinstance(reason, TemplateNotFound):
                self._failures.append(reason)
            elif nothing_there and reference.required:
                self._failures.append(reason.named_at(referrer, reference.line))
        return new

    def _refuse_circles(self) -> None:
        """A template that extends itself, however far round, never comes to an end."""
        parents = {
            parsed.name: (reference.names[0], reference.line)
            for parsed in self._parsed.values()
            for reference in parsed.references
            if reference.tag == "extends"
        }
        for start in parents:
            name, path = start, [start]
            while name in parents:
                name = parents[name][0]
                if name == start:
                    self._failures.append(
                        TemplateFailure(
                            start,
                            parents[start][1],
                            f"extends itself: {' → '.join((*path, name))}",
                            "take one of the tags out",
                        )
                    )
                if name in path:
                    break
                path.append(name)
