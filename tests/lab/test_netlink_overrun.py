"""A real socket that is too small for the kernel's answers: what is lost is known to be lost."""

import errno
import socket
from collections.abc import Iterator

import pytest

from boxwall.policy import AllowAll
from boxwall_agent.errors import KernelRejected, KernelUnsure
from boxwall_agent.nft.batch import Batch
from boxwall_agent.nft.kernel import Nftables
from boxwall_agent.nft.objects import Chain, Rule
from boxwall_agent.watching import TableWatch
from lab.kernel import Kernel
from lab.namespaces import inside
from lab.network import Lab


@pytest.fixture
def other(lab: Lab) -> Iterator[Nftables]:
    """Another socket in the node, as small as the kernel makes them."""
    with inside(lab.node.name), Nftables() as nft:
        nft._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        yield nft


def _hopeless(steps: int) -> Batch:
    """Each step is told to be wrong, with the step in the answer."""
    batch = Batch("other")
    for number in range(steps):
        batch.add_rule(Rule("not-there", (), f"{number:0100}"))
    return batch


def _table() -> Batch:
    batch = Batch("other")
    batch.add_table()
    batch.add_chain(Chain(name="c"))
    return batch


def test_answers_that_do_not_fit_leave_it_open_and_the_next_is_not_taken_for_them(
    other: Nftables,
) -> None:
    with pytest.raises(KernelUnsure, match="No buffer space"):
        other.commit(_hopeless(200))
    other.commit(_table())
    with pytest.raises(KernelRejected) as refused:
        other.commit(_hopeless(1))
    assert refused.value.errno == errno.ENOENT
    other.commit(_table())


def test_a_list_that_does_not_fit_is_not_a_short_one(
    lab: Lab, kernel: Kernel, other: Nftables
) -> None:
    """The kernel hands out a list as it is read, so nothing of it is lost."""
    assert other.rule_count() == kernel.table.rule_count
    assert other.set_names() == kernel.nft.set_names()


def test_notifications_that_do_not_fit_are_doubt(lab: Lab, kernel: Kernel) -> None:
    box = lab.box()
    kernel.attach(box)
    with inside(lab.node.name):
        watch = TableWatch(lambda: None, kernel.nft, lambda: None)
    kernel.enforce(box, AllowAll())
    assert not watch._read_all(), "our own"
    watch._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    for _ in range(20):
        kernel.replace()
    assert watch._read_all()
    assert not watch._read_all()
    watch.close()
