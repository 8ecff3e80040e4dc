"""`python -m bench.sni_proxy HERE UPSTREAM FILE`: the user-space way to allow TLS by name.

It reads the ClientHello, looks its name up in FILE (one entry of `allowed_domains` a line), opens a
connection of its own, and copies every octet in both directions. An honest rival: protocols without
streams, no copies that could be left out, sockets that wait when the other side does.
"""

import asyncio
import socket
import sys
from pathlib import Path
from typing import Final, cast

from boxwall.policy import Custom, DomainPattern, matching_domain
from boxwall_agent.firstbytes.hello import Hello, More, read_hello

PORT: Final = 443
MOST_WAITING: Final = 1 << 20


class _End(asyncio.BufferedProtocol):
    """One end of what is copied. What comes is written to the other end."""

    def __init__(self) -> None:
        self._buffer = bytearray(1 << 18)
        self.other: asyncio.Transport | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=MOST_WAITING)
        self.transport.get_extra_info("socket").setsockopt(
            socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
        )

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self.other is not None:
            self.other.write(bytes(memoryview(self._buffer)[:nbytes]))

    def pause_writing(self) -> None:
        if self.other is not None:
            self.other.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None:
            self.other.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other is not None:
            self.other.close()


class _Client(_End):
    """The end of a client: nothing goes on before its name is known to be good."""

    def __init__(self, policy: Custom, upstream: str, tasks: asyncio.TaskGroup) -> None:
        super().__init__()
        self._policy, self._upstream, self._tasks = policy, upstream, tasks
        self._read = b""

    def buffer_updated(self, nbytes: int) -> None:
        if self.other is not None:
            super().buffer_updated(nbytes)
            return
        assert self.transport is not None
        self._read += self._buffer[:nbytes]
        match read_hello(self._read):
            case Hello(name=name) if name is not None and matching_domain(self._policy, name):
                self.transport.pause_reading()
                self._tasks.create_task(self._connect())
            case More():
                pass
            case _:
                self.transport.abort()

    async def _connect(self) -> None:
        assert self.transport is not None
        loop = asyncio.get_running_loop()
        try:
            transport, server = await loop.create_connection(_End, self._upstream, PORT)
        except OSError:
            self.transport.abort()
            return
        server.other = self.transport
        transport.write(self._read)
        self.other = transport
        self.transport.resume_reading()


async def main(here: str, upstream: str, file: Path) -> None:
    """Serve until the process is ended."""
    patterns = tuple(map(DomainPattern.parse, file.read_text().split()))
    policy = Custom(allowed_domains=patterns)
    async with asyncio.TaskGroup() as tasks:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Client(policy, upstream, tasks), here, PORT)
        print("the proxy serves", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
