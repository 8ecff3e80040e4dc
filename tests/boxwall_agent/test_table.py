"""A plan is the difference, and nothing holds until the kernel has done it."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boxwall.policy import Address, AllowAll, Custom, DenyAll, Network, Policy
from boxwall_agent.errors import KernelRejected, KernelUnsure
from boxwall_agent.grants import GrantPool
from boxwall_agent.in_force import InForce
from boxwall_agent.nft.batch import TableFlags
from boxwall_agent.nft.expressions import host32
from boxwall_agent.nft.objects import Element
from boxwall_agent.ruleset import BoxRules, Interface, Slot, absent, closed, rules_of
from boxwall_agent.table import Plan, Shared, Table
from fakes.kernel import FakeKernel, Seen
from fakes.policy_strategies import POLICIES


def interface(number: int, address: str = "") -> Interface:
    return Interface(
        name=f"box{number}",
        index=number,
        addresses=(Address.parse(address or f"10.77.{number}.2"),),
    )


def networks(*texts: str) -> tuple[Network, ...]:
    return tuple(map(Network.parse, texts))


def addresses(*texts: str) -> frozenset[Address]:
    return frozenset(map(Address.parse, texts))


class Bench:
    """A table, and a kernel that does what it is told."""

    def __init__(self, shared: Shared | None = None) -> None:
        self.kernel = FakeKernel()
        self.table = Table(Shared() if shared is None else shared)
        self.in_force = InForce(self.kernel, self.table, TableFlags.NONE)
        self.pool = GrantPool()
        self.in_force.install({})

    def rules(self, number: int, policy: Policy) -> BoxRules:
        box = interface(number)
        before = self.table.boxes.get(box.name, closed(box))
        return rules_of(box, policy, before, self.pool)

    def enforce(self, number: int, policy: Policy) -> None:
        self.in_force.change({f"box{number}": self.rules(number, policy)})

    def of_boxes(self) -> set[Element]:
        return {one for one in self.kernel.held if one.set in self.table.box_sets}


def seen(plan: Plan) -> Seen:
    """What the kernel is told."""
    return Seen(plan.batch)


def test_a_change_is_only_what_differs() -> None:
    bench = Bench()
    bench.enforce(1, Custom(allowed_cidrs=networks("1.0.0.0/8", "2.0.0.0/8")))
    rules = bench.rules(1, Custom(allowed_cidrs=networks("2.0.0.0/8", "3.0.0.0/8")))
    told = seen(bench.table.plan_changes({"box1": rules}))
    assert {(one.set, one.key[:8]) for one in told.deleted} == {
        ("allow4_8", host32(1) + bytes((1, 0, 0, 0))),
        ("live", host32(1) + host32(1)),
    }
    assert {one.set for one in told.added} == {"allow4_8", "live"}
    assert len(told.added) == 2
    assert told.rules == 0, "the length has its rules already"


def test_what_does_not_change_is_no_transaction() -> None:
    bench = Bench()
    bench.enforce(1, AllowAll())
    commits = bench.kernel.commits
    assert len(bench.table.plan_changes({"box1": bench.rules(1, AllowAll())}).batch) == 0
    assert len(bench.table.plan_changes({}).batch) == 0
    assert bench.kernel.commits == commits


def test_the_cost_of_a_change_does_not_grow_with_the_boxes() -> None:
    bench = Bench()
    sizes = []
    for number in range(1, 40):
        plan = bench.table.plan_changes({f"box{number}": bench.rules(number, AllowAll())})
        sizes.append(len(plan.batch.encode(1).data))
        bench.in_force.change(plan.boxes)
    assert len(set(sizes)) == 1


def test_the_sets_of_a_prefix_length_come_with_its_first_use_and_stay() -> None:
    bench = Bench()
    bench.enforce(1, DenyAll())
    rules = bench.kernel.rules
    bench.enforce(1, Custom(allowed_cidrs=networks("1.0.0.0/8")))
    assert bench.kernel.rules == rules + 4 == bench.table.rule_count
    bench.enforce(1, DenyAll())
    bench.enforce(2, Custom(allowed_cidrs=networks("2.0.0.0/8")))
    assert bench.kernel.rules == rules + 4


def test_an_address_that_moves_to_another_box_stays_where_it_is() -> None:
    bench = Bench()
    bench.in_force.change({"box1": closed(interface(1, "10.77.9.9"))})
    moved = {"box1": absent(interface(1)), "box2": closed(interface(2, "10.77.9.9"))}
    told = seen(bench.table.plan_changes(moved))
    shared = Element("box4", bytes((10, 77, 9, 9)))
    assert shared not in told.deleted
    assert shared not in told.added
    bench.in_force.change(moved)
    assert bench.of_boxes() == bench.table.box_elements


@pytest.mark.parametrize("error", [KernelRejected(12, "it", "no memory"), KernelUnsure("lost")])
def test_a_plan_that_the_kernel_did_not_do_changes_nothing_here(error: Exception) -> None:
    bench = Bench()
    bench.enforce(1, AllowAll())
    before = (dict(bench.table.boxes), bench.table.box_elements, bench.table.rule_count)
    shared = bench.table.shared
    bench.kernel.refuse = lambda told: error  # type: ignore[assignment, return-value]  # one of two
    slots: dict[str, dict[Slot, bytes | None]] = {"box1": {("live", host32(1) + host32(99)): b""}}
    changes: list[Callable[[], None]] = [
        lambda: bench.enforce(1, Custom(allowed_cidrs=networks("7.0.0.0/9"))),
        lambda: bench.in_force.change({"box1": None}),
        lambda: bench.in_force.change({}, slots),
        lambda: bench.in_force.node_has(addresses("192.0.2.7")),
        lambda: bench.in_force.install({}),
        bench.in_force.reinstall,
    ]
    for change in changes:
        with pytest.raises(type(error)):
            change()
    assert before == (dict(bench.table.boxes), bench.table.box_elements, bench.table.rule_count)
    assert bench.table.shared == shared


def test_leases_are_changed_beside_the_rules_and_go_with_the_box() -> None:
    bench = Bench()
    bench.enforce(1, DenyAll())
    key = host32(1) + bytes((8, 8, 4, 4))
    bench.in_force.change({}, {"box1": {("lease4", key): b"aaaa"}})
    assert Element("lease4", key, b"aaaa") in bench.kernel.held
    bench.in_force.change({}, {"box1": {("lease4", key): b"bbbb"}})
    bench.in_force.change({}, {"box1": {("lease4", key): b"bbbb", ("lease4", b"x" * 8): None}})
    assert bench.of_boxes() == bench.table.box_elements
    bench.in_force.reinstall()
    assert Element("lease4", key, b"bbbb") in bench.kernel.held
    bench.in_force.change({"box1": None})
    assert not bench.of_boxes()
    bench.in_force.change({}, {"box1": {("lease4", key): None}})
    assert bench.table.box_elements == frozenset()


def test_leases_of_an_interface_that_is_not_here_are_not_installed() -> None:
    bench = Bench()
    bench.in_force.install({}, {"box9": {("lease4", b"x" * 8): b"aaaa"}})
    assert bench.of_boxes() == set() == bench.table.box_elements


def test_an_install_replaces_what_is_there_in_one_transaction() -> None:
    bench = Bench()
    bench.enforce(1, AllowAll())
    stray = Element("box4", b"evil")
    bench.kernel.held.add(stray)
    commits = bench.kernel.commits
    bench.in_force.reinstall()
    assert bench.kernel.commits == commits + 1
    assert stray not in bench.kernel.held
    assert bench.in_force.is_whole()


def test_the_nodes_addresses_are_changed_by_their_difference() -> None:
    bench = Bench(Shared(node_addresses=addresses("192.0.2.1", "192.0.2.2")))
    told = seen(bench.table.plan_node_addresses(addresses("192.0.2.2", "192.0.2.3")))
    assert {one.key[-1] for one in told.deleted if one.set == "node4"} == {1}
    assert {one.key[-1] for one in told.added if one.set == "node4"} == {3}


@pytest.mark.parametrize(
    ("here", "named", "reached"),
    [
        (("192.0.2.9", "192.0.2.1"), (), "192.0.2.1"),
        (("127.0.0.1", "169.254.1.1", "192.0.2.1"), (), "192.0.2.1"),
        (("192.0.2.1", "192.0.2.9"), ("192.0.2.1",), "192.0.2.9"),
        (("127.0.0.1",), (), None),
        ((), (), None),
    ],
    ids=["the lowest", "none of the node alone", "none that is translated", "only local", "none"],
)
def test_boxes_reach_the_agent_by_an_address_that_packets_can_be_sent_to(
    here: tuple[str, ...], named: tuple[str, ...], reached: str | None
) -> None:
    bench = Bench(Shared(node_addresses=addresses(*here), named_addresses=addresses(*named)))
    values = [one.value for one in bench.kernel.held if one.set == "agent4"]
    wanted = [] if reached is None else [Address.parse(reached).value.to_bytes(4, "big")]
    assert values == wanted


def test_what_is_not_whole_is_seen() -> None:
    bench = Bench()
    bench.enforce(1, AllowAll())
    assert bench.in_force.is_whole()
    assert bench.in_force.grants() == {1}
    bench.kernel.held.add(Element("own4", host32(1) + b"evil"))
    assert not bench.in_force.is_whole()
    bench.in_force.reinstall()
    bench.kernel.rules += 1
    assert not bench.in_force.is_whole()
    bench.in_force.reinstall()
    bench.kernel.found = None
    assert not bench.in_force.is_whole()


def test_a_table_that_the_kernel_does_not_tell_of_is_not_whole() -> None:
    class Refusing(FakeKernel):
        def rule_count(self) -> int:
            raise KernelRejected(1, "GETRULE", "Operation not permitted")

    table = Table(Shared())
    kernel = Refusing()
    in_force = InForce(kernel, table, TableFlags.NONE)
    in_force.install({})
    assert not in_force.is_whole()


_STEPS = st.lists(st.tuples(st.integers(1, 3), POLICIES | st.none()), max_size=6)


@settings(max_examples=40)  # each installs whole tables
@given(_STEPS)
def test_the_kernel_holds_what_the_table_says_after_any_changes(
    steps: list[tuple[int, Policy | None]],
) -> None:
    bench = Bench()
    for number, policy in steps:
        if policy is None:
            bench.in_force.change({f"box{number}": None})
        else:
            bench.enforce(number, policy)
        assert bench.of_boxes() == bench.table.box_elements
        assert bench.kernel.rules == bench.table.rule_count
    bench.in_force.reinstall()
    assert bench.of_boxes() == bench.table.box_elements
