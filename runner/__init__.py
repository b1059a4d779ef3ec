"""runner: a declarative job runner for the Anthropic API.

    import runner
    result = runner.run("jobs/review-sentiment.yaml", set={"limits.max_cost_usd": 1})
    for record in result.records(): ...

This is the front door, and lazy: a name is imported when it is first used.

Behind it, top down; each imports what stands below it only, and `execution` is where the parts meet
(`docs/architecture.md`):

    cli             arguments to calls, exceptions to exit status, events to a display
    execution       the order of things: the table of contents of a row's life
    engines         when a request is sent
    planning        what is sent
    replies         what an answer is worth
    spec            the job as its user wrote it
    datasets        where rows come from
    providers       who answers a request
    ledger          what has happened to every row
    sinks           where records go
    simulator       the stand-in for the API
    templating      texts from templates and values
    catalog         what is known of models, prices and parameters
    media           images and documents, by their bytes
    databases       from a connection to an engine
    tools           functions that a model may call
    plugins         which class stands behind a kind of dataset, sink or provider
    settings        of the machine and the project
    events, clock   what happens, told to observers; time
    message         the API's message object
    rounds          what was asked again within a turn
    connections     databases by URL or name
    statements      SQL as far as it has to be read
    storage         files by URL
    values, column_types    what a row may hold, and what all values of a column are
    extras          libraries that are not in every installation
    errors          what stops a command
    encoding        the one way in which a JSON value is written
    deferred        modules that are loaded when they are first used
    scratch         folders that go with their process
    types           the nouns, which every layer may name

Beside them `testing`, suites for authors of plugins, and `examples`, the starter project.
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
