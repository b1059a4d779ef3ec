"""Deliveries: how far each sink of the run is. Owns the table `deliveries`; knows the contract's `Delivery`."""

from __future__ import annotations

import apsw

from runner.encoding import printable
from runner.ledger import Delivery
from runner.ledger.database import fetch


def read(connection: apsw.Connection) -> list[Delivery]:
    return [Delivery(*columns) for columns in fetch(connection, "SELECT * FROM deliveries ORDER BY sink")]


def write(connection: apsw.Connection, delivery: Delivery) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO deliveries VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            delivery.sink,
            delivery.kind,
            printable(delivery.target),
            delivery.state,
            delivery.records,
            delivery.sha256,
            printable(delivery.error) if delivery.error is not None else None,
        ),
    )
