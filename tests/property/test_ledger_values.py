"""What goes into a ledger comes out the same: rows with any JSON values, outcomes with any text and numbers."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from runner.ledger import EnrolledRow
from runner.ledger.frames import FrameDecoder, FrameEncoder, from_millis, to_millis
from runner.ledger.sqlite import SqliteLedger
from runner.types import Failure, Outcome, Row, Step, Usage
from support.ledgers import message

any_text = st.text(st.characters())  # lone surrogates too
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | any_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3),
    max_leaves=8,
)
moments = st.datetimes(datetime(1971, 1, 1), datetime(9000, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))
counts = st.integers(0, 2**40)
failures = st.builds(
    Failure,
    kind=any_text,
    message=any_text,
    retryable=st.booleans(),
    retry_after_s=st.none() | st.floats(0, 1e6),
    http_status=st.none() | st.integers(100, 599),
    request_id=st.none() | any_text,
    scope=st.sampled_from(["row", "job"]),
    may_be_billed=st.booleans(),
    category=st.none() | any_text,
)
outcomes = st.builds(
    Outcome,
    step=st.builds(Step, counts, counts, counts, counts),
    attempt=st.integers(1, 10**6),
    end=st.sampled_from(["succeeded", "errored", "canceled", "expired", "lost"]),
    mode=st.sampled_from(["batch", "parallel"]),
    request_hash=st.binary(min_size=32, max_size=32),
    started_at=moments,
    ended_at=moments,
    body=any_text.map(message),
    failure=failures,
    usage=st.builds(Usage, counts, counts, counts, counts, counts),
    cost_pico=st.none() | st.integers(0, 2**63 - 1),
    request_id=st.none() | any_text,
    batch_id=st.none() | any_text,
    reused=st.booleans(),
)


@given(
    st.lists(st.dictionaries(any_text, json_values, max_size=4), max_size=6), st.sets(any_text, min_size=6, max_size=6)
)
@settings(max_examples=40, deadline=None)
def test_rows_come_back_as_they_were(values: list[dict[str, Any]], keys: set[str]) -> None:
    rows = [Row(key, index, value) for index, (key, value) in enumerate(zip(sorted(keys), values, strict=False))]
    with tempfile.TemporaryDirectory() as folder, SqliteLedger.create(Path(folder) / "run", {}) as ledger:
        ledger.enrol(EnrolledRow(row, "data", None) for row in rows)
        assert list(ledger.rows()) == rows
        assert [ledger.find(row.key) for row in rows] == [row.index for row in rows]
        assert [list(found.values) for found in ledger.rows()] == [list(row.values) for row in rows]


@given(outcomes, st.integers(0, 2**40))
def test_outcomes_come_back_as_they_were(outcome: Outcome, synced: int) -> None:
    back = FrameDecoder().outcome(FrameEncoder().encode(outcome, synced))
    cut = replace(
        outcome,
        started_at=from_millis(to_millis(outcome.started_at)),
        ended_at=from_millis(to_millis(outcome.ended_at)),
    )
    assert back == cut
    assert outcome.started_at.microsecond // 1000 == back.started_at.microsecond // 1000
