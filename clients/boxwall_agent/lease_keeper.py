"""Ends leases in time, and forgets those that no connection needs any more."""

import asyncio
import time
from typing import Final

import structlog

from boxwall_agent.agent import Agent
from boxwall_agent.conntrack import grants
from boxwall_agent.errors import AgentError

_TICK: Final = 0.5
"""Seconds between two looks at what is over."""

_SWEEP: Final = 30.0
"""Seconds between two looks at which grants connections carry: that walks the kernel's table."""

_SETTLED: Final = 10.0
"""Seconds after its end in which a lease is not forgotten: a connection may just be getting it."""

_log = structlog.get_logger()


class LeaseKeeper:
    """Looks after the leases of all boxes."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._is_full = False
        agent.on_room_needed = self._make_room

    async def run(self) -> None:
        """Until cancelled."""
        swept = time.monotonic()
        while True:
            await asyncio.sleep(_TICK)
            try:
                self._agent.end_leases(time.monotonic())
                if self._is_full or time.monotonic() - swept > _SWEEP:
                    await self._sweep()
                    swept = time.monotonic()
            except AgentError as exc:
                _log.error("leases_not_ended", error=str(exc))

    def _make_room(self) -> None:
        self._is_full = True

    async def _sweep(self) -> None:
        """A grant that is taken up while connections are looked at is younger than `before`."""
        was_full, self._is_full = self._is_full, False
        before = time.monotonic() - _SETTLED
        try:
            carried = await asyncio.to_thread(grants)
            self._agent.forget_leases(carried, before)
        except AgentError:
            self._is_full = self._is_full or was_full
            raise
