"""After a change is acknowledged: count what it kept and cut, and tell both ends of what it cut.

The kernel refuses a cut connection's packets from the transaction on. An end that sends learns of
it by its next packet; an end that only waits is poked (see `poking`).
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

import structlog

from boxwall.policy import Address
from boxwall.wire.entries import Result
from boxwall_agent.audit import Changed, Connection, Outcome, merged, outcomes
from boxwall_agent.conntrack import opened_by
from boxwall_agent.enforcer import Enforcer
from boxwall_agent.errors import KernelError
from boxwall_agent.turns import Turns

_GATHER: Final = 0.05
"""Seconds in which changes are gathered for one look at connection tracking."""

_REST: Final = 4
"""Times as long as a look takes, nothing is looked at again: it competes with updates."""

_RETRY: Final = 1.0
"""Seconds until a look that failed is repeated."""

_POKES_AT_A_TIME: Final = 100
_POKE_PAUSE: Final = 0.01
"""Seconds in which others have their turn on the event loop."""

_MOST_WAITING: Final = 20_000
"""Connections of a box that wait to be poked; the others learn of the cut by their next packet."""

_log = structlog.get_logger()


class Auditor:
    """Looks at connections after changes. `report` takes what there is to say of each box."""

    def __init__(
        self,
        enforcer: Enforcer,
        poke: Callable[[Connection], None],
        report: Callable[[Sequence[Result]], None],
        find: Callable[[Collection[Address]], Iterable[Connection]] = opened_by,
    ) -> None:
        """`find` may take its time, and raise KernelError: it is called in a thread."""
        self._enforcer = enforcer
        self._poke = poke
        self._report = report
        self._find = find
        self._changed: dict[str, Changed] = {}
        self._cut: Turns[Connection] = Turns(_MOST_WAITING)
        self._has_changed = asyncio.Event()
        self._has_cut = asyncio.Event()

    def note(self, changed: Changed) -> None:
        """A box's policy was changed."""
        if not changed.grants_before:
            return  # nothing could pass, so nothing was open
        earlier = self._changed.get(changed.box_id)
        self._changed[changed.box_id] = changed if earlier is None else merged(earlier, changed)
        self._has_changed.set()

    async def run(self) -> None:
        """Look after every change, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._look_after_changes())
            tasks.create_task(self._poke_in_turn())

    async def _look_after_changes(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            await self._has_changed.wait()
            await asyncio.sleep(_GATHER)
            began = clock()
            try:
                await self._look()
            except KernelError as exc:
                _log.warning("connections_not_counted", error=str(exc))
                await asyncio.sleep(_RETRY)
            await asyncio.sleep((clock() - began) * _REST)

    async def _look(self) -> None:
        """Raises KernelError; what was to be looked at still is."""
        self._has_changed.clear()
        changes, self._changed = list(self._changed.values()), {}
        addresses = frozenset[Address]().union(*(changed.addresses for changed in changes))
        surroundings = self._enforcer.surroundings
        try:
            found = await asyncio.to_thread(
                lambda: outcomes(changes, self._find(addresses), surroundings)
            )
        except KernelError:
            self._put_back(changes)
            raise
        for outcome in found:
            self._cut.add(outcome.changed.box_id, outcome.cut)
        self._has_cut.set()
        self._report([_result(outcome) for outcome in found])

    def _put_back(self, changes: Sequence[Changed]) -> None:
        for changed in changes:
            later = self._changed.get(changed.box_id)
            self._changed[changed.box_id] = changed if later is None else merged(changed, later)
        self._has_changed.set()

    async def _poke_in_turn(self) -> None:
        while True:
            await self._has_cut.wait()
            self._has_cut.clear()
            while turn := self._cut.take(_POKES_AT_A_TIME):
                for connection in turn:
                    self._poke(connection)
                await asyncio.sleep(_POKE_PAUSE)


def _result(outcome: Outcome) -> Result:
    return Result(
        box_id=outcome.changed.box_id,
        revision=outcome.changed.revision,
        connections_kept=outcome.kept,
        connections_cut=len(outcome.cut),
    )
