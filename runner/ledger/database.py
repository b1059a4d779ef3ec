"""The ledger's SQLite connection: opened only when it is safe, with every setting read back.

Owns   creating, opening and migrating the file; transactions and their durability; SQLite's errors as LedgerErrors.
Knows  SQLite and the file's identity. Nothing of what the tables mean.

Durability
  * `transaction(durable=True)` is synchronous=FULL: on disk when it returns. For promises that the outside world acts
    on.
  * `transaction(durable=False)` is synchronous=NORMAL: a crash of the process loses nothing, a power cut may lose the
    newest, in order. For what can be made again from the spool.
  * `together` makes one transaction, a durable one, of several: outcomes and the leases that follow them.
  * Every durable commit is counted in the database, and the count is then written, unsynced, to a small file beside
    it. The file can lag but never lead, so a database that is behind it has lost committed transactions (a removed
    `-wal` file).
  * After an I/O error nothing more is written through this connection: what the kernel did with the data is unknown.

Sources: sqlite.org/wal.html (NORMAL and FULL in WAL mode; the WAL-reset bug, mended in 3.51.3), sqlite.org/pragma.html.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import apsw

from runner.errors import LedgerError
from runner.ledger.folder import open_private, sync_entries
from runner.ledger.refusals import cannot_write, damaged, disk_error, disk_errors, disk_full
from runner.ledger.schema import APPLICATION_ID, MIGRATIONS, READ_OLDER

_OLDEST_SQLITE = 3_051_003
_BUSY_TIMEOUT_MS = 10_000
_COMMIT_COUNT = "commits"
_COUNT_COMMIT = "UPDATE durable_commits SET number = number + 1 RETURNING number"
_CHECKED_BYTES = 256 << 20
"""Up to here all pages are checked at opening, at about 150 MB/s; in a larger file when they are read."""

_PRAGMAS = {
    "journal_mode": "wal",
    "temp_store": 1,  # FILE: sorting the keys of 10 million rows must not sit in memory
    "trusted_schema": 0,
    "cell_size_check": 1,
    "cache_size": -8_000,  # KiB; rows are worked on in order, so a larger one only makes memory grow with the run
    "wal_autocheckpoint": 4000,  # pages, 16 MB: checkpoints sync, and the default of 4 MB syncs too often here
}


def refusal_of_sqlite(error: apsw.Error, path: Path) -> LedgerError | None:
    """The LedgerError that says what SQLite's error means; None for one that only a bug can cause."""
    match error:
        case apsw.FullError():
            return disk_full(path)
        case apsw.CorruptError() | apsw.NotADBError():
            return damaged(f"{path} is damaged: {error}")
        case apsw.ReadOnlyError() | apsw.CantOpenError() | apsw.PermissionsError():
            return cannot_write(path, error)
        case apsw.IOError():
            # The shared index of the write-ahead log could not grow; apsw's types leave this attribute out.
            no_space = vars(error).get("extendedresult") == apsw.SQLITE_IOERR_SHMSIZE
            return disk_full(path) if no_space else disk_error(path, error)
        case apsw.BusyError() | apsw.LockedError():
            hint = "close it (a database browser, a backup) and try again"
            return LedgerError(f"{path} is in use by another program", code="locked", hint=hint)
        case _:
            return None


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise SQLite's errors as LedgerErrors that say what to do."""
    try:
        yield
    except apsw.Error as error:
        raise refusal_of_sqlite(error, path) or error from error


