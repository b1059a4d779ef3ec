"""A sink that takes parts, in a folder: what a table with a marker in it does, and what a receiver of webhooks does.

With marks, a part and its number become visible together, by one rename. Without, each call is kept with its id, and
`received` takes those with an id once, as a receiver does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from runner.encoding import decode, encode
from runner.errors import DeliveryError
from runner.sinks import DeliveryId, Part, PartLimits, Refused

Reach = Callable[[str], None]
"""Told of each step by name, before and after it; may raise, or kill."""


class FolderSink:
    """Parts into `<folder>/<place>.json`, one file a call, with everything that came with it."""

    kind = "folder"

    def __init__(
        self,
        folder: Path,
        *,
        marks: bool = True,
        records: int = 3,
        is_replaced: bool = False,
        refuses: Sequence[str] = (),
        reach: Reach = lambda _: None,
    ) -> None:
        self._folder = folder
        self._marks = marks
        self._refuses = refuses
        self._reach = reach
        self._owner = ""
        self._id = ""
        self.limits = PartLimits(records)
        self.is_replaced = is_replaced
        self.closed = 0

    @property
    def target(self) -> str:
        return f"folder {self._folder.name}"

    def check(self) -> None:
        self._reach("check")

    def begin(self, delivery: DeliveryId) -> int | None:
        self._reach("before begin")
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "owner").write_text(delivery.owner)
        self._owner, self._id = delivery.owner, delivery.id
        self._reach("after begin")
        if not self._marks:
            return None
        return max((call["number"] for call in self.calls() if call["delivery"] == delivery.id), default=0)

    def deliver(self, part: Part) -> Sequence[Refused]:
        self._reach("before deliver")
        if (self._folder / "owner").read_text() != self._owner:
            raise DeliveryError(f"{self.target} is being delivered to by another process", code="fenced")
        kept = [record for record in part.records if record.key not in self._refuses]
        call = {
            "delivery": self._id,
            "number": part.number,
            "id": part.id,
            "records": [{"key": record.key, "status": record.status, "output": record.output} for record in kept],
        }
        place = self._folder / f"{len(self.calls()):04}.json"
        staged = place.with_suffix(".part")
        staged.write_bytes(encode(call))
        staged.rename(place)
        self._reach("after deliver")
        return [Refused(record.key, "too wide") for record in part.records if record.key in self._refuses]

    def finish(self) -> None:
        self._reach("before finish")
        (self._folder / "finished").write_text(self._id)
        self._reach("after finish")

    def close(self) -> None:
        self.closed += 1

    # -- what is there ---------------------------------------------------------------------------------------------

    def calls(self) -> list[dict[str, Any]]:
        return [decode(path.read_bytes()) for path in sorted(self._folder.glob("*.json"))]

    @property
    def is_finished(self) -> bool:
        return (self._folder / "finished").exists() and (self._folder / "finished").read_text() == self._id

    def received(self) -> list[str]:
        """The keys in the order in which they came, of each id the first call alone; of a target that is replaced,
        those of the last delivery."""
        calls = {call["id"]: call for call in reversed(self.calls())}
        in_order = sorted(calls.values(), key=self.calls().index)
        last = in_order[-1]["delivery"] if in_order else ""
        taken = [call for call in in_order if not self.is_replaced or call["delivery"] == last]
        return [record["key"] for call in taken for record in call["records"]]
