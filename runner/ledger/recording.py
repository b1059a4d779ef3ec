"""Recording: a group of outcomes becomes durable, is ruled on, and is booked, in this order.

Owns   the order: spool and its sync, then the rule, then one transaction of attempts, states, totals and the spool's
       mark.
Knows  the spool's writer and `settlement`.

Once the group is in the spool the tables have to follow. Where they cannot (a full disk, a rule that raises) the
ledger refuses every further write: opening it again takes the frames up, and nothing that was paid for is lost.
"""

from __future__ import annotations

from collections.abc import Sequence

import apsw

from runner.errors import LedgerError
from runner.ledger import Rule, Ruling
from runner.ledger.database import Database, out_of_step
from runner.ledger.settlement import Settlement, check_new, is_new, ruling_of, set_mark
from runner.ledger.spool import SpoolWriter
from runner.ledger.steps import Known, StepFacts, StepKey, facts_of, facts_of_rows, step_key
from runner.types import Outcome


class Recorder:
    """Records groups of outcomes. One thread."""

    def __init__(self, database: Database, spool: SpoolWriter, samples: int = 1) -> None:
        self._database = database
        self._spool = spool
        self.samples = samples
        self.known: Known = {}
        """So that nothing has to be asked of what was leased a moment ago. Whoever changes steps otherwise empties
        it."""

    def record(self, outcomes: Sequence[Outcome], rule: Rule) -> Sequence[Ruling]:
        """See `Ledger.record`. Raises ValueError, before anything is written, for an outcome that cannot be."""
        connection = self._database.connection
        new = self._new_among(connection, outcomes)
        fresh = self._book([outcomes[place] for place in new], list(new.values()), rule) if new else []
        if len(fresh) == len(outcomes):
            return fresh
        by_place = dict(zip(new, fresh, strict=True))
        return [
            by_place[place] if place in by_place else _standing(connection, outcome)
            for place, outcome in enumerate(outcomes)
        ]

    def _new_among(self, connection: apsw.Connection, outcomes: Sequence[Outcome]) -> dict[int, StepFacts]:
        """The places of the outcomes that are not recorded yet, each with what is known of its step."""
        keys = [step_key(outcome.step) for outcome in outcomes]
        asked = {key[0] for key in keys if key not in self.known}
        found = facts_of_rows(connection, asked) if asked else {}
        new: dict[int, StepFacts] = {}
        seen: dict[StepKey, int] = {}
        for place, (key, outcome) in enumerate(zip(keys, outcomes, strict=True)):
            if key in seen:
                if seen[key] != outcome.attempt:
                    raise ValueError(f"one group holds attempts {seen[key]} and {outcome.attempt} of {outcome.step}")
                continue
            seen[key] = outcome.attempt
            facts = check_new(outcome, self.known.get(key) or found.get(key))
            if is_new(outcome, facts):
                new[place] = facts
        return new

    def _book(self, outcomes: Sequence[Outcome], facts: Sequence[StepFacts], rule: Rule) -> list[Ruling]:
        self._database.check_writable()
        try:
            places = self._spool.append(outcomes)
            rulings = [rule(outcome) for outcome in outcomes]
            settlement = Settlement(self.samples)
            for outcome, known, place, ruling in zip(outcomes, facts, places, rulings, strict=True):
                settlement.take_up(outcome, known, place, ruling)
            with self._database.transaction(durable=False) as connection:
                settlement.write(connection)
                set_mark(connection, places[-1].end)
            for outcome in outcomes:
                self.known.pop(step_key(outcome.step), None)
        except LedgerError as error:
            self._database.refuse_writes(error)
            raise
        except BaseException as error:
            self._database.refuse_writes(out_of_step(error))
            raise
        return rulings


def _standing(connection: apsw.Connection, outcome: Outcome) -> Ruling:
    facts = facts_of(connection, outcome.step)
    assert facts is not None  # `_new_among` has looked
    return ruling_of(connection, outcome, facts)
