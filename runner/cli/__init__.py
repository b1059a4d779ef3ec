"""The command line: arguments to calls, exceptions to exit status, events to a display. It decides nothing.

Owns   `main`, the only place where an error becomes text and an exit status (docs/reliability.md).

The folder, in the order to read it in:

    app             the commands, in the order in which help shows them
      author          check, plan, render, init, schema
      running         run, try, resume, retry, cancel
      look            list, show, revalidate, export
      files           files
      machine         simulate, doctor
      arguments       what several of them take
    project         the project that a command is about
    patience        Ctrl-C around runs
    garbage         how often Python looks for objects that nobody holds any more
    display         what a person sees while a run goes on
      tally           events in, counts out
      batch_tally     … of batches
      live_block      a block that is drawn again in place
      progress_words  the pieces that it is made of
    report          what people read of runs and plans
      batch_report    … of batches
      failure_report  … of rows that failed
    terminal        text made harmless, amounts made readable
"""

from __future__ import annotations

from runner.cli import garbage

garbage.while_loading()  # before anything else is imported

import errno
import io
import sys
import traceback

import typer

from runner.cli.app import app
from runner.cli.report import tell
from runner.errors import RunnerError, SetupError, UsageError

BUG, INTERRUPTED = 1, 130
READER_GONE = 141
"""128 + SIGPIPE: what a shell says of a program that wrote to a pipe whose reader had left."""


def main() -> None:
    """Run the command that `sys.argv` names and exit with its status."""
    garbage.leave_out_what_there_is()
    _write_utf8()
    try:
        status = app(prog_name="runner", standalone_mode=False)
    except RunnerError as error:
        tell(error)
        status = error.exit_status
    except typer.TyperException as error:
        status = _misused(error)
    except (KeyboardInterrupt, typer.Abort):  # Abort: Ctrl-C, or the end of the input, at a question
        print("interrupted; the same command goes on from here", file=sys.stderr)
        status = INTERRUPTED
    except SystemExit as leaving:
        # typer leaves with 1 when a pipe's reader has gone, and with its own status after shell completion.
        status = READER_GONE if isinstance(leaving.__context__, BrokenPipeError) else leaving.code
    except OSError as error:
        status = _refused_by_system(error)
    except Exception:  # noqa: BLE001 - the last border: what comes here is a bug, and says so
        status = _bug()
    garbage.leave_out_what_there_is()  # nor at the end, where the interpreter would
    sys.exit(status if isinstance(status, int) else 0)


def _refused_by_system(error: OSError) -> int:
    """A file or folder that cannot be made, read or written is the machine's state, not a bug."""
    if error.filename is None:
        return _bug()
    hint = _SYSTEM_HINTS.get(error.errno or 0)
    tell(SetupError(f"cannot use {error.filename}: {error.strerror}", code="file-system", hint=hint))
    return SetupError.exit_status


_NOT_YOURS = "it must belong to you, and be readable and writable"
_SYSTEM_HINTS = {
    errno.EACCES: _NOT_YOURS,
    errno.EPERM: _NOT_YOURS,
    errno.EEXIST: "move what stands there away, or name another place",
    errno.EROFS: "the file system is mounted for reading only: name another place",
    errno.ENOTDIR: "a part of its path is no folder: move that away, or name another place",
    errno.ENOSPC: "free some space, then run again",
}


def _bug() -> int:
    traceback.print_exc()
    print(
        "\nThis is a bug in runner. Please report it with the lines above; your run's folder is intact.",
        file=sys.stderr,
    )
    return BUG


def _misused(error: typer.TyperException) -> int:
    """Tell of a command line that cannot be read; where it is empty, typer's message is the help."""
    message = error.format_message()
    if message.startswith("Usage:"):
        print(message, file=sys.stderr)
    else:
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "runner"
        text = message[0].lower() + message[1:].rstrip(".").replace("Value error, ", "")
        tell(UsageError(text, hint=f"`{command} --help` shows what there is"))
    return UsageError.exit_status


def _write_utf8() -> None:
    """Records, requests and summaries are UTF-8 whatever the locale says."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
