"""Settlement: what a group of durable outcomes does to the tables.

Owns   taking up an outcome (its attempt, its money, the end of its lease) and deciding its step (states of step and
       row).
Knows  outcomes and rulings; where the frames are, it is told.

The two halves usually happen together. After a crash they are apart: recovery takes up what the spool holds, which
makes the step `answered`, and `settle_answered` decides it. A `Settlement` only gathers; `write` makes one statement
a table of it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any, Final

import apsw

from runner.encoding import printable
from runner.ledger import Rule, Ruling
from runner.ledger.bulk import insert_flat, numbers
from runner.ledger.database import fetch, fetch_value
from runner.ledger.frames import failure_from_text, failure_to_text, to_millis, usage_counts
from runner.ledger.sampling import end_sampled
from runner.ledger.schema import ANSWERED, END_CODE, MODE_CODE, OPEN, ROW_CODE, STEP_CODE, STEP_STATES
from runner.ledger.spool import Mark, Place, SpoolReader
from runner.ledger.steps import StepFacts, StepKey, step_key
from runner.ledger.totals import Changes
from runner.types import Failure, Outcome, RowStatus

_END_LEASES = "DELETE FROM leases WHERE row IN carray(?) AND turn = ? AND sample = ? AND round = ?"
_ATTEMPTS: Final = "INSERT INTO attempts VALUES "
_ATTEMPT: Final = f"({', '.join(['{}'] * 24)})"
_SET_STEPS = """
    UPDATE steps SET state = ?, attempts = ?, tries = ?, sent = ?
    WHERE row IN carray(?) AND turn = ? AND sample = ? AND round = ?
"""
_DECIDE_STEP = "UPDATE steps SET state = ? WHERE row = ? AND turn = ? AND sample = ? AND round = ?"
# A step that is under way or waits already (0 open, 1 leased, 2 answered) is left as it is.
_OPEN_NEXT = """
    INSERT INTO steps VALUES (?, ?, ?, ?, 0, 0, 0, 0) ON CONFLICT DO UPDATE SET state = 0, tries = 0 WHERE state > 2
"""
_SETTLE_IN_BATCH = "UPDATE batches SET settled = settled + ?2 WHERE number = ?1"
_SET_ROWS = "UPDATE rows SET status = ?, kind = ?, reused = ? WHERE idx IN carray(?)"
_FAILURE = "SELECT failure FROM attempts WHERE row = ? AND turn = ? AND sample = ? AND round = ? AND number = ?"
_SET_FAILURE = """
    UPDATE attempts SET failure = ? WHERE row = ? AND turn = ? AND sample = ? AND round = ? AND number = ?
"""
_WAITING = """
    SELECT a.segment, a.offset, a.length
    FROM steps AS s INDEXED BY steps_answered
    JOIN attempts AS a
        ON a.row = s.row AND a.turn = s.turn AND a.sample = s.sample AND a.round = s.round AND a.number = s.attempts
    WHERE s.state = 2 ORDER BY s.row, s.turn, s.sample, s.round LIMIT ?
