"""Rows with several samples: a row ends when the last of its conversations does.

Owns   that end, and what it is: such a row has succeeded where one of its samples has. Where none has, it has the
       status and the kind of failure of its first sample.
Knows  the tables `rows`, `steps` and `attempts`. Rows with one sample never come here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

import apsw

from runner.ledger.bulk import numbers
from runner.ledger.database import fetch
from runner.ledger.schema import ROW_CODE, STEP_STATES
from runner.ledger.totals import Changes
from runner.types import RowStatus

# 0 is `open`, 1 `leased`, 2 `answered`; a row is 0 while it is open. The last step of each sample, with what came last
# of it.
_LAST_OF_SAMPLES = """
    SELECT row, state, kind, reused FROM (
        SELECT s.row, s.sample, s.state, json_extract(a.failure, '$.kind') AS kind, a.reused,
            row_number() OVER (PARTITION BY s.row, s.sample ORDER BY s.turn DESC, s.round DESC, a.number DESC) AS place
        FROM carray(?) AS wanted
        JOIN rows AS r ON r.idx = wanted.value AND r.status = 0
        CROSS JOIN steps AS s ON s.row = r.idx
        LEFT JOIN attempts AS a ON a.row = s.row AND a.turn = s.turn AND a.sample = s.sample AND a.round = s.round
        WHERE NOT EXISTS (SELECT 1 FROM steps AS t WHERE t.row = r.idx AND t.state IN (0, 1, 2))
    ) WHERE place = 1 ORDER BY row, sample
"""
_END_ROW = "UPDATE rows SET status = ?, kind = ?, reused = ? WHERE idx = ?"


class _Ended(NamedTuple):
    status: RowStatus
    kind: str | None
    reused: bool


def end_sampled(connection: apsw.Connection, rows: Iterable[int]) -> None:
    """End those of these rows of which no step is undecided any more."""
    samples: defaultdict[int, list[_Ended]] = defaultdict(list)
    for row, state, kind, reused in fetch(connection, _LAST_OF_SAMPLES, (numbers(set(rows)),)):
        samples[row].append(_Ended(_status(state), kind, bool(reused)))
    changes = Changes()
    for row, ends in samples.items():
        answered = [end for end in ends if end.status == "succeeded"]
        status, kind, _ = answered[0] if answered else ends[0]
        reused = bool(answered) and all(end.reused for end in answered)
        connection.execute(_END_ROW, (ROW_CODE[status], kind, reused, row))
        changes.end_rows(status, kind, 1, reused=reused)
    if samples:
        changes.write(connection)


def _status(state: int) -> RowStatus:
    match STEP_STATES[state]:
        case "succeeded" | "failed" | "expired" | "canceled" as status:
            return status
        case undecided:
            raise ValueError(f"a row cannot end while a step is {undecided}")
