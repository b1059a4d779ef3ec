"""The commands, in the order in which help shows them."""

from __future__ import annotations

from typing import Annotated

import typer

import runner
from runner.cli import author, look, machine, running

app = typer.Typer(
    name="runner",
    help="Run a job file over every row of a dataset, on the Anthropic API.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: drawing it would cost a third of the start-up
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(show: bool) -> None:
    if show:
        typer.echo(f"runner {runner.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


app.command("run")(running.run)
app.command("try")(running.try_)
app.command("check")(author.check)
app.command("plan")(author.plan)
app.command("render")(author.render)
app.command("list")(look.list_)
app.command("show")(look.show)
app.command("resume")(running.resume)
app.command("retry")(running.retry)
app.command("export")(look.export)
app.command("init")(author.init)
app.command("schema")(author.schema)
app.command("simulate")(machine.simulate)
app.command("doctor")(machine.doctor)
