"""runner: a declarative job runner for the Anthropic API.

    import runner
    result = runner.run("jobs/review-sentiment.yaml", set={"limits.max_cost_usd": 1})
    for record in result.records(): ...

This is the front door, and lazy: a name is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str

    from runner.errors import RunnerError as RunnerError
    from runner.execution.python import Result as Result
    from runner.execution.python import arun as arun
    from runner.execution.python import load as load
    from runner.execution.python import plan as plan
    from runner.execution.python import resume as resume
    from runner.execution.python import revalidate as revalidate
    from runner.execution.python import run as run
    from runner.types import Failure as Failure
    from runner.types import Record as Record
    from runner.types import Row as Row
    from runner.types import Usage as Usage

_HOMES = {
    "Failure": "types",
    "Record": "types",
    "Result": "execution.python",
    "Row": "types",
    "RunnerError": "errors",
    "Usage": "types",
    "arun": "execution.python",
    "load": "execution.python",
    "plan": "execution.python",
    "resume": "execution.python",
    "revalidate": "execution.python",
    "run": "execution.python",
}

__all__ = ["__version__"]
__all__ += list(_HOMES)

DISTRIBUTION = "rowrunner"
"""The name on the package index (`runner` is taken there); every install hint is made from it."""


if not TYPE_CHECKING:  # a type checker would take every name for granted

    def __getattr__(name: str) -> Any:
        if name == "__version__":
            return importlib.import_module("importlib.metadata").version(DISTRIBUTION)
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module 'runner' has no attribute {name!r}")
        return getattr(importlib.import_module(f"runner.{home}"), name)
