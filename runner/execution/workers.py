"""Workers: one pass in parallel mode, sent by several processes and held by this one.

Owns   their processes from start to end, who gets which open steps, and the order between them where one has to wait
       for another. What a worker is, is in `execution.worker`, how one is started in `execution.worker_process`.
Knows  the writer, the run and contracts. How many there are it is told (`execution.worker_count`). Seen from outside
       this is an engine: `drain` it.

    worker 0 ── render, send, read, rule ──┐  leases, outcomes (grouped)
    worker 1 ── render, send, read, rule ──┼──────────────▶ this process ──▶ writer ──▶ ledger, spool
    …                                      ┘  ◀────────────  decisions, open steps, halt

This process keeps everything that there is once: the lock, the ledger, the spool, the cap, signals and the display. So
nothing about durability or money depends on how many workers there are. What each worker does alone costs most of a
row's time: rendering, the network, TLS, reading replies and ruling on them.

Invariants
  * Every open step goes to exactly one worker, in the dataset's order, a page at a time and on demand; a step that an
    outcome opens stays with the worker that sent it.
  * `max_concurrency` is divided among the workers, so leased and unfinished are at most 2 × max_concurrency in all.
  * The cap stops the run only when nothing is leased any more whose end could make room: the lease of a worker that
    has nothing under way waits for the others'.
  * A shared prefix is written once: only worker 0 gets steps until its first reply has begun.
  * No worker sends anything before all of them are started: where one cannot be, nothing is lost with the others.
  * No worker outlives `drain`. One that dies stops the run; its leases stay, and are found lost when the run goes on.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import subprocess
from collections.abc import Coroutine, Sequence
from typing import Any

from msgspec import Struct

from runner.engines import Decision, Prepared, StopReason
from runner.engines.halt import Halt
from runner.errors import SetupError
from runner.events import HeldBack, StepEnded, StepSent, Stopping
from runner.execution.assignment import Assignment, portable
from runner.execution.channel import Channel, Message
from runner.execution.feeder import OpenedMeanwhile
from runner.execution.holding import held_of_all
from runner.execution.outcome_tuples import OutcomeTuple, StepTuple, open_step_tuples, outcome_of, step_of, step_tuple
from runner.execution.under_way import Advance
from runner.execution.worker_process import Process, Spawn, how_it_ended, spawn_worker
from runner.execution.writer import Writer
from runner.ledger import Lease, OpenStep, Rule, Ruling
from runner.tools import ToolResult
from runner.types import Outcome, Step

_GRACE_S = 5.0
"""How long a worker that was told to drop everything, or that has ended, gets until it is killed."""

_PASS_ON_EVERY_S = 0.5
"""How often workers that nothing answers are told of answers that others get; far less than the time after which they
would stop the run."""

_FAILED = StopReason("bug", "a worker has failed")
"""What the others are told; whoever called gets the error itself."""


class GivenRulings:
    """The rule of a run whose outcomes were ruled on by its workers; of those that were not, the run's own."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._given: dict[tuple[Step, int], Ruling] = {}

    def give(self, outcome: Outcome, ruling: Ruling) -> None:
        self._given[outcome.step, outcome.attempt] = ruling

    def __call__(self, outcome: Outcome) -> Ruling:
        return self._given.pop((outcome.step, outcome.attempt), None) or self._rule(outcome)


_NOT_HELD = HeldBack(None)


class _Desk(Struct, eq=False):
    """This process's end of one worker. `leased`: unfinished leases; `in_flight`: sent and not yet back."""

    number: int
    process: Process
    channel: Channel
    leased: int = 0
    in_flight: int = 0
    over: bool = False
    """It has said how it ended, or is gone."""
    waits_for_steps: int = 0
    """So many steps it asked for when there were none to give yet."""
    held: HeldBack = _NOT_HELD
    """What holds it back, as it said last."""
    waiting_lease: tuple[int, list[Lease]] | None = None
    """Its call, and what it wants to lease, while the cap does not admit any of it."""


