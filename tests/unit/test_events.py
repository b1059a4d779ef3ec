"""Observers as one."""

from __future__ import annotations

from runner.events import Event, Observers, StepEnded, StepSent, Warned
from runner.types import Failure, Step, Usage


class Hearing:
    def __init__(self, name: str, heard: list[str]) -> None:
        self._name = name
        self._heard = heard

    def notify(self, event: Event) -> None:
        assert isinstance(event, Warned)
        self._heard.append(f"{self._name} {event.code}")


def test_several_observers_are_told_in_order_and_once_each() -> None:
    heard: list[str] = []
    one, two, three, four = (Hearing(name, heard) for name in ("one", "two", "three", "four"))
    observers = Observers(Observers(one, Observers(two)), Observers(), three, Observers(four))
    observers.notify(Warned("code", "message"))
    assert heard == ["one code", "two code", "three code", "four code"]
    assert list(observers.each) == [one, two, three, four]


class Unbothered:
    hears_each_row = False

    def __init__(self) -> None:
        self.heard: list[Event] = []

    def notify(self, event: Event) -> None:
        self.heard.append(event)


def test_an_observer_may_be_spared_what_nearly_every_row_has() -> None:
    step, trouble = Step(0), Failure("timeout", "too slow")
    good = StepEnded(step, 1, "succeeded", None, Usage(), 0, False, 1)
    bad = StepEnded(step, 2, "open", trouble, Usage(), 0, False, 1)
    warned = Warned("code", "message")
    one, every = Unbothered(), Unbothered()
    every.hears_each_row = True
    observers = Observers(one, Observers(every))
    for event in (StepSent(step, 1, 1), good, bad, warned):
        observers.notify(event)
    assert one.heard == [bad, warned]
    assert len(every.heard) == 4
