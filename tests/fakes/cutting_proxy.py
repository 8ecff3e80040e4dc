"""A way to a database that can be cut in the middle of a commit, or hold commits up."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from enum import Enum

_COMMIT = b"COMMIT\x00"


class Cut(Enum):
    """When the connection is lost."""

    NEVER = "never"
    BEFORE = "before the database hears of the commit"
    AFTER = "before the client hears that it has happened"


class CuttingProxy:
    """Forwards to a port of this machine. `cut` holds for the next COMMIT, once."""

    def __init__(self, port: int) -> None:
        self.cut = Cut.NEVER
        self.cuts = 0
        self.commits = 0
        """How many came."""
        self.disk = asyncio.Event()
        """Cleared, commits wait, as they do for a slow disk."""
        self.disk.set()
        self.port = 0
        self._to = port

    async def serve(self, client: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        """Forward one connection both ways until one side ends."""
        try:
            server, request = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:  # the database is away
            answer.close()
            return
        back = asyncio.ensure_future(forward(server, answer))  # of two plain copies
        try:
            with contextlib.suppress(ConnectionError):  # then it has ended
                await self._forward_requests(client, server, request, back)
        finally:
            back.cancel()
            await asyncio.wait([back])
            request.close()
            answer.close()

    async def _forward_requests(
        self,
        client: asyncio.StreamReader,
        server: asyncio.StreamReader,
        request: asyncio.StreamWriter,
        back: "asyncio.Future[None]",
    ) -> None:
        while data := await client.read(65536):
            cut, is_commit = self.cut, _COMMIT in data
            if is_commit:
                self.commits += 1
                await self.disk.wait()
            if not is_commit or cut is Cut.NEVER:
                request.write(data)
                await request.drain()
                continue
            self.cut, self.cuts = Cut.NEVER, self.cuts + 1
            back.cancel()
            await asyncio.wait([back])
            if cut is Cut.AFTER:
                request.write(data)
                await server.read(1)
            return


async def forward(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Copy until the source ends."""
    with contextlib.suppress(ConnectionError):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    sink.close()


@contextlib.asynccontextmanager
async def cutting_proxy(port: int) -> AsyncIterator[CuttingProxy]:
    """A proxy to a port, for as long as the context lasts."""
    proxy = CuttingProxy(port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
