"""How often Python's garbage collector looks for cycles, while a command starts and while it runs.

Owns   the numbers. A library has no say in them, so only the command line sets them.
Why    rows, requests and results are trees, and modules stay: at the default of 700 new objects the collector finds
       next to nothing and takes an eighth of the time of a batch run (17.7 and 15.5 s for 100,000 rows), and a tenth of
       the start (0.56 and 0.50 s of CPU for what `run` imports). At 50,000 it still went over all modules twice while
       they were loaded: 22 ms.
"""

from __future__ import annotations

import gc

OBJECTS_A_COLLECTION = 50_000
_OBJECTS_LOADED = 200_000
"""More than a start makes (130,000)."""


def while_loading() -> None:
    """Look at nothing before all is loaded that a command mostly needs."""
    gc.set_threshold(_OBJECTS_LOADED)


def leave_out_what_there_is() -> None:
    """What is loaded by now stays, and is not looked at again: going over the modules again and again took an eighth of
    a parallel run (3.7 and 3.2 s of CPU for 20,000 rows)."""
    gc.freeze()


def while_running() -> None:
    """From here on objects come and go with the rows."""
    leave_out_what_there_is()
    gc.set_threshold(OBJECTS_A_COLLECTION)
