"""Leases are in the kernel before they are anybody's, and what fails changes nothing."""

import pytest

from boxwall.policy import Address, Custom, Name, Network, Policy, Surroundings
from boxwall.policy.names import DomainPattern
from boxwall_agent.errors import KernelError, KernelRejected, KernelUnsure
from boxwall_agent.grants import GrantPool
from boxwall_agent.hosted import Hosted, Standing
from boxwall_agent.in_force import InForce
from boxwall_agent.leases import LeasesFull
from boxwall_agent.leasing import Leasing, is_leasable, slots_of
from boxwall_agent.nft.batch import TableFlags
from boxwall_agent.nft.expressions import host32
from boxwall_agent.restored import Restored
from boxwall_agent.ruleset import Interface, closed
from boxwall_agent.table import Shared, Table
from fakes.kernel import FakeKernel, Seen

API, CDN = Name.parse("api.example.com"), Name.parse("cdn.example.com")
ONE, TWO, DENIED = map(Address.parse, ("8.8.4.4", "2600::1", "9.9.9.9"))
POLICY = Custom(
    allowed_domains=(DomainPattern.parse("*.example.com"),),
    denied_cidrs=(Network.parse("9.0.0.0/8"),),
)
NOTHING = Surroundings()


def interface(number: int) -> Interface:
    return Interface(
        name=f"box{number}", index=number, addresses=(Address.parse(f"10.77.{number}.2"),)
    )


class Bench:
    """A box with two interfaces."""

    def __init__(self) -> None:
        self.kernel = FakeKernel()
        self.in_force = InForce(self.kernel, Table(Shared()), TableFlags.NONE)
        self.leasing = Leasing(self.in_force, GrantPool())
        self.hosted = Hosted(
            box_id="b1",
            interfaces=(interface(1), interface(2)),
            standing=Standing.ENFORCED,
            policy=POLICY,
            message="",
        )
        self.in_force.install({one.name: closed(one) for one in self.hosted.interfaces})

    def grant(self, name: Name, *addresses: Address, end: float = 10.0) -> list[Address]:
        new = self.leasing.grant(self.hosted, name, addresses, end, NOTHING)
        return [one.address for one in new]

    def leased(self, number: int = 1) -> set[bytes]:
        """The addresses that the kernel lets an interface reach by name."""
        index = host32(number)
        return {
            one.key[4:]
            for one in self.kernel.held
            if one.set in ("lease4", "lease6") and one.key.startswith(index)
        }

    def live(self) -> set[int]:
        return set(self.in_force.grants())


def test_what_is_leased_is_in_the_kernel_for_every_interface_of_the_box() -> None:
    bench = Bench()
    assert bench.grant(API, ONE, TWO) == [ONE, TWO]
    assert bench.leased(1) == bench.leased(2) == {bytes((8, 8, 4, 4)), b"\x26" + bytes(14) + b"\1"}
    assert bench.live() == {1, 2}
    assert len(bench.leasing.of("b1")) == 2


def test_what_the_policy_does_not_allow_is_not_leased() -> None:
    bench = Bench()
    assert bench.grant(API, DENIED, ONE) == [ONE]
    assert bench.grant(Name.parse("evil.test"), TWO) == []
    assert bench.leased() == {bytes((8, 8, 4, 4))}


def test_no_lease_is_anybodys_when_the_kernel_has_refused_it() -> None:
    bench = Bench()
    bench.grant(API, ONE)
    held = set(bench.kernel.held)
    bench.kernel.refuse = lambda seen: KernelRejected(12, "elements of live", "no memory")
    with pytest.raises(KernelRejected):
        bench.grant(CDN, TWO)
    assert bench.kernel.held == held
    assert [one.name for one in bench.leasing.of("b1")] == [API]
    bench.kernel.refuse = lambda seen: None
    assert bench.grant(CDN, TWO) == [TWO]


def test_an_answer_that_was_lost_ends_in_everything_being_installed_anew() -> None:
    bench = Bench()
    bench.grant(API, ONE)
    answers = iter([KernelUnsure("ENOBUFS")])
    installs: list[bool] = []

    def refuse(seen: Seen) -> KernelError | None:
        installs.append(seen.deletes_table)
        return next(answers, None)

    bench.kernel.refuse = refuse
    assert bench.grant(CDN, TWO) == [TWO]
    assert installs == [False, True]
    assert bench.leased() == {bytes((8, 8, 4, 4)), b"\x26" + bytes(14) + b"\1"}
    assert bench.in_force.is_whole()


def test_no_more_is_leased_than_a_box_may_have() -> None:
    bench = Bench()
    many = [Address(4, 0x08000000 + number) for number in range(257)]
    held = set(bench.kernel.held)
    with pytest.raises(LeasesFull):
        bench.grant(API, *many)
    assert bench.kernel.held == held
    assert len(bench.leasing.of("b1")) == 0


