"""One box must not fill the node's connection tracking."""

from collections.abc import Collection

from boxwall.policy import Address, AllowAll
from boxwall.wire.entries import PolicySet
from boxwall_agent.crowding import Crowding
from boxwall_agent.enforcer import Enforcer
from boxwall_agent.grants import GrantPool
from boxwall_agent.in_force import InForce
from boxwall_agent.nft.batch import TableFlags
from boxwall_agent.nft.expressions import host32
from boxwall_agent.ruleset import Interface
from boxwall_agent.table import Shared, Table
from boxwall_agent.wanted import after_entries
from fakes.kernel import FakeKernel, FakeSwitch


class Node:
    """Boxes b1 and b2, with as many connections as a test says, of which each may have 100."""

    def __init__(self) -> None:
        self.kernel = FakeKernel()
        in_force = InForce(self.kernel, Table(Shared()), TableFlags.NONE)
        self.enforcer = Enforcer(in_force, GrantPool(), FakeSwitch())
        self.enforcer.start([], None, leases={})
        for number in (1, 2):
            self.enforcer.attach(f"b{number}", [self.interface(number)])
        self.open = {1: 0, 2: 0}
        self.walks = 0
        self.crowding = Crowding(
            self.enforcer,
            None,
            count_all=lambda: sum(self.open.values()),
            count=self._count,
            limit=lambda: 400,
        )

    @staticmethod
    def interface(number: int) -> Interface:
        return Interface(
            name=f"box{number}", index=number, addresses=(Address.parse(f"10.77.{number}.2"),)
        )

    async def full(self, one: int, two: int) -> set[int]:
        """Who is held back in the kernel with so many connections each, after one look."""
        self.open = {1: one, 2: two}
        await self.crowding.look()
        keys = {element.key for element in self.kernel.held if element.set == "full"}
        return {number for number in self.open if host32(number) in keys}

    def _count(self, addresses: Collection[Address]) -> dict[Address, int]:
        self.walks += 1
        of = {Address.parse(f"10.77.{number}.2"): count for number, count in self.open.items()}
        return {address: of[address] for address in addresses}


async def test_a_box_with_too_many_connections_is_held_back_until_it_has_fewer() -> None:
    node = Node()
    assert await node.full(100, 50) == set()
    assert await node.full(101, 50) == {1}
    assert await node.full(95, 50) == {1}
    assert await node.full(90, 50) == set()


async def test_the_kernels_table_is_not_walked_while_nobody_can_have_too_many() -> None:
    node = Node()
    assert await node.full(45, 45) == set()
    assert node.walks == 0


async def test_a_box_that_is_held_back_stays_so_through_other_changes() -> None:
    node = Node()
    assert await node.full(101, 0) == {1}
    entry = PolicySet(box_id="b1", uid="u", revision=1, policy=AllowAll())
    node.enforcer.put(after_entries(node.enforcer.hosted, [entry]))
    node.enforcer.reinstall()
    assert await node.full(101, 0) == {1}
    assert node.enforcer.is_in_force()


async def test_a_box_that_is_attached_anew_is_held_back_again() -> None:
    node = Node()
    assert await node.full(101, 0) == {1}
    node.enforcer.detach("b1")
    assert not [element for element in node.kernel.held if element.set == "full"]
    node.enforcer.attach("b1", [node.interface(1)])
    assert await node.full(101, 0) == {1}
    assert await node.full(0, 0) == set()
