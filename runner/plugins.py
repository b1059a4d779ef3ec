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
from typing import Any, Literal

from msgspec import Struct
from pydantic import BaseModel

from runner.errors import Problem, SpecError, closest
from runner.extras import missing_library
from runner.storage import file_name, is_url

Group = Literal["dataset", "sink", "provider"]


class Plugin(Struct, frozen=True):
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
        """The class itself; imports what it needs. Raises SpecError, SetupError for a library that is missing."""
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
        except ModuleNotFoundError as error:
            if self.distribution is None and error.name is not None and not error.name.startswith(f"{__package__}."):
                raise missing_library(error.name, f"the {self.group} kind {self.kind}") from error
            if self.distribution is None:
                raise
            raise self._broken(f"{type(error).__name__}: {error}") from error
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
_TABLE_DATASET = ("runner.datasets.options:TableOptions", "runner.datasets.tables:TableDataset")
_WORKBOOK_DATASET = ("runner.datasets.options:WorkbookOptions", "runner.datasets.workbook:WorkbookDataset")
_DELIMITED_SINK = ("runner.sinks.options:DelimitedOptions", "runner.sinks.files:FileSink")

DATASETS: Mapping[str, tuple[str, str]] = {
    "csv": _TEXT_DATASET,
    "tsv": _TEXT_DATASET,
    "jsonl": _TEXT_DATASET,
    "json": _TEXT_DATASET,
    "stdin": _TEXT_DATASET,
    "parquet": _TABLE_DATASET,
    "arrow": _TABLE_DATASET,
    "orc": _TABLE_DATASET,
    "xlsx": _WORKBOOK_DATASET,
    "xlsm": _WORKBOOK_DATASET,
    "sql": ("runner.datasets.sql_options:SqlOptions", "runner.datasets.sql:SqlDataset"),
    "duckdb": ("runner.datasets.sql_options:SqlOptions", "runner.datasets.duck:DuckdbDataset"),
    "query": ("runner.datasets.sql_options:QueryOptions", "runner.datasets.duck:DuckdbDataset"),
    "files": ("runner.datasets.options:FilesOptions", "runner.datasets.files:FilesDataset"),
    "python": ("runner.datasets.options:PythonOptions", "runner.datasets.python:PythonDataset"),
    "hub": ("runner.datasets.options:HubOptions", "runner.datasets.hub:HubDataset"),
}
SINKS: Mapping[str, tuple[str, str]] = {
    "csv": _DELIMITED_SINK,
    "tsv": _DELIMITED_SINK,
    "jsonl": ("runner.sinks.options:FileOptions", "runner.sinks.files:FileSink"),
    "parquet": ("runner.sinks.options:ParquetOptions", "runner.sinks.tables:TableSink"),
    "arrow": ("runner.sinks.options:ArrowOptions", "runner.sinks.tables:TableSink"),
    "xlsx": ("runner.sinks.options:XlsxOptions", "runner.sinks.xlsx:XlsxSink"),
    "stdout": ("runner.sinks.options:StdoutOptions", "runner.sinks.stdout:StdoutSink"),
    "webhook": ("runner.sinks.options:WebhookOptions", "runner.sinks.webhook:WebhookSink"),
    "python": ("runner.sinks.options:PythonOptions", "runner.sinks.function:FunctionSink"),
    "hub": ("runner.sinks.options:HubOptions", "runner.sinks.hub:HubSink"),
    "sql": ("runner.sinks.sql.options:SqlOptions", "runner.sinks.sql.sink:SqlSink"),
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

SOURCES = ("sql", "query", "files", "python", "hub")
"""Keys of a job's dataset, beside `path`, that say where its rows come from. Each is the kind of its plugin."""

PLACES = ("path", "url", "python", "hub")
"""Keys of a job's sink that say where its records go. `url` is a database's where there is a `table`, else a webhook's;
`python` and `hub` are the kinds of their plugins."""

_NO_SUFFIXES = frozenset({"stdin", "stdout", *SOURCES, "webhook", "duckdb"})
"""Kinds that no path's suffix means: `q.sql` holds no rows, and what a `.duckdb` holds, `sql` asks for."""

_BUILT_IN: Mapping[Group, Mapping[str, tuple[str, str]]] = {"dataset": DATASETS, "sink": SINKS, "provider": PROVIDERS}

_DATABASES = frozenset({"duckdb", "mariadb", "mysql", "postgres", "postgresql", "sqlite"})
"""Schemes of URLs that name no file. Such a URL is not repeated in a message: it may hold a password."""

COMPRESSIONS = ("gz", "bz2", "xz", "zst")
"""Suffixes that wrap another: `reviews.csv.gz` is a csv."""

_SUFFIX_ALIASES = {
    "ndjson": "jsonl", "tab": "tsv", "feather": "arrow", "arrows": "arrow", "ipc": "arrow", "pq": "parquet",
}  # fmt: skip
"""Other suffixes in use for a kind: ndjson.org's, IANA's for text/tab-separated-values, those of Arrow's files and
streams."""


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


def dataset_from(source: str, path: str, dialect: str | None = None) -> Plugin:
    """The dataset plugin of a job's source: `source` is the key that names it, `path` its value where that is `path`,
    `dialect` the kind of its database. Raises SpecError."""
    if source == "path":
        return dataset_for(path)
    return find("dataset", "duckdb" if source == "sql" and dialect == "duckdb" else source)


def sink_for(path: str) -> Plugin:
    """The sink plugin that writes this path, by its suffix; `-` is stdout. Raises SpecError."""
    return find("sink", "stdout") if path == "-" else _for_suffix("sink", path)


def sink_at(place: str, path: str, *, table: bool) -> Plugin:
    """The sink plugin of a job's sink: `place` is the key that says where it writes, `path` its value where that is
    `path`, and `table` whether it names a table. Raises SpecError."""
    if place == "path":
        return sink_for(path)
    return find("sink", place if place != "url" else "sql" if table else "webhook")


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
    name = file_name(path) if is_url(path) else path.rpartition("/")[2]
    suffixes = name.lower().split(".")[1:]
    if suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
    if not suffixes or not suffixes[-1].isalnum():
        return None
    return _SUFFIX_ALIASES.get(suffixes[-1], suffixes[-1])


def _for_suffix(group: Group, path: str) -> Plugin:
    if is_url(path) and path.partition("://")[0].partition("+")[0] in _DATABASES:
        key = "sql" if group == "dataset" else "table"
        message = "a database is named by `url`, not by `path`"
        raise SpecError([Problem("unknown-format", message, hint=f"`url: …` and `{key}: …` instead of `path`")])
    kind = kind_of(path)
    if kind is None:
        message = f"{path!r} has no suffix that tells its format"
        raise SpecError([Problem("unknown-format", message, hint=f"end it in one of .{', .'.join(_suffixes(group))}")])
    if kind in _NO_SUFFIXES:
        raise _unknown(group, kind)
    return find(group, kind)


def _suffixes(group: Group) -> tuple[str, ...]:
    return tuple(kind for kind in kinds(group) if kind not in _NO_SUFFIXES)


def _distribution(entry_point: importlib.metadata.EntryPoint) -> str:
    return entry_point.dist.name if entry_point.dist is not None else entry_point.module.partition(".")[0]


def _unknown(group: Group, kind: str) -> SpecError:
    known = kinds(group) if group == "provider" else _suffixes(group)
    near = closest(kind, known)
    hint = (f"did you mean `{near}`? " if near else "") + f"There are: {', '.join(known)}"
    return SpecError([Problem("unknown-kind", f"there is no {group} of kind {kind!r}", hint=hint)])


def _contested(group: Group, kind: str, distributions: list[str]) -> SpecError:
    message = f"the {group} kind {kind!r} is claimed by {' and by '.join(distributions)}"
    return SpecError([Problem("contested-kind", message, hint="uninstall all of them but one")])
