"""The command line: arguments to calls, exceptions to exit status, events to a display. It decides nothing.

Owns   `main`, the only place where an error becomes text and an exit status (interface, section 5).
"""

from __future__ import annotations

import sys
import traceback

from runner.cli.app import app
from runner.errors import RunnerError, render

BUG, INTERRUPTED = 1, 130


def main() -> None:
    """Run the command that `sys.argv` names and exit with its status."""
    try:
        status = app(standalone_mode=False)
    except RunnerError as error:
        print(render(error), file=sys.stderr)
        status = error.exit_status
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        status = INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        status = 0
    except Exception:  # noqa: BLE001 - the last border: what comes here is a bug, and says so
        traceback.print_exc()
        print(
            "\nThis is a bug in runner. Please report it with the lines above; your run's folder is intact.",
            file=sys.stderr,
        )
        status = BUG
    sys.exit(status if isinstance(status, int) else 0)
