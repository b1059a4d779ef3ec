"""A channel over a real socket pair: groups, order, size, and what each end notices of the other's end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from runner.execution.channel import GROUP, GROUP_BYTES, Channel, Message
from runner.execution.loop import on_loop


@dataclass
class End:
    """One end, and what it has heard."""

    groups: list[Sequence[Message]] = field(default_factory=list)
    lost: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.channel = Channel(self._take, self.lost.set)
        self._news = asyncio.Event()

    def _take(self, messages: Sequence[Message]) -> None:
        self.groups.append(messages)
        self._news.set()

    @property
    def messages(self) -> list[Message]:
        return [message for group in self.groups for message in group]

    async def until(self, count: int) -> None:
        while len(self.messages) < count:
            self._news.clear()
            await asyncio.wait_for(self._news.wait(), 60)


def between(act: Callable[[End, End], Awaitable[None]]) -> None:
    """Run `act` with both ends of a channel, on the loop that runs use."""

    async def main() -> None:
        one, other = End(), End()
        for end, side in zip((one, other), socket.socketpair(), strict=True):
            await end.channel.open(side)
        await act(one, other)
        one.channel.close()
        other.channel.close()
        await asyncio.wait_for(asyncio.gather(one.lost.wait(), other.lost.wait()), 60)

    on_loop(main())


def test_what_is_sent_in_one_turn_arrives_as_one_group_in_order() -> None:
    async def act(one: End, other: End) -> None:
        for number in range(10):
            one.channel.send("n", number)
        await other.until(10)
        assert other.groups == [[("n", number) for number in range(10)]]

    between(act)


def test_an_urgent_message_takes_along_what_waits_before_and_behind_it() -> None:
    async def act(one: End, other: End) -> None:
        one.channel.send("first")
        one.channel.send("now", urgent=True)
        one.channel.send("last")
        await other.until(3)
        assert other.groups == [[("first",), ("now",), ("last",)]]

    between(act)


def test_a_group_is_bounded_in_messages_and_in_bytes() -> None:
    async def act(one: End, other: End) -> None:
        for number in range(2 * GROUP + 3):
            one.channel.send("n", number)
        await other.until(2 * GROUP + 3)
        assert [len(group) for group in other.groups] == [GROUP, GROUP, 3]
        for _ in range(3):
            one.channel.send("large", bytes(GROUP_BYTES // 2), size_bytes=GROUP_BYTES // 2)
        await other.until(2 * GROUP + 6)
        assert [len(group) for group in other.groups][3:] == [2, 1]

    between(act)


def test_frames_larger_than_any_buffer_arrive_whole_both_ways() -> None:
    body = bytes(range(256)) * 40_000

    async def act(one: End, other: End) -> None:
        one.channel.send("one", body, size_bytes=len(body))
        other.channel.send("other", body, size_bytes=len(body))
        await asyncio.gather(one.until(1), other.until(1))
        assert other.messages == [("one", body)]
        assert one.messages == [("other", body)]

    between(act)


def test_what_was_sent_before_closing_arrives_and_then_the_end_is_noticed() -> None:
    async def act(one: End, other: End) -> None:
        one.channel.send("last words")
        one.channel.close()
        await asyncio.wait_for(other.lost.wait(), 60)
        assert other.messages == [("last words",)]
        other.channel.send("too late", urgent=True)  # to nobody, and nobody minds

    between(act)


@pytest.mark.parametrize("value", [None, 1.5, b"\x00", "\ud83d", ((1, 2, 3, 4), [True])], ids=repr)
def test_values_arrive_as_they_were(value: Any) -> None:
    async def act(one: End, other: End) -> None:
        one.channel.send("value", value)
        await other.until(1)
        assert other.messages == [("value", value)]

    between(act)
