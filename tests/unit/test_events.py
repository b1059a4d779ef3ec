"""Observers as one."""

from __future__ import annotations

from runner.events import Event, Observers, Warned


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
