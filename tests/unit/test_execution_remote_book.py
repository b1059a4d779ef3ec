"""The ledger as a worker sees it, over a real socket pair: what goes out and comes back, and whom an error reaches."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from runner.engines import Decision
from runner.errors import LedgerError
from runner.execution.channel import Channel, Message
from runner.execution.loop import on_loop
from runner.execution.outcome_tuples import outcome_of, step_tuple
from runner.execution.remote_book import BACKLOG, RemoteBook
from runner.ledger import OpenStep, Rule
from runner.tools import ToolResult
from runner.types import Failure, Step
from support.engine_fakes import prepared
from support.ledgers import BOUND, accept, answer


class Clerk:
    """The other end: keeps what it is asked, in groups, and answers when a test says so."""

    def __init__(self) -> None:
        self.groups: list[Sequence[Message]] = []
        self._news = asyncio.Event()
        self.channel = Channel(self._take, lambda: None)

    def _take(self, messages: Sequence[Message]) -> None:
        self.groups.append(messages)
        self._news.set()

    @property
    def asked(self) -> list[Message]:
        return [message for group in self.groups for message in group]

    async def until(self, count: int) -> list[Message]:
        while len(self.asked) < count:
            self._news.clear()
            await asyncio.wait_for(self._news.wait(), 60)
        return self.asked

    def answer(self, *message: Any) -> None:
        self.channel.send(*message, urgent=True)


def over_a_socket(
    act: Callable[[RemoteBook, Clerk], Awaitable[None]], *, rule: Rule = accept, under_cap: bool = True
) -> None:
    async def main() -> None:
        clerk = Clerk()

        def take(messages: Sequence[Message]) -> None:
            for message in messages:
                book.take(message)

        worker_s = Channel(take, lambda: book.lose(LedgerError("the run is gone")))
        one, other = socket.socketpair()
        await worker_s.open(one)
        await clerk.channel.open(other)
        book = RemoteBook(worker_s.send, rule, under_cap=under_cap, page=2)
        try:
            await asyncio.wait_for(act(book, clerk), 30)
        finally:
            book.close()
            worker_s.close()
            clerk.channel.close()

    on_loop(main())


def soon(awaitable: Any) -> asyncio.Task[Any]:
    return asyncio.get_running_loop().create_task(awaitable)


def test_outcomes_that_end_together_cross_in_one_group_and_each_gets_its_own_decision() -> None:
    async def act(book: RemoteBook, clerk: Clerk) -> None:
        records = [soon(book.record(answer(Step(row)))) for row in range(5)]
        asked = await clerk.until(5)
        assert len(clerk.groups) == 1
        outcomes = [outcome_of(values, ruling) for _, _, values, ruling in asked]
        assert [outcome.step.row for outcome, _ in outcomes] == list(range(5))
        refused = Failure("refusal", "no")
        for kind, call, *_ in reversed(asked):  # answers may come in any order
            assert kind == "record"
            clerk.answer("decided", call, "failed" if call == 1 else "succeeded", refused if call == 1 else None, None)
        assert await asyncio.gather(*records) == [Decision("failed", refused), *[Decision("succeeded")] * 4]

    over_a_socket(act)


def test_a_lease_says_what_is_reserved_and_returns_how_many_were_admitted() -> None:
    async def act(book: RemoteBook, clerk: Clerk) -> None:
        lease = soon(book.lease([prepared(row, bound=BOUND) for row in range(3)]))
        ((kind, call, leases),) = await clerk.until(1)
        assert kind == "lease"
        assert [(step, bound) for step, _, bound in leases] == [((row, 0, 0, 0), BOUND) for row in range(3)]
        clerk.answer("done", call, 2)
        assert await lease == 2

    over_a_socket(act)


@pytest.mark.parametrize(("under_cap", "asked_for"), [(True, 1), (False, 3)])
def test_under_a_cap_nothing_is_leased_from_the_first_step_on_that_nothing_bounds(
    *, under_cap: bool, asked_for: int
) -> None:
    async def act(book: RemoteBook, clerk: Clerk) -> None:
        lease = soon(book.lease([prepared(0, bound=BOUND), prepared(1, bound=None), prepared(2, bound=BOUND)]))
        ((_, call, leases),) = await clerk.until(1)
        assert len(leases) == asked_for
        clerk.answer("done", call, asked_for)
        await lease

    over_a_socket(act, under_cap=under_cap)


def test_a_release_names_the_steps() -> None:
    async def act(book: RemoteBook, clerk: Clerk) -> None:
        release = soon(book.release([Step(1), Step(2, 1)]))
        ((kind, call, steps),) = await clerk.until(1)
        assert (kind, steps) == ("release", [step_tuple(Step(1)), step_tuple(Step(2, 1))])
        clerk.answer("done", call, None)
        await release

    over_a_socket(act)


def test_open_steps_are_asked_for_a_page_at_a_time_until_there_are_no_more() -> None:
    async def act(book: RemoteBook, clerk: Clerk) -> None:
        got = soon(asyncio.to_thread(lambda: [list(page) for page in book.pages()]))
        pages = [[((row, 0, 0, 0), 0, 0), ((row + 1, 0, 0, 0), 1, 1)] for row in (0, 6)]
        for number, page in enumerate([*pages, []], start=1):
            assert (await clerk.until(number))[-1] == ("more", 2)
            clerk.answer("steps", page)
        assert await got == [
            [OpenStep(Step(0), 0, 0), OpenStep(Step(1), 1, 1)],
            [OpenStep(Step(6), 0, 0), OpenStep(Step(7), 1, 1)],
        ]
        assert len(clerk.asked) == 3

    over_a_socket(act)


def test_the_feeder_waits_while_too_much_of_what_it_posted_is_not_durable() -> None:
    more = 7

    async def act(book: RemoteBook, clerk: Clerk) -> None:
        def post() -> None:
            for row in range(BACKLOG + more):
                book.post(answer(Step(row), reused=True))

        thread = threading.Thread(target=post, daemon=True)
        thread.start()
        await clerk.until(BACKLOG)
        assert thread.is_alive()
        assert len(clerk.asked) == BACKLOG
        clerk.answer("posted", more)
        assert len(await clerk.until(BACKLOG + more)) == BACKLOG + more
        await asyncio.to_thread(thread.join, 60)
        assert not thread.is_alive()

    over_a_socket(act)


@pytest.mark.parametrize("how", ["told", "closed", "gone"])
def test_when_the_book_is_lost_everybody_who_waits_or_asks_is_told(how: str) -> None:
    async def act(book: RemoteBook, clerk: Clerk) -> None:
        calls = [soon(book.record(answer(Step(0)))), soon(book.lease([prepared(1, bound=BOUND)]))]
        calls.append(soon(book.release([Step(2)])))
        feeding = soon(asyncio.to_thread(lambda: list(book.pages())))
        await clerk.until(4)
        match how:
            case "told":
                clerk.answer("lost", LedgerError("no space left", code="disk-full"))
            case "closed":
                book.close()
            case _:
                clerk.channel.close()
        for call in [*calls, soon(book.record(answer(Step(3))))]:
            with pytest.raises(LedgerError):
                await call
        assert await feeding == []
        with pytest.raises(LedgerError):
            await asyncio.to_thread(book.post, answer(Step(4)))
        with pytest.raises(LedgerError):
            await asyncio.to_thread(lambda: list(book.pages()))

    over_a_socket(act)


def test_a_feeder_that_waits_for_room_is_let_go_when_the_book_is_lost() -> None:
    async def act(book: RemoteBook, clerk: Clerk) -> None:
        errors: list[BaseException] = []

        def post() -> None:
            try:
                for row in range(BACKLOG + 1):
                    book.post(answer(Step(row), reused=True))
            except LedgerError as error:
                errors.append(error)

        thread = threading.Thread(target=post, daemon=True)
        thread.start()
        await clerk.until(BACKLOG)
        clerk.answer("lost", LedgerError("no space left", code="disk-full"))
        await asyncio.to_thread(thread.join, 60)
        assert [error.code for error in errors if isinstance(error, LedgerError)] == ["disk-full"]

    over_a_socket(act)


def test_an_answer_to_somebody_who_has_given_up_is_nothing() -> None:
    async def act(book: RemoteBook, clerk: Clerk) -> None:
        given_up = soon(book.record(answer(Step(0))))
        ((_, call, *_),) = await clerk.until(1)
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
        clerk.answer("decided", call, "succeeded", None, None)
        lease = soon(book.lease([prepared(1, bound=BOUND)]))
        await clerk.until(2)
        clerk.answer("done", clerk.asked[-1][1], 1)
        assert await lease == 1

    over_a_socket(act)


def test_results_of_tools_are_kept_where_the_run_is_held() -> None:
    async def act(book: RemoteBook, clerk: Clerk) -> None:
        keeping = asyncio.ensure_future(
            book.keep_results(Step(3, round=7), [ToolResult("a", "found"), ToolResult("b", "no", is_error=True)])
        )
        (message,) = await clerk.until(1)
        assert message == ("keep", 1, step_tuple(Step(3, round=7)), [("a", "found", False), ("b", "no", True)])
        assert not keeping.done()
        clerk.answer("done", 1, None)
        await keeping

    over_a_socket(act)
