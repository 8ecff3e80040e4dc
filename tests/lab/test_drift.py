"""Whatever somebody else does to the table, it is put back: here without the flag that forbids it.

Kernels before 6.9 do not know owners of tables.
"""

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator, Iterator

import pytest

from boxwall.policy import Address, AllowAll, Network
from boxwall.wire.entries import PolicySet
from boxwall_agent.enforcer import Enforcer
from boxwall_agent.grants import GrantPool
from boxwall_agent.in_force import InForce
from boxwall_agent.nft.batch import TableFlags
from boxwall_agent.nft.kernel import Nftables, open_nftables
from boxwall_agent.ruleset import Interface
from boxwall_agent.table import Shared, Table
from boxwall_agent.wanted import after_entries
from boxwall_agent.watching import TableWatch
from fakes.kernel import FakeSwitch
from lab.namespaces import inside
from lab.network import NODE, Lab


class Watched:
    """A table without an owner, with one box, and who watches it."""

    def __init__(self, lab: Lab, nft: Nftables, interface: Interface) -> None:
        shared = Shared(
            node_addresses=frozenset(map(Address.parse, NODE)),
            inbound_from=(Network.parse("77.7.7.0/24"),),
        )
        in_force = InForce(nft, Table(shared), TableFlags.NONE)
        self.enforcer = Enforcer(in_force, GrantPool(), FakeSwitch())
        self.enforcer.start([], None, leases={})
        self.enforcer.attach("b1", [interface])
        self._repaired = asyncio.Event()
        self._lab = lab
        self._watch = TableWatch(self.enforcer.reinstall, nft, self._repaired.set)

    def close(self) -> None:
        """Close the watch."""
        self._watch.close()

    async def listing(self) -> str:
        """The table without what it has counted, and without numbers that are new each time."""
        return await self.nft("-s", "list", "table", "inet", "boxwall")

    async def nft(self, *arguments: str) -> str:
        """Run `nft` in the node."""
        command = ["ip", "netns", "exec", self._lab.node.name, "nft", *arguments]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)
        assert done.returncode == 0, done
        return str(done.stdout)

    async def repaired(self, patience: float) -> bool:
        """Whether the table is repaired in that time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._repaired.wait()
        return self._repaired.is_set()

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Watch, until the context ends."""
        running = asyncio.create_task(self._watch.run())
        yield
        running.cancel()


@pytest.fixture
def watched(lab: Lab) -> Iterator[Watched]:
    """The table, not watched yet."""
    interface = lab.interface_of(lab.box())
    with inside(lab.node.name):
        nft = open_nftables()
        watched = Watched(lab, nft, interface)
    yield watched
    watched.close()
    nft.close()


@pytest.mark.parametrize(
    "change",
    [
        "flush set inet boxwall blocked4",
        "flush set inet boxwall node4",
        "flush set inet boxwall hosted",
        "add element inet boxwall inbound4 { 45.0.0.0/8 }",
        "insert rule inet boxwall prerouting accept",
        "flush chain inet boxwall refuse",
        "delete table inet boxwall",
        "flush ruleset",
    ],
)
async def test_a_change_is_put_right_within_a_second(watched: Watched, change: str) -> None:
    meant = await watched.listing()
    async with watched.watching():
        await watched.nft(*change.split())
        assert await watched.repaired(1.0)
    assert await watched.listing() == meant


async def test_a_rule_that_is_replaced_by_another_is_put_right(watched: Watched) -> None:
    """Neither the number of rules nor any element is different."""
    meant = await watched.listing()
    rules = await watched.nft("-a", "list", "chain", "inet", "boxwall", "prerouting")
    (handle,) = (
        line.rsplit("handle ", 1)[1]
        for line in rules.splitlines()
        if line.strip().startswith("iif @hosted")
    )
    async with watched.watching():
        await watched.nft(*f"replace rule inet boxwall prerouting handle {handle} accept".split())
        assert await watched.repaired(1.0)
    assert await watched.listing() == meant


async def test_other_tables_and_our_own_changes_are_no_reason_to_repair(watched: Watched) -> None:
    async with watched.watching():
        await watched.nft("add", "table", "inet", "other")
        entry = PolicySet(box_id="b1", uid="u", revision=1, policy=AllowAll())
        watched.enforcer.put(after_entries(watched.enforcer.hosted, [entry]))
        assert not await watched.repaired(0.3)
