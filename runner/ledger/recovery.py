"""Recovery: what opening a run to write does about the end of its last owner.

Owns   taking up frames that the ledger does not know yet, and giving up leases whose owner is gone.
Knows  spool and settlement.

Frames come first: a lease whose outcome reached the spool is not lost. Leases of a batch stay: the batch is still at
the API.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import apsw

from runner.ledger.database import Database, fetch
from runner.ledger.landings import remove_unlanded
from runner.ledger.refusals import disk_errors
from runner.ledger.settlement import Settlement, is_new, read_mark, set_mark
from runner.ledger.spool import Mark, Place, SpoolReader, mend, places_between
from runner.ledger.steps import facts_of, give_up_all, step_key
from runner.types import Outcome

_FRAMES_A_TRANSACTION = 2000


def recover(database: Database, spool_folder: Path, reader: SpoolReader) -> Mark:
    """Bring the tables up to date with the spool and end what was left; returns the spool's end."""
    known = read_mark(database.connection)
    remove_unlanded(database, spool_folder)
    with disk_errors(spool_folder):
        end = mend(spool_folder, known)
    places = places_between(spool_folder, known, end)
    while group := list(islice(places, _FRAMES_A_TRANSACTION)):
        with database.transaction(durable=False) as connection:
            for place in group:
                _take_up(connection, reader.outcome(place), place)
            set_mark(connection, group[-1].end)
    if fetch(database.connection, "SELECT 1 FROM leases WHERE batch IS NULL LIMIT 1"):
        with database.transaction(durable=True) as connection:
            give_up_all(connection, batch=None)
    return end


def _take_up(connection: apsw.Connection, outcome: Outcome, place: Place) -> None:
    # The ruling that opened this step may be among what is made up for here, so the step may not be there yet.
    connection.execute("INSERT OR IGNORE INTO steps VALUES (?, ?, ?, ?, 0, 0, 0, 0)", step_key(outcome.step))
    facts = facts_of(connection, outcome.step)
    assert facts is not None
    if is_new(outcome, facts):
        settlement = Settlement()
        settlement.take_up(outcome, facts, place, ruling=None)
        settlement.write(connection)
