"""Holders: the runs that hold replies for others, read at the places that the reply index names.

Owns   the open readers of a few runs. Reads only.
Knows  the spool, and for a landed line the run's table `attempts`: a line does not say which request it answers.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

from runner.errors import LedgerError
from runner.ledger.database import Database, fetch_one
from runner.ledger.folder import DATABASE, SPOOL
from runner.ledger.spool import Place, SpoolReader
from runner.message import parse_reply
from runner.types import Reply

_OPEN_RUNS = 8

_ATTEMPT = """
    SELECT request_id, batch_id FROM attempts WHERE row = ? AND segment = ? AND offset = ? AND request_hash = ?
"""

HeldReply = tuple[bytes, Reply, str | None, str | None]
"""Body, reply, request id and batch id."""


class Holders:
    """Reads replies of other runs; keeps a few runs open. One thread."""

    def __init__(self) -> None:
        self._runs: OrderedDict[str, _Holder] = OrderedDict()

    def close(self) -> None:
        while self._runs:
            self._runs.popitem()[1].close()

    def read(self, folder: str, row: int, place: Place, request_hash: bytes) -> HeldReply | None:
        """The reply there, if it is one to this request; None where the run was deleted or is damaged."""
        holder = self._runs.get(folder)
        if holder is None:
            holder = self._runs[folder] = _Holder(Path(folder))
            if len(self._runs) > _OPEN_RUNS:
                self._runs.popitem(last=False)[1].close()
        else:
            self._runs.move_to_end(folder)
        try:
            return holder.line(row, place, request_hash) if place.segment < 0 else holder.frame(place, request_hash)
        except LedgerError:
            return None


class _Holder:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._spool = SpoolReader(folder / SPOOL)
        self._database: Database | None = None

    def frame(self, place: Place, request_hash: bytes) -> HeldReply | None:
        outcome = self._spool.outcome(place)
        if outcome.reply is None or outcome.request_hash != request_hash:
            return None
        return outcome.body, outcome.reply, outcome.request_id, outcome.batch_id

    def line(self, row: int, place: Place, request_hash: bytes) -> HeldReply | None:
        if self._database is None:
            self._database = Database(self._folder / DATABASE, read_only=True)
        found = fetch_one(self._database.connection, _ATTEMPT, (row, place.segment, place.offset, request_hash))
        if found is None:
            return None
        request_id, batch_id = found
        body = self._spool.body(place)
        try:
            return body, parse_reply(body, request_id), request_id, batch_id
        except ValueError:
            return None  # the file is damaged: this reply has to be asked for again

    def close(self) -> None:
        self._spool.close()
        if self._database is not None:
            self._database.close()
