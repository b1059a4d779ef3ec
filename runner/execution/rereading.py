"""The records of a run, once more: for sinks that look at all of them before they take the first.

Owns   one pass over a run's folder beside whoever delivers from it. Records are made again from what is durable, so
       both passes meet the same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from runner.execution.folders import RunInfo
from runner.spec.load import LoadedJob
from runner.types import Record


def reread(info: RunInfo, loaded: LoadedJob, wanted: Callable[[Record], bool]) -> Iterator[Record]:
    """Those of a run's records that a sink wants, in the dataset's order; bounded memory. Raises LedgerError."""
    # Here and not above: `check` makes sinks, and has no need of what checks replies.
    from runner.execution.records import record_maker
    from runner.ledger.sqlite import SqliteLedger

    ledger = SqliteLedger.open(info.folder, read_only=True)
    try:
        yield from filter(wanted, record_maker(info, loaded).records(ledger))
    finally:
        ledger.close()
