"""A delivery to a table by the journal, as a run makes one, in a process that may be killed at any time.

Run as a program: `sql_delivery.py FOLDER URL TABLE WRITE RECORDS PART [STOP]`. It goes on with what the folder's
journal says, prints a line for each part, and where STOP is given stops itself (SIGSTOP) before that part.
"""

from __future__ import annotations

import os
import secrets
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from runner.connections import Connection
from runner.events import Observers
from runner.execution.delivery import PartTarget, wants
from runner.execution.parts import PartDelivery
from runner.ledger.journal import Journal
from runner.sinks import Part, Refused, SinkContext
from runner.sinks.sql.options import SqlOptions
from runner.sinks.sql.sink import SqlSink
from runner.testing.sinks import sample_record
from runner.types import Record
from support.peak_memory import peak_bytes

COLUMNS = {"key": "key", "answer": "output", "place": "index"}
DEFINITION = "d" * 64


class TellingSink(SqlSink):
    """Tells of each part before and after it is delivered."""

    stop_before = 0

    def deliver(self, part: Part) -> Sequence[Refused]:
        tell(f"part {part.number}")
        if part.number == self.stop_before:
            os.kill(os.getpid(), signal.SIGSTOP)
        refused = super().deliver(part)
        tell(f"done {part.number}")
        return refused


def tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def record(number: int) -> Record:
    return sample_record(number, output=f"answer {number} " + "x" * (number % 50))


def deliver_all(
    folder: Path, url: str, table: str, write: str, records: int, part: int, *, stop_before: int = 0
) -> str | None:
    """Deliver what the folder's journal lacks; the error in the end, where there was one."""
    unique_key = ["key"] if write == "merge" else None
    options = SqlOptions(url=url, table=table, write=write, unique_key=unique_key, columns=COLUMNS, batch_size=part)
    sink = TellingSink(options, SinkContext(folder, connection=Connection(url)))
    sink.stop_before = stop_before
    target = PartTarget(0, sink, wants("succeeded"), DEFINITION)

    def all_records() -> Iterator[Record]:
        return map(record, range(records))

    with (
        Journal(folder, 0, DEFINITION) as journal,
        PartDelivery(target, journal, f"run-{table}", secrets.token_hex(8), Observers()) as delivery,
    ):
        delivery.begin(record)
        delivery.complete(all_records)
        return delivery.ended().error


if __name__ == "__main__":
    place, url, table, write, *numbers = sys.argv[1:]
    records, part, *stop = map(int, numbers)
    error = deliver_all(Path(place), url, table, write, records, part, stop_before=stop[0] if stop else 0)
    tell(f"peak {peak_bytes() // 1024} kB")
    tell(error or "delivered")
