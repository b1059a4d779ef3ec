"""Commands for writing jobs: check, plan, render, init, schema."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from runner import execution
from runner.cli.arguments import (
    Format,
    JobMode,
    JobPath,
    Keys,
    Limit,
    OutputFormat,
    Profile,
    Sets,
    Simulate,
    Variables,
    sets_with_mode,
)
from runner.cli.report import plan_lines, width_of
from runner.cli.terminal import plain_text
from runner.clock import SystemClock
from runner.encoding import encode_text, printable
from runner.errors import Problem, UsageError, render_problem, render_problems
from runner.settings import find_root
from runner.types import Failure


def check(
    jobs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="JOB", help="Job files. Default: all in jobs/.", show_default=False),
    ] = None,
    data: Annotated[
        bool,
        typer.Option("--data", help="Also read and render every row, and its later turns where they need no reply."),
    ] = False,
    profile: Profile = None,
    output: Format = OutputFormat.text,
) -> int:
    """Say everything that is wrong with jobs, as far as local files show: no key, no connection."""
    checked = execution.check_jobs(jobs or _all_jobs(), profile=profile, data=data, clock=SystemClock())
    for found in checked:
        if output is OutputFormat.json:
            problems = [problem.to_dict() for problem in found.problems]
            typer.echo(
                printable(
                    encode_text(
                        {"format": 1, "job_file": str(found.path), "ok": not found.failed, "problems": problems}
                    )
                )
            )
            continue
        for block in render_problems(found.problems):
            typer.echo(plain_text(block, lines=True) + "\n", err=True)
        typer.echo(f"{found.path}: {_verdict(found.problems)}")
    return 3 if any(found.failed for found in checked) else 0


def _verdict(problems: Sequence[Problem]) -> str:
    errors = sum(problem.severity == "error" for problem in problems)
    warnings = len(problems) - errors
    parts = [
        f"{number} {word}{'s' if number > 1 else ''}"
        for number, word in ((errors, "error"), (warnings, "warning"))
        if number
    ]
    return ", ".join(parts) or "ok"


def _all_jobs() -> list[Path]:
    folder = find_root(Path.cwd()) / "jobs"
    found = sorted(
        path for pattern in ("*.yaml", "*.yml") for path in folder.glob(pattern) if not path.name.startswith("_")
    )
    if not found:
        raise UsageError("there are no job files in jobs/", hint="name them, or make a project with `runner init`")
    return [path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path for path in found]


def plan(
    job: JobPath,
    sets: Sets = None,
    variables: Variables = None,
    profile: Profile = None,
    mode: JobMode = None,
    limit: Limit = None,
    keys: Keys = None,
    no_reuse: Annotated[bool, typer.Option("--no-reuse", help="As if there were no earlier answers.")] = False,
    simulate: Simulate = False,
    output: Format = OutputFormat.text,
) -> int:
    """Say what a run would send and cost, and send nothing."""
    options = execution.RunOptions(
        sets=sets_with_mode(sets, mode),
        variables=variables or (),
        profile=profile,
        limit=limit,
        keys=tuple(keys or ()),
        reuse=not no_reuse,
        simulate=simulate,
    )
    planned = execution.plan_job(job, options)
    if output is OutputFormat.json:
        typer.echo(printable(encode_text(planned.to_dict())))
        return 0
    for problem in planned.warnings:
        typer.echo(plain_text(render_problem(problem), lines=True) + "\n", err=True)
    typer.echo("\n".join(plan_lines(planned, width_of(sys.stdout))))
    return 0


def render(
    job: JobPath,
    sets: Sets = None,
    variables: Variables = None,
    profile: Profile = None,
    mode: JobMode = None,
    limit: Limit = None,
    keys: Keys = None,
) -> int:
    """Write the exact request bodies to stdout, one JSON a line."""
    options = execution.RunOptions(
        sets=sets_with_mode(sets, mode),
        variables=variables or (),
        profile=profile,
        limit=limit,
        keys=tuple(keys or ()),
    )
    failed = False
    for row, request in execution.render_job(job, options):
        if isinstance(request, Failure):
            failed = True
            typer.echo(f"row {plain_text(row.key)}: {request.kind}: {plain_text(request.message)}", err=True)
        else:
            sys.stdout.buffer.write(request.body + b"\n")
    sys.stdout.buffer.flush()
    return 3 if failed else 0


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to make the project.")] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
) -> int:
    """Make a project to start from: jobs with their templates and data."""
    made = execution.make_project(folder, force=force)
    typer.echo(f"made {len(made)} files in {folder}")
    enter = f"  cd {folder}\n" if folder != Path() else ""
    typer.echo(f"try it without a key:\n{enter}  runner run jobs/sentiment.yaml --simulate")
    return 0


def schema(
    write: Annotated[bool, typer.Option("--write", help="Write jobs/job.schema.json of this project.")] = False,
) -> int:
    """Show the JSON Schema of job files, for editors."""
    if write:
        typer.echo(f"wrote {execution.write_schema(find_root(Path.cwd()))}")
    else:
        typer.echo(execution.schema_text(), nl=False)
    return 0
