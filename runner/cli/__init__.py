"""The command line: arguments to calls, exceptions to exit status, events to a display. It decides nothing.

Owns   `main`, the only place where an error becomes text and an exit status (interface, section 5).
"""

from __future__ import annotations

import gc

OBJECTS_A_COLLECTION = 50_000
# Rows, requests and results are trees, and modules stay: Python's garbage collector, at its default of 700 new
# objects, finds next to nothing and takes an eighth of the time of a batch run (17.7 and 15.5 s for 100,000 rows), and
# a tenth of the start (0.56 and 0.50 s of CPU for what `run` imports): so it is told before anything else is imported.
gc.set_threshold(OBJECTS_A_COLLECTION)

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
    # Going over the modules again and again took an eighth of a parallel run (3.7 and 3.2 s of CPU for 20,000 rows).
    gc.freeze()
    _write_utf8()
    try:
        status = app(prog_name="runner", standalone_mode=False)
    except RunnerError as error:
        tell(error)
        status = error.exit_status
    except typer.TyperException as error:
        status = _misused(error)
    except (KeyboardInterrupt, typer.Abort):  # Abort: Ctrl-C, or the end of the input, at a question
        print("interrupted", file=sys.stderr)
        status = INTERRUPTED
    except SystemExit as leaving:
        # typer leaves with 1 when a pipe's reader has gone, and with its own status after shell completion.
        status = READER_GONE if isinstance(leaving.__context__, BrokenPipeError) else leaving.code
    except OSError as error:
        status = _refused_by_system(error)
    except Exception:  # noqa: BLE001 - the last border: what comes here is a bug, and says so
        status = _bug()
    sys.exit(status if isinstance(status, int) else 0)


def _refused_by_system(error: OSError) -> int:
    """A file or folder that cannot be made, read or written is the machine's state, not a bug."""
    if error.filename is None:
        return _bug()
    tell(SetupError(f"cannot use {error.filename}: {error.strerror}", code="file-system"))
    return SetupError.exit_status


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
