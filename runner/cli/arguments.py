"""Arguments and options that several commands share, each described once."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class OutputFormat(StrEnum):
    text = "text"
    json = "json"


class ModeName(StrEnum):
    auto = "auto"
    batch = "batch"
    parallel = "parallel"


JobPath = Annotated[Path, typer.Argument(metavar="JOB", help="A job file.", show_default=False)]
JobPaths = Annotated[list[Path], typer.Argument(metavar="JOB", help="Job files.", show_default=False)]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, a prefix of one, a job's name, or `latest`.")]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="A.B=C",
        help="Override a value of the job, for example limits.max_cost_usd=1.",
        show_default=False,
    ),
]
Variables = Annotated[
    list[str] | None, typer.Option("--var", metavar="NAME=VALUE", help="Give a template variable.", show_default=False)
]
JobMode = Annotated[
    ModeName | None, typer.Option("--mode", metavar="MODE", help="auto, batch or parallel.", show_default=False)
]
Profile = Annotated[str | None, typer.Option(metavar="NAME", help="Use a profile of runner.toml.", show_default=False)]
Limit = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Only the first N selected rows: a trial.", show_default=False)
]
Keys = Annotated[
    list[str] | None,
    typer.Option("--key", metavar="KEY", help="Only the row with this key: a trial. Repeatable.", show_default=False),
]
Format = Annotated[OutputFormat, typer.Option("--format", help="What stdout has: a summary for people, or JSON.")]
Simulate = Annotated[
    bool, typer.Option("--simulate", help="Send to the stand-in API: no key, no cost, made-up answers.")
]
Deliver = Annotated[bool, typer.Option("--deliver", help="Let a trial write to the job's own sinks.")]
Detach = Annotated[
    bool, typer.Option("--detach", help="Submit what can be submitted, leave it at the API, and exit 6.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask about the cost.")]


def sets_with_mode(sets: Sequence[str] | None, mode: ModeName | None) -> list[str]:
    """`--mode` is short for `--set mode=…`, and the stronger of the two."""
    return [*(sets or ()), *([f"mode={mode}"] if mode else ())]
