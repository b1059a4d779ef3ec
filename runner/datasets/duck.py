"""The dataset of a statement that DuckDB answers: `query` over files, or `sql` over a DuckDB file.

Owns   the one statement: which files its paths mean, its bounds of memory, its rows a block at a time.
Knows  its options, the root and the connection it is given. Remote files come through `datasets.duck_files`.

Invariants
  * The statement only reads: DuckDB itself says what kind of statement it is, and a file is opened for reading.
  * Nothing is fetched but the files that the statement names: DuckDB loads no extension over the network.
  * DuckDB's own memory is bounded; joins and sorts that need more use a folder that is thrown away, by the next query
    where the process was killed.
  * A relative path starts at the root. DuckDB looks into the working directory first: where a file there would be read
    instead, the statement is refused.

Sources: "Result Streaming", "Securing DuckDB", "Memory Management", "Conversion between DuckDB and Python" (infinity is
`date.max`), DuckDB documentation.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import duckdb

from runner.connections import Connection
from runner.databases.duck import open_duckdb
from runner.datasets import DatasetContext
from runner.datasets.sql_options import QueryOptions, SqlOptions
from runner.datasets.sql_rows import AS_IS, Asked, BlockSize, StatementDataset, row_value
from runner.errors import InputError, Problem
from runner.scratch import scratch_folder
from runner.statements import scan
from runner.storage import is_url

T = TypeVar("T")

MEMORY = "400MB"
"""What DuckDB may use: a process that joins and sorts three million rows stays below 600 MB; more goes to the disk."""
THREADS = 4
"""At most: each has buffers of its own, within the same bound."""
_BLOCK_ROWS = 2_048
"""DuckDB's own vectors have as many ("Execution Format")."""
_READING = frozenset({"SELECT", "EXPLAIN"})


class DuckdbDataset(StatementDataset["_OpenResult"]):
    """Rows of one statement, in the order in which DuckDB gives them."""

    Options: ClassVar[type[SqlOptions | QueryOptions]] = QueryOptions

    def __init__(self, options: SqlOptions | QueryOptions, context: DatasetContext) -> None:
        """Opens nothing."""
        text = options.query if isinstance(options, QueryOptions) else options.sql
        self._context = context
        asked = Asked(scan(text), options.bind, context, context.connection)
        super().__init__(asked, context.connection or Connection("duckdb://"))

    def _ask(self) -> _OpenResult:
        return _OpenResult(self._connection, self._asked, self._context)

    def _row(self, result: _OpenResult, values: Sequence[Any], number: int) -> dict[str, Any]:
        row = dict(zip(result.columns, values, strict=True))
        if not result.looked_at and AS_IS.issuperset(map(type, values)):
            return row
        for name, value in row.items():
            try:
                if name in result.looked_at and isinstance(value, dt.datetime):
                    row[name] = row_value(_in_zone(value, result.looked_at[name]))
                elif name in result.looked_at and isinstance(value, str):
                    row[name] = _made_of_text(value, result.looked_at[name])
                elif type(value) not in AS_IS:
                    row[name] = row_value(value)
            except RecursionError:
                raise self._asked.bad_value(name, number, "JSON that is nested too deep") from None
            except (TypeError, ValueError) as error:
                raise self._asked.bad_value(name, number, str(error)) from None
        return row


