"""A box that has too many tracked connections opens no new ones until it has fewer.

The kernel could count them itself, and loses references to connection tracking by it on some
versions (ADR 10). So the agent counts, and only when there are so many in all that one box
could have too many: to count is to walk the kernel's whole table. Between two looks a box gets as
many more as its rate of new connections allows.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Set
from typing import Final

import structlog

from boxwall.policy import Address
from boxwall_agent.conntrack import connections_of, most_tracked, tracked
from boxwall_agent.enforcer import Enforcer
from boxwall_agent.errors import KernelError
from boxwall_agent.hosted import Hosted, Standing

SHARE: Final = 4
"""One box may have one part in so many of what the kernel tracks, if the operator says nothing."""

_TICK: Final = 1.0
"""Seconds between two looks."""

_REST: Final = 4
"""Times as long as a look takes, nothing is looked at again."""

_RELIEF: Final = 0.9
"""A box that was held back opens connections again when it has this part of what it may have."""

_log = structlog.get_logger()


class Crowding:
    """Watches how many connections boxes have."""

    def __init__(
        self,
        enforcer: Enforcer,
        most: int | None,
        *,
        count_all: Callable[[], int] = tracked,
        count: Callable[[Collection[Address]], Mapping[Address, int]] = connections_of,
        limit: Callable[[], int] = most_tracked,
    ) -> None:
        """`most`: connections of one box; None: a share of `limit`.

        `count` may take its time: it is called in a thread. All raise KernelError.
        """
        self._enforcer = enforcer
        self._most = most
        self._count_all = count_all
        self._count = count
        self._limit = limit
        self._full: Set[str] = frozenset()

    async def run(self) -> None:
        """Look, until cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            began = clock()
            try:
                await self.look()
            except KernelError as exc:
                _log.error("connections_not_limited", error=str(exc))
            await asyncio.sleep(max(_TICK, (clock() - began) * _REST))

    async def look(self) -> None:
        """Hold back who has too many, and nobody else. Raises KernelError."""
        most = self._limit() // SHARE if self._most is None else self._most
        full: Set[str] = frozenset()
        if self._count_all() > most * _RELIEF:
            boxes = [
                one for one in self._enforcer.hosted.values() if one.standing is not Standing.GONE
            ]
            addresses = {each: one.box_id for one in boxes for each in _addresses(one)}
            counted = await asyncio.to_thread(self._count, addresses)
            full = self._who_is_full(addresses, counted, most)
        self._enforcer.hold_back(full)
        for box_id in full - self._full:
            _log.warning("too_many_connections", box=box_id, most=most)
        self._full = full

    def _who_is_full(
        self, addresses: Mapping[Address, str], counted: Mapping[Address, int], most: int
    ) -> frozenset[str]:
        totals: dict[str, int] = {}
        for address, box_id in addresses.items():
            totals[box_id] = totals.get(box_id, 0) + counted.get(address, 0)
        return frozenset(
            box_id
            for box_id, total in totals.items()
            if total > (most * _RELIEF if box_id in self._full else most)
        )


def _addresses(hosted: Hosted) -> list[Address]:
    return [address for interface in hosted.interfaces for address in interface.addresses]
