"""Commands about this machine: simulate, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from runner import execution
from runner.cli.arguments import Format, OutputFormat
from runner.cli.project import Project
from runner.cli.terminal import plain_text
from runner.clock import SystemClock
from runner.deferred import deferred
from runner.encoding import encode_text, printable
from runner.errors import UsageError

if TYPE_CHECKING:
    from runner import simulator
else:
    simulator = deferred("runner.simulator")  # one command of seventeen needs it

_FAULT_HELP = "A share of requests goes wrong: 529=0.05, or in batches batch_row:529=0.05."
_MARKS = {"ok": "ok     ", "warning": "warning", "error": "ERROR  "}


def simulate(
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="PORT", help="0 lets the system choose.")] = 8787,
    state: Annotated[
        Path | None,
        typer.Option(
            "--state",
            metavar="DIR",
            help="Where accounts are kept. Default: the project's state folder.",
            show_default=False,
        ),
    ] = None,
    key: Annotated[str, typer.Option(metavar="KEY", help="The credential it accepts; `*` for any.")] = "*",
    latency: Annotated[
        str, typer.Option(metavar="TIME", help="How long a reply takes: 200ms, lognormal:800ms.")
    ] = "0ms",
    rpm: Annotated[int | None, typer.Option(min=1, metavar="N", help="Requests a minute.", show_default=False)] = None,
    itpm: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Input tokens a minute.", show_default=False)
    ] = None,
    otpm: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Output tokens a minute.", show_default=False)
    ] = None,
    faults: Annotated[
        list[str] | None,
        typer.Option("--fault", metavar="[PLACE:]KIND=RATE", help=_FAULT_HELP, show_default=False),
    ] = None,
    batch_latency: Annotated[str, typer.Option(metavar="TIME", help="How long a batch takes.")] = "1s",
    batch_start: Annotated[
        Literal["at_once", "staggered"],
        typer.Option(help="Whether requests of a batch read what others of it wrote to the cache: none, or most."),
    ] = "staggered",
    batch_queue: Annotated[
        int, typer.Option(min=1, metavar="N", help="Requests in batches that have not ended.")
    ] = 500_000,
    seed: Annotated[
        int, typer.Option(metavar="N", help="Decides which requests the faults hit and how latencies spread.")
    ] = 0,
) -> int:
    """Serve the stand-in API until stopped."""
    folder = state or Project.here().settings.state_dir / "simulator"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        options = simulator.Options(
            state=folder,
            port=port,
            key=key,
            latency=simulator.Latency.parse(latency),
            batch_latency=simulator.Latency.parse(batch_latency),
            batch_start=batch_start,
            batch_queue=batch_queue,
            rpm=rpm,
            itpm=itpm,
            otpm=otpm,
            faults=tuple(simulator.parse_fault(fault) for fault in faults or ()),
            seed=seed,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
    return simulator.serve(options, _tell)


def _tell(running: simulator.Running) -> None:
    typer.echo(
        f"the stand-in API is at {running.base_url}; stop it with Ctrl-C\n\n"
        f"  export ANTHROPIC_BASE_URL={running.base_url}\n"
        f"  export ANTHROPIC_API_KEY={running.api_key}"
    )


def doctor(
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask the API.")] = False,
    models: Annotated[
        list[str] | None,
        typer.Option("--model", metavar="MODEL", help="Say also what is known of this model. May be repeated."),
    ] = None,
    providers: Annotated[
        list[str] | None,
        typer.Option(
            "--provider", metavar="NAME", help="Say also what this provider lacks here: bedrock … May be repeated."
        ),
    ] = None,
    output: Format = OutputFormat.text,
) -> int:
    """Say whether this machine is ready to run jobs, and what is known of models and providers."""
    findings = execution.examine(
        Project.here().settings, SystemClock(), offline=offline, models=models or (), providers=providers or ()
    )
    for finding in findings:
        if output is OutputFormat.json:
            typer.echo(printable(encode_text(finding.to_dict())))
            continue
        first, *others = [*finding.message.splitlines(), *(finding.hint or "").splitlines()]
        typer.echo(plain_text(f"{_MARKS[finding.status]}  {finding.name:<11} {first}"))
        for line in others:
            typer.echo(plain_text(f"{'':<21}{line.strip()}"))
    return 4 if any(finding.status == "error" for finding in findings) else 0
