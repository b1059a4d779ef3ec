"""The ledger and a dictionary, driven side by side: after every step both must say the same (invariants I1, I5, I7)."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from runner.errors import LedgerError
from runner.ledger import (
    BatchFacts,
    BatchState,
    Delivery,
    EnrolledRow,
    FailedRow,
    Landed,
    Lease,
    OpenStep,
    RowResult,
    Ruling,
)
from runner.ledger.audit import audit
from runner.ledger.batches import MOVES
from runner.ledger.sqlite import SqliteLedger
from runner.ledger.steps import facts_of
from runner.message import parse_reply
from runner.rounds import asked_again, first_round
from runner.types import AttemptEnd, Failure, Outcome, Row, Step, Usage
from support.ledger_batches import accepted_lines
from support.ledgers import message

CAP = 4_000
BOUND = 100
NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
USAGE = Usage(10, 5, 3, 2, 1)
BODY = message("yes")

OVERLOADED = Failure("overloaded_error", "busy", retryable=True)
TIMEOUT = Failure("timeout", "no reply", retryable=True, may_be_billed=True)
INVALID = Failure("invalid_request_error", "no such thing")
MISMATCH = Failure("schema_mismatch", "label is missing")
GONE = Failure("results_lost", "29 days")

# What may happen to an attempt: the failure in the outcome (none: a reply), and what the rule makes of it.
ENDINGS: dict[str, tuple[Failure | None, Ruling]] = {
    "answer": (None, Ruling("succeeded")),
    "unpriced": (None, Ruling("succeeded")),
    "busy": (OVERLOADED, Ruling("open", OVERLOADED)),
    "doubt": (TIMEOUT, Ruling("open", TIMEOUT)),
    "doubtful end": (TIMEOUT, Ruling("failed", TIMEOUT)),
    "invalid": (INVALID, Ruling("failed", INVALID)),
    "mismatch": (None, Ruling("failed", MISMATCH)),
    "expired": (GONE, Ruling("expired", GONE)),
    "canceled": (GONE, Ruling("canceled")),
    "ask": (None, Ruling("open", MISMATCH)),  # its next step is the next round
}
ended = st.sampled_from(sorted(ENDINGS))


def rule_on(outcome: Outcome) -> Ruling:
    """Pure, as a rule must be: the ending's name travels in the request id."""
    ending = str(outcome.request_id)
    ruling = ENDINGS[ending][1]
    if ending == "ask":
        return replace(ruling, next_step=replace(outcome.step, round=outcome.step.round + 1))
    return ruling


def is_accepted(outcome: Outcome) -> bool:
    return ENDINGS[str(outcome.request_id)] == (None, Ruling("succeeded"))


def outcome_of(
    step: Step,
    attempt: int,
    ending: str,
    *,
    reused: bool = False,
    cost: int = 40,
    batch_id: str | None = None,
    tries: int = 1,
) -> Outcome:
    """`tries` is which try it was, as an engine numbers them: those that say something of the row."""
    failure = ENDINGS[ending][0]
    billed = failure is None and not reused
    return Outcome(
        step=step,
        attempt=attempt,
        end="succeeded" if failure is None else "errored",
        mode="parallel" if batch_id is None else "batch",
        request_hash=bytes(32),
        started_at=NOON,
        ended_at=NOON,
        body=BODY if failure is None else b"",
        failure=failure,
        usage=USAGE if billed else Usage(),
        cost_pico=None if ending == "unpriced" and billed else (cost if billed else 0),
        request_id=ending,
        batch_id=batch_id,
        reused=reused,
        tries=tries,
    )


def line_of(outcome: Outcome, offset: int) -> tuple[Landed, bytes]:
    """The line of results that tells of an outcome, and what is read from it."""
    kind: AttemptEnd = "succeeded" if outcome.failure is None else "expired"
    rest = b',"message":' + outcome.body if outcome.failure is None else b""
    line = b'{"custom_id":"x","result":{"type":"%s"%s}}\n' % (kind.encode(), rest)
    reply = parse_reply(outcome.body) if outcome.failure is None else None
    ended = Landed(
        outcome.step,
        kind,
        offset,
        len(line),
        reply,
        outcome.failure,
        outcome.usage,
        outcome.cost_pico,
        outcome.request_id,
    )
    return ended, line


