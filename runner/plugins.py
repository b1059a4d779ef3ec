"""Plugins: which class stands behind a kind of dataset, sink or provider.

Owns   the table of built-ins, the entry points of other distributions, and what a path's suffix says of its kind.
Knows  names only. A built-in is two strings, its options (light) and its class, loaded apart: `runner check` and
       `runner schema` validate options without importing a table library. This is the only module with late imports.

Invariants
  * A built-in kind is found without looking at what is installed; entry points are read only for a kind that is not
    built in.
  * Two distributions that claim one kind are an error that names both; none of them wins by chance.
  * A plugin that cannot be imported is an error only for the job that uses it, and names its distribution.

A distribution offers a plugin as an entry point of the group `runner.datasets`, `runner.sinks` or `runner.providers`,
named for its kind: `kind = "package.module:Class"`. The class has `Options`, a frozen pydantic model of what a job may
set, and a constructor as the contract of its folder says. `runner.testing` holds the conformance suites.

Source: "Entry points specification", packaging.python.org.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel

from runner.errors import Problem, SpecError, closest

Group = Literal["dataset", "sink", "provider"]


@dataclass(frozen=True, slots=True)
class Plugin:
    """A kind and where its two parts are, not loaded yet. `distribution` is None for a built-in.

    `options_ref` and `class_ref` are `module:attribute`; the attribute may be dotted.
    """

    group: Group
    kind: str
    options_ref: str
    class_ref: str
    distribution: str | None = None

    def options(self) -> type[BaseModel]:
        """The model of what a job may set. Raises SpecError."""
        model = self._load(self.options_ref)
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            raise self._broken(f"{self.options_ref} is not a pydantic model")
        return model

    def load(self) -> type[Any]:
        """The class itself; imports what it needs. Raises SpecError."""
        loaded = self._load(self.class_ref)
        if not isinstance(loaded, type):
            raise self._broken(f"{self.class_ref} is not a class")
        return loaded

    def _load(self, reference: str) -> Any:
        module_name, _, attributes = reference.partition(":")
        try:
            loaded: Any = importlib.import_module(module_name)
            for attribute in attributes.split("."):
                loaded = getattr(loaded, attribute)
        except Exception as error:  # whatever a plugin's own code raises must not look like a bug of runner
            if self.distribution is None:
                raise
            raise self._broken(f"{type(error).__name__}: {error}") from error
        return loaded

    def _broken(self, why: str) -> SpecError:
        message = f"the {self.group} plugin {self.kind!r} of {self.distribution or 'runner'} does not load: {why}"
        hint = f"update, mend or uninstall {self.distribution}" if self.distribution else None
        return SpecError([Problem("broken-plugin", message, hint=hint)])


_TEXT_DATASET = ("runner.datasets.options:TextOptions", "runner.datasets.text:TextDataset")
_FILE_SINK = ("runner.sinks.options:FileOptions", "runner.sinks.files:FileSink")

DATASETS: Mapping[str, tuple[str, str]] = {
    "csv": _TEXT_DATASET,
    "tsv": _TEXT_DATASET,
    "jsonl": _TEXT_DATASET,
    "json": _TEXT_DATASET,
    "stdin": _TEXT_DATASET,
}
SINKS: Mapping[str, tuple[str, str]] = {
    "csv": _FILE_SINK,
    "tsv": _FILE_SINK,
    "jsonl": _FILE_SINK,
    "stdout": ("runner.sinks.options:StdoutOptions", "runner.sinks.stdout:StdoutSink"),
}
PROVIDERS: Mapping[str, tuple[str, str]] = {
    "anthropic": ("runner.providers.options:AnthropicOptions", "runner.providers.transport:AnthropicTransport"),
    "bedrock": ("runner.providers.platform_options:BedrockOptions", "runner.providers.platforms:BedrockProvider"),
    "vertex": ("runner.providers.platform_options:VertexOptions", "runner.providers.platforms:VertexProvider"),
    "foundry": ("runner.providers.platform_options:FoundryOptions", "runner.providers.platforms:FoundryProvider"),
    "aws": ("runner.providers.platform_options:AwsOptions", "runner.providers.platforms:AwsProvider"),
    "google_cloud": (
        "runner.providers.platform_options:GoogleCloudOptions",
        "runner.providers.platforms:GoogleCloudProvider",
    ),
}

LATER = ("parquet", "arrow", "xlsx")
"""Formats of files that later versions bring, as datasets and as sinks."""

_BUILT_IN: Mapping[Group, Mapping[str, tuple[str, str]]] = {"dataset": DATASETS, "sink": SINKS, "provider": PROVIDERS}

COMPRESSIONS = ("gz", "bz2", "xz", "zst")
"""Suffixes that wrap another: `reviews.csv.gz` is a csv."""

_SUFFIX_ALIASES = {"ndjson": "jsonl", "tab": "tsv"}
"""Other suffixes in use for a kind: ndjson.org's, and IANA's for text/tab-separated-values."""


def find_dataset(kind: str) -> Plugin:
    """The dataset plugin of this kind. Raises SpecError with near matches."""
    return find("dataset", kind)


def find_sink(kind: str) -> Plugin:
    """The sink plugin of this kind. Raises SpecError with near matches."""
    return find("sink", kind)


def find_provider(kind: str) -> Plugin:
    """The provider plugin of this kind. Raises SpecError with near matches."""
    return find("provider", kind)


def dataset_for(path: str) -> Plugin:
    """The dataset plugin that reads this path, by its suffix; `-` is stdin. Raises SpecError."""
    return find("dataset", "stdin") if path == "-" else _for_suffix("dataset", path)


def sink_for(path: str) -> Plugin:
    """The sink plugin that writes this path, by its suffix; `-` is stdout. Raises SpecError."""
    return find("sink", "stdout") if path == "-" else _for_suffix("sink", path)


def find(group: Group, kind: str) -> Plugin:
    """Look a kind up: the built-ins, then what other distributions offer. Raises SpecError."""
    built_in = _BUILT_IN[group].get(kind)
    if built_in is not None:
        return Plugin(group, kind, *built_in)
    entry_points = tuple(importlib.metadata.entry_points(group=f"runner.{group}s", name=kind))
    if not entry_points:
        raise _unknown(group, kind)
    if len(entry_points) > 1:
        raise _contested(group, kind, sorted(_distribution(entry_point) for entry_point in entry_points))
    reference = f"{entry_points[0].module}:{entry_points[0].attr}"
    return Plugin(group, kind, f"{reference}.Options", reference, _distribution(entry_points[0]))


def kinds(group: Group) -> tuple[str, ...]:
    """All kinds there are, built in and installed, sorted."""
    installed = (entry_point.name for entry_point in importlib.metadata.entry_points(group=f"runner.{group}s"))
    return tuple(sorted({*_BUILT_IN[group], *installed}))


def kind_of(path: str) -> str | None:
    """What a path's suffix says of its kind: `data/*.csv.gz` is `csv`; None where there is no suffix.

    A kind found so need not exist: `notes.ods` is `ods`, and a plugin of that name serves it.
    """
    suffixes = path.rpartition("/")[2].lower().split(".")[1:]
    if suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
    if not suffixes or not suffixes[-1].isalnum():
        return None
    return _SUFFIX_ALIASES.get(suffixes[-1], suffixes[-1])


def _for_suffix(group: Group, path: str) -> Plugin:
    kind = kind_of(path)
    if kind is None:
        message = f"{path!r} has no suffix that tells its format"
        raise SpecError([Problem("unknown-format", message, hint=f"end it in one of .{', .'.join(_suffixes(group))}")])
    return find(group, kind)


def _suffixes(group: Group) -> tuple[str, ...]:
    return tuple(kind for kind in kinds(group) if kind not in ("stdin", "stdout"))


def _distribution(entry_point: importlib.metadata.EntryPoint) -> str:
    return entry_point.dist.name if entry_point.dist is not None else entry_point.module.partition(".")[0]


def _unknown(group: Group, kind: str) -> SpecError:
    if kind in LATER:
        hint = "convert it to csv or jsonl" if group == "dataset" else "end the path in .csv, .tsv or .jsonl"
        return SpecError([Problem("not-supported-yet", f"{kind} files are not supported yet", hint=hint)])
    known = kinds(group)
    near = closest(kind, known)
    hint = (f"did you mean `{near}`? " if near else "") + f"There are: {', '.join(known)}"
    return SpecError([Problem("unknown-kind", f"there is no {group} of kind {kind!r}", hint=hint)])


def _contested(group: Group, kind: str, distributions: list[str]) -> SpecError:
    message = f"the {group} kind {kind!r} is claimed by {' and by '.join(distributions)}"
    return SpecError([Problem("contested-kind", message, hint="uninstall all of them but one")])
