"""runner from Python: the same verbs as the command line, with values instead of text."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from runner.encoding import encode_text
from runner.events import Observer, Observers
from runner.execution.asked import RunOptions
from runner.execution.column_notes import COLUMNS, types_in
from runner.execution.converge import run_job
from runner.execution.folders import StateFolder
from runner.execution.planned import Plan, plan_job
from runner.execution.reasons import FailureReason
from runner.execution.records import record_maker, to_usd
from runner.execution.resuming import resume_run
from runner.execution.revalidating import Revalidated, revalidate_run
from runner.execution.summary import Summary
from runner.execution.targets import sink_context
from runner.extras import require
from runner.ledger import Counts
from runner.ledger.sqlite import SqliteLedger
from runner.settings import Settings, find_root, load_settings
from runner.sinks.in_memory import arrow_table
from runner.spec.load import LoadedJob
from runner.spec.load import load as load_job
from runner.types import Record

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa


class Result(Struct, frozen=True):
    """How a run stands. `records` reads them from the run's folder, each time anew."""

    summary: Summary
    settings: Settings
    revalidated: Revalidated | None = None
    """What `revalidate` came to; None of other verbs."""

    @property
    def run_id(self) -> str:
        return self.summary.run_id

    @property
    def status(self) -> str:
        """`finished`, `stopped` or `interrupted`; `waiting` where a detached run has left work at the API."""
        return self.summary.status

    @property
    def rows(self) -> Counts:
        return self.summary.counts

    @property
    def failure_reasons(self) -> Sequence[FailureReason]:
        """Why rows failed: the commonest kinds, most frequent first, each with an example."""
        return self.summary.reasons

    @property
    def cost_usd(self) -> float | None:
        """What the run has cost; None where a price is not known."""
        return None if self.summary.money.unpriced else to_usd(self.summary.money.spent)

    def records(self) -> Iterator[Record]:
        """One record for every selected row, in the dataset's order; bounded memory."""
        info = StateFolder(self.settings.state_dir).find(self.summary.run_id)
        loaded = info.stored_job(self.settings, sends=False)
        ledger = SqliteLedger.open(info.folder, read_only=True)
        try:
            yield from record_maker(info, loaded).records(ledger)
        finally:
            ledger.close()

    def to_arrow(self) -> pa.Table:
        """The records as an Arrow table, with the columns and types that a parquet file of them has; all in memory.

        Raises SetupError where pyarrow is missing, SpecError where a column of the dataset is named like one of the
        record's, as a table's is.
        """
        return self._table("result.to_arrow()")

    def to_pandas(self, **options: Any) -> pd.DataFrame:
        """The same as a pandas data frame; `options` are those of `pyarrow.Table.to_pandas`. Raises SetupError too
        where pandas is missing."""
        require("pandas", "result.to_pandas()")
        frame: pd.DataFrame = self._table("result.to_pandas()").to_pandas(**options)
        return frame

    def to_polars(self) -> pl.DataFrame:
        """The same as a polars data frame. Raises SetupError too where polars is missing."""
        require("polars", "result.to_polars()")
        import polars as pl

        return pl.DataFrame(self._table("result.to_polars()"))

    def _table(self, what: str) -> pa.Table:
        info = StateFolder(self.settings.state_dir).find(self.summary.run_id)
        loaded = info.stored_job(self.settings, sends=False)
        context = sink_context(loaded, tuple(info.meta.get(COLUMNS, ())), types=types_in(info.meta))
        return arrow_table(replace(context, records=self.records), what)


def run(
    job: str | Path,
    *,
    set: Mapping[str, Any] | None = None,
    vars: Mapping[str, Any] | None = None,
    profile: str | None = None,
    limit: int | None = None,
    keys: Sequence[str] = (),
    new: bool = False,
    reuse: bool = True,
    yes: bool = False,
    simulate: bool = False,
    deliver: bool = False,
    detach: bool = False,
    observer: Observer | None = None,
) -> Result:
    """Run a job, as `runner run` does: go on with its unfinished run, or send what has no answer yet.

    `set` and `vars` are as `--set` and `--var`, with JSON values. Nobody is asked: above `confirm_above_usd` a run
    needs a cap or `yes`.

    Raises:
        RunnerError: what keeps the run from starting or going on, as on the command line. A run that stops part-way
            is no exception: look at `status`.
    """
    path = Path(job)
    options = RunOptions(
        sets=_assignments(set),
        variables=_assignments(vars),
        profile=profile,
        limit=limit,
        keys=tuple(keys),
        new=new,
        reuse=reuse,
        yes=yes,
        simulate=simulate,
        deliver=deliver,
        detach=detach,
    )
    summary = run_job(path, options, observer=observer or Observers(), confirm=None)
    return Result(summary, load_settings(find_root(path)))


async def arun(job: str | Path, **options: Any) -> Result:
    """The same as `run`, from a running loop: the run has a thread, and a loop, of its own."""
    return await asyncio.to_thread(run, job, **options)


def resume(run: str, *, folder: str | Path = ".", observer: Observer | None = None) -> Result:
    """Go on with an unfinished run of the project that `folder` belongs to; `run` as on the command line."""
    settings = load_settings(find_root(Path(folder)))
    state = StateFolder(settings.state_dir)
    return Result(
        resume_run(state.find(run), state, settings, settings.environment, observer=observer or Observers()), settings
    )


def revalidate(
    run: str,
    *,
    folder: str | Path = ".",
    set: Mapping[str, Any] | None = None,
    vars: Mapping[str, Any] | None = None,
    observer: Observer | None = None,
) -> Result:
    """Judge the replies of a run again, by its job file as it is now; sends nothing. `run` as on the command line."""
    settings = load_settings(find_root(Path(folder)))
    state = StateFolder(settings.state_dir)
    done = revalidate_run(
        state.find(run),
        state,
        settings,
        settings.environment,
        sets=_assignments(set),
        variables=_assignments(vars),
        observer=observer or Observers(),
    )
    return Result(done.summary, settings, done)


def plan(
    job: str | Path,
    *,
    set: Mapping[str, Any] | None = None,
    vars: Mapping[str, Any] | None = None,
    profile: str | None = None,
) -> Plan:
    """Render every row and say what a run would send and cost; sends nothing."""
    return plan_job(Path(job), RunOptions(sets=_assignments(set), variables=_assignments(vars), profile=profile))


def load(
    job: str | Path,
    *,
    set: Mapping[str, Any] | None = None,
    vars: Mapping[str, Any] | None = None,
    profile: str | None = None,
) -> LoadedJob:
    """Read a job file with everything it names. Raises SpecError with all problems at once."""
    return load_job(Path(job), sets=_assignments(set), variables=_assignments(vars), profile=profile)


def _assignments(values: Mapping[str, Any] | None) -> list[str]:
    return [f"{name}={encode_text(value)}" for name, value in (values or {}).items()]