class _OpenResult:
    """A statement that has been asked, with the database and the folder that are its own."""

    def __init__(self, connection: Connection, asked: Asked, context: DatasetContext) -> None:
        self._cleaning = ExitStack()
        self._files: Any = None
        try:
            self._database = self._cleaning.enter_context(open_duckdb(connection, context.root, read_only=True))
            self._thread = self._cleaning.enter_context(ThreadPoolExecutor(1, "duckdb"))
            self._settle(context)
            self._check(asked, context)
            self._open_remote(asked, context.root)
            self._ask(asked)
            described = self._database.description
            self.columns = asked.columns([str(column[0]) for column in described])
            self.type_names = [str(column[1]) for column in described]
            self.looked_at = {
                name: of for name, of in zip(self.columns, self.type_names, strict=True) if _LOOKED_AT.match(of)
            }
        except BaseException:
            self._cleaning.close()
            raise

    def _settle(self, context: DatasetContext) -> None:
        folder: AbstractContextManager[Path | str]
        if context.scratch is None:
            folder = tempfile.TemporaryDirectory(prefix="duckdb-", ignore_cleanup_errors=True)
        else:
            context.scratch.mkdir(parents=True, exist_ok=True)
            folder = scratch_folder(context.scratch, "duckdb-")
        settings = {
            "memory_limit": MEMORY,
            "threads": str(min(THREADS, os.cpu_count() or 1)),
            "temp_directory": str(self._cleaning.enter_context(folder)),
            "file_search_path": str(context.root),
            "TimeZone": "UTC",  # not this machine's: the same rows wherever the job runs
        }
        for name, value in settings.items():
            self._database.execute(f"SET {name} = {_quoted(value)}")
        self._database.execute("SET lock_configuration = true")

    def _check(self, asked: Asked, context: DatasetContext) -> None:
        """One statement that reads, over files that are meant."""
        kinds = [each.type.name for each in self._database.extract_statements(asked.statement.written("$"))]
        if len(kinds) != 1 or kinds[0] not in _READING:
            where = context.statement_at(None, None)
            found = f"a dataset reads, and this is {' and '.join(kinds) or 'no statement'}"
            raise InputError([Problem("bad-statement", found, where, "one SELECT; write with a sink")])
        if context.root.samefile(Path.cwd()):
            return
        for text in asked.statement.texts:
            if _is_relative(text) and Path(text).is_file():
                where = context.statement_at(None, text)
                found = f"`{text}` is also a file of the working directory, which DuckDB would read"
                hint = f"run from {context.root}, or write the whole path"
                raise InputError([Problem("ambiguous-path", found, where, hint)])

    def _open_remote(self, asked: Asked, root: Path) -> None:
        """A file system of our own for the URLs that the statement and its values name."""
        texts = [*asked.statement.texts, *(value for value in asked.bind.values() if isinstance(value, str))]
        schemes = {text.partition("://")[0].lower() for text in texts if is_url(text)} - {"file"}
        if schemes:
            from runner.datasets.duck_files import RemoteFiles  # imports fsspec

            self._files = RemoteFiles(schemes, root)
            self._database.register_filesystem(self._files)

    def _ask(self, asked: Asked) -> None:
        values = {name: asked.bind.get(name) for name in asked.statement.names}
        text = asked.statement.written("$")
        try:
            self._called(self._database.execute, text, *([values] if values else []))
        except duckdb.Error:
            self._raise_own()
            raise

    def _called(self, ask: Callable[..., T], *arguments: Any) -> T:
        """What DuckDB gives, asked in a thread: in the main one it would not hear Ctrl-C before it is done."""
        answer = self._thread.submit(ask, *arguments)
        try:
            return answer.result()
        except KeyboardInterrupt:
            self._database.interrupt()
            raise

    def _raise_own(self) -> None:
        """What a remote file had to say, rather than DuckDB's account of it."""
        if self._files is not None and self._files.error is not None:
            raise self._files.error

    def blocks(self) -> Iterator[Sequence[Sequence[Any]]]:
        try:
            size = BlockSize(_BLOCK_ROWS)
            while block := self._called(self._database.fetchmany, size.rows):
                size.look_at(block)
                yield block
        except duckdb.Error:
            self._raise_own()
            raise

    def close(self) -> None:
        self._cleaning.close()


_LOOKED_AT = re.compile("JSON|DATE|TIME")
"""Types of columns for whose values DuckDB gives texts: always, or where Python has no such value."""


def _made_of_text(text: str, of: str) -> Any:
    if of == "JSON":
        return json.loads(text)
    raise ValueError(f"a {of.lower()} that cannot be read: it lies before the year 1 or after 9999, or is 24:00")


def _in_zone(value: dt.datetime, of: str) -> dt.datetime:
    """A moment of a column of moments; DuckDB gives infinity as the last one there is, and forgets the zone."""
    return value.replace(tzinfo=dt.UTC) if value.tzinfo is None and of == "TIMESTAMP WITH TIME ZONE" else value


def _is_relative(text: str) -> bool:
    return re.fullmatch(r"[^/\n\0][^\n\0]{,4095}", text) is not None and not is_url(text)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
