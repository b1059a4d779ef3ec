"""The command about uploaded files: files."""

from __future__ import annotations

from typing import Annotated

import typer

from runner import execution
from runner.cli.arguments import Format, OutputFormat
from runner.cli.project import Project
from runner.cli.terminal import aligned, plain_text
from runner.clock import SystemClock
from runner.encoding import encode_text, printable
from runner.errors import UsageError

_WORDS = {
    "deleted": "deleted",
    "gone": "was gone already",
    "in_use": "kept",
    "elsewhere": "kept",
    "unknown": "kept",
    "failed": "FAILED",
}


def files(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID…", help="With --delete: only these.", show_default=False)
    ] = None,
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete them at the API, but for those that an unfinished run names.")
    ] = False,
    ask_api: Annotated[
        bool, typer.Option("--ask-api", help="Also find files that arrived although no reply said so.")
    ] = False,
    output: Format = OutputFormat.text,
) -> int:
    """Show the files that `upload: once` keeps at the API, or delete them."""
    project, clock = Project.here(), SystemClock()
    if ids and not delete:
        raise UsageError("ids are given, and nothing to do with them", hint="add --delete")
    if delete:
        return _delete(execution.delete_files(project.state, project.settings, clock, ids or ()), output)
    found = execution.list_files(project.state, project.settings, clock, ask_api=ask_api)
    if output is OutputFormat.json:
        for file in found:
            typer.echo(printable(encode_text(file.to_dict())))
    elif not found:
        typer.echo("no files are kept at the API; a block with `upload: once` makes the first one")
    else:
        head = ("file", "type", "bytes", "uploaded", "expires", "named by", "")
        typer.echo("\n".join(aligned([head, *map(_listed, found)], right=range(2, 3))))
    return 0


def _listed(file: execution.StoredFile) -> tuple[str, ...]:
    expires = "never" if file.expires_at is None else f"{file.expires_at:%Y-%m-%d %H:%M}"
    note = "" if file.here else "of another API or credential"
    return (
        plain_text(file.file_id), plain_text(file.media_type), f"{file.size_bytes:,}",
        f"{file.uploaded_at:%Y-%m-%d %H:%M}", expires, ", ".join(file.named_by), note if file.noted else "unheard",
    )  # fmt: skip


def _delete(deletions: list[execution.Deletion], output: OutputFormat) -> int:
    for deletion in deletions:
        if output is OutputFormat.json:
            typer.echo(printable(encode_text(deletion.to_dict())))
            continue
        why = f": {deletion.message}" if deletion.message else ""
        typer.echo(plain_text(f"{deletion.file_id}  {_WORDS[deletion.end]}{why}"))
    if not deletions and output is OutputFormat.text:
        typer.echo("no files to delete")
    return 4 if any(deletion.end == "failed" for deletion in deletions) else 0
