"""A proxy before a database that cuts connections as the network does: after a commit has left, before its answer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

MAX_CONNECTIONS = 50


class CuttingProxy:
    """Forwards to a port of this machine. `cut_after` is a text of the client's at which the next connection is cut:
    the text is forwarded, the server's answer to it is awaited, and nobody gets that."""

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.cut_after: bytes | None = None
        self.cuts = 0

    def serve(self) -> None:
        for _ in range(MAX_CONNECTIONS):
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._server_port))
            cut = threading.Event()
            for forward, source, target in ((self._up, client, server), (self._down, server, client)):
                threading.Thread(target=forward, args=(source, target, cut), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket, cut: threading.Event) -> None:
        with suppress(OSError):
            while data := client.recv(1 << 16):
                if self.cut_after is not None and self.cut_after in data:
                    self.cut_after = None
                    cut.set()
                server.sendall(data)
        _close(server)

    def _down(self, server: socket.socket, client: socket.socket, cut: threading.Event) -> None:
        with suppress(OSError):
            while data := server.recv(1 << 16):
                if cut.is_set():
                    self.cuts += 1
                    break
                client.sendall(data)
        _close(client, server)

    def close(self) -> None:
        _close(self._listener)


def _close(*sockets: socket.socket) -> None:
    for each in sockets:
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()


@contextmanager
def cutting_proxy(port: int) -> Iterator[CuttingProxy]:
    proxy = CuttingProxy(port)
    thread = threading.Thread(target=proxy.serve, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.close()
        thread.join(5)
