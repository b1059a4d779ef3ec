"""A way to a server of this machine that can be shut and opened again, always at the same port.

with gate_to(port) as gate:
    ...              # what goes to `gate.port` reaches the server
    gate.shut()      # connections end, and no new one comes to stand
    gate.open()
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Gate:
    """Shut when it is made. Its port is its own all the while."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._gate = threading.Lock()
        self._listener: socket.socket | None = None
        self._sockets: set[socket.socket] = set()
        # Bound and not listening: connections are refused, and nobody else gets the port.
        self._place = socket.socket()
        self._place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._place.bind(("127.0.0.1", 0))
        self.port = int(self._place.getsockname()[1])

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def open(self) -> None:
        listener = socket.create_server(("127.0.0.1", self.port), backlog=100, reuse_port=True)
        self._listener = listener
        threading.Thread(target=self._serve, args=(listener,), daemon=True).start()

    def shut(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            _end(listener)
        with self._gate:
            sockets, self._sockets = self._sockets, set()
        for each in sockets:
            _end(each)

    def close(self) -> None:
        self.shut()
        self._place.close()

    def _serve(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server_port))
                with self._gate:
                    if self._listener is not listener:  # shut meanwhile
                        _end(client)
                        _end(server)
                        return
                    self._sockets |= {client, server}
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=self._forward, args=(source, target), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
        with self._gate:
            self._sockets -= {source, target}
        _end(source)
        _end(target)


def _end(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()


@contextmanager
def gate_to(server_port: int) -> Iterator[Gate]:
    gate = Gate(server_port)
    try:
        yield gate
    finally:
        gate.close()
