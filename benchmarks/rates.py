"""What the stand-in takes for a token of each kind, in pico-dollars: `python -m benchmarks.rates` prints it as JSON.

A program of its own, because the price list takes more memory than the smallest program that is measured, and the
measuring process has to stay below that (`children`).
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from functools import cache

from benchmarks.bodies import MODEL
from benchmarks.results import ROOT

FIELDS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "ephemeral_5m_input_tokens")


@cache
def rates() -> Mapping[str, int]:
    """By field of a usage."""
    command = (sys.executable, "-m", "benchmarks.rates")
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found: dict[str, int] = json.loads(told.stdout)
    return found


def main() -> None:
    from runner.simulator.bill import cost_pico
    from runner.types import Usage

    print(json.dumps({field: cost_pico(MODEL, Usage(**{field: 1})) for field in FIELDS}))


if __name__ == "__main__":
    main()
