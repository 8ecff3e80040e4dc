"""What comes by a box's interface that is a port of a bridge is dropped, by the kernel.

A bridge takes frames from its ports before any rule of family inet sees them, and then they have
the bridge's interface index. So there is a second table, of family bridge, with one rule and one
set: the indexes of all boxes' interfaces. As long as none is a port, no packet goes through it.

It holds what is attached, whatever the policies are, and changes only when that does.
"""

from collections.abc import Set
from typing import Final, Protocol

import structlog

from boxwall_agent.errors import KernelError
from boxwall_agent.nft.batch import BRIDGE, Batch, TableFlags
from boxwall_agent.nft.expressions import Meta, Verdict, host32, lookup, meta, verdict
from boxwall_agent.nft.kernel import FoundTable
from boxwall_agent.nft.objects import TABLE, Chain, Element, Field, Hook, HookPoint, Rule
from boxwall_agent.nft.objects import Set as KernelSet

_PORTS: Final = KernelSet(name="ports", key=(Field.INTERFACE_INDEX,))
_CHAIN: Final = "prerouting"
_FIRST: Final = -400
"""Before the bridge translates or filters anything."""

_log = structlog.get_logger()


class Kernel(Protocol):
    """What is needed of nf_tables; see `nft.kernel.Nftables`."""

    def commit(self, batch: Batch) -> None:
        """Put all of `batch` in force at one instant. Raises KernelError."""

    def table(self, family: int) -> FoundTable | None:
        """Return the table of this family that is called like ours, or None. Raises KernelError."""


class PortGuard:
    """The second table. `flags` are those of the first."""

    def __init__(self, kernel: Kernel, flags: TableFlags) -> None:
        self._kernel = kernel
        self._flags = flags
        self._held: frozenset[int] | None = None
        """None: nobody knows. Of none there is no table."""

    def keep(self, indexes: Set[int]) -> None:
        """Drop what comes by these interfaces while they are ports of a bridge, and by no others.

        Raises nothing: where the kernel cannot (it may have no rules for bridges), the agent takes
        a port down when it hears of it.
        """
        if indexes == self._held:
            return
        try:
            self._kernel.commit(self._then(indexes) if self._held else self._anew(indexes))
        except KernelError as exc:
            self._held = None
            _log.warning("ports_not_guarded", error=str(exc))
        else:
            self._held = frozenset(indexes)

    def _then(self, indexes: Set[int]) -> Batch:
        assert self._held
        batch = Batch(family=BRIDGE)
        if not indexes:
            batch.delete_table()
            return batch
        batch.delete_elements(_elements(self._held - indexes))
        batch.add_elements(_elements(indexes - self._held))
        return batch

    def _anew(self, indexes: Set[int]) -> Batch:
        """Raises KernelError."""
        found = self._kernel.table(BRIDGE)
        if found is not None and not found.is_ours:
            raise KernelError(f"there is a table `bridge {TABLE}` that Boxwall did not make")
        batch = Batch(family=BRIDGE)
        if found is not None:
            batch.delete_table()
        if indexes:
            add_guard(batch, self._flags)
            batch.add_elements(_elements(indexes))
        return batch


def add_guard(batch: Batch, flags: TableFlags = TableFlags.NONE) -> None:
    """Make the table, without any interface. The batch is of family bridge."""
    batch.add_table(flags)
    batch.add_set(_PORTS)
    hook = Hook(point=HookPoint.PREROUTING, priority=_FIRST)
    batch.add_chain(Chain(name=_CHAIN, hook=hook))
    port = (meta(Meta.IIF), lookup(_PORTS.name))
    batch.add_rule(Rule(_CHAIN, (*port, verdict(Verdict.DROP)), "ports that are boxes'"))


def _elements(indexes: Set[int]) -> list[Element]:
    return [Element(_PORTS.name, host32(index)) for index in sorted(indexes)]
