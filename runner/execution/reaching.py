"""What would stop a job at its databases, as far as this machine shows it: nothing is connected.

Owns   the check of drivers and of local database files, for the dataset and for sinks that write tables.
Knows  a loaded job; databases by what needs no connection.
"""

from __future__ import annotations

from collections.abc import Iterator

from runner.connections import Connection
from runner.databases import FILES, database_of
from runner.errors import Problem, SetupError
from runner.execution.sources import datasets
from runner.spec.load import LoadedJob
from runner.spec.node import Path


def database_problems(loaded: LoadedJob) -> Iterator[Problem]:
    """A kind of database there is not, a library that is missing, a file that is not there."""
    for path, connection in _used(loaded):
        where = loaded.locate(path)
        try:
            parts = database_of(connection)
        except SetupError as error:
            yield Problem(error.code, error.message, where, error.hint)
            continue
        is_file = parts.dialect in FILES and parts.database not in ("", ":memory:")
        if path[0] == "dataset" and is_file and not (loaded.root / parts.database).is_file():
            found = f"there is no file `{parts.database}`"
            yield Problem("file-not-found", found, where, "paths start at the project's root; //// begins a whole path")


def _used(loaded: LoadedJob) -> Iterator[tuple[Path, Connection]]:
    for at, dataset in datasets(loaded):
        if dataset.query is not None:
            yield (*at, "query"), Connection("duckdb://")
        if dataset.url is not None and dataset.url in loaded.connections:
            yield (*at, "url"), loaded.connections[dataset.url]
    for number, sink in enumerate(loaded.job.sinks):
        is_table = getattr(sink, "table", None) is not None
        if is_table and sink.url is not None and sink.url in loaded.connections:
            yield ("sinks", number, "url"), loaded.connections[sink.url]
