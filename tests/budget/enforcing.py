"""What an update costs on a node: the verdicts, and what the kernel is told."""

from collections.abc import Mapping

from boxwall.policy import (
    Address,
    Custom,
    DomainPattern,
    Network,
    Protocol,
    decide,
    destination,
)
from boxwall_agent.grants import GrantPool
from boxwall_agent.netlink import read_messages
from boxwall_agent.nft.batch import TableFlags
from boxwall_agent.ruleset import BoxRules, Interface, closed, rules_of
from boxwall_agent.table import Plan, Shared, Table
from budget.counting import Calls


def verdicts(entries: int) -> Mapping[str, float]:
    """`decide` on a name and on an address, by a policy of so many entries."""
    policy = Custom(
        allowed_domains=tuple(
            DomainPattern.parse(f"{'*.' * (n % 2)}host{n}.example.com") for n in range(entries // 2)
        ),
        allowed_cidrs=tuple(
            Network.parse(f"104.{n // 250}.{n % 250}.0/24") for n in range(entries // 2)
        ),
    )
    asked = [
        destination("a.host1.example.com", "", 443, Protocol.TCP),
        destination("", "104.0.1.7", 443, Protocol.TCP),
    ]
    assert all(decide(policy, one).allowed for one in asked), "and what is made once is made"
    with Calls() as calls:
        for one in asked:
            decide(policy, one)
    return {f"verdict by {entries} entries: calls": calls.total / len(asked)}


def twenty(version: int) -> Custom:
    """A policy of twenty entries, ten of which are others in each version."""
    numbers = [n + 10 * version * (n % 2) for n in range(10)]
    return Custom(
        allowed_cidrs=tuple(Network.parse(f"104.{n}.0.0/16") for n in numbers),
        denied_cidrs=tuple(Network.parse(f"104.{n}.7.0/24") for n in numbers),
    )


class Node:
    """The table of a node, in a kernel that does what it is told."""

    def __init__(self, boxes: int) -> None:
        self.table, self._pool = Table(Shared()), GrantPool()
        self._done(self.table.plan_install(replace=False, flags=TableFlags.NONE))
        rules = {f"box{box}": self._rules(box, 0) for box in range(boxes)}
        self._done(self.table.plan_changes(rules))

    def _rules(self, box: int, version: int) -> BoxRules:
        address = Address(4, 0x0A4E0000 + box)
        interface = Interface(name=f"box{box}", index=1_000 + box, addresses=(address,))
        before = self.table.boxes.get(interface.name, closed(interface))
        return rules_of(interface, twenty(version), before, self._pool)

    def _done(self, plan: Plan) -> None:
        self.table.adopt(plan)

    def update(self, box: int) -> bytes:
        """Plan what one box's new policy takes; return what the kernel is sent."""
        rules = self._rules(box, 1)
        return bytes(self.table.plan_changes({f"box{box}": rules}).batch.encode(1).data)


def applying(boxes: int) -> Mapping[str, float]:
    """An update of a policy of twenty entries, when so many boxes are on the node."""
    node = Node(boxes)
    with Calls() as calls:
        sent = node.update(0)
    return {
        f"update in the kernel beside {boxes} boxes: calls": calls.total,
        f"update in the kernel beside {boxes} boxes: messages": len(list(read_messages(sent))),
        f"update in the kernel beside {boxes} boxes: bytes": len(sent),
    }
