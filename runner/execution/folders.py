"""The state folder: where runs live, which one a name means, and who may work on a job.

Owns   `.runner/`: `runs/<run id>/` (one folder a run), `locks/` (one lock a job), `replies.db`, `uploads.db`, the
       catalog's cache and the stand-in's own state. Reads runs' facts from their ledgers; keeps nothing in memory
       between calls.
Knows  ledgers by their contract. Nothing of jobs' contents, engines or sinks.

A run belongs to (job file, profile, API address, simulated): its *line*. Runs of one line follow one another; a trial
belongs to the line but is never its last run.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from msgspec import Struct

from runner.encoding import encode, printable
from runner.errors import LedgerError, UsageError
from runner.ledger.folder import DATABASE, open_private, sync_entries
from runner.ledger.refusals import damaged, disk_errors
from runner.ledger.sqlite import SqliteLedger
from runner.settings import Settings
from runner.spec.load import LoadedJob


class Line(Struct, frozen=True):
    """What a run belongs to. `job` is the job file's path from the root, `address` the API's base URL or
    `simulator`, `betas` those that the environment has every request carry."""

    job: str
    profile: str | None
    address: str
    simulated: bool
    betas: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        return _digest(self.job, self.profile, self.address, self.simulated, *self.betas)

    @property
    def scope(self) -> str:
        """What replies may be shared within: the API that gave them, whatever the job."""
        return _digest(self.address, self.simulated, *self.betas)


def _digest(*parts: object) -> str:
    return hashlib.sha256(encode(parts)).hexdigest()[:32]


def line_of(loaded: LoadedJob, address: str, simulated: bool, betas: tuple[str, ...]) -> Line:
    path, root = loaded.path, loaded.root
    job_file = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()
    return Line(job_file, loaded.profile, address, simulated, betas)


class RunInfo(Struct, frozen=True):
    """One run's facts, as its ledger's meta has them."""

    run_id: str
    folder: Path
    meta: Mapping[str, Any]

    @property
    def job(self) -> str:
        return str(self.meta["job"])

    @property
    def trial(self) -> bool:
        return bool(self.meta["trial"])

    @property
    def begun(self) -> bool:
        """It has its rows; before that, what a killed process left of it is removed by the next run of the job."""
        return bool(self.meta["state"] != "enrolling")

    @property
    def finished(self) -> bool:
        return bool(self.meta["state"] == "finished")

    @property
    def unfinished(self) -> bool:
        """It has its rows, and some of them, or its sinks, still wait."""
        return bool(self.meta["state"] == "open")

    def stored_job(self, settings: Settings, *, sends: bool = True) -> LoadedJob:
        """The job as it was when the run began; `sends`: whether the run is gone on with, or else only read. Raises
        SpecError, and LedgerError where the folder lacks it."""
        inputs = self.folder / "inputs"
        try:
            return LoadedJob.restore(inputs, settings, sends=sends)
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise damaged(f"the job in {inputs} cannot be read: {error}") from error


_UNNAMED, _GONE = ".new-", ".gone-"
"""What folders begin with that are no runs yet, and none any more."""


def _read(folder: Path) -> RunInfo | LedgerError:
    try:
        with SqliteLedger.open(folder, read_only=True) as ledger:
            return RunInfo(folder.name, folder, dict(ledger.meta))
    except LedgerError as error:
        return error


class StateFolder:
    """`.runner/` of one project."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.runs_path = path / "runs"
        self.replies_path = path / "replies.db"
        self.uploads_path = path / "uploads.db"
        self.simulator_path = path / "simulator"

    def catalog_path(self, address: str) -> Path:
        """Where the facts of an API's models are kept."""
        return self.path / f"models-{hashlib.sha256(address.encode()).hexdigest()[:8]}.json"

    def create(self) -> None:
        """Make the folder where it is missing. Raises LedgerError where that is not possible."""
        self.require_folder()
        with disk_errors(self.path):
            for folder in (self.path, self.runs_path, self.path / "locks"):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def require_folder(self) -> None:
        """Raise LedgerError where no run could be seen in the folder: something else stands in its place, or its path
        is no UTF-8, and SQLite takes no other."""
        if printable(str(self.path)) != str(self.path):
            raise LedgerError(
                f"the path of the state folder {self.path} holds bytes that are no UTF-8",
                code="not-utf8",
                hint="rename what is above it, or set `state_dir`",
            )
        if self.path.exists() and not self.path.is_dir():
            raise LedgerError(
                f"the state folder {self.path} is no folder",
                code="cannot-write",
                hint="move what stands there away, or set `state_dir`",
            )

    def new_run(self, line: Line, meta: Mapping[str, Any], now: datetime) -> tuple[RunInfo, SqliteLedger]:
        """Make a run's folder and its ledger; its id sorts by time. Call it while owning the line.

        The folder gets its name once its ledger is there, so that every run that can be seen can be read. What a killed
        process left unnamed is removed by the next one that owns the line.
        """
        self.create()
        unnamed = f"{_UNNAMED}{line.digest}-{'trial' if meta['trial'] else 'run'}-"
        for left in (*self.runs_path.glob(f"{unnamed}*"), *self.runs_path.glob(f"{_GONE}*")):
            shutil.rmtree(left, ignore_errors=True)
        run_id = f"{now:%Y%m%d-%H%M%S}-{now.microsecond // 1000:03d}-{secrets.token_hex(2)}"
        made = self.runs_path / f"{unnamed}{run_id}"
        SqliteLedger.create(made, {**meta, "run_id": run_id}).close()
        folder = self.runs_path / run_id
        with disk_errors(folder):
            made.rename(folder)
            sync_entries(self.runs_path)
        ledger = SqliteLedger.open(folder)
        return RunInfo(run_id, folder, ledger.meta), ledger

    def runs(self) -> list[RunInfo]:
        """All runs that can be read, oldest first."""
        return [run for _, run in self._read_all() if isinstance(run, RunInfo)]

    def require_readable(self) -> None:
        """Raise LedgerError where a run cannot be read: it may be the unfinished one of the job that is to run."""
        for run_id, error in self._read_all():
            if isinstance(error, LedgerError):
                raise LedgerError(
                    f"the run in {self.runs_path / run_id} cannot be read, and may be this job's: {error.message}",
                    code=error.code,
                    hint="move that folder away, or pass --new to go on without it; what it paid for is paid again",
                ) from error

    def find(self, name: str) -> RunInfo:
        """The run that an id, a prefix of one, a job's name or `latest` means; it has its rows.

        Raises UsageError, and LedgerError where that run cannot be read.
        """
        read = [(run_id, run) for run_id, run in self._read_all() if isinstance(run, LedgerError) or run.begun]
        exact = [found for found in read if found[0] == name] or [found for found in read if found[0].startswith(name)]
        if len(exact) > 1:
            listed = ", ".join(run_id for run_id, _ in exact[-5:])
            raise UsageError(f"{name!r} means {len(exact)} runs", code="ambiguous-run", hint=f"among them: {listed}")
        if exact:
            ((_, found),) = exact
            if isinstance(found, LedgerError):
                raise found
            return found
        return _named([run for _, run in read if isinstance(run, RunInfo)], name)

    def _read_all(self) -> list[tuple[str, RunInfo | LedgerError]]:
        """Ids and facts of all runs, oldest first. A folder whose ledger was deleted is no run any more."""
        self.require_folder()
        folders = sorted(ledger.parent for ledger in self.runs_path.glob(f"[!.]*/{DATABASE}"))
        read = [(folder.name, _read(folder)) for folder in folders]
        return [(name, run) for name, run in read if isinstance(run, RunInfo) or run.code != "no-ledger"]

    def may_be_going_on(self, run_id: str) -> bool:
        """Whether a run has something open, as far as can be told; one whose folder was deleted has not."""
        folder = self.runs_path / run_id
        if not folder.exists():
            return False
        run = _read(folder)
        if isinstance(run, LedgerError):
            return run.code != "no-ledger"
        return not run.begun or run.unfinished

    def of_line(self, line: Line) -> list[RunInfo]:
        """The runs of a line, oldest first."""
        return [run for run in self.runs() if run.meta.get("line") == line.digest]

    def discard(self, folder: Path) -> None:
        """Remove a run's folder: what was never begun. At once for whoever looks, then whole."""
        gone = folder.with_name(f"{_GONE}{folder.name}")
        with disk_errors(folder):
            folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)  # the next new run removes what is left

    @contextmanager
    def own(self, line: Line, *, trial: bool) -> Iterator[None]:
        """Hold the line: two processes never choose, make or advance a run of one job at the same time."""
        self.create()
        path = self.path / "locks" / f"{line.digest}{'.trial' if trial else ''}.lock"
        with disk_errors(path):
            descriptor = open_private(path, os.O_RDWR | os.O_CREAT)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(descriptor, 64, 0).decode(errors="replace").strip()
                raise LedgerError(
                    f"another process{f' ({holder})' if holder else ''} is running {line.job}",
                    code="locked",
                    hint="wait for it to end, or stop it; `runner show latest` tells how far it is",
                ) from None
            with suppress(OSError):  # on a full disk the name is missing, but the lock is held
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"pid {os.getpid()}".encode(), 0)
            yield
        finally:
            os.close(descriptor)


