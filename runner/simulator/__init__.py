"""The stand-in API: a local server that behaves like the Messages API and its batches, for demos and for every test.

Owns   a child process that speaks HTTP on the loopback, answers deterministically, refuses what the real API refuses,
       does prompt-cache and rate-limit arithmetic, misbehaves on request, and keeps accounts that nobody else can
       write.
Knows  the wire format only. It shares no rule with the rest of runner (prices, cache minimums, identity are its own),
       so that an error there is not repeated here. It never sees a real credential.

This front door is light: it starts the server as a child and talks to it, and imports no HTTP server.

    with launch(Options(state=folder)) as running:
        os.environ["ANTHROPIC_BASE_URL"] = running.base_url
        os.environ["ANTHROPIC_API_KEY"] = running.api_key
"""

from runner.simulator.control import ControlFailed, Controls
from runner.simulator.options import DEFAULT_KEY, BatchStart, Latency, Options, parse_fault
from runner.simulator.process import Running, launch, serve

__all__ = [
    "DEFAULT_KEY",
    "BatchStart",
    "ControlFailed",
    "Controls",
    "Latency",
    "Options",
    "Running",
    "launch",
    "parse_fault",
    "serve",
]
