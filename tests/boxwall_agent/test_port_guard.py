"""The second table: what comes by a box's interface that is a port of a bridge is dropped."""

import errno

import pytest

from boxwall_agent.errors import KernelError, KernelRejected, KernelUnsure
from boxwall_agent.nft.batch import BRIDGE, Batch, TableFlags
from boxwall_agent.nft.expressions import host32
from boxwall_agent.nft.kernel import FoundTable
from boxwall_agent.port_guard import PortGuard
from fakes.kernel import FakeKernel


class BridgeKernel(FakeKernel):
    """One that is asked for no other family, and may know none."""

    knows_bridges = True

    def commit(self, batch: Batch) -> None:
        family = batch.encode(1).data[20 + 16]  # of the first message after the beginning
        assert family == BRIDGE or not batch
        if not self.knows_bridges:
            raise KernelRejected(errno.EOPNOTSUPP, "table", "Operation not supported")
        super().commit(batch)

    def table(self, family: int = BRIDGE) -> FoundTable | None:
        assert family == BRIDGE
        return super().table()

    @property
    def ports(self) -> set[bytes]:
        """The interfaces by which nothing comes from a bridge."""
        return {element.key for element in self.held if element.set == "ports"}


def keys(*indexes: int) -> set[bytes]:
    return {host32(index) for index in indexes}


def guard(kernel: BridgeKernel) -> PortGuard:
    return PortGuard(kernel, TableFlags.NONE)


def test_what_is_attached_is_held_and_what_is_not_is_not() -> None:
    kernel = BridgeKernel()
    made = guard(kernel)
    for indexes in ({7}, {7, 8}, {8, 9}, {8, 9}, {9}):
        made.keep(indexes)
        assert kernel.ports == keys(*indexes)
    assert kernel.commits == 4


def test_of_no_boxes_there_is_no_table() -> None:
    kernel = BridgeKernel()
    made = guard(kernel)
    made.keep(set())
    assert kernel.found is None
    made.keep({7})
    made.keep(set())
    assert kernel.ports == set()
    kernel.found = None  # as it was deleted
    made.keep({8})
    assert kernel.ports == keys(8)


def test_what_an_earlier_agent_left_is_replaced() -> None:
    kernel = BridgeKernel()
    guard(kernel).keep({7, 8})
    guard(kernel).keep({8, 9})
    assert kernel.ports == keys(8, 9)


def test_a_table_that_somebody_else_made_is_left_alone() -> None:
    kernel = BridgeKernel()
    kernel.found = FoundTable(flags=TableFlags.NONE, is_ours=False, owner=None)
    guard(kernel).keep({7})
    assert kernel.commits == 0


def test_a_kernel_without_rules_for_bridges_is_lived_with() -> None:
    kernel = BridgeKernel()
    kernel.knows_bridges = False
    made = guard(kernel)
    made.keep({7})
    kernel.knows_bridges = True
    made.keep({7, 8})
    assert kernel.ports == keys(7, 8)


@pytest.mark.parametrize(
    "error", [KernelRejected(errno.ENOMEM, "elements", "no memory"), KernelUnsure("lost")]
)
def test_what_failed_is_made_anew_with_the_next_change(error: KernelError) -> None:
    kernel = BridgeKernel()
    made = guard(kernel)
    made.keep({7})
    kernel.refuse = lambda seen: error
    made.keep({7, 8})
    kernel.refuse = lambda seen: None
    made.keep({7, 9})
    assert kernel.ports == keys(7, 9)
