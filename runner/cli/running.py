"""Commands that send, or take back: run, try, resume, retry, cancel."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from runner import execution
from runner.cli import garbage
from runner.cli.arguments import (
    Deliver,
    Detach,
    Format,
    JobMode,
    JobPath,
    JobPaths,
    Keys,
    Limit,
    OutputFormat,
    Profile,
    Sets,
    Simulate,
    Variables,
    Yes,
    sets_with_mode,
)
from runner.cli.display import open_display
from runner.cli.patience import Patience
from runner.cli.project import Project
from runner.cli.report import as_json, print_summary, tell, worst
from runner.cli.terminal import plain_text
from runner.clock import SystemClock
from runner.errors import RunnerError, UsageError
from runner.events import Observer, Observers

Item = TypeVar("Item")
_ANSWERS = {"y": True, "yes": True, "n": False, "no": False, "": False}
_PIECE_S = 0.2
"""Too short to be noticed by who has pressed Ctrl-C."""


def run(
    jobs: JobPaths,
    sets: Sets = None,
    variables: Variables = None,
    profile: Profile = None,
    mode: JobMode = None,
    limit: Limit = None,
    keys: Keys = None,
    new: Annotated[
        bool, typer.Option("--new", help="Start a new run beside an unfinished one of a job that changed.")
    ] = False,
    no_reuse: Annotated[bool, typer.Option("--no-reuse", help="Pay again for replies that there are.")] = False,
    yes: Yes = False,
    simulate: Simulate = False,
    deliver: Deliver = False,
    detach: Detach = False,
    output: Format = OutputFormat.text,
    summary_file: Annotated[
        Path | None,
        typer.Option("--summary", metavar="FILE", help="Also write the summary there, as JSON.", show_default=False),
    ] = None,
) -> int:
    """Run jobs: go on with an unfinished run, or send what has no answer yet."""
    options = execution.RunOptions(
        sets=sets_with_mode(sets, mode),
        variables=variables or (),
        profile=profile,
        limit=limit,
        keys=tuple(keys or ()),
        new=new,
        reuse=not no_reuse,
        yes=yes,
        simulate=simulate,
        deliver=deliver,
        detach=detach,
        refuse_stdout=output is OutputFormat.json,
    )
    run_job = execution.run_job  # loads it
    return _each(
        jobs,
        lambda job, observer: run_job(job, options, observer=observer, confirm=_confirm()),
        output,
        summary_file,
    )


def try_(
    job: JobPath,
    rows: Annotated[int, typer.Option("-n", min=1, metavar="N", help="How many rows.")] = 3,
    keys: Keys = None,
    sets: Sets = None,
    variables: Variables = None,
    profile: Profile = None,
    yes: Yes = False,
    simulate: Simulate = False,
) -> int:
    """Send a few rows, and show prompt, reply and cost of each."""
    options = execution.RunOptions(
        sets=sets or (),
        variables=variables or (),
        profile=profile,
        limit=None if keys else rows,
        keys=tuple(keys or ()),
        yes=yes,
        simulate=simulate,
        trial=True,
    )
    project = Project.of(job)
    patience = Patience()
    with patience.around():
        with open_display(sys.stderr, SystemClock(), os.environ) as display:
            summary = execution.run_job(job, options, observer=Observers(display, patience), confirm=_confirm())
        for shown in execution.conversations(project.state, project.settings, summary.run_id):
            typer.echo(plain_text(shown, lines=True))
        print_summary(summary, OutputFormat.text)
    return summary.exit_status


def resume(
    run_name: Annotated[
        str | None,
        typer.Argument(metavar="RUN", help="A run's id, a prefix, a job's name or `latest`. Default: all open runs."),
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Do what is due and leave the rest at the API; exits 6 while any is there.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Follow a detached run to its end.")] = False,
    resend: Annotated[
        bool,
        typer.Option(
            "--resend", help="Send again what is in doubt, or missing in results: it may be paid for a second time."
        ),
    ] = False,
    output: Format = OutputFormat.text,
) -> int:
    """Go on with an unfinished run, as the job was when it began."""
    if detach and wait:
        raise UsageError("--detach and --wait contradict each other")
    if resend and not run_name:
        raise UsageError("--resend takes the run that it is about", hint="`runner list` shows them")
    project = Project.here()
    runs = (
        [project.state.find(run_name)]
        if run_name
        else [info for info in project.state.runs() if info.unfinished and not info.trial]
    )
    if not runs:
        typer.echo("no run is open", err=True)
        return 0
    return _each(
        runs,
        lambda info, observer: execution.resume_run(
            info,
            project.state,
            project.settings,
            project.settings.environment,
            # of all open runs, those of parallel mode are simply gone on with
            how=execution.Resume(detach and (bool(run_name) or info.meta["mode"] == "batch"), wait, resend),
            observer=observer,
        ),
        output,
    )


def retry(
    run_name: Annotated[str, typer.Argument(metavar="RUN", help="A run's id, a prefix, a job's name or `latest`.")],
    kinds: Annotated[
        list[str] | None,
        typer.Option(
            "--kind",
            metavar="KIND",
            help="Only rows that failed with this kind of error. Repeatable.",
            show_default=False,
        ),
    ] = None,
    keys: Annotated[
        list[str] | None,
        typer.Option("--key", metavar="KEY", help="Only the row with this key. Repeatable.", show_default=False),
    ] = None,
    output: Format = OutputFormat.text,
) -> int:
    """Send the failed rows of a run again."""
    project = Project.here()
    info = project.state.find(run_name)
    return _each(
        [info],
        lambda found, observer: execution.retry_run(
            found,
            project.state,
            project.settings,
            project.settings.environment,
            kinds=kinds or (),
            keys=keys or (),
            observer=observer,
        ),
        output,
    )


def cancel(
    run_name: Annotated[str, typer.Argument(metavar="RUN", help="A run's id, a prefix, a job's name or `latest`.")],
    detach: Annotated[
        bool, typer.Option("--detach", help="Do not wait until the batches have ended; exits 6 while any has not.")
    ] = False,
    output: Format = OutputFormat.text,
) -> int:
    """Cancel a run: take back what is at the API, and keep what finished."""
    project = Project.here()
    info = project.state.find(run_name)
    return _each(
        [info],
        lambda found, observer: execution.cancel_run(
            found, project.state, project.settings, project.settings.environment, detach=detach, observer=observer
        ),
        output,
    )


def _each(
    items: Sequence[Item],
    act: Callable[[Item, Observer], execution.Summary],
    output: OutputFormat,
    summary_file: Path | None = None,
) -> int:
    """One after another; a job that cannot run is told and does not keep the others from running."""
    garbage.while_running()
    _require_folder(summary_file)
    statuses = []
    summaries: list[str] = []
    patience = Patience()
    with patience.around():
        for item in items:
            try:
                with open_display(sys.stderr, SystemClock(), os.environ) as display:
                    summary = act(item, Observers(display, patience))
            except UsageError:
                raise
            except RunnerError as error:
                tell(error)
                statuses.append(error.exit_status)
                continue
            print_summary(summary, output)
            if summary_file is not None:
                summaries.append(as_json(summary) + "\n")
                summary_file.write_text("".join(summaries), encoding="utf-8")
            statuses.append(summary.exit_status)
            if summary.status == "interrupted":
                break
    return worst(statuses)


def _require_folder(summary_file: Path | None) -> None:
    """Said before anything is paid."""
    if summary_file is not None and (summary_file.is_dir() or not summary_file.absolute().parent.is_dir()):
        raise UsageError(f"cannot write {summary_file}", hint="--summary takes a file in a folder that is there")


def _confirm() -> Callable[[str], bool] | None:
    """Asks on the terminal; None where there is none (no command asks then)."""
    if not sys.stdin.isatty():
        return None
    return _ask


def _ask(question: str) -> bool:
    """A person's yes or no. Raises typer.Abort at the end of the input.

    Python's `input` misses a Ctrl-C that comes just before it begins to wait, and waits on; so the waiting is cut into
    pieces here, between which signals are taken.
    """
    while True:
        typer.echo(f"{question} [y/N]: ", nl=False, err=True)
        while not select.select([sys.stdin], [], [], _PIECE_S)[0]:
            pass
        answer = sys.stdin.readline()
        if not answer:
            raise typer.Abort
        said = answer.strip().lower()
        if said in _ANSWERS:
            return _ANSWERS[said]
