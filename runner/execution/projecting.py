"""Projecting: what is durable goes to all sinks of a run, once nothing more is sent.

Owns   the order: first the targets that are replaced as a whole, in one pass over the records, then those that take
       parts, each by itself: one that is slow, or that tries again, holds up no file.
Knows  `delivery` and `parts`, the ledger and how records are made.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec.structs import replace

from runner.errors import LedgerError, RunnerError
from runner.events import Observer
from runner.execution.delivery import Note, PartTarget, Target, deliver
from runner.execution.parts import PartDelivery
from runner.execution.records import RecordMaker
from runner.ledger import Delivery, Ledger
from runner.ledger.journal import Journal
from runner.types import Record


def project(
    ledger: Ledger,
    maker: RecordMaker,
    targets: Sequence[Target | PartTarget],
    folder: Path,
    observer: Observer,
    *,
    note: Note,
    staging: Path | None = None,
) -> list[Delivery]:
    """Deliver a run to its sinks, whose folder this process owns; how each ended, in the job's order.

    What went wrong with a sink is told and stops no other. Raises LedgerError for what is wrong with the run's folder.
    """
    whole = [target for target in targets if isinstance(target, Target)]
    in_parts = [target for target in targets if isinstance(target, PartTarget)]
    ended = deliver(maker.records(ledger), whole, staging or folder / "staged", observer, note=note)
    counting = maker if not whole else replace(maker, broken=Counter())
    for target in in_parts:
        delivery = _in_parts(target, ledger, counting, folder, observer)
        note(delivery)
        ended.append(delivery)
        counting = replace(maker, broken=Counter())
    return sorted(ended, key=lambda delivery: delivery.sink)


def owner_name() -> str:
    """A name for whoever delivers, drawn anew by each process: a target tells two of them apart by it."""
    return secrets.token_hex(8)


def _in_parts(target: PartTarget, ledger: Ledger, maker: RecordMaker, folder: Path, observer: Observer) -> Delivery:
    """What a sink lacks is brought to it."""

    def records() -> Iterator[Record]:
        maker.broken.clear()  # it may be asked for all of them twice
        return maker.records(ledger)

    with (
        Journal(folder, target.number, target.definition) as journal,
        PartDelivery(target, journal, maker.run_id, owner_name(), observer) as delivery,
    ):
        try:
            delivery.begin(lambda row: maker.record_of(ledger.result(row), ledger))
            delivery.complete(records)
        except (OSError, RunnerError) as error:
            if isinstance(error, LedgerError):
                raise
            return delivery.failed(error)
        return delivery.ended()
