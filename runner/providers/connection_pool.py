"""The connections to one server: opened when there is none at hand, kept for a while, used again.

Owns   the looking up of names, the opening of sockets and TLS on them, and the connections that are idle.
Knows  a host, a port and certificates. Nothing of HTTP.

There is no bound on their number here: who asks has one on how many requests are on their way, and each of them has a
connection of its own. The one that was used last is used next, so that those that are not needed grow old.

Invariants
  * What was raised as `NotConnected` has sent no byte of a request.
  * An idle connection is no older than KEEP_ALIVE_S; one that the server has closed is not used again.

Sources: RFC 8305 by way of `aiohappyeyeballs`, with aiohttp's delay; names are kept as long as aiohttp keeps them.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import aiohappyeyeballs

from runner.providers.connection import Connection
from runner.providers.failures import NotConnected

KEEP_ALIVE_S = 5.0
"""How long an idle connection is kept: httpx2's default, under what load balancers keep, so that a request seldom meets
a connection that is just being closed."""

_TCP_KEEP_ALIVE_S = 60
"""After so much silence the kernel asks whether the other side is still there, as with the SDK's default client: a long
answer leaves a connection idle for minutes, and what forgets idle connections (NAT) does not forget these."""

_NAMES_KEPT_S = 10.0
_NEXT_ADDRESS_S = 0.25
"""An address that does not answer within this has company."""

Address = tuple[Any, ...]
"""As `getaddrinfo` has it."""


class ConnectionPool:
    """For one event loop. `tls` None: in the clear."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None, *, connect_timeout_s: float) -> None:
        self._host = host
        self._port = port
        self._tls = tls
        self._connect_timeout_s = connect_timeout_s
        self._loop = asyncio.get_running_loop()
        self._idle: list[Connection] = []
        """Oldest first."""
        self._free = self._idle.append
        self._sweeping: asyncio.TimerHandle | None = None
        self._addresses: list[Address] = []
        self._addresses_until = float("-inf")
        self._looking: asyncio.Task[None] | None = None

    def take(self) -> Connection | None:
        """An idle connection, None where one has to be opened."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.closed:
                continue
            if self._loop.time() - connection.idle_since < KEEP_ALIVE_S:
                return connection
            connection.abandon()
        return None

    async def open(self) -> Connection:
        """A new connection. Raises NotConnected."""
        if self._sweeping is None:
            self._sweep()
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                return await self._opened()
        except (OSError, UnicodeError) as error:  # UnicodeError: a host that is no name
            raise NotConnected(str(error) or type(error).__name__) from error

    async def aclose(self) -> None:
        if self._sweeping is not None:
            self._sweeping.cancel()
        if self._looking is not None:
            self._looking.cancel()
        while self._idle:
            self._idle.pop().abandon()
        await asyncio.sleep(0)  # so that transports have closed when the loop does

    # -- opening ---------------------------------------------------------------------------------------------------

    async def _opened(self) -> Connection:
        sock = await aiohappyeyeballs.start_connection(
            await self._resolved(), happy_eyeballs_delay=_NEXT_ADDRESS_S, interleave=1, socket_factory=keeping_socket
        )
        try:
            _, connection = await self._loop.create_connection(
                lambda: Connection(self._loop, self._free),
                sock=sock,
                ssl=self._tls,
                server_hostname=self._host if self._tls is not None else None,
            )
        except BaseException:
            sock.close()
            raise
        return connection

    async def _resolved(self) -> Sequence[Address]:
        """The host's addresses, each connection beginning with another one."""
        if not self._addresses or self._loop.time() >= self._addresses_until:
            if self._looking is None:
                self._looking = asyncio.create_task(self._look_up())
                self._looking.add_done_callback(self._looked)
            # Many wait for the one look; none of them takes it along when it gives up.
            await asyncio.shield(self._looking)
        self._addresses.append(self._addresses.pop(0))
        return self._addresses

    async def _look_up(self) -> None:
        self._addresses = list(await self._loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM))
        self._addresses_until = self._loop.time() + _NAMES_KEPT_S

    def _looked(self, task: asyncio.Task[None]) -> None:
        self._looking = None
        if not task.cancelled():
            task.exception()  # those who waited have it

    # -- keeping ---------------------------------------------------------------------------------------------------

    def _sweep(self) -> None:
        """Close what has been idle too long, and look again."""
        long_ago = self._loop.time() - KEEP_ALIVE_S
        kept = []
        for connection in self._idle:
            if connection.idle_since > long_ago:
                kept.append(connection)
            else:
                connection.abandon()
        self._idle[:] = [connection for connection in kept if not connection.closed]
        self._sweeping = self._loop.call_later(KEEP_ALIVE_S, self._sweep)


def keeping_socket(address: Address) -> socket.socket:
    """A socket for an address, as all of ours are: no delay, and asked after when it is silent."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setblocking(False)
    with suppress(OSError):  # wishes, not needs
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        idle = getattr(socket, "TCP_KEEPIDLE", getattr(socket, "TCP_KEEPALIVE", None))  # Linux; macOS
        if idle is not None:
            made.setsockopt(socket.IPPROTO_TCP, idle, _TCP_KEEP_ALIVE_S)
    return made
