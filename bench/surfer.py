"""The actor of a box that opens TLS connections."""

import socket
import ssl
import time
from typing import Any, Final

from bench.asker import Asker
from bench.figures import quantile
from bench.web import PORT

BUFFER: Final = 1 << 18
PATIENCE: Final = 10.0


class Surfer(Asker):
    """Each connection verifies the certificate, and is made anew: no resumption."""

    def __init__(self) -> None:
        super().__init__()
        self._tls: ssl.SSLContext | None = None

    async def trust(self, authority: str) -> None:
        """Trust this certificate, and no other."""
        self._tls = ssl.create_default_context(cafile=authority)
        self._tls.check_hostname = False  # one certificate serves every name

    async def is_refused(self, address: str, name: str) -> bool:
        """Whether nothing can be had from an address by this name."""
        try:
            self._first_byte(address, name, patience=2.0)
        except OSError:
            return True
        return False

    async def first_bytes(self, address: str, name: str, count: int) -> dict[str, Any]:
        """Connect so often; return the seconds from connecting to the first octet of an answer."""
        took = [self._first_byte(address, name, PATIENCE) for _ in range(count)]
        return {"p50": quantile(took, 0.5), "p99": quantile(took, 0.99)}

    async def download(self, address: str, name: str, octets: int) -> float:
        """Download; return octets a second, from the first on."""
        buffer, left = bytearray(BUFFER), octets
        with self._connect(address, name, PATIENCE) as wire:
            wire.send(str(octets).encode())
            left -= wire.recv_into(buffer)
            begin, first = time.perf_counter(), left
            while left > 0:
                received = wire.recv_into(buffer)
                if not received:
                    raise ConnectionError(f"{left} of {octets} octets are missing")
                left -= received
            return first / (time.perf_counter() - begin)

    def _first_byte(self, address: str, name: str, patience: float) -> float:
        begin = time.perf_counter()
        with self._connect(address, name, patience) as wire:
            wire.send(b"1")
            if wire.recv(1) != b"\0":
                raise ConnectionError("there is no answer")
            return time.perf_counter() - begin

    def _connect(self, address: str, name: str, patience: float) -> ssl.SSLSocket:
        assert self._tls is not None
        wire = socket.create_connection((address, PORT), timeout=patience)
        try:
            return self._tls.wrap_socket(wire, server_hostname=name)
        except BaseException:
            wire.close()
            raise
