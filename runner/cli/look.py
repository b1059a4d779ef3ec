"""Commands that look, and send nothing: list, show, revalidate, export."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice
from typing import Annotated

import typer

from runner import execution
from runner.cli.arguments import Format, OutputFormat, RunName, Sets, Variables
from runner.cli.batch_report import batch_details, batch_table, open_in_brief
from runner.cli.failure_report import failed_as_json, failed_lines, none_failed, paged
from runner.cli.project import Project
from runner.cli.report import as_json, lines, sink_text, width_of
from runner.cli.terminal import aligned, counted, plain_text, usd
from runner.clock import SystemClock
from runner.encoding import encode_text, printable
from runner.errors import UsageError
from runner.events import Observers
from runner.ledger import FailedRow


def list_(output: Format = OutputFormat.text) -> int:
    """Show what ran and what runs, newest last."""
    project = Project.here()
    with_reasons = output is OutputFormat.json
    summaries = [execution.read_summary(info, with_reasons=with_reasons) for info in project.state.runs()]
    if output is OutputFormat.json:
        for summary in summaries:
            typer.echo(as_json(summary))
        return 0
    if not summaries:
        typer.echo("no runs yet; `runner run JOB` makes the first one")
        return 0
    at_api = any(map(open_in_brief, summaries))
    head = ("run", "job", "status", "rows", "failed", "open", "cost", "batches" if at_api else "")
    typer.echo("\n".join(aligned([head, *map(_listed, summaries)], right=range(3, 7))))
    for warning in (warning for summary in summaries for warning in summary.warnings):
        typer.echo(f"warning: {plain_text(warning)}")
    return 0


def _listed(summary: execution.Summary) -> tuple[str, ...]:
    counts = summary.counts
    kind = " (simulated)" if summary.simulated else " (trial)" if summary.meta["trial"] else ""
    numbers = (f"{number:,}" for number in (counts.total, counts.failed, counts.open))
    cost, batches = usd(summary.money.spent), open_in_brief(summary)
    return (summary.run_id, plain_text(summary.job), summary.status + kind, *numbers, cost, batches)


def show(
    run_name: RunName = "latest",
    key: Annotated[
        str | None, typer.Option("--key", metavar="KEY", help="One row, with its attempts.", show_default=False)
    ] = None,
    failed: Annotated[
        bool, typer.Option("--failed", help="The rows that failed, expired or were canceled, and why.")
    ] = False,
    kinds: Annotated[
        list[str] | None,
        typer.Option(
            "--kind", metavar="KIND", help="With --failed: only this kind of error. Repeatable.", show_default=False
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, metavar="N", help="With --failed: only the first N.", show_default=False),
    ] = None,
    output: Format = OutputFormat.text,
) -> int:
    """Show one run, its failed rows, or one row of it with prompt, reply and attempts."""
    if failed and key is not None:
        raise UsageError("--failed and --key contradict each other", hint="--key KEY shows all of one row")
    if not failed and (kinds or limit is not None):
        raise UsageError("--kind and --limit choose among failed rows", hint="add --failed")
    project = Project.here()
    info = project.state.find(run_name)
    if failed:
        any_told = _show_failed(execution.read_failed(info, kinds or ()), limit, output)
        if not any_told and output is OutputFormat.text:
            typer.echo(none_failed(execution.read_summary(info, with_reasons=False), chosen=bool(kinds)))
        return 0
    if key is None:
        summary = execution.read_summary(info)
        told = [_as_json(summary)] if output is OutputFormat.json else _shown(summary)
        typer.echo("\n".join(told))
        return 0
    shown = execution.read_row(info, project.settings, key)
    typer.echo(
        printable(encode_text(shown.to_dict())) if output is OutputFormat.json else plain_text(shown.text(), lines=True)
    )
    return 0


def _show_failed(rows: Iterator[FailedRow], limit: int | None, output: OutputFormat) -> bool:
    """One line a row, as they are read; in JSON one object a line. Whether there was any."""
    told, wanted = False, islice(rows, limit)
    for page in paged(failed_as_json(wanted) if output is OutputFormat.json else failed_lines(wanted)):
        typer.echo(page)
        told = True
    if next(rows, None) is not None:
        typer.echo(f"there are more; these are the first {limit:,} (--limit)", err=True)
    return told


def _as_json(summary: execution.Summary) -> str:
    """The summary's object, with more of each batch."""
    told = summary.to_dict()
    told["batches"] = [
        {**fields, **batch_details(batch)} for fields, batch in zip(told["batches"], summary.batches, strict=True)
    ]
    return printable(encode_text(told))


def _shown(summary: execution.Summary) -> list[str]:
    batches = batch_table(summary, SystemClock().now())
    return [*lines(summary, width_of(sys.stdout)), *(["", *batches] if batches else [])]


def revalidate(
    run_name: Annotated[str, typer.Argument(metavar="RUN", help="A run's id, a prefix, a job's name or `latest`.")],
    sets: Sets = None,
    variables: Variables = None,
    output: Format = OutputFormat.text,
) -> int:
    """Judge the replies of a run again by its job file as it is now; sends nothing."""
    project = Project.here()
    done = execution.revalidate_run(
        project.state.find(run_name),
        project.state,
        project.settings,
        project.settings.environment,
        sets=sets or (),
        variables=variables or (),
        observer=Observers(),
    )
    if output is OutputFormat.json:
        typer.echo(printable(encode_text(done.to_dict())))
    else:
        typer.echo(plain_text("\n".join(_revalidated(done)), lines=True))
    return done.summary.exit_status


def _revalidated(done: execution.Revalidated) -> list[str]:
    came_to = done.came_to
    changed = f"{came_to.to_succeeded:,} now succeeded, {came_to.to_failed:,} now failed"
    aside = ", ".join(done.left_aside)
    return [
        f"{counted(came_to.replies, 'reply', 'replies')} judged again: {changed}",
        *([f"left aside, since nothing is sent: {aside}"] if aside else []),
        *lines(done.summary, width_of(sys.stdout)),
    ]


def export(
    run_name: RunName = "latest",
    to: Annotated[
        str | None, typer.Option("--to", metavar="PATH", help="Write there instead; `-` is stdout.", show_default=False)
    ] = None,
    as_: Annotated[
        str | None,
        typer.Option("--as", metavar="FORMAT", help="jsonl, csv, tsv, parquet, arrow or xlsx.", show_default=False),
    ] = None,
) -> int:
    """Write the sinks of a run again, also while it goes on."""
    project = Project.here()
    info = project.state.find(run_name)
    deliveries = execution.export_run(info, project.state, project.settings, to=to, as_=as_)
    for delivery in deliveries:
        typer.echo(plain_text(sink_text(delivery)), err=delivery.kind == "stdout" or delivery.state == "failed")
    return 4 if any(delivery.state == "failed" for delivery in deliveries) else 0
