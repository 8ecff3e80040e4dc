"""A TCP line between two programs of this machine, which can be slow, and be cut."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Line:
    """Leads to a port. What is under way when it is cut never arrives."""

    def __init__(self, port: int) -> None:
        self.port = 0
        self.delay = 0.0
        """Seconds that whatever is sent, either way, is held up for."""
        self._to = port
        self._is_cut = False
        self._open: set[asyncio.StreamWriter] = set()

    async def serve(self, client: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        """Lead one connection through."""
        if self._is_cut:
            answer.transport.abort()
            return
        server, request = await asyncio.open_connection("127.0.0.1", self._to)
        ends = {answer, request}
        self._open |= ends
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._carry(client, request))
                tasks.create_task(self._carry(server, answer))
        except* ConnectionError:
            pass
        finally:
            self._open -= ends
            for end in ends:
                end.transport.abort()

    def cut(self) -> None:
        """End every connection, and let none begin."""
        self._is_cut = True
        for end in self._open:
            end.transport.abort()

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            await asyncio.sleep(self.delay)
            sink.write(data)
            await sink.drain()
        raise ConnectionError("one end has hung up")  # ends the other way too


@asynccontextmanager
async def line_to(port: int) -> AsyncIterator[Line]:
    """A line to a port, for as long as the context lasts."""
    line = Line(port)
    server = await asyncio.start_server(line.serve, "127.0.0.1", 0)
    line.port = server.sockets[0].getsockname()[1]
    try:
        yield line
    finally:
        server.close()
        line.cut()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await server.wait_closed()