def fetch(connection: apsw.Connection, sql: str, bindings: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """All rows of a query. STRICT tables keep the columns' types, which SQLite's interface cannot tell."""
    try:
        return connection.execute(sql, bindings).fetchall()
    except apsw.Error as error:
        raise refusal_of_sqlite(error, Path(connection.filename)) or error from error


def fetch_one(connection: apsw.Connection, sql: str, bindings: Sequence[Any] = ()) -> tuple[Any, ...] | None:
    """The first row of a query; None where there is none."""
    found = fetch(connection, sql, bindings)
    return found[0] if found else None


def fetch_value(connection: apsw.Connection, sql: str, bindings: Sequence[Any] = ()) -> Any:
    """The first column of the first row; None where there is no row."""
    found = fetch(connection, sql, bindings)
    return found[0][0] if found else None


@contextlib.contextmanager
def all_or_nothing(connection: apsw.Connection) -> Iterator[None]:
    """A transaction. Some errors (a full disk) end it on SQLite's side already; the first error is the one to tell."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def create_database(path: Path, statements: Sequence[tuple[str, tuple[Any, ...]]] = ()) -> None:
    """Make a new ledger file in one piece: it gets its name only when it is whole and durable."""
    unnamed = path.with_name(path.name + ".new")
    with disk_errors(path), translated(path):
        for left in path.parent.glob(f"{unnamed.name}*"):  # of a creation that was killed, with its log
            left.unlink()
        os.close(open_private(unnamed, os.O_RDWR | os.O_CREAT | os.O_EXCL))
        connection = apsw.Connection(str(unnamed))
        try:
            # From the start: switching later writes a rollback journal, which a reader beside could not play back.
            connection.pragma("journal_mode", "wal")
            connection.pragma("synchronous", 2)
            with all_or_nothing(connection):
                connection.pragma("application_id", APPLICATION_ID)
                _run(connection, MIGRATIONS, 0)
                for sql, bindings in statements:
                    connection.execute(sql, bindings)
            # Closing would do this too, but in silence; a log that stays behind would not be renamed with the file.
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        finally:
            connection.close()
        unnamed.rename(path)
        sync_entries(path.parent)


def _run(connection: apsw.Connection, migrations: Sequence[str], version: int) -> None:
    for script in migrations[version:]:
        connection.execute(script)
    connection.pragma("user_version", len(migrations))


class Database:
    """An open ledger file. One thread at a time."""

    def __init__(self, path: Path, *, read_only: bool, migrations: Sequence[str] = MIGRATIONS) -> None:
        self._path = path
        self._broken: LedgerError | None = None
        self._synchronous = -1
        self._shared: contextlib.ExitStack | None = None
        """What `together` ends, while it lasts: its transaction, once one within has asked for it."""
        self._commits_descriptor: int | None = None
        if apsw.SQLITE_VERSION_NUMBER < _OLDEST_SQLITE:
            raise LedgerError(
                f"SQLite {apsw.sqlite_lib_version()} can damage a ledger; 3.51.3 is the oldest that is safe",
                code="old-sqlite",
                hint="install apsw from its wheel: it brings its own SQLite",
            )
        if not path.exists():
            raise LedgerError(
                f"{path.parent} holds no ledger", code="no-ledger", hint="`runner list` shows the runs there are"
            )
        with disk_errors(path), translated(path):
            self.connection = _connect(path, read_only)
            try:
                self._check_identity(migrations, read_only)
                if not read_only:
                    self._prepare_to_write()
            except BaseException:
                self.close()
                raise

    def _check_identity(self, migrations: Sequence[str], read_only: bool) -> None:
        if self.connection.pragma("application_id") != APPLICATION_ID:
            raise LedgerError(f"{self._path} is not a ledger of runner", code="foreign-file")
        version = int(self.connection.pragma("user_version"))
        if version > len(migrations):
            raise LedgerError(
                f"{self._path} was written by a newer runner (format {version}, this one knows {len(migrations)})",
                code="newer-version",
                hint="upgrade runner",
            )
        if version < len(migrations):
            if read_only:
                self._read_older(version, len(migrations))
            else:
                self._migrate(migrations, version)

    def _read_older(self, version: int, newest: int) -> None:
        """See an older format as the newest one; the file stays as it is."""
        if newest != len(MIGRATIONS) or version not in READ_OLDER:
            raise LedgerError(
                f"{self._path} has an older format ({version})",
                code="older-version",
                hint="`runner resume` brings it up to date",
            )
        self.connection.execute(READ_OLDER[version])

    def _migrate(self, migrations: Sequence[str], version: int) -> None:
        backup = self._path.with_name(f"{self._path.name}.v{version}")
        backup.unlink(missing_ok=True)
        os.close(open_private(backup, os.O_RDWR | os.O_CREAT | os.O_EXCL))
        self.connection.execute("VACUUM INTO ?", (str(backup),))
        sync_entries(backup.parent)
        self.connection.pragma("synchronous", 2)
        with all_or_nothing(self.connection):
            _run(self.connection, migrations, version)

    def _prepare_to_write(self) -> None:
        for name, value in _PRAGMAS.items():
            self.connection.pragma(name, value)
            found = self.connection.pragma(name)
            if found != value:
                raise LedgerError(
                    f"SQLite keeps {name}={found!r} where {value!r} is needed",
                    code="pragma",
                    hint="is the disk a local one?",
                )
        self._be_synchronous(2)
        self._check_integrity()
        self._check_commits()

    def _check_integrity(self) -> None:
        if self.connection.pragma("page_count") * self.connection.pragma("page_size") <= _CHECKED_BYTES:
            verdict = self.connection.pragma("quick_check", 1)
            if verdict != "ok":
                raise damaged(f"{self._path} is damaged: {verdict}")

    def _check_commits(self) -> None:
        path = self._path.with_name(_COMMIT_COUNT)
        self._commits_descriptor = open_private(path, os.O_RDWR | os.O_CREAT)
        noted = os.pread(self._commits_descriptor, 32, 0).strip()
        commits = int(fetch_value(self.connection, "SELECT number FROM durable_commits"))
        if noted.isdigit() and int(noted) > commits:
            raise damaged(
                f"{self._path} has lost transactions it had committed ({commits} of {int(noted)} are there);"
                f" was {self._path.name}-wal removed?"
            )
        self._note_commits(commits)

    def _be_synchronous(self, level: int) -> None:
        if self._synchronous != level:
            self.connection.pragma("synchronous", level)
            found = self.connection.pragma("synchronous")
            if found != level:
                raise LedgerError(f"SQLite keeps synchronous={found!r} where {level} is needed", code="pragma")
            self._synchronous = level

    @contextlib.contextmanager
    def transaction(self, *, durable: bool) -> Iterator[apsw.Connection]:
        """All or nothing; within `together` a part of that. Raises LedgerError `disk-full`, `disk-error`, `damaged`."""
        self.check_writable()
        if self._shared is None:
            with self._own_transaction(durable=durable):
                yield self.connection
            return
        if not self.connection.in_transaction:
            self._shared.enter_context(self._own_transaction(durable=True))
        yield self.connection

    @contextlib.contextmanager
    def _own_transaction(self, *, durable: bool) -> Iterator[None]:
        connection = self.connection
        try:
            with translated(self._path):
                self._be_synchronous(2 if durable else 1)
                with all_or_nothing(connection):
                    yield
                    commits = int(fetch_value(connection, _COUNT_COMMIT)) if durable else 0
                if durable:
                    self._note_commits(commits)
        except LedgerError as error:
            if error.code in ("disk-error", "damaged"):
                self.refuse_writes(error)
            raise

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Make one transaction, and a durable one, of all those within. Where one fails nothing of any of them is left,
        and this connection refuses to write from then on: one of them may have gone by what it wrote elsewhere.

        It begins with the first of them, so that what is written elsewhere before (the spool) is there even where the
        database is in use or full. Raises LedgerError as `transaction` does.
        """
        try:
            with contextlib.ExitStack() as shared:
                self._shared = shared
                try:
                    yield
                finally:
                    self._shared = None
        except LedgerError as error:
            self.refuse_writes(error)
            raise
        except BaseException as error:
            self.refuse_writes(out_of_step(error))
            raise

    def _note_commits(self, commits: int) -> None:
        assert self._commits_descriptor is not None
        # Fixed width, one small write, unsynced: it survives the process, and a power cut only leaves it behind.
        with disk_errors(self._path):
            os.pwrite(self._commits_descriptor, b"%020d\n" % commits, 0)

    def refuse_writes(self, reason: LedgerError) -> None:
        """From here on every transaction raises `reason`: the ledger has to be opened anew first."""
        self._broken = reason

    def check_writable(self) -> None:
        """Raise the error after which this connection refuses to write, if there was one."""
        if self._broken is not None:
            raise self._broken

    def close(self) -> None:
        self.connection.close()
        if self._commits_descriptor is not None:
            os.close(self._commits_descriptor)
            self._commits_descriptor = None


def out_of_step(error: BaseException) -> LedgerError:
    """What further writes are refused with after an error that was none of the disk's."""
    return LedgerError(
        f"the ledger is behind its spool after {type(error).__name__}",
        code="reopen",
        hint="`runner resume` takes the rest up",
    )


def _connect(path: Path, read_only: bool) -> apsw.Connection:
    if not read_only:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    else:
        connection = _connect_to_read(path)
    connection.set_busy_timeout(_BUSY_TIMEOUT_MS)
    return connection


def _connect_to_read(path: Path) -> apsw.Connection:
    """In a folder that cannot be written SQLite cannot make the files that WAL readers share; where no write-ahead
    log is left, nobody writes, and the file can be read as it is."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    log = path.with_name(path.name + "-wal")
    try:
        connection.pragma("application_id")
    except apsw.CantOpenError:
        connection.close()
        if log.exists() and log.stat().st_size:
            raise
        return apsw.Connection(
            f"{path.absolute().as_uri()}?immutable=1", flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        )
    return connection
