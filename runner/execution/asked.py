"""What `runner run` was asked for, and what it is done with: the values that the making of runs shares.

Owns   the flags of a run, and what tells the runs of a job apart that ask for the same rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from msgspec import Struct

from runner.clock import Clock
from runner.events import Observer
from runner.execution.api import Api
from runner.execution.confirm import Confirm
from runner.execution.enrolment import Trial
from runner.execution.folders import Line, RunInfo, StateFolder
from runner.spec.load import LoadedJob


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What `runner run` takes beside the job, by the names of its flags."""

    sets: Sequence[str] = ()
    variables: Sequence[str] = ()
    profile: str | None = None
    limit: int | None = None
    keys: Sequence[str] = ()
    new: bool = False
    reuse: bool = True
    yes: bool = False
    simulate: bool = False
    deliver: bool = False
    trial: bool = False
    detach: bool = False
    """Submit what can be submitted, and leave it at the API."""
    refuse_stdout: bool = False
    """stdout is taken by `--format json`: a job with a stdout sink is refused."""
    environ: Mapping[str, str] | None = field(default=None, repr=False)

    @property
    def narrowing(self) -> Trial:
        return Trial(self.limit, tuple(self.keys))

    @property
    def is_trial(self) -> bool:
        """Trials never touch production (docs/glossary.md)."""
        return self.trial or self.simulate or self.narrowing.narrows

    @property
    def selection(self) -> list[object]:
        """What a run's meta keeps of which rows were asked for."""
        return [self.limit, list(self.keys)]

    def ask_for(self, info: RunInfo) -> bool:
        """Whether a run was asked for in the same way: the same rows and, of a trial, the same sinks."""
        same_rows = bool(info.meta["selection"] == self.selection)
        return same_rows and (not info.trial or info.meta["deliver"] == self.deliver)


class Asked(Struct, frozen=True):
    """One job that is to be converged, at an API that was reached."""

    loaded: LoadedJob
    options: RunOptions
    state: StateFolder
    api: Api
    line: Line
    observer: Observer
    confirm: Confirm | None
    clock: Clock