"""


def was_sent(reused: int, request_hash: bytes) -> bool:
    """Whether an attempt was one at the API: an earlier reply was not, nor a row that could not be rendered."""
    return not reused and bool(request_hash)


def is_try(outcome: Outcome, tries: int) -> bool:
    """Whether an attempt counts towards `max_attempts`, after so many tries: not where it says nothing about the row.

    Nobody worked on a canceled request; what became of a lost one nobody knows; a failure that every other row meets as
    well (a bad key, a spend limit) is none of this row's; nor is one that the engine did not number as a further try (a
    rate limit).
    """
    failure = outcome.failure
    if outcome.end in ("canceled", "lost") or (failure is not None and failure.scope == "job"):
        return False
    return failure is None or outcome.tries > tries


class Settlement:
    """The effect of a group of outcomes, gathered. A step may be in it once.

    Nearly all outcomes of a group do the same to their steps and rows, so these are gathered by what is done to them.
    """

    def __init__(self, samples: int = 1) -> None:
        """`samples`: how many each row has."""
        self._samples = samples
        self._sampled: list[int] = []
        """Rows of which one sample was decided."""
        self._changes = Changes()
        self._ended: defaultdict[tuple[int, int, int], list[int]] = defaultdict(list)
        """Rows by turn, sample and round."""
        self._attempts: list[Any] = []
        """The columns of all attempts, one after another."""
        self._steps: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
        """Rows by what their step is set to, and its turn, sample and round."""
        self._next: list[tuple[int, int, int, int]] = []
        self._rows: defaultdict[tuple[RowStatus, str | None, bool], list[int]] = defaultdict(list)
        """Rows by what they are set to."""
        self._settled: Counter[int] = Counter()

    def take_up(self, outcome: Outcome, facts: StepFacts, place: Place, ruling: Ruling | None) -> None:
        """Book an attempt that is in the spool, and decide its step where there is a ruling."""
        failure, cost = outcome.failure, outcome.cost_pico
        row, *_ = key = step_key(outcome.step)
        rest = key[1:]
        leased = facts.leased == outcome.attempt
        reserved = facts.reserved if leased else 0
        if leased:
            self._ended[rest].append(row)
            if facts.batch is not None:
                self._settled[facts.batch] += 1
        changes = self._changes
        changes.attempts += was_sent(outcome.reused, outcome.request_hash)
        changes.requests += leased and not facts.sent
        changes.reserved -= reserved
        changes.spent += cost or 0
        changes.unpriced += cost is None
        if failure is not None and failure.may_be_billed:
            changes.doubtful += reserved
        if row < 0:
            changes.overhead += cost or 0
        changes.add_usage(outcome.usage)
        if ruling is not None:
            failure = ruling.failure or failure
            state = self.decide(outcome, ruling)
        else:
            state = ANSWERED
        self._attempts += _attempt_columns(key, outcome, reserved, failure, place)
        tries = facts.tries + is_try(outcome, facts.tries)
        self._steps[state, outcome.attempt, tries, int(facts.sent or leased), *rest].append(row)

    def decide(self, outcome: Outcome, ruling: Ruling) -> int:
        """Book what becomes of the row and of a next step; returns the code of the step's own new state."""
        if ruling.next_step is not None:
            self._next.append(step_key(ruling.next_step))
            state = ruling.state if ruling.state != "open" else ("succeeded" if ruling.failure is None else "failed")
            return STEP_CODE[state]
        match ruling.state:
            case "open":
                return OPEN
            case "leased" | "answered":
                raise ValueError(f"a ruling cannot make a step {ruling.state!r}")
            case status:
                if self._samples > 1:
                    self._sampled.append(outcome.step.row)
                elif outcome.step.row >= 0:
                    self._end_row(outcome, status, ruling.failure or outcome.failure)
        return STEP_CODE[ruling.state]

    def _end_row(self, outcome: Outcome, status: RowStatus, failure: Failure | None) -> None:
        kind = _text(failure.kind) if failure is not None else None
        reused = outcome.reused and status == "succeeded"
        self._rows[status, kind, reused].append(outcome.step.row)

    def write(self, connection: apsw.Connection) -> None:
        for rest, rows in self._ended.items():
            connection.execute(_END_LEASES, (numbers(rows), *rest))
        insert_flat(connection, _ATTEMPTS, _ATTEMPT, self._attempts)
        for (state, attempts, tries, sent, *of), rows in self._steps.items():
            connection.execute(_SET_STEPS, (state, attempts, tries, sent, numbers(rows), *of))
        connection.executemany(_OPEN_NEXT, self._next)
        for (status, kind, reused), rows in self._rows.items():
            connection.execute(_SET_ROWS, (ROW_CODE[status], kind, reused, numbers(rows)))
            self._changes.end_rows(status, kind, len(rows), reused=reused)
        connection.executemany(_SETTLE_IN_BATCH, list(self._settled.items()))
        self._changes.write(connection)
        self.end_sampled(connection)

    def end_sampled(self, connection: apsw.Connection) -> None:
        """End the rows whose last sample was decided; to be called once the states of their steps are written."""
        if self._sampled:
            end_sampled(connection, self._sampled)


