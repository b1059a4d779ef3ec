"""Running the stand-in in this process: the loop, the socket, the ready line, the end.

Owns   the life of the child process. Prints one JSON line, {"base_url", "control_token", "pid"}, when it listens, or
       {"error"} where its address cannot be had; ends on SIGTERM or SIGINT, and with `die_with_stdin` when its parent
       has closed the pipe or died.
Knows  `app` and asyncio; nothing of what is answered.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import secrets
import signal
import sys
from collections.abc import Mapping

import uvloop
from aiohttp import web
from msgspec.structs import replace

from runner.clock import SystemClock
from runner.simulator.app import App, make_server
from runner.simulator.options import Options

_BACKLOG = 4_096
_SHUTDOWN_S = 0.1
"""How long open exchanges get at the end: none of them will be answered."""


def run(options: Options) -> None:
    """Serve until told to stop; blocks."""
    _raise_file_limit()
    uvloop.run(_serve(replace(options, control_token=options.control_token or secrets.token_hex(8))))


async def _serve(options: Options) -> None:
    app = App(options, SystemClock())
    runner = web.ServerRunner(make_server(app), shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    site = web.TCPSite(runner, options.host, options.port, backlog=_BACKLOG)
    try:
        await site.start()
    except OSError as error:
        _say({"error": f"{options.host}:{options.port}: {os.strerror(error.errno) if error.errno else error}"})
        raise SystemExit(1) from None
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    if options.die_with_stdin:
        loop.add_reader(sys.stdin.fileno(), _watch_pipe, stopped)
    app.start()
    host, port = runner.addresses[0][:2]
    _say({"base_url": f"http://{host}:{port}", "control_token": options.control_token, "pid": os.getpid()})
    await stopped.wait()
    await runner.cleanup()
    await app.close()


def _say(line: Mapping[str, object]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def _watch_pipe(stopped: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 4_096):
        stopped.set()
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())


def _raise_file_limit() -> None:
    """Every concurrent request holds a socket; common limits are 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