class Workers:
    """An `Engine` of several processes. `writer` is started, and its rule is `rulings`; `one_first`: the others
    wait until the first reply has begun. `warm_up` is sent by worker 0, before its rows."""

    def __init__(
        self,
        run: Advance,
        writer: Writer,
        rulings: GivenRulings,
        halt: Halt,
        *,
        count: int,
        one_first: bool,
        warm_up: Prepared | None = None,
        spawn: Spawn | None = None,
    ) -> None:
        self._run = run
        self._writer = writer
        self._rulings = rulings
        self._halt = halt
        self._count = count
        self._spawn = spawn or spawn_worker
        self._observer = run.observer
        self._desks: list[_Desk] = []
        self._all_may_send = not one_first
        self._warm_up = warm_up
        self._held = HeldBack(None)
        """What was told of all workers."""
        self._answered = False
        """Some worker has got an answer, of which all know."""
        self._cut_off: list[_Desk] = []
        """Those that nothing answers, as they said last."""
        self._pass_on_at = float("-inf")
        self._after: Step | None = None
        self._opened = OpenedMeanwhile()
        self._no_more = False
        self._turn = asyncio.Lock()
        """Whose page of open steps is looked up."""
        self._leasing = 0
        """Leases that the writer has been asked for."""
        self._settled = 0
        """Leases that have ended."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._reason: StopReason | None = None
        self._stopped_first: _Desk | None = None
        """The worker whose reason for stopping it is: it knows the whole of it."""
        self._error: BaseException | None = None
        self._dropping = False

    async def drain(self) -> StopReason | None:
        """Send until nothing is left (None) or the run has to stop (the reason). Raises what a bug or the ledger
        raised, here or in a worker."""
        self._halt.listen(self._notice_halt)
        try:
            for number in range(self._count):
                self._desks.append(await self._started(number))
                if self._reason is not None:
                    break
            else:
                self._assign_all()
                await self._until_over()
        finally:
            self._halt.unlisten(self._notice_halt)
            await self._dismiss()
        if self._error is not None:
            raise self._error
        return self._reason

    # -- processes -------------------------------------------------------------------------------------------------

    async def _started(self, number: int) -> _Desk:
        """A worker's process, which does nothing yet."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = self._spawn(theirs)
            except OSError as error:
                ours.close()
                raise SetupError(
                    f"a worker cannot be started: {error.strerror}",
                    code="no-worker",
                    hint="run it again with fewer `workers` (1: everything in one process)",
                ) from error
        channel = Channel(lambda messages: self._hear(desk, messages), lambda: self._lost(desk))
        desk = _Desk(number, process, channel)
        try:
            await channel.open(ours)
        except BaseException:
            ours.close()
            process.kill()
            process.wait()
            raise
        return desk

    def _assign_all(self) -> None:
        """All workers are there: each gets its part."""
        run = self._run
        settings, api = portable(run.settings, run.api)
        for desk in self._desks:
            assignment = Assignment(
                desk.number,
                self._count,
                run.run_id,
                run.folder,
                settings,
                api,
                run.facts,
                tells_begun=not self._all_may_send and desk.number == 0,
                warm_up=self._warm_up if desk.number == 0 else None,
                collects_after=gc.get_threshold(),
            )
            desk.channel.send("start", assignment, urgent=True)

    async def _until_over(self) -> None:
        """Until every worker has ended and all that they brought is durable."""
        while self._tasks or not all(desk.over for desk in self._desks):
            self._changed.clear()
            await self._changed.wait()

    async def _dismiss(self) -> None:
        """End every worker: with its channel, or, where that is not enough, by force. That a channel ends which
        was closed here is no news."""
        for task in self._tasks:
            task.cancel()
        for desk in self._desks:
            desk.over = True
            desk.channel.close()
        await asyncio.gather(*self._tasks, *(self._ended(desk) for desk in self._desks), return_exceptions=True)

    async def _ended(self, desk: _Desk) -> int:
        """Wait until a worker's process has ended; its return code."""
        try:
            return await asyncio.to_thread(desk.process.wait, _GRACE_S)
        except subprocess.TimeoutExpired:
            desk.process.kill()
            return await asyncio.to_thread(desk.process.wait)

    def _lost(self, desk: _Desk) -> None:
        """A worker's channel has ended: because it was closed here, or because its process died."""
        if not desk.over:
            self._begin(self._bury(desk))

    async def _bury(self, desk: _Desk) -> None:
        """A worker died: the run stops. What it had leased is in doubt, as after any kill."""
        status = await self._ended(desk)
        self._stop(
            StopReason(
                "worker_died",
                f"worker {desk.number + 1} of {self._count} (process {desk.process.pid}) {how_it_ended(status)}",
                "look whether the machine ran out of memory; run it again, or `runner resume`, to go on where it "
                "stopped (with fewer `workers`, if it was memory)",
            )
        )
        self._end(desk)

    def _end(self, desk: _Desk) -> None:
        desk.over = True
        desk.in_flight = 0
        desk.held = HeldBack(None)
        self._tell_held()
        if desk.number == 0:
            self._let_all_send()
        self._changed.set()

    # -- stopping --------------------------------------------------------------------------------------------------

    def _notice_halt(self) -> None:
        assert self._halt.reason is not None, "a halt is told with its reason"
        self._stop(self._halt.reason)
        if self._halt.dropped and not self._dropping:
            self._dropping = True
            self._tell_all("halt", self._halt.reason, True)
            asyncio.get_running_loop().call_later(_GRACE_S, self._kill_all)

    def _stop(self, reason: StopReason) -> None:
        """Nothing more is admitted; what is in flight is awaited. The first reason stays."""
        if self._reason is None:
            self._observer.notify(Stopping(reason.kind, reason.message))
            self._admit_no_more(reason)

    def _admit_no_more(self, reason: StopReason) -> None:
        if self._reason is not None:
            return
        self._reason = reason
        self._tell_all("halt", reason, False)
        self._let_all_send()
        self._try_leases()

    def _fail(self, error: BaseException) -> None:
        """The run stops over an error: the ledger's, which ends all recording, or a bug. The first one is raised."""
        if self._error is None:
            self._error = error
        self._changed.set()

    def _lose_book(self, error: BaseException) -> None:
        self._fail(error)
        self._tell_all("lost", RuntimeError(str(error)))

    def _tell_all(self, *message: Any) -> None:
        for desk in self._desks:
            desk.channel.send(*message, urgent=True)

    def _kill_all(self) -> None:
        for desk in self._desks:
            if not desk.over:
                desk.process.kill()

    # -- what workers say ------------------------------------------------------------------------------------------

    def _hear(self, desk: _Desk, messages: Sequence[Message]) -> None:
        try:
            self._take(desk, messages)
        except Exception as error:  # noqa: BLE001 - a bug: the loop would take it for a broken connection
            self._lose_book(error)

    def _take(self, desk: _Desk, messages: Sequence[Message]) -> None:
        outcomes: list[tuple[int | None, Outcome]] = []
        for message in messages:
            match message:
                case ("sent", step, attempt):
                    desk.in_flight += 1
                    self._observer.notify(StepSent(step_of(step), attempt, self._in_flight))
                case ("record", call, values, ruling):
                    desk.in_flight -= 1
                    outcomes.append((call, self._ruled(values, ruling)))
                case ("post", values, ruling):
                    outcomes.append((None, self._ruled(values, ruling)))
                case ("lease", call, leases):
                    if outcomes:  # what came before takes effect before
                        self._begin(self._record(desk, outcomes))
                        outcomes = []
                    self._begin(self._lease(desk, call, [_lease_of(lease) for lease in leases]))
                case ("release", call, steps):
                    self._begin(self._release(desk, call, [step_of(step) for step in steps]))
                case ("keep", call, step, results):
                    self._begin(self._keep(desk, call, step_of(step), [ToolResult(*result) for result in results]))
                case ("more", limit):
                    desk.waits_for_steps = limit
                    self._begin(self._give_steps(desk))
                case ("told", HeldBack() as held):
                    desk.held = held
                    self._tell_held()
                case ("told", event):
                    self._observer.notify(event)
                case ("begun",):
                    self._let_all_send()
                case ("stopping", reason):
                    if self._reason is None:
                        self._stopped_first = desk
                    self._stop(reason)
                case ("ended", reason):
                    if reason is not None and desk is self._stopped_first:
                        self._reason = reason
                    self._begin(self._over_after(outcomes_of=desk))
                case ("failed", error):
                    self._fail(error)
                    self._admit_no_more(_FAILED)
                    self._begin(self._over_after(outcomes_of=desk))
                case _:
                    raise ValueError(f"a worker said {message[0]!r}")
        if outcomes:
            self._begin(self._record(desk, outcomes))

    def _tell_held(self) -> None:
        """Tell what holds the run back, where that has changed."""
        self._cut_off = [desk for desk in self._desks if desk.held.by == "unreachable" and not desk.over]
        told = [desk.held for desk in self._desks if not desk.over]
        held = held_of_all(told, self._run.job.limits)
        if held != self._held:
            self._held = held
            self._observer.notify(held)

    @property
    def _in_flight(self) -> int:
        return sum(desk.in_flight for desk in self._desks)

    def _ruled(self, values: OutcomeTuple, ruling: Ruling | bool | None) -> Outcome:
        outcome, ruled = outcome_of(values, ruling)
        if ruled is not None:
            self._rulings.give(outcome, ruled)
        return outcome

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._lose_book(error)
        self._changed.set()

    async def _over_after(self, *, outcomes_of: _Desk) -> None:
        self._end(outcomes_of)

    # -- the book of a worker --------------------------------------------------------------------------------------

    async def _record(self, desk: _Desk, called: Sequence[tuple[int | None, Outcome]]) -> None:
        if self._cut_off or not self._answered:
            self._pass_on_answers(desk, [outcome for call, outcome in called if call is not None])
        decisions = await self._writer.record_all([outcome for _, outcome in called])
        posted = 0
        for (call, outcome), decision in zip(called, decisions, strict=True):
            if call is None:
                posted += 1
            else:
                desk.leased -= 1
                following = None if decision.next_step is None else step_tuple(decision.next_step)
                desk.channel.send("decided", call, decision.status, decision.failure, following, urgent=True)
            self._observer.notify(self._step_ended(outcome, decision, sent=call is not None))
        if posted:
            desk.channel.send("posted", posted, urgent=True)
        self._settled += len(called) - posted
        self._try_leases()

    def _pass_on_answers(self, desk: _Desk, outcomes: Sequence[Outcome]) -> None:
        """An API that answers one worker is there for all: none of them stops the run while it does."""
        now = self._run.clock.monotonic()
        if now < self._pass_on_at or not any(_was_answered(outcome) for outcome in outcomes):
            return
        self._pass_on_at = now + _PASS_ON_EVERY_S
        for other in self._cut_off if self._answered else self._desks:
            if other is not desk:
                other.channel.send("answered", urgent=True)
        self._answered = True

    def _step_ended(self, outcome: Outcome, decision: Decision, *, sent: bool) -> StepEnded:
        return StepEnded(
            outcome.step,
            outcome.attempt,
            decision.status,
            decision.failure,
            outcome.usage,
            outcome.cost_pico,
            outcome.reused,
            self._in_flight if sent else None,
        )

    async def _lease(self, desk: _Desk, call: int, leases: list[Lease]) -> None:
        """Lease what the cap admits. Where that is nothing, and the worker has nothing under way whose end could make
        room, it waits for the others': an engine that is refused with nothing under way takes the cap for used up."""
        settled_before = self._settled
        self._leasing += 1
        try:
            admitted = await self._writer.take_leases(leases)
        finally:
            self._leasing -= 1
        desk.leased += admitted
        if admitted or desk.leased or self._reason is not None:
            desk.channel.send("done", call, admitted, urgent=True)
        elif self._may_make_room or self._settled != settled_before:
            desk.waiting_lease = (call, leases)
        else:
            desk.channel.send("done", call, 0, urgent=True)
        if self._settled != settled_before or not self._may_make_room:
            self._try_leases()

    @property
    def _may_make_room(self) -> bool:
        """Whether something is leased, or about to be, whose end could make room under the cap."""
        return bool(self._leasing) or any(desk.leased for desk in self._desks)

    def _try_leases(self) -> None:
        """Something has changed: leases that waited are tried again."""
        for desk in self._desks:
            if desk.waiting_lease is not None:
                (call, leases), desk.waiting_lease = desk.waiting_lease, None
                if self._reason is not None:
                    desk.channel.send("done", call, 0, urgent=True)
                else:
                    self._begin(self._lease(desk, call, leases))

    async def _keep(self, desk: _Desk, call: int, step: Step, results: Sequence[ToolResult]) -> None:
        await self._writer.keep_results(step, results)
        desk.channel.send("done", call, None, urgent=True)

    async def _release(self, desk: _Desk, call: int, steps: Sequence[Step]) -> None:
        await self._writer.release(steps)
        desk.leased -= len(steps)
        self._settled += len(steps)
        desk.channel.send("done", call, None, urgent=True)
        self._try_leases()

    # -- open steps ------------------------------------------------------------------------------------------------

    async def _give_steps(self, desk: _Desk) -> None:
        """The next page of open steps, or none where there are no more; nothing yet to whom has to wait."""
        if not self._all_may_send and desk.number > 0:
            return
        async with self._turn:
            limit, desk.waits_for_steps = desk.waits_for_steps, 0
            if not limit:
                return
            if self._no_more or self._reason is not None:
                desk.channel.send("steps", (), urgent=True)
                return
            page: Sequence[OpenStep] = ()
            while not (page or self._no_more):
                found = await self._writer.open_steps(self._after, limit)
                self._no_more = len(found) < limit
                if found:
                    self._after = found[-1].step
                    page = self._opened.left_out_of(found)
        desk.channel.send("steps", open_step_tuples(page), urgent=True)

    def _let_all_send(self) -> None:
        self._all_may_send = True
        for desk in self._desks:
            if desk.waits_for_steps:
                self._begin(self._give_steps(desk))


def _was_answered(outcome: Outcome) -> bool:
    """Whether anything came over HTTP (`engines.outage`)."""
    return outcome.failure is None or outcome.failure.http_status is not None


def _lease_of(values: tuple[StepTuple, bytes, int]) -> Lease:
    step, request_hash, bound_pico = values
    return Lease(step_of(step), request_hash, bound_pico)
