"""Leases of one box: who may begin, who goes on, and what the kernel must hold for it."""

import itertools
import math
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxwall.policy import Address, Name
from boxwall_agent.leases import LeaseBounds, LeasePlan, Leases, LeasesFull
from boxwall_agent.marks import Grant

API, CDN = Name.parse("api.example.com"), Name.parse("cdn.example.com")
ONE, TWO = Address.parse("8.8.4.4"), Address.parse("2600::1")


def numbers(first: int = 1) -> Callable[[], Grant]:
    """Grants, one after the other."""
    count = itertools.count(first)
    return lambda: Grant(next(count))


class Box:
    """Leases with a kernel that does what it is told."""

    def __init__(self, leases: Leases | None = None) -> None:
        self.leases = Leases() if leases is None else leases
        self.take = numbers()
        self.live: set[Grant] = {lease.grant for lease in self.leases}
        self.addresses: dict[Address, Grant] = dict(self.leases.chosen)

    def lease(self, name: Name, *addresses: Address, end: float) -> None:
        self.do(self.leases.plan_lease(name, addresses, end, self.take))

    def do(self, plan: LeasePlan, now: float = -math.inf) -> None:
        assert not plan.live & self.live
        assert plan.dead <= self.live
        self.live = (self.live | plan.live) - plan.dead
        for address, grant in plan.addresses.items():
            if grant is None:
                del self.addresses[address]
            else:
                self.addresses[address] = grant
        self.leases.adopt(plan, now)


def test_a_lease_is_an_address_and_a_grant_in_the_kernel() -> None:
    box = Box()

    box.lease(API, ONE, TWO, end=10)

    assert box.live == {1, 2}
    assert box.addresses == {ONE: 1, TWO: 2}
    assert box.leases.find(API, ONE) is not None
    assert box.leases.find(CDN, ONE) is None


def test_asking_again_lengthens_a_lease_and_changes_nothing_in_the_kernel() -> None:
    box = Box()
    box.lease(API, ONE, end=10)

    plan = box.leases.plan_lease(API, [ONE], 20, box.take)

    assert (plan.live, plan.dead, plan.addresses) == (frozenset(), frozenset(), {})
    box.do(plan)
    (lease,) = box.leases
    assert (lease.end, lease.grant) == (20, 1)


def test_a_shorter_answer_does_not_shorten_a_lease() -> None:
    box = Box()
    box.lease(API, ONE, end=10)
    box.lease(API, ONE, end=5)

    assert [lease.end for lease in box.leases] == [10]


@pytest.mark.parametrize(
    ("name", "addresses", "end", "covered"),
    [
        pytest.param(API, [ONE], 10, True, id="until its end"),
        pytest.param(API, [ONE], 10.5, False, id="longer"),
        pytest.param(API, [ONE, TWO], 10, False, id="one more address"),
        pytest.param(CDN, [ONE], 10, False, id="another name"),
    ],
)
def test_leases_cover_what_needs_no_other(
    name: Name, addresses: list[Address], end: float, covered: bool
) -> None:
    box = Box()
    box.lease(API, ONE, end=10)
    assert box.leases.cover(name, addresses, end) is covered


def test_a_lease_that_ended_covers_nothing() -> None:
    box = Box()
    box.lease(API, ONE, end=10)
    box.do(box.leases.plan_end(10), now=10)
    assert not box.leases.cover(API, [ONE], 5)


def test_after_its_end_nothing_begins_and_its_connections_go_on() -> None:
    box = Box()
    box.lease(API, ONE, end=10)

    box.do(box.leases.plan_end(10), 10)

    assert box.addresses == {}
    assert box.live == {1}
    assert box.leases.find(API, ONE) is None
    assert box.leases.soonest_end == math.inf


def test_a_lease_that_ended_comes_back_with_its_grant() -> None:
    box = Box()
    box.lease(API, ONE, end=10)
    box.do(box.leases.plan_end(10), 10)

    box.lease(API, ONE, end=30)

    assert (box.addresses, box.live) == ({ONE: 1}, {1})


def test_an_address_of_two_names_stays_until_both_have_ended() -> None:
    box = Box()
    box.lease(API, ONE, end=10)
    box.lease(CDN, ONE, end=20)
    assert box.addresses == {ONE: 1}

    box.do(box.leases.plan_end(10), 10)
    assert box.addresses == {ONE: 2}
    box.do(box.leases.plan_end(20), 20)
    assert box.addresses == {}


def test_an_ended_lease_is_forgotten_when_no_connection_carries_it() -> None:
    box = Box()
    box.lease(API, ONE, end=10)
    box.lease(CDN, ONE, end=10)
    box.do(box.leases.plan_end(10), 10)

    box.do(box.leases.plan_forget(lambda grant: grant == 2, before=20))

    assert box.live == {2}
    assert [lease.name for lease in box.leases] == [CDN]


def test_one_that_ended_just_now_is_not_forgotten() -> None:
    box = Box()
    box.lease(API, ONE, end=10)
    box.do(box.leases.plan_end(10), 10)

    assert box.leases.plan_forget(lambda grant: False, before=10).dead == frozenset()


