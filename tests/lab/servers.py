"""Servers on the lab's internet: one port that answers on every address, TCP and UDP."""

import contextlib
import selectors
import socket
import threading
from collections.abc import Callable
from typing import Final

from lab.namespaces import Namespace, inside

PORT: Final = 7
"""Echo, RFC 862: what is sent comes back."""


class Echo:
    """Sends back what it gets, on every address of its host, in both families."""

    def __init__(self, place: Namespace, port: int = PORT) -> None:
        self._selector = selectors.DefaultSelector()
        self._stop, self._stopped = socket.socketpair()
        self._selector.register(self._stopped, selectors.EVENT_READ, None)
        with inside(place.name):
            tcp = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
        tcp.setblocking(False)
        self._register(tcp, lambda: self._accept(tcp))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop, and close every connection."""
        self._stop.close()
        self._thread.join()
        self._stopped.close()
        self._selector.close()

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    for other in list(self._selector.get_map().values()):
                        if other.data is not None:
                            other.fileobj.close()  # type: ignore[union-attr]  # sockets all
                    return
                key.data()

    def _register(self, one: socket.socket, ready: Callable[[], None]) -> None:
        self._selector.register(one, selectors.EVENT_READ, ready)

    def _accept(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection, _ = server.accept()
            self._register(connection, lambda: self._answer(connection))

    def _answer(self, connection: socket.socket) -> None:
        data = b""
        with contextlib.suppress(OSError):
            data = connection.recv(65536)
            connection.sendall(data)
        if not data:
            self._selector.unregister(connection)
            connection.close()


def connect(
    place: Namespace, address: str, port: int = PORT, *, source: str = "", patience: float = 2
) -> socket.socket:
    """Open a TCP connection from inside `place`. Raises OSError."""
    with inside(place.name):
        return socket.create_connection(
            (address, port), timeout=patience, source_address=(source, 0) if source else None
        )


def reaches(place: Namespace, address: str, port: int = PORT, *, source: str = "") -> bool:
    """Whether a TCP connection from `place` gets an answer there."""
    try:
        with connect(place, address, port, source=source) as connection:
            connection.sendall(b"hello")
            return connection.recv(5) == b"hello"
    except OSError:
        return False
