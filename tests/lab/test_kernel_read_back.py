"""The kernel holds what it was told, and refuses as a whole what it refuses."""

import pytest
from hypothesis import HealthCheck, given, settings

from boxwall.policy import Custom, DenyAll, Network, Policy
from boxwall_agent.errors import KernelRejected
from boxwall_agent.nft.batch import Batch
from boxwall_agent.nft.objects import Element
from fakes.agent_process import eventually
from fakes.policy_strategies import POLICIES
from lab.kernel import Kernel
from lab.network import Box, Lab

EDGES = (
    *("255.255.255.255", "223.255.255.255/32", "1.0.0.0/8", "1.0.0.0/9", "1.128.0.0/9"),
    *("2001:400::/25", "2001:400::/28", "3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128"),
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128",
)
"""Overlapping, adjacent, the last addresses, and two that share a key when they are split."""


@pytest.fixture
def box(lab: Lab, kernel: Kernel) -> Box:
    """An attached box."""
    box = lab.box()
    kernel.attach(box)
    return box


def held(kernel: Kernel) -> set[Element]:
    """Every element of every box, as the kernel has it."""
    return {one for name in kernel.table.box_sets for one in kernel.nft.elements(name)}


def assert_held(kernel: Kernel) -> None:
    """It is what was meant. A set that has grown is moved to more room by a worker of the kernel,
    and a list that is read meanwhile lacks elements.
    """
    eventually(lambda: held(kernel), kernel.table.box_elements.__eq__)


def test_what_is_read_back_is_what_was_meant(kernel: Kernel, box: Box) -> None:
    @settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=50)
    @given(policy=POLICIES)
    def agrees(policy: Policy) -> None:
        kernel.enforce(box, policy)
        assert_held(kernel)
        assert kernel.nft.rule_count() == kernel.table.rule_count

    agrees()


def test_overlapping_adjacent_and_last_networks_are_held(kernel: Kernel, box: Box) -> None:
    networks = tuple(map(Network.parse, EDGES))
    kernel.enforce(box, Custom(allowed_cidrs=networks, denied_cidrs=networks))
    assert_held(kernel)


def test_a_thousand_networks_in_each_list_are_one_transaction(kernel: Kernel, box: Box) -> None:
    allowed = tuple(Network(4, 1 << 24 | number << 8, 24) for number in range(1_000))
    denied = tuple(Network(6, 0x2600 << 112 | number << 64, 64) for number in range(1_000))
    before = kernel.nft.generation().number
    kernel.enforce(box, Custom(allowed_cidrs=allowed, denied_cidrs=denied))
    assert kernel.nft.generation().number == before + 1
    assert_held(kernel)
    kernel.enforce(box, DenyAll())
    assert_held(kernel)


def test_a_transaction_that_is_refused_changes_nothing_and_names_the_step(
    kernel: Kernel, box: Box
) -> None:
    before = held(kernel)
    batch = Batch()
    batch.add_elements([Element("all", b"\x63\0\0\0", b"\x01\0\0\0")])
    batch.delete_elements([Element("own4", b"\x63\0\0\0\x01\x02\x03\x04")])
    with pytest.raises(KernelRejected, match="elements of own4"):
        kernel.nft.commit(batch)
    assert held(kernel) == before