def test_a_name_that_is_not_allowed_any_more_loses_its_leases_and_no_others() -> None:
    box = Box()
    box.lease(API, ONE, TWO, end=10)
    box.lease(CDN, ONE, end=10)

    box.do(box.leases.plan_judged(lambda name, address: name == CDN))

    assert box.live == {3}
    assert box.addresses == {ONE: 3}


def test_a_lease_that_ended_is_withdrawn_too() -> None:
    box = Box()
    box.lease(API, ONE, end=10)
    box.do(box.leases.plan_end(10), 10)

    box.do(box.leases.plan_judged(lambda name, address: False))

    assert box.live == set()
    assert not list(box.leases)


def test_there_is_a_bound_for_a_box_and_for_a_name() -> None:
    box = Box(Leases(bounds=LeaseBounds(of_a_box=2, of_a_name=1)))
    box.lease(API, ONE, end=10)

    with pytest.raises(LeasesFull):
        box.lease(API, TWO, end=10)
    box.lease(CDN, ONE, end=10)
    with pytest.raises(LeasesFull):
        box.lease(Name.parse("third.example.com"), ONE, end=10)
    assert len(box.leases) == 2


def test_the_soonest_to_end_of_the_unused_make_room() -> None:
    box = Box(Leases(bounds=LeaseBounds(of_a_box=3, of_a_name=3)))
    for end, name in ((30, "a.example.com"), (10, "b.example.com"), (20, "c.example.com")):
        box.lease(Name.parse(name), ONE, end=end)

    box.do(box.leases.plan_room(lambda grant: grant == 2))

    assert {str(lease.name) for lease in box.leases} == {"a.example.com", "b.example.com"}
    assert box.addresses == {ONE: 1}


def test_a_name_that_has_all_it_may_have_gives_up_one() -> None:
    box = Box(Leases(bounds=LeaseBounds(of_a_box=100, of_a_name=2)))
    box.lease(API, ONE, TWO, end=10)

    box.do(box.leases.plan_room(lambda grant: False))

    assert len(box.leases) == 1


def test_a_name_whose_addresses_are_others_each_time_never_runs_out() -> None:
    """As those of storage services and content networks: eight new ones every five seconds."""
    box = Box()
    addresses = (Address(4, (8 << 24) + number) for number in itertools.count())

    for now in range(0, 2000, 5):
        box.do(box.leases.plan_end(now), now)
        box.lease(API, *itertools.islice(addresses, 8), end=now + 305)
        if box.leases.is_short(API):
            box.do(box.leases.plan_room(lambda grant: False))


def test_who_is_short_of_leases_says_so_before_there_are_none() -> None:
    box = Box(Leases(bounds=LeaseBounds(of_a_box=64, of_a_name=16)))
    addresses = [Address(4, (8 << 24) + number) for number in range(64)]

    box.lease(API, *addresses[:14], end=10)
    assert not box.leases.is_short(API)
    box.lease(API, addresses[14], end=10)
    assert box.leases.is_short(API)
    assert not box.leases.is_short(CDN)
    for number, address in enumerate(addresses[:48]):
        box.lease(Name.parse(f"n{number}.example.com"), address, end=20)
    assert box.leases.is_short(CDN), "the box has nearly all"

    box.do(box.leases.plan_room(lambda grant: grant == 1))
    of_name = [lease.grant for lease in box.leases if lease.name == API]
    assert of_name == [1, *range(5, 16)], "the first is carried; the soonest to end go"
    assert not box.leases.is_short(API)


NAMES = [Name.parse(f"{letter}.example.com") for letter in "abc"]
ADDRESSES = [Address.parse(f"8.8.8.{number}") for number in range(3)]
STEP = st.one_of(
    st.tuples(
        st.just("lease"), st.sampled_from(NAMES), st.sampled_from(ADDRESSES), st.integers(1, 30)
    ),
    st.tuples(st.just("end"), st.integers(0, 30)),
    st.tuples(st.just("forget"), st.sets(st.integers(1, 20))),
    st.tuples(st.just("judge"), st.sets(st.sampled_from(NAMES))),
)


def is_in(names: set[Name], name: Name, _: Address) -> bool:
    """Whether a policy with these names allows one."""
    return name in names


@given(st.lists(STEP, max_size=30))
def test_the_kernel_holds_exactly_what_the_leases_say(steps: list[tuple[object, ...]]) -> None:
    box = Box()
    now = 0
    for step in steps:
        match step:
            case ("lease", Name() as name, Address() as address, int() as seconds):
                box.lease(name, address, end=now + seconds)
            case ("end", int() as later):
                now += later
                box.do(box.leases.plan_end(now), now)
            case ("forget", set() as carried):
                box.do(box.leases.plan_forget(carried.__contains__, now))
            case ("judge", set() as kept):
                box.do(box.leases.plan_judged(partial(is_in, kept)))
        box.do(box.leases.plan_end(now), now)
        assert box.live == {lease.grant for lease in box.leases}
        leased = {lease.address for lease in box.leases if lease.end > now}
        assert box.addresses.keys() == leased == set(box.leases.chosen)
        for address, grant in box.addresses.items():
            assert grant in {lease.grant for lease in box.leases.at(address)}
