"""One line of what `runner doctor` reports."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

Status = Literal["ok", "warning", "error"]


class Finding(Struct, frozen=True):
    """What was looked at, how it is, and the cure where it is not well. `message` may have several lines."""

    name: str
    status: Status
    message: str
    hint: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "status": self.status, "message": self.message, "hint": self.hint}