def _named(runs: Sequence[RunInfo], name: str) -> RunInfo:
    """The last run of a job, or of all. Raises UsageError."""
    if not runs:
        raise UsageError("there are no runs yet", code="no-runs", hint="`runner run JOB` makes the first one")
    named = runs if name == "latest" else [run for run in runs if run.job == name]
    if not named:
        jobs = ", ".join(sorted({run.job for run in runs}))
        raise UsageError(
            f"no run is called {name!r}",
            code="unknown-run",
            hint=f"give a run's id, the beginning of one, `latest`, or a job's name ({jobs}); `runner list` shows them",
        )
    return named[-1]


def store_again(loaded: LoadedJob, inputs: Path) -> None:
    """Keep what of a run's job may change: limits and retry without changing an answer, the output by `revalidate`.
    Each file is replaced whole, so that the run can be gone on with after a kill in between."""
    with disk_errors(inputs), TemporaryDirectory(prefix="inputs-", dir=inputs.parent) as aside:
        loaded.store(Path(aside))
        for path in Path(aside).iterdir():
            path.replace(inputs / path.name)
        sync_entries(inputs)


def require_revalidated(run_id: str, meta: Mapping[str, Any]) -> None:
    """Raise LedgerError for a run of which some replies are judged by its old job, and some by its new one."""
    if meta.get("revalidating"):
        raise LedgerError(
            f"`runner revalidate` of run {run_id} was cut off half-way",
            code="half-revalidated",
            hint=f"`runner revalidate {run_id}` does the rest",
        )
