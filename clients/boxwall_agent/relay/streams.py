"""Two ends of a relayed connection, and bytes that go through as they are."""

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Final

CHUNK: Final = 65536


@dataclass(frozen=True, slots=True)
class Stream:
    """One end."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def has_ended(self) -> bool:
        """Whether the other side will say nothing more, as far as is known."""
        return self.reader.at_eof() or self.reader.exception() is not None

    async def send(self, data: bytes) -> None:
        """Send, and wait while the other side is slow."""
        if data:
            self.writer.write(data)
            await self.writer.drain()

    def abort(self) -> None:
        """End at once, with a reset: what waits to be sent is not."""
        self.writer.transport.abort()

    async def close(self) -> None:
        """End when what was sent has been taken."""
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


async def splice(one: Stream, other: Stream) -> None:
    """Pass bytes on in both directions until both have ended."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_pass_on(one, other))
        tasks.create_task(_pass_on(other, one))


async def _pass_on(source: Stream, target: Stream) -> None:
    while data := await source.reader.read(CHUNK):
        await target.send(data)
    if target.writer.can_write_eof():
        target.writer.write_eof()
