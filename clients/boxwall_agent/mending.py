"""Brings the kernel back to what is meant, when it has refused or nobody knows what it did."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import structlog

from boxwall_agent.errors import KernelError

FIRST_WAIT: Final = 1.0
LONGEST_WAIT: Final = 60.0
"""Seconds between two tries: each is a transaction of the whole table, on the event loop."""

_log = structlog.get_logger()


class Mended(Protocol):
    """What is mended; see `agent.Agent`."""

    @property
    def is_in_doubt(self) -> bool:
        """Whether the kernel may hold something else than is meant."""

    def repair(self) -> None:
        """Put everything in force anew. Raises KernelError."""


class Mender:
    """Tries while there is doubt. Boxes that it concerns are cut off meanwhile."""

    def __init__(
        self,
        agent: Mended,
        observe_repair: Callable[[], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._agent = agent
        self._observe_repair = observe_repair
        self._sleep = sleep

    async def run(self) -> None:
        """Until cancelled."""
        wait = FIRST_WAIT
        while True:
            await self._sleep(wait)
            wait = FIRST_WAIT if self._mend() else min(wait * 2, LONGEST_WAIT)

    def _mend(self) -> bool:
        """Whether there is nothing (more) to do."""
        if not self._agent.is_in_doubt:
            return True
        try:
            self._agent.repair()
        except KernelError as exc:
            _log.error("repair_failed", error=str(exc))
            return False
        self._observe_repair()
        return True
