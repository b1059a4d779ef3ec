"""How a stand-in is told to behave: its options, and their form on a command line.

Owns   `Options` (frozen), the text forms of latency and fault rates, and the two ways between options and arguments.
       `runner simulate` maps its own options to `Options`; the child process reads them back with `from_arguments`.
Knows  no server: this module is imported by whoever only wants to start one.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from msgspec import Struct

from runner.simulator.acts import PLACES
from runner.simulator.faults import KINDS

DEFAULT_KEY = "simulated-key"
"""What the stand-in accepts as credential unless told otherwise. Not a secret."""

ANY_KEY = "*"
"""As `key`: accept every non-empty credential."""

_DURATION = re.compile(r"^(?P<number>\d+(\.\d+)?)(?P<unit>ms|s|min|h)?$")
_FAULT = re.compile(r"^((?P<place>\w+):)?(?P<kind>\w+)=(?P<rate>\d+(\.\d+)?|\.\d+)(?P<percent>%)?$")
_UNITS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, None: 1.0}


class Latency(Struct, frozen=True):
    """How long a reply takes: always `median_s`, or lognormal around it where `sigma` is above zero.

    Real latencies are heavy-tailed; with sigma 0.5 one reply in twenty takes 2.3 times the median.
    """

    median_s: float = 0.0
    sigma: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Latency:
        """Read `200ms`, `1.5s`, `10min`, `lognormal:800ms` or `lognormal:800ms,0.7` (sigma). Raises ValueError."""
        spread, _, rest = text.rpartition(":")
        if spread not in ("", "lognormal"):
            raise ValueError(f"{text!r} is no latency; expected for example 200ms or lognormal:800ms,0.5")
        median, _, sigma = rest.partition(",")
        if sigma and not spread:
            raise ValueError(f"{text!r}: only a lognormal latency has a second number")
        return cls(_seconds(median), float(sigma) if sigma else (0.5 if spread else 0.0))

    def __str__(self) -> str:
        return f"lognormal:{self.median_s}s,{self.sigma}" if self.sigma else f"{self.median_s}s"

    def draw(self, gauss: float) -> float:
        """Seconds for one reply; `gauss` is a draw from the standard normal distribution."""
        return self.median_s * math.exp(self.sigma * gauss) if self.sigma else self.median_s


def _seconds(text: str) -> float:
    match = _DURATION.match(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no duration; expected for example 200ms or 1.5s")
    return float(match["number"]) * _UNITS[match["unit"]]


def parse_fault(text: str) -> tuple[str, float]:
    """Read `KIND=RATE` or `PLACE:KIND=RATE`: `529=0.05`, `batch_create:reply_lost=1%`. Raises ValueError.

    Without a place a kind strikes where it belongs: at Messages requests, or, if it is one of batches, there.
    """
    match = _FAULT.match(text)
    if match is None:
        raise ValueError(f"{text!r} is no fault; expected KIND=RATE, for example 529=0.05 or reply_lost=1%")
    if match["kind"] not in KINDS:
        raise ValueError(f"there is no fault {match['kind']!r}; there are: {', '.join(sorted(KINDS))}")
    if match["place"] is not None and match["place"] not in PLACES:
        raise ValueError(f"there is no place {match['place']!r}; there are: {', '.join(PLACES)}")
    share = float(match["rate"]) / (100 if match["percent"] else 1)
    if share > 1:
        raise ValueError(f"{text!r}: the rate must lie between 0 and 1")
    return text.rpartition("=")[0], share


BatchStart = Literal["at_once", "staggered"]


class Options(Struct, frozen=True):
    """What a stand-in is started with.

    `state` is the folder of its accounts; they survive a restart. `port` 0 lets the system choose. `key` is the
    credential it accepts (`*`: any). `rpm`, `itpm`, `otpm` are limits a minute (requests, input tokens, output tokens)
    for each line of models, None for none; `burst_s` is how many seconds' worth may be used at once. `window_s` is a
    shorter one that is enforced as well and that no header tells of. `ramp` refuses what is more than so many requests
    a second, and more than twice as many as a second ago. `retry_after` says whether a 429 tells when to come back.
    `max_concurrency` refuses more requests than this at a time. `faults` are (kind, rate) pairs, drawn by `seed`.
    `reply_tokens` is about how long a plain answer is.

    `batch_latency` is how long a batch takes, however many requests it has, and `batch_cancel_s` how long it stays
    `canceling`. `batch_start` says whether its requests start all at once, so that none reads what another has written
    to the cache, or staggered, so that the share `batch_hit_rate` of them does. `batch_queue` bounds the requests in
    batches that have not ended.

    `control_token` opens the control endpoint; empty lets the server make one.
    """

    state: Path
    port: int = 0
    host: str = "127.0.0.1"
    key: str = DEFAULT_KEY
    latency: Latency = Latency()
    reply_tokens: int = 40
    rpm: int | None = None
    itpm: int | None = None
    otpm: int | None = None
    burst_s: float = 60.0
    window_s: float | None = None
    ramp: int | None = None
    retry_after: bool = True
    max_concurrency: int | None = None
    faults: tuple[tuple[str, float], ...] = ()
    seed: int = 0
    batch_latency: Latency = Latency(1.0)
    batch_cancel_s: float = 0.2
    batch_start: BatchStart = "staggered"
    batch_hit_rate: float = 0.8
    batch_queue: int = 500_000
    control_token: str = ""
    die_with_stdin: bool = False

    def to_arguments(self) -> list[str]:
        """The arguments that `from_arguments` reads back as equal options."""
        arguments = ["--state", str(self.state), "--port", str(self.port), "--host", self.host, "--key", self.key]
        arguments += ["--latency", str(self.latency), "--reply-tokens", str(self.reply_tokens)]
        arguments += ["--batch-latency", str(self.batch_latency), "--batch-cancel-s", str(self.batch_cancel_s)]
        arguments += ["--batch-start", self.batch_start, "--batch-hit-rate", str(self.batch_hit_rate)]
        arguments += ["--batch-queue", str(self.batch_queue)]
        arguments += ["--burst-s", str(self.burst_s), "--seed", str(self.seed)]
        for name, limit in (("rpm", self.rpm), ("itpm", self.itpm), ("otpm", self.otpm)):
            arguments += [f"--{name}", str(limit)] if limit is not None else []
        if self.window_s is not None:
            arguments += ["--window-s", str(self.window_s)]
        if self.ramp is not None:
            arguments += ["--ramp", str(self.ramp)]
        if not self.retry_after:
            arguments += ["--no-retry-after"]
        if self.max_concurrency is not None:
            arguments += ["--max-concurrency", str(self.max_concurrency)]
        for kind, rate in self.faults:
            arguments += ["--fault", f"{kind}={rate}"]
        if self.control_token:
            arguments += ["--control-token", self.control_token]
        return arguments + (["--die-with-stdin"] if self.die_with_stdin else [])


def from_arguments(arguments: Sequence[str]) -> Options:
    """Read options from a command line. Exits with a message, as argparse does, where they are wrong."""
    parser = argparse.ArgumentParser(prog="python -m runner.simulator", description="Serve the stand-in API.")
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--key", default=DEFAULT_KEY)
    parser.add_argument("--latency", type=Latency.parse, default=Latency())
    parser.add_argument("--reply-tokens", type=int, default=40)
    parser.add_argument("--rpm", type=int)
    parser.add_argument("--itpm", type=int)
    parser.add_argument("--otpm", type=int)
    parser.add_argument("--burst-s", type=float, default=60.0)
    parser.add_argument("--window-s", type=float)
    parser.add_argument("--ramp", type=int)
    parser.add_argument("--no-retry-after", action="store_false", dest="retry_after")
    parser.add_argument("--max-concurrency", type=int)
    parser.add_argument("--fault", type=parse_fault, action="append", default=[], dest="faults", metavar="KIND=RATE")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch-latency", type=Latency.parse, default=Latency(1.0))
    parser.add_argument("--batch-cancel-s", type=float, default=0.2)
    parser.add_argument("--batch-start", choices=get_args(BatchStart), default="staggered")
    parser.add_argument("--batch-hit-rate", type=float, default=0.8)
    parser.add_argument("--batch-queue", type=int, default=500_000)
    parser.add_argument("--control-token", default="")
    parser.add_argument("--die-with-stdin", action="store_true")
    values = vars(parser.parse_args(arguments))
    return Options(**{**values, "faults": tuple(values["faults"])})