def _attempt_columns(
    key: StepKey, outcome: Outcome, reserved: int, failure: Failure | None, place: Place
) -> tuple[Any, ...]:
    return (
        *key,
        outcome.attempt,
        END_CODE[outcome.end],
        MODE_CODE[outcome.mode],
        reserved,
        outcome.cost_pico,
        *usage_counts(outcome.usage),
        outcome.reused,
        outcome.request_hash,
        _text(outcome.request_id),
        _text(outcome.batch_id),
        failure_to_text(failure),
        to_millis(outcome.started_at),
        to_millis(outcome.ended_at),
        *place,
    )


def _text(value: str | None) -> str | None:
    """What the API called something, as a column can hold it; the frame has it exactly."""
    return None if value is None else printable(value)


def is_new(outcome: Outcome, facts: StepFacts) -> bool:
    """False where the attempt is recorded already. Attempts of a step are numbered from 1 without gaps."""
    return facts.leased == outcome.attempt if facts.leased is not None else outcome.attempt > facts.attempts


def check_new(outcome: Outcome, facts: StepFacts | None) -> StepFacts:
    """Raise ValueError for an outcome that cannot be: of no step, of a decided step, of an attempt that was not
    begun."""
    if facts is None:
        raise ValueError(f"there is no {outcome.step}")
    if is_new(outcome, facts):
        if facts.leased is None and facts.state != OPEN:
            raise ValueError(f"{outcome.step} is {STEP_STATES[facts.state]}, so it has no attempt {outcome.attempt}")
        if facts.leased is None and outcome.attempt != facts.attempts + 1:
            raise ValueError(f"{outcome.step} has had {facts.attempts} attempts, so the next is not {outcome.attempt}")
    elif outcome.attempt > facts.attempts:
        raise ValueError(f"attempt {facts.leased} of {outcome.step} is under way, not {outcome.attempt}")
    return facts


def ruling_of(connection: apsw.Connection, outcome: Outcome, facts: StepFacts) -> Ruling:
    """The ruling that a recorded attempt's step stands at."""
    failure = fetch_value(connection, _FAILURE, (*step_key(outcome.step), outcome.attempt))
    return Ruling(STEP_STATES[facts.state], failure_from_text(failure))


def settle_answered(connection: apsw.Connection, spool: SpoolReader, rule: Rule, limit: int, samples: int = 1) -> int:
    """Decide up to `limit` steps that wait for it, in order; returns how many. To be called in a transaction."""
    waiting = fetch(connection, _WAITING, (limit,))
    settlement = Settlement(samples)
    states: list[tuple[int, ...]] = []
    failures: list[tuple[Any, ...]] = []
    for place in waiting:
        outcome = spool.outcome(Place(*place))
        ruling = rule(outcome)
        states.append((settlement.decide(outcome, ruling), *step_key(outcome.step)))
        if ruling.failure is not None:
            failures.append((failure_to_text(ruling.failure), *step_key(outcome.step), outcome.attempt))
    connection.executemany(_SET_FAILURE, failures)
    settlement.write(connection)  # before the states: a next step that is answered too must not be opened again
    connection.executemany(_DECIDE_STEP, states)
    settlement.end_sampled(connection)
    return len(waiting)


def set_mark(connection: apsw.Connection, mark: Mark) -> None:
    connection.execute("UPDATE spool_mark SET segment = ?, offset = ?", mark)


def read_mark(connection: apsw.Connection) -> Mark:
    return Mark(*fetch(connection, "SELECT segment, offset FROM spool_mark")[0])
