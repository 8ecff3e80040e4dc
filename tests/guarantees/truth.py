"""A history that is put together while it happens, by those who make it."""

import asyncio

from guarantees.history import History, Write


class Truth:
    """What has happened, told by those who did it."""

    def __init__(self) -> None:
        self.history = History()
        self.found = 0
        """Writes that have happened though their answer was lost, and no request id tells."""
        self._new: list[Write] = []
        self._count = 0
        self._wanted = 0
        self._reached = asyncio.Event()

    def take(self, write: Write) -> None:
        """A write has happened for certain."""
        self._new.append(write)
        self._count += 1
        if self._count >= self._wanted:
            self._reached.set()

    async def grown_by(self, number: int) -> None:
        """Wait for so many more writes."""
        self._wanted = self._count + number
        self._reached.clear()
        await self._reached.wait()

    def complete(self) -> None:
        """Nothing is under way: the history is whole, or has a gap, which raises."""
        for write in sorted(self._new, key=lambda write: write.revision):
            self.history.add(write)
        self._new.clear()
