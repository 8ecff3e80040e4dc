"""The kernel's table in the lab's node, driven directly: no agent, no control plane."""

from boxwall.policy import Address, Network, Policy
from boxwall_agent.grants import GrantPool
from boxwall_agent.nft.batch import TableFlags
from boxwall_agent.nft.kernel import open_nftables
from boxwall_agent.nft.layout import PerBox
from boxwall_agent.ruleset import BoxRules, Interface, closed, rules_of
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
    ) -> None:
        self._lab = lab
        with inside(lab.node.name):
            self.nft = open_nftables()
        shared = Shared(
            per_box=per_box,
            blocked=blocked,
            inbound_from=inbound_from,
            node_addresses=frozenset(map(Address.parse, NODE)),
        )
        self.table = Table(shared)
        self.grants = GrantPool()
        self.interfaces: dict[str, Interface] = {}
        self._install(replace=False)

    def attach(self, box: Box) -> None:
        """Police the box; nothing passes yet."""
        self.interfaces[box.name] = interface = self._lab.interface_of(box)
        self._change(box, closed(interface))

    def enforce(self, box: Box, policy: Policy) -> None:
        """Put the policy in force."""
        before = self.table.boxes[box.name]
        self._change(box, rules_of(self.interfaces[box.name], policy, before, self.grants))

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

    def _install(self, *, replace: bool) -> None:
        flags = TableFlags.OWNER | TableFlags.PERSIST
        plan = self.table.plan_install(replace=replace, flags=flags)
        self.nft.commit(plan.batch)
        self.table.adopt(plan)
