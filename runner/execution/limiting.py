"""The limits of a run: its own ceilings, and the pool of the key that it shares with other runs of this machine.

Owns   whose limits they are (the credential, the address and the line of models), and the folder of their files.
Knows  the environment that a provider is made from. A credential leaves it only as a part of a `Scope`, which makes a
       salted digest of it.

Nothing is shared by a stand-in that a command starts for itself: nobody else can reach it. A server on this machine is
shared while runs are at it, and forgotten with the last of them.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct

from runner.catalog.models import model_of_platform
from runner.clock import Clock
from runner.engines.limits import Ceilings, Limits
from runner.engines.pacing import Pool
from runner.engines.pool_file import Scope
from runner.engines.shared_pool import SharedPool, open_pool
from runner.errors import RunnerError
from runner.events import Observer, Warned
from runner.execution.api import SIMULATOR, Api
from runner.execution.assignment import part_of
from runner.providers.credentials import find_credentials
from runner.settings import Settings
from runner.spec.job import Job

_LINE = re.compile(r"^(?:claude-)?(opus|sonnet)(?:-|$)")
"""Models that share one pool (rate-limits page, October 2026: Opus 4.x to 5.5, Sonnet 4.x to 5.5). Of others nothing is
known, so that each has its own."""
_DATED = re.compile(r"-\d{8}$")
_WHOSE = ("anthropic-workspace-id", "authorization", "x-api-key")
"""Headers of one's own that say whose a request is. Others, such as a trace's id, may differ from run to run."""
_HERE = re.compile(r"localhost|127\.\d+\.\d+\.\d+|::1")


class Among(Struct, frozen=True):
    """Several processes that work at one run: which of them this is. They keep to the job's ceilings together.
    `number` counts from 0 to `of` - 1."""

    run_id: str
    number: int
    of: int

    def part(self, ceilings: Ceilings) -> Ceilings:
        """What one of them keeps to where they cannot keep to the whole together."""
        whole = (ceilings.requests, ceilings.input_tokens, ceilings.output_tokens)
        return Ceilings(*(limit and max(1, part_of(limit, self.number, self.of)) for limit in whole))


def make_limits(
    job: Job, settings: Settings, api: Api, clock: Clock, observer: Observer, *, among: Among | None = None
) -> Limits:
    """The limits of one pass over a run. Close them when it ends.

    Args:
        among: the place of this process, where several work at the run.
    """
    limits = job.limits
    ceilings = Ceilings(limits.requests_per_minute, limits.input_tokens_per_minute, limits.output_tokens_per_minute)
    warn = _warner(observer)
    # Fast mode has limits of its own (fast-mode guide, "Rate limits").
    line = f"fast {line_of(job.model)}" if job.params.get("speed") == "fast" else job.model
    pool = _pool(settings, api, line, clock, warn)
    own = ceilings.pool()
    if own is not None and among is not None:
        own = _shared_ceilings(folder_of(settings), among, ceilings, clock, warn)
    return Limits(limits.max_concurrency, clock, pool=pool, ceilings=own)


def scope_of(api: Api, model: str) -> Scope | None:
    """Whose limits a job of this model (or line) meets; None where they are nobody else's, or there is no
    credential."""
    if api.address == SIMULATOR:
        return None
    host = urlsplit(api.address).hostname or ""
    is_lasting = _HERE.fullmatch(host) is None
    if not api.is_own:
        owner = api.options.owner(api.environ)
        return None if owner is None else Scope((line_of(model), api.address, *owner), is_lasting=is_lasting)
    try:
        found = find_credentials(api.environ)
    except RunnerError:
        return None  # what is wrong is told where a provider is made
    federation = found.federation
    who = (found.kind, found.value, federation.rule_id if federation is not None else "", found.workspace or "")
    named = {name.lower(): value for name, value in found.headers.items()}
    headers = tuple(f"{name}: {named[name]}" for name in _WHOSE if name in named)
    return Scope((line_of(model), api.address, *who, *headers), is_lasting=is_lasting)


def line_of(model: str) -> str:
    """The models that share limits with this one, by a name of their own."""
    model = model_of_platform(model) or model
    line = _LINE.match(model)
    return line.group(1) if line else _DATED.sub("", model)


def folder_of(settings: Settings) -> Path | None:
    """Where the files of limits are; None where nothing is shared.

    A place that belongs to one user and one machine: limits are no project's, and a lock on a network file system
    would be slow or none.
    """
    if settings.limits_dir == OFF:
        return None
    if settings.limits_dir is not None:
        return settings.limits_dir
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR", ""))
    if runtime.is_absolute() and runtime.is_dir():
        return runtime / "rowrunner"
    return Path(tempfile.gettempdir()) / f"rowrunner-{os.getuid()}"


OFF = Path("/off")
"""The value of the setting `limits_dir` that shares nothing."""


def _pool(settings: Settings, api: Api, model: str, clock: Clock, warn: Callable[[str], None]) -> Pool | None:
    folder, scope = folder_of(settings), scope_of(api, model)
    return None if folder is None or scope is None else open_pool(folder, scope, clock, warn)


def _shared_ceilings(
    folder: Path | None, among: Among, ceilings: Ceilings, clock: Clock, warn: Callable[[str], None]
) -> Pool | None:
    part = among.part(ceilings)
    if folder is None:
        return part.pool()
    scope = Scope(("run", among.run_id), is_lasting=False)
    try:
        return SharedPool(folder, scope, clock, warn, prepare=ceilings.apply, fall_back=part.apply)
    except OSError as error:
        warn(f"each process keeps to its part of the job's ceilings: `{folder}`: {error.strerror or error}")
        return part.pool()


def _warner(observer: Observer) -> Callable[[str], None]:
    return lambda message: observer.notify(Warned("limits-not-shared", message))
