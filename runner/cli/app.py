"""The commands, in the order in which help shows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated

import typer

import runner
from runner.cli import author, files, look, machine, running

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


_COMMANDS: Mapping[str, Callable[..., int]] = {
    "run": running.run,
    "try": running.try_,
    "check": author.check,
    "plan": author.plan,
    "render": author.render,
    "list": look.list_,
    "show": look.show,
    "resume": running.resume,
    "retry": running.retry,
    "cancel": running.cancel,
    "revalidate": look.revalidate,
    "export": look.export,
    "files": files.files,
    "init": author.init,
    "schema": author.schema,
    "simulate": machine.simulate,
    "doctor": machine.doctor,
}

for _name, _command in _COMMANDS.items():
    # Said outright, because the list of commands would cut a sentence of its docstring off in the middle.
    app.command(_name, short_help=(_command.__doc__ or "").partition("\n")[0])(_command)
