"""Commands that look: list, show, export."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from runner import execution
from runner.cli.arguments import Format, OutputFormat, RunName
from runner.cli.display import open_display
from runner.cli.project import Project
from runner.cli.report import lines
from runner.cli.terminal import plain_text, usd
from runner.clock import SystemClock
from runner.encoding import encode_text, printable


def list_(output: Format = OutputFormat.text) -> int:
    """Show what ran and what runs, newest last."""
    project = Project.here()
    summaries = [execution.read_summary(info) for info in project.state.runs()]
    if output is OutputFormat.json:
        for summary in summaries:
            typer.echo(printable(encode_text(summary.to_dict())))
        return 0
    if not summaries:
        typer.echo("no runs yet; `runner run JOB` makes the first one")
        return 0
    table = Table("run", "job", "status", "rows", "failed", "open", "cost", box=SIMPLE_HEAD, pad_edge=False)
    for summary in summaries:
        counts = summary.counts
        status = summary.status + (" (simulated)" if summary.simulated else " (trial)" if summary.meta["trial"] else "")
        table.add_row(
            summary.run_id,
            summary.job,
            status,
            f"{counts.total:,}",
            f"{counts.failed:,}",
            f"{counts.open:,}",
            usd(summary.money.spent),
        )
    Console().print(table)
    return 0


def show(
    run_name: RunName = "latest",
    key: Annotated[
        str | None, typer.Option("--key", metavar="KEY", help="One row, with its attempts.", show_default=False)
    ] = None,
    output: Format = OutputFormat.text,
) -> int:
    """Show one run, or one row of it with prompt, reply and attempts."""
    project = Project.here()
    info = project.state.find(run_name)
    if key is None:
        summary = execution.read_summary(info)
        typer.echo(
            printable(encode_text(summary.to_dict())) if output is OutputFormat.json else "\n".join(lines(summary))
        )
        return 0
    shown = execution.read_row(info, project.settings, key)
    typer.echo(
        printable(encode_text(shown.to_dict())) if output is OutputFormat.json else plain_text(shown.text(), lines=True)
    )
    return 0


def export(
    run_name: RunName = "latest",
    to: Annotated[
        str | None, typer.Option("--to", metavar="PATH", help="Write there instead; `-` is stdout.", show_default=False)
    ] = None,
    as_: Annotated[
        str | None, typer.Option("--as", metavar="FORMAT", help="jsonl, csv or tsv.", show_default=False)
    ] = None,
) -> int:
    """Write the sinks of a run again, also while it goes on."""
    project = Project.here()
    info = project.state.find(run_name)
    with open_display(sys.stderr, SystemClock(), os.environ) as display:
        deliveries = execution.export_run(info, project.state, project.settings, to=to, as_=as_, observer=display)
    return 4 if any(delivery.state == "failed" for delivery in deliveries) else 0
