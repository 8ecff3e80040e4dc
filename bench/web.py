"""A TLS server outside: whatever is asked for by name, and as many octets as are wanted."""

import contextlib
import socket
import ssl
import threading
from pathlib import Path
from typing import Final

import trustme

BLOCK: Final = memoryview(bytes(1 << 18))
PORT: Final = 443


class Web:
    """A thread for each connection, until the process ends.

    A request is one line: how many octets are wanted. The same certificate serves every name.
    """

    def __init__(self, addresses: tuple[str, ...], folder: Path) -> None:
        """Writes the certificate to trust into `folder`."""
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("web.example").configure_cert(self._tls)
        for address in addresses:
            server = socket.create_server((address, PORT), backlog=256)
            threading.Thread(target=self._accept, args=(server,), daemon=True).start()

    def _accept(self, server: socket.socket) -> None:
        while True:
            wire, _ = server.accept()
            threading.Thread(target=self._serve, args=(wire,), daemon=True).start()

    def _serve(self, wire: socket.socket) -> None:
        wire.settimeout(30)
        with (
            wire,
            contextlib.suppress(OSError, ValueError),
            self._tls.wrap_socket(wire, server_side=True) as tls,
        ):
            left = int(tls.recv(64))
            while left > 0:
                left -= tls.send(BLOCK[:left])
