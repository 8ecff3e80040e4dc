"""Web servers on the internet: TLS with a certificate for whatever name is asked for, and HTTP.

What each connection named, and what it sent, is remembered: a test asks the server, not the box.
"""

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import idna
import trustme

from lab.namespaces import Namespace, inside

TLS_PORTS: Final = (443, 8443, 853, 9443, 8082)
HTTP_PORTS: Final = (80, 8080, 8081)
RETRY_PORT: Final = 9443
"""TLS wants a key share that clients do not offer at first."""

RETRY_PORTS: Final = (RETRY_PORT, 8082)

SIZE: Final = 1 << 20


@dataclass
class Served:
    """One connection as its server saw it."""

    port: int
    address: str
    """Where the client wanted to go."""
    name: str = ""
    """SNI, or the Host of its last request."""
    received: bytearray = field(default_factory=bytearray)


class Web:
    """All web servers of the internet. `authority` is the file that clients must trust."""

    def __init__(self, place: Namespace, folder: Path) -> None:
        self.served: list[Served] = []
        self.authority = folder / "ca.pem"
        self._ca = trustme.CA()
        self._ca.cert_pem.write_to_path(str(self.authority))
        self._contexts: dict[tuple[str, int], ssl.SSLContext] = {}
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        started = threading.Event()

        def run() -> None:
            asyncio.set_event_loop(self._loop)
            with inside(place.name):
                self._loop.run_until_complete(self._start())
            started.set()
            self._loop.run_forever()

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()
        assert started.wait(10)

    def names(self) -> set[str]:
        """Every name that some connection brought here."""
        return {one.name for one in self.served if one.name}

    def close(self) -> None:
        """Stop."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._stop())
        self._loop.close()

    async def _stop(self) -> None:
        for server in self._servers:
            server.close()
        # Who serves a connection that is gone ends by itself; one that is cancelled is told of.
        for writer in self._writers:
            writer.transport.abort()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        if tasks:
            await asyncio.wait(tasks, timeout=5)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _start(self) -> None:
        self._servers = [
            await asyncio.start_server(
                self._serve(port),
                sock=socket.create_server(
                    ("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024
                ),
                ssl=self._tls(port),
            )
            for port in (*TLS_PORTS, *HTTP_PORTS)
        ]

    def _tls(self, port: int) -> ssl.SSLContext | None:
        return self._context("default.invalid", port) if port in TLS_PORTS else None

    def _context(self, name: str, port: int) -> ssl.SSLContext:
        made = self._contexts.get((name, port))
        if made is None:
            made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._ca.issue_cert(name).configure_cert(made)
            made.set_alpn_protocols(["http/1.1"])
            made.sni_callback = partial(self._choose, port)
            if port in RETRY_PORTS:
                made.set_ecdh_curve("secp384r1")
            self._contexts[name, port] = made
        return made

    def _choose(self, port: int, tls: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        with contextlib.suppress(idna.IDNAError):  # no certificate can be for such a name
            tls.context = self._context(name or "default.invalid", port)
        self.served.append(Served(port=0, address="", name=name or "(no SNI)"))

    def _serve(
        self, port: int
    ) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            address = str(writer.get_extra_info("sockname")[0]).removeprefix("::ffff:")
            served = Served(port=port, address=address)
            self.served.append(served)
            self._writers.add(writer)
            with contextlib.suppress(
                OSError, asyncio.IncompleteReadError, ssl.SSLError, ValueError
            ):
                while True:
                    await _answer_one(reader, writer, served)
            self._writers.discard(writer)
            writer.close()

        return serve


async def _answer_one(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, served: Served
) -> None:
    """Answer one request: its path is how many octets the answer has, or `/` for its host."""
    head = await reader.readuntil(b"\r\n\r\n")
    served.received += head
    lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
    served.name = headers.get("host", "").partition(":")[0]
    length = int(headers.get("content-length", "0"))
    if length:
        served.received += await reader.readexactly(length)
    _, path, *_ = lines[0].split()
    if path.startswith("/bytes/"):
        left = int(path.removeprefix("/bytes/"))
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {left}\r\n\r\n".encode())
        while left:
            chunk = min(left, SIZE // 16)
            writer.write(bytes(chunk))
            left -= chunk
            await writer.drain()
        return
    body = f"this is {served.name} at {served.address}\n".encode()
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    await writer.drain()