@dataclass
class StepModel:
    state: str = "open"
    attempts: int = 0
    tries: int = 0
    sent: bool = False
    bound: int = 0
    batch: int | None = None
    answered: Outcome | None = None
    ended: bool = False
    failure: str | None = None
    """What its last attempt ended with."""
    replied: bool = False
    """Whether that was a reply."""


@dataclass
class Model:
    status: list[str] = field(default_factory=list)
    kind: list[str | None] = field(default_factory=list)
    reused: list[bool] = field(default_factory=list)
    """These three of rows that have steps; a twin stands as its first row does."""
    first: list[int] = field(default_factory=list)
    steps: dict[Step, StepModel] = field(default_factory=dict)
    spent: int = 0
    doubtful: int = 0
    unpriced: int = 0
    attempts: int = 0
    usage: Usage = field(default_factory=Usage)
    meta: dict[str, Any] = field(default_factory=dict)
    deliveries: dict[int, Delivery] = field(default_factory=dict)
    batches: dict[int, BatchState] = field(default_factory=dict)
    settled: Counter[int] = field(default_factory=Counter)
    ids: dict[int, str] = field(default_factory=dict)
    bodies: dict[Step, bytes] = field(default_factory=dict)

    def with_twins(self, rows: Iterable[int]) -> int:
        """How many rows these first ones stand for."""
        return sum(self.first.count(row) for row in rows)

    @property
    def statuses(self) -> list[str]:
        return [self.status[first] for first in self.first]

    @property
    def kinds(self) -> list[str | None]:
        return [self.kind[first] for first in self.first]

    @property
    def costs_nothing(self) -> list[bool]:
        return [
            self.reused[row] if first == row else self.status[first] != "open" for row, first in enumerate(self.first)
        ]

    def in_state(self, *states: str) -> list[Step]:
        return sorted(step for step, facts in self.steps.items() if facts.state in states)

    def leased(self, batch: int | None) -> list[Step]:
        return [step for step in self.in_state("leased") if self.steps[step].batch == batch]

    @property
    def reserved(self) -> int:
        return sum(facts.bound for facts in self.steps.values())

    def lease(self, step: Step, batch: int | None = None) -> None:
        facts = self.steps[step]
        facts.state, facts.bound, facts.batch = "leased", BOUND, batch
        facts.attempts += 1

    def free(self, step: Step) -> None:
        facts = self.steps[step]
        facts.state, facts.bound, facts.batch = "open", 0, None
        facts.attempts -= 1

    def lose(self, step: Step) -> None:
        facts = self.steps[step]
        self.doubtful += facts.bound
        self.attempts += 1
        facts.state, facts.bound, facts.batch, facts.sent = "open", 0, None, True
        facts.ended, facts.failure, facts.replied = True, None, False

    def take_up(self, outcome: Outcome) -> None:
        facts = self.steps[outcome.step]
        leased = facts.state == "leased"
        if leased and outcome.failure is not None and outcome.failure.may_be_billed:
            self.doubtful += facts.bound
        if facts.batch is not None:
            self.settled[facts.batch] += 1
        self.bodies[outcome.step] = outcome.body
        facts.bound, facts.batch = 0, None
        facts.attempts = outcome.attempt
        facts.tries += 1
        facts.sent = facts.sent or leased
        facts.state, facts.answered, facts.replied = "answered", outcome, outcome.failure is None
        self.attempts += not outcome.reused
        self.spent += outcome.cost_pico or 0
        self.unpriced += outcome.cost_pico is None
        self.usage += outcome.usage

    def decide(self, step: Step) -> None:
        facts = self.steps[step]
        outcome = facts.answered
        assert outcome is not None
        ruling = rule_on(outcome)
        facts.answered = None
        failure = ruling.failure or outcome.failure
        facts.ended, facts.failure = True, failure.kind if failure else None
        if ruling.next_step is not None:
            facts.state = "failed"
            following = self.steps.setdefault(ruling.next_step, StepModel())
            if following.state not in ("open", "leased", "answered"):
                following.state, following.tries = "open", 0
            return
        facts.state = ruling.state
        if ruling.state != "open":
            self.status[step.row] = ruling.state
            self.kind[step.row] = facts.failure
            self.reused[step.row] = outcome.reused and ruling.state == "succeeded"


class LedgerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="ledger-"))
        self.generation = 0
        self.folder = self.root / "run-0"
        self.ledger = SqliteLedger.create(self.folder, {"job": "x"}, segment_bytes=2_000)
        self.model = Model(meta={"job": "x"})

    def teardown(self) -> None:
        self.ledger.close()
        wrong = audit(self.folder)
        shutil.rmtree(self.root)
        assert wrong == []

    @initialize(count=st.integers(1, 12), letters=st.none() | st.lists(st.sampled_from("abc-"), min_size=12))
    def enrol(self, count: int, letters: list[str] | None) -> None:
        """With letters rows of the same one are twins, but for `-`."""
        rows = [EnrolledRow(Row(f"k{n}", n, {"n": n}), "data.csv", n + 2) for n in range(count)]
        assert self.ledger.enrol(rows) == count
        self.model.status, self.model.kind = ["open"] * count, [None] * count
        self.model.reused = [False] * count
        here = letters[:count] if letters is not None else ["-"] * count
        first = [n if letter == "-" else here.index(letter) for n, letter in enumerate(here)]
        if letters is not None:
            twins = self.ledger.note_twins(None if letter == "-" else letter.encode() for letter in here)
            assert twins == count - len(set(first))
        self.model.first = first
        self.model.steps = {Step(n): StepModel() for n in sorted(set(first))}
        self.model.meta["rows_sha256"] = self.ledger.meta["rows_sha256"]

    # -- parallel work ---------------------------------------------------------------------------------------------
    @rule(count=st.integers(1, 5))
    def lease(self, count: int) -> None:
        wanted = self.model.in_state("open")[:count]
        taken = self.ledger.lease([Lease(step, bytes(32), BOUND) for step in wanted], CAP)
        room = (CAP - self.model.spent - self.model.reserved - self.model.doubtful) // BOUND
        assert taken == min(len(wanted), max(0, room))
        for step in wanted[:taken]:
            self.model.lease(step)

    @rule(endings=st.lists(ended, min_size=1, max_size=4), count=st.integers(1, 5))
    def record_and_lease(self, endings: list[str], count: int) -> None:
        """As the writer does with what comes together: one transaction."""
        with self.ledger.together():
            self.record(endings, batch=False)
            self.lease(count)

    @rule(endings=st.lists(ended, min_size=1, max_size=4), batch=st.booleans())
    def record(self, endings: list[str], batch: bool) -> None:
        steps = [step for step in self.model.in_state("leased") if (self.model.steps[step].batch is not None) == batch]
        if batch:  # a batch without an id cannot have told of any of its steps
            steps = [step for step in steps if self.model.steps[step].batch in self.model.ids]
        outcomes = [
            outcome_of(
                step,
                self.model.steps[step].attempts,
                ending,
                batch_id=self.model.ids.get(self.model.steps[step].batch or 0),
                tries=self.model.steps[step].tries + 1,
            )
            for step, ending in zip(steps, endings, strict=False)
        ]
        self._record(outcomes)

    @rule(ending=st.sampled_from(["answer", "invalid"]))
    def record_without_lease(self, ending: str) -> None:
        """A reply reused from another run, or a row that could not be rendered."""
        for step in self.model.in_state("open")[:1]:
            self._record([outcome_of(step, self.model.steps[step].attempts + 1, ending, reused=ending == "answer")])

    def _record(self, outcomes: list[Outcome]) -> None:
        rulings = self.ledger.record(outcomes, rule_on)
        assert rulings == [rule_on(outcome) for outcome in outcomes]
        before = self.ledger.money()
        for outcome in outcomes:
            self.model.take_up(outcome)
            self.model.decide(outcome.step)
        again = self.ledger.record(outcomes, _never)
        assert len(again) == len(outcomes)
        assert self.ledger.money() == before

    @rule(count=st.integers(1, 3))
    def release(self, count: int) -> None:
        steps = self.model.leased(batch=None)[:count]
        self.ledger.release([*steps, Step(0, turn=9)])
        for step in steps:
            self.model.free(step)

    @rule(
        kinds=st.lists(st.sampled_from(["failed", "timeout", "schema_mismatch", "canceled"]), max_size=2, unique=True)
    )
    def reopen(self, kinds: list[str]) -> None:
        model = self.model
        chosen = [
            row
            for row, status in enumerate(model.status)
            if model.first[row] == row
            and status in ("failed", "expired", "canceled")
            # A canceled row failed of nothing, whatever its last attempt ended with.
            and (not kinds or status in kinds or (status != "canceled" and model.kind[row] in kinds))
        ]
        assert self.ledger.reopen(kinds=kinds) == model.with_twins(chosen)
        for row in chosen:
            model.status[row], model.kind[row] = "open", None
            last = max(step for step in model.steps if step.row == row)
            if model.steps[last].replied and last.round != first_round(last).round:  # the turn begins anew
                anew = replace(last, round=asked_again(first_round(last), "restarts").round)
                model.steps[anew] = StepModel()
            else:
                model.steps[last].state, model.steps[last].tries = "open", 0

    # -- crashes ---------------------------------------------------------------------------------------------------
    @rule(clean=st.booleans())
    def come_back(self, clean: bool) -> None:
        """Close, or die (the folder as it is now is all that is left), and open again."""
        self._reopen(clean=clean)
        self._owner_is_gone()

    @rule(endings=st.lists(ended, min_size=1, max_size=3), torn=st.integers(0, 200))
    def die_before_the_commit(self, endings: list[str], torn: int) -> None:
        """Frames are in the spool, the last perhaps in part, and the tables know none of them."""
        outcomes = self._under_way(endings)
        writer = self.ledger._writer
        assert writer is not None
        places = writer.append(outcomes)
        if places and torn:
            segment = self.folder / "spool" / f"{places[-1].segment:06d}.seg"
            with segment.open("r+b") as file:
                file.truncate(places[-1].end.offset - min(torn, places[-1].length))
            outcomes.pop()
        self._reopen(clean=False)
        self._take_up_what_was_not_booked(outcomes)

    def _under_way(self, endings: list[str]) -> list[Outcome]:
        """Outcomes of steps that are leased, outside batches."""
        return [
            outcome_of(step, self.model.steps[step].attempts, ending, tries=self.model.steps[step].tries + 1)
            for step, ending in zip(self.model.leased(batch=None), endings, strict=False)
        ]

    def _take_up_what_was_not_booked(self, outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            self.model.take_up(outcome)
        self._owner_is_gone()
        assert self.ledger.settle_answered(rule_on) == len(outcomes)
        for outcome in outcomes:
            self.model.decide(outcome.step)

    @rule(endings=st.lists(ended, min_size=1, max_size=3), count=st.integers(1, 3))
    def die_before_the_commit_of_both(self, endings: list[str], count: int) -> None:
        """Outcomes and leases that share a transaction: the outcomes are in the spool, and nothing was leased."""
        outcomes = self._under_way(endings)
        wanted = self.model.in_state("open")[:count]

        def killed() -> None:
            with self.ledger.together():
                assert self.ledger.record(outcomes, rule_on) == [rule_on(outcome) for outcome in outcomes]
                self.ledger.lease([Lease(step, bytes(32), BOUND) for step in wanted], CAP)
                self._leave_behind()
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            killed()
        self._go_on_with_what_is_left()
        self._take_up_what_was_not_booked(outcomes)

    @precondition(lambda self: self.model.leased(batch=None))
    @rule()
    def a_rule_that_raises(self) -> None:
        """The outcome is durable, the ledger refuses to go on, and the next opening has it."""
        step = self.model.leased(batch=None)[0]
        outcome = outcome_of(step, self.model.steps[step].attempts, "answer")
        with pytest.raises(ZeroDivisionError):
            self.ledger.record([outcome], _broken)
        with pytest.raises(LedgerError):
            self.ledger.set_meta({"x": 1})
        self._reopen(clean=True)
        self.model.take_up(outcome)
        self._owner_is_gone()
        assert self.ledger.settle_answered(rule_on) == 1
        self.model.decide(step)

    def _reopen(self, *, clean: bool) -> None:
        if clean:
            self.ledger.close()
            self.ledger = SqliteLedger.open(self.folder, segment_bytes=2_000)
        else:
            self._leave_behind()
            self._go_on_with_what_is_left()

    def _leave_behind(self) -> None:
        """What a process that is killed now would leave."""
        self.generation += 1
        shutil.copytree(self.folder, self.root / f"run-{self.generation}")

    def _go_on_with_what_is_left(self) -> None:
        self.ledger.close()
        shutil.rmtree(self.folder)
        self.folder = self.root / f"run-{self.generation}"
        self.ledger = SqliteLedger.open(self.folder, segment_bytes=2_000)

    def _owner_is_gone(self) -> None:
        for step in self.model.leased(batch=None):
            self.model.lose(step)

    # -- batches ---------------------------------------------------------------------------------------------------
    @rule(count=st.integers(1, 6))
    def intend_batch(self, count: int) -> None:
        wanted = self.model.in_state("open")[:count]
        if not wanted:
            return
        leases = [Lease(step, bytes(32), BOUND, "batch") for step in wanted]
        batch = self.ledger.intend_batch(leases, body_sha256=bytes(32), watermark=None, cap_pico=CAP, now=NOON)
        money = self.model.spent + self.model.reserved + self.model.doubtful
        assert (batch is None) == (money + BOUND * len(wanted) > CAP)
        if batch is not None:
            assert (batch.state, batch.steps, batch.reserved_pico) == ("intent", len(wanted), BOUND * len(wanted))
            self.model.batches[batch.number] = "intent"
            for step in wanted:
                self.model.lease(step, batch.number)

    @precondition(lambda self: self.model.batches)
    @rule(data=st.data())
    def mark_batch(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.model.batches)))
        before = self.model.batches[number]
        state = data.draw(
            st.sampled_from([*sorted(MOVES), *sorted(MOVES[before]) * 6])
        )  # mostly moves that are allowed
        steps = self.model.leased(number)
        allowed = (state == before or state in MOVES[before]) and not (state == "closed" and steps)
        batch_id = f"msgbatch_{number}" if state == "in_progress" else None
        if not allowed:
            with pytest.raises(LedgerError):
                self.ledger.mark_batch(number, state, BatchFacts(batch_id))
            return
        assert self.ledger.mark_batch(number, state, BatchFacts(batch_id)).state == state
        self.model.batches[number] = state
        if batch_id is not None:
            self.model.ids[number] = batch_id
        if state in ("rejected", "not_sent") and state != before:
            for step in steps:
                self.model.lose(step) if before == "in_doubt" else self.model.free(step)

    @precondition(lambda self: self.model.ids)
    @rule(data=st.data())
    def collect(self, data: st.DataObject) -> None:
        """Land a file with lines of steps under way, of some that are settled, of others' and of one twice, and settle
        it in one or two groups, with or without a crash between."""
        number = data.draw(st.sampled_from(sorted(self.model.ids)))
        steps = self.model.leased(number)
        own = data.draw(st.lists(st.sampled_from(steps), unique=True)) if steps else []
        others = data.draw(
            st.lists(st.sampled_from([*sorted(self.model.steps), Step(77), Step(0, sample=5)]), max_size=3)
        )
        outcomes = [
            outcome_of(
                step,
                self.model.steps[step].attempts if step in self.model.steps else 1,
                data.draw(ended),
                batch_id=self.model.ids[number],
            )
            for step in data.draw(st.permutations([*own, *others]))
        ]
        lines = self._land(number, outcomes)
        cut = data.draw(st.integers(0, len(lines)))
        for start, stop in ((0, cut), (cut, len(lines))):
            self._settle(number, lines[start:stop], outcomes[start:stop], judged=data.draw(st.booleans()))
            crash = data.draw(st.sampled_from([None, True, False]))
            if crash is not None:
                self._reopen(clean=crash)
                self._owner_is_gone()
        again = self.ledger.settle_batch(number, lines, _never, NOON)
        assert again.rulings == [None] * len(lines)

    def _land(self, number: int, outcomes: list[Outcome]) -> list[Landed]:
        lines, data = [], b""
        for outcome in outcomes:
            landed, line = line_of(outcome, len(data))
            lines.append(landed)
            data += line
        self.ledger.landing_path(number).write_bytes(data)
        assert self.ledger.land(number) == self.ledger.landed(number)
        return lines

    def _settle(self, number: int, lines: list[Landed], outcomes: list[Outcome], *, judged: bool) -> None:
        """With `judged` the rule is not asked about what it would accept, as the batch engine does it."""
        times = Counter(outcome.step for outcome in outcomes)
        accepted = {
            outcome.step.row: line
            for line, outcome in zip(lines, outcomes, strict=True)
            if judged and times[step := outcome.step] == 1 and step == Step(abs(step.row)) and is_accepted(outcome)
        }
        others = [line for line in lines if line not in accepted.values()]
        settled = self.ledger.settle_batch(number, others, rule_on, NOON, accepted_lines(accepted.values()))
        rulings = dict(zip([line.offset for line in others], settled.rulings, strict=True))
        for line in accepted.values():
            rulings[line.offset] = Ruling("succeeded") if line.step.row in settled.accepted.rows else None
        ended = {
            attempt.step
            for row in range(len(self.model.status))
            for attempt in self.ledger.attempts(row)
            if attempt.batch_id == self.model.ids[number] and attempt.end not in (None, "lost")
        }
        passed_over = []
        for outcome, line in zip(outcomes, lines, strict=True):
            ruling = rulings[line.offset]
            if outcome.step in self.model.leased(number):
                assert ruling == rule_on(outcome)
                self.model.take_up(outcome)
                self.model.decide(outcome.step)
            else:
                assert ruling is None
                passed_over.append(outcome.step)
        assert settled.repeated == sum(step in ended for step in passed_over)
        assert sorted(settled.unknown) == sorted(step for step in passed_over if step not in ended)

    @precondition(lambda self: self.model.ids)
    @rule()
    def die_while_landing(self) -> None:
        """A file is being written, or has got its name and no more."""
        self.ledger.landing_path(min(self.model.ids)).write_bytes(b"half a li")
        (self.folder / "spool" / "000999.jsonl").write_bytes(b"a line\n")
        self._reopen(clean=False)
        self._owner_is_gone()
        assert not self.ledger.landing_path(min(self.model.ids)).exists()

    @rule()
    def cancel_open(self) -> None:
        model = self.model
        busy = {step.row for step in model.in_state("leased", "answered")}
        chosen = [row for row in set(model.first) if model.status[row] == "open" and row not in busy]
        assert self.ledger.cancel_open() == model.with_twins(chosen)
        for step in model.in_state("open"):
            if step.row in chosen:
                model.steps[step].state = "canceled"
        for row in chosen:
            model.status[row] = "canceled"
            ended = [facts for step, facts in sorted(model.steps.items()) if step.row == row and facts.ended]
            model.kind[row] = ended[-1].failure if ended else None  # it tells of what it was waiting after

    # -- small things ----------------------------------------------------------------------------------------------
    @rule(sink=st.integers(0, 2), records=st.integers(0, 9))
    def deliver(self, sink: int, records: int) -> None:
        delivery = Delivery(sink, "file", f"out/{sink}.jsonl", "staged", records, "ab", None)
        self.ledger.set_delivery(delivery)
        self.model.deliveries[sink] = delivery

    @rule(value=st.text())
    def note(self, value: str) -> None:
        self.ledger.set_meta({"note": value})
        self.model.meta["note"] = value

    # -- both say the same -----------------------------------------------------------------------------------------
    @invariant()
    def counts_agree(self) -> None:
        counts, model = self.ledger.counts(), self.model
        by_status = Counter(model.statuses)
        assert (counts.total, counts.open) == (len(model.first), by_status["open"])
        assert (counts.succeeded, counts.failed) == (by_status["succeeded"], by_status["failed"])
        assert (counts.expired, counts.canceled) == (by_status["expired"], by_status["canceled"])
        assert counts.reused == sum(model.costs_nothing)
        assert counts.asking == len(set(model.first))
        assert counts.open_asking == sum(model.status[row] == "open" for row in set(model.first))
        failed = (kind for kind, status in zip(model.kinds, model.statuses, strict=True) if status == "failed")
        assert dict(counts.failures) == dict(Counter(failed))
        assert counts.attempts == model.attempts
        assert counts.requests == sum(facts.sent for facts in model.steps.values())

    @invariant()
    def money_agrees_and_stays_under_the_cap(self) -> None:
        money, model = self.ledger.money(), self.model
        assert (money.spent, money.reserved, money.doubtful) == (model.spent, model.reserved, model.doubtful)
        assert (money.overhead, money.unpriced) == (0, model.unpriced)
        assert money.spent + money.reserved + money.doubtful <= CAP
        assert self.ledger.usage() == model.usage

    @invariant()
    def open_steps_agree(self) -> None:
        expected = [
            OpenStep(step, self.model.steps[step].attempts, self.model.steps[step].tries)
            for step in self.model.in_state("open")
        ]
        assert list(self.ledger.open_steps(None, 100)) == expected
        if expected:
            assert list(self.ledger.open_steps(expected[0].step, 100)) == expected[1:]

    @invariant()
    def what_is_remembered_of_leases_is_what_the_tables_hold(self) -> None:
        """The recorder asks nothing of what was leased a moment ago."""
        recorder = self.ledger._recorder
        assert recorder is not None
        for key, facts in recorder.known.items():
            assert facts_of(self.ledger._connection, Step(*key)) == facts
            assert Step(*key) in self.model.leased(batch=None)

    def _known_cost(self, result: RowResult) -> int:
        """A row with an attempt of unknown price has no cost; those of its other attempts are spent all the same."""
        if result.cost_pico is not None:
            return result.cost_pico
        return sum(attempt.cost_pico or 0 for attempt in self.ledger.attempts(result.row.index))

    @invariant()
    def results_agree(self) -> None:
        results = list(self.ledger.results())
        assert [result.status for result in results] == self.model.statuses
        assert sum(map(self._known_cost, results)) == self.model.spent
        assert [result.row.index for result in results] == list(range(len(results)))
        assert sum(result.attempts for result in results) == self.model.attempts
        for result in results:
            assert (result.failure.kind if result.failure else None) == self.model.kinds[result.row.index]
        lost = [result for result in results if result.status not in ("open", "succeeded")]
        assert list(self.ledger.failed_rows()) == [
            FailedRow(each.row.key, each.row.index, each.status, each.failure, each.attempts) for each in lost
        ]
        failed = [(kind, row) for row, kind in enumerate(self.model.kinds) if results[row].status == "failed" and kind]
        found = self.ledger.first_failed([kind for kind, _ in failed])
        assert {kind: row.index for kind, row in found.items()} == dict(reversed(failed))

    @invariant()
    def batches_deliveries_and_meta_agree(self) -> None:
        assert {batch.number: batch.state for batch in self.ledger.batches()} == self.model.batches
        for batch in self.ledger.batches():
            assert (batch.settled, batch.batch_id) == (
                self.model.settled[batch.number],
                self.model.ids.get(batch.number),
            )
            leased = self.model.leased(batch.number)
            assert [found.step for found in self.ledger.batch_steps(batch.number, None, 100)] == leased
            for found in self.ledger.batch_steps(batch.number, None, 100):
                facts = self.model.steps[found.step]
                assert (found.attempt, found.tries) == (facts.attempts, facts.tries + 1)
        assert {delivery.sink: delivery for delivery in self.ledger.deliveries()} == self.model.deliveries
        assert dict(self.ledger.meta) == self.model.meta


def _never(outcome: Outcome) -> Ruling:
    raise AssertionError(f"{outcome.step} was ruled on twice")


def _broken(outcome: Outcome) -> Ruling:
    raise ZeroDivisionError


LedgerMachine.TestCase.settings = settings(
    max_examples=25, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
test_the_ledger_agrees_with_a_dictionary = LedgerMachine.TestCase
