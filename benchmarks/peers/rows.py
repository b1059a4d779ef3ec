"""What every driver does: read the rows and the shared block, write what came, say how many rows got nothing."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Work:
    """The arguments of a driver."""

    rows: list[dict[str, str]]
    shared: str
    out: Path
    in_flight: int

    @classmethod
    def from_arguments(cls) -> Work:
        rows, system, out, in_flight = sys.argv[1:]
        with Path(rows).open(encoding="utf-8", newline="") as file:
            return cls(list(csv.DictReader(file)), Path(system).read_text("utf-8"), Path(out), int(in_flight))

    def finish(self, outputs: Mapping[str, str]) -> None:
        """Write the outputs by key; a row without one is lost."""
        self.out.parent.mkdir(exist_ok=True)
        lines = (json.dumps({"key": key, "output": output}, ensure_ascii=False) for key, output in outputs.items())
        self.out.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        print(json.dumps({"lost": len(self.rows) - len(outputs)}))
