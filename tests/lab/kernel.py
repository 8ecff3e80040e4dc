"""The kernel's table in the lab's node, driven directly: no agent, no control plane."""

import math

from boxwall.policy import Address, Name, Network, Policy
from boxwall_agent.grants import GrantPool
from boxwall_agent.leases import LeasePlan, Leases
from boxwall_agent.nft.batch import TableFlags
from boxwall_agent.nft.kernel import open_nftables
from boxwall_agent.nft.layout import PerBox
from boxwall_agent.nft.naming import Naming
from boxwall_agent.ruleset import BoxRules, Interface, closed, lease_slots, rules_of
from boxwall_agent.table import Shared, Table
from lab.namespaces import inside
from lab.network import NODE, Box, Lab

GENEROUS = PerBox(new_connections=1_000_000, records=1_000_000)
"""Limits that no test meets by accident."""


class Kernel:
    """Installs the table, and puts policies in force for boxes."""

    def __init__(
        self,
        lab: Lab,
        *,
        blocked: tuple[Network, ...] = (),
        inbound_from: tuple[Network, ...] = (),
        per_box: PerBox = GENEROUS,
        naming: Naming | None = None,
        replace: bool = False,
    ) -> None:
        """`replace`: there is a table of another one already."""
        self._lab = lab
        with inside(lab.node.name):
            self.nft = open_nftables()
        shared = Shared(
            per_box=per_box,
            blocked=blocked,
            inbound_from=inbound_from,
            node_addresses=frozenset(map(Address.parse, NODE)),
            naming=naming,
        )
        self.table = Table(shared)
        self.grants = GrantPool()
        self.interfaces: dict[str, Interface] = {}
        self.leases: dict[str, Leases] = {}
        self._install(replace=replace)

    def attach(self, box: Box) -> None:
        """Police the box; nothing passes yet."""
        self.interfaces[box.name] = interface = self._lab.interface_of(box)
        self._change(box, closed(interface))

    def enforce(self, box: Box, policy: Policy) -> None:
        """Put the policy in force."""
        before = self.table.boxes[box.name]
        self._change(box, rules_of(self.interfaces[box.name], policy, before, self.grants))

    def lease(self, box: Box, name: str, *addresses: str) -> None:
        """Let the box reach these addresses by the name."""
        leases = self.leases.setdefault(box.name, Leases())
        plan = leases.plan_lease(
            Name.parse(name), map(Address.parse, addresses), math.inf, self.grants.take
        )
        self._change_leases(box, plan)

    def withdraw(self, box: Box, name: str) -> None:
        """Let the box reach nothing more by the name."""
        plan = self.leases[box.name].plan_judged(lambda leased, _: leased != Name.parse(name))
        self._change_leases(box, plan)

    def detach(self, box: Box) -> None:
        """Police the box no more."""
        self._change(box, None)

    def replace(self) -> None:
        """Put the same table in place of itself, as an agent does that starts again."""
        self._install(replace=True)

    def close(self) -> None:
        """Close the socket; the table stays until the namespace goes."""
        self.nft.close()

    def _change(self, box: Box, rules: BoxRules | None) -> None:
        plan = self.table.plan_changes({box.name: rules})
        self.nft.commit(plan.batch)
        self.table.adopt(plan)

    def _change_leases(self, box: Box, plan: LeasePlan) -> None:
        slots = {box.name: lease_slots(self.interfaces[box.name], plan)}
        changes = self.table.plan_changes({}, slots)
        self.nft.commit(changes.batch)
        self.table.adopt(changes)
        self.leases[box.name].adopt(plan, -math.inf)

    def _install(self, *, replace: bool) -> None:
        flags = TableFlags.OWNER | TableFlags.PERSIST
        plan = self.table.plan_install(replace=replace, flags=flags)
        self.nft.commit(plan.batch)
        self.table.adopt(plan)
