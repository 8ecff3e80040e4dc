"""The table as it is meant, kept equal to what the kernel holds."""

import sys
from collections.abc import Iterable, Mapping
from typing import Protocol

from boxwall.policy import Address
from boxwall_agent.errors import KernelRejected, KernelUnsure
from boxwall_agent.nft.batch import Batch, TableFlags
from boxwall_agent.nft.kernel import FoundTable
from boxwall_agent.nft.objects import Element
from boxwall_agent.ruleset import BoxRules
from boxwall_agent.table import Plan, Shared, Slots, Table


class Kernel(Protocol):
    """What is needed of nf_tables; see `nft.kernel.Nftables`."""

    def commit(self, batch: Batch) -> None:
        """Put all of `batch` in force at one instant. Raises KernelRejected, KernelUnsure."""

    def table(self) -> FoundTable | None:
        """Return the table called like ours, or None."""

    def elements(self, name: str) -> Iterable[Element]:
        """Return the elements of a set. Raises KernelError."""

    def rule_count(self) -> int:
        """Return how many rules the table has."""


class InForce:
    """The table, here and in the kernel. Each method is one transaction; raises KernelError, and
    has then changed nothing here.

    Transactions are differences, which are right only to a kernel that is known. When an answer is
    lost the table is in doubt, and everything is put in force anew, at once and in place of every
    later difference, until the kernel has said once that it did so.
    """

    def __init__(self, kernel: Kernel, table: Table, flags: TableFlags) -> None:
        self._kernel = kernel
        self._table = table
        self._flags = flags
        self._is_in_doubt = False

    @property
    def is_in_doubt(self) -> bool:
        """Whether the kernel may hold something else than is meant."""
        return self._is_in_doubt

    @property
    def shared(self) -> Shared:
        """What holds for all boxes."""
        return self._table.shared

    @property
    def rules(self) -> Mapping[str, BoxRules]:
        """What is in force, by interface."""
        return self._table.boxes

    def grants(self) -> frozenset[int]:
        """Return every grant that is in force."""
        elements = (one for one in self._table.box_elements if one.set == "live")
        return frozenset(int.from_bytes(one.key[4:], sys.byteorder) for one in elements)

    def install(
        self,
        rules: Mapping[str, BoxRules],
        slots: Slots | None = None,
        *,
        replace_table: bool | None = None,
    ) -> None:
        """Put everything in force anew. `replace_table`: whether there is one; None: look."""
        there = self._kernel.table() is not None if replace_table is None else replace_table
        self._commit(
            self._table.plan_install(replace=there, flags=self._flags, boxes=rules, slots=slots)
        )

    def reinstall(self) -> None:
        """Put everything in force anew, as it was meant to be."""
        self.install(self.rules)

    def change(self, rules: Mapping[str, BoxRules | None], slots: Slots | None = None) -> None:
        """Put these interfaces' rules in force; None: police the interface no more."""
        self._do(self._table.plan_changes(rules, slots))

    def node_has(self, addresses: frozenset[Address]) -> None:
        """The node's own addresses are these now."""
        self._do(self._table.plan_node_addresses(addresses))

    def mean(self, rules: Mapping[str, BoxRules | None], slots: Slots | None = None) -> None:
        """This shall be in force, and the kernel refuses it: whatever it does next brings this too.

        Raises nothing. The table is in doubt.
        """
        self._table.adopt(self._table.plan_changes(rules, slots))
        self._is_in_doubt = True

    def is_whole(self) -> bool:
        """Whether the kernel holds what it should: every element of every box, and all rules."""
        if self._is_in_doubt:
            return False
        try:
            if self._kernel.table() is None or self._kernel.rule_count() != self._table.rule_count:
                return False
            held = {
                element for name in self._table.box_sets for element in self._kernel.elements(name)
            }
        except KernelRejected:
            return False
        return held == self._table.box_elements

    def _do(self, plan: Plan) -> None:
        if not self._is_in_doubt:
            try:
                return self._commit(plan)
            except KernelUnsure:
                pass  # it has the old or the new: what follows is right for both
        there = self._kernel.table() is not None
        self._commit(self._table.plan_install(replace=there, flags=self._flags, after=plan))

    def _commit(self, plan: Plan) -> None:
        try:
            self._kernel.commit(plan.batch)
        except KernelUnsure:
            self._is_in_doubt = True
            raise
        self._table.adopt(plan)
        if plan.is_whole:
            self._is_in_doubt = False