def test_a_lease_ends_in_time_and_its_connections_go_on() -> None:
    bench = Bench()
    bench.grant(API, ONE, end=10.0)
    commits = bench.kernel.commits
    bench.leasing.end(bench.hosted, 9.9)
    assert bench.kernel.commits == commits, "nothing is over"
    bench.leasing.end(bench.hosted, 10.0)
    assert bench.leased() == set()
    assert bench.live() == {1}
    assert bench.leasing.take_withdrawn() == []


def test_an_ended_lease_that_no_connection_carries_is_forgotten() -> None:
    bench = Bench()
    bench.grant(API, ONE, end=10.0)
    bench.grant(CDN, TWO, end=10.0)
    bench.leasing.end(bench.hosted, 10.0)
    bench.leasing.forget(bench.hosted, lambda grant: grant == 1, 20.0)
    assert bench.live() == {1}
    assert [(box, one.name) for box, one in bench.leasing.take_withdrawn()] == [("b1", CDN)]
    assert bench.leasing.take_withdrawn() == []


@pytest.mark.parametrize(
    ("policy", "left"),
    [
        (POLICY, {API, CDN}),
        (Custom(allowed_domains=(DomainPattern.parse("api.example.com"),)), {API}),
        (
            Custom(
                allowed_domains=POLICY.allowed_domains, denied_cidrs=(Network.parse("8.0.0.0/8"),)
            ),
            {CDN},
        ),
        (Custom(), set()),
    ],
    ids=["the same", "one name", "one address is denied", "nothing"],
)
def test_a_policy_that_changes_withdraws_what_it_does_not_allow(
    policy: Custom, left: set[Name]
) -> None:
    bench = Bench()
    bench.grant(API, ONE)
    bench.grant(CDN, TWO)
    changed = Hosted(
        box_id="b1",
        interfaces=bench.hosted.interfaces,
        standing=Standing.ENFORCED,
        policy=policy,
        message="",
    )
    plan = bench.leasing.judged(changed, NOTHING)
    bench.in_force.change({}, slots_of(changed, plan))
    bench.leasing.adopt({"b1": plan})
    assert {one.name for one in bench.leasing.of("b1")} == left
    assert len(bench.live()) == len(left) == len(bench.leased())
    withdrawn = {one.name for _, one in bench.leasing.take_withdrawn()}
    assert withdrawn == {API, CDN} - left


def test_a_box_that_is_gone_has_no_leases() -> None:
    bench = Bench()
    bench.grant(API, ONE)
    assert bench.leasing.withdrawn("b1").dead == {1}
    bench.leasing.drop("b1")
    assert len(bench.leasing.of("b1")) == 0
    assert [one.name for _, one in bench.leasing.take_withdrawn()] == [API]
    bench.leasing.drop("b1")
    assert bench.leasing.take_withdrawn() == []


def test_leases_of_an_earlier_agent_are_taken_as_far_as_the_policy_allows() -> None:
    bench = Bench()
    bench.grant(API, ONE)
    bench.grant(CDN, TWO)
    earlier = list(bench.leasing.of("b1"))
    again = Leasing(bench.in_force, GrantPool())
    found = Restored.of(bench.kernel.held)
    only_api = Hosted(
        box_id="b1",
        interfaces=bench.hosted.interfaces,
        standing=Standing.ENFORCED,
        policy=Custom(allowed_domains=(DomainPattern.parse("api.example.com"),)),
        message="",
    )
    plan = again.restore(only_api, earlier, NOTHING, found)
    assert plan.live == {1}
    assert plan.addresses == {ONE: 1}
    assert list(again.all()) == ["b1"]
    assert [one.name for one in again.of("b1")] == [API]
    assert [one.name for _, one in again.take_withdrawn()] == [CDN]


def test_a_lease_that_the_kernel_had_no_more_is_not_taken_over() -> None:
    bench = Bench()
    bench.grant(API, ONE)
    on_one_interface = {one for one in bench.kernel.held if not one.key.startswith(host32(2))}
    again = Leasing(bench.in_force, GrantPool())
    earlier = list(bench.leasing.of("b1"))
    plan = again.restore(bench.hosted, earlier, NOTHING, Restored.of(on_one_interface))
    assert plan.live == set()
    assert [one.name for _, one in again.take_withdrawn()] == [API]


@pytest.mark.parametrize(
    ("policy", "name", "address", "expected"),
    [
        (None, API, ONE, False),
        (POLICY, API, ONE, True),
        (POLICY, API, DENIED, False),
        (POLICY, API, Address.parse("10.0.0.1"), False),
        (Custom(allowed_cidrs=(Network.parse("8.0.0.0/8"),)), API, ONE, False),
    ],
    ids=["no policy", "allowed", "denied", "always blocked", "allowed, but not by name"],
)
def test_only_what_an_entry_allows_by_name_is_leased(
    policy: Policy | None, name: Name, address: Address, expected: bool
) -> None:
    assert is_leasable(policy, name, address, NOTHING) is expected
