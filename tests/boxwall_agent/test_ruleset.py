"""A policy is these elements, and its entries keep their grants."""

import pytest
from hypothesis import given

from boxwall.policy import Address, AllowAll, Custom, DenyAll, Network, Policy, Unlisted
from boxwall_agent.grants import GrantPool
from boxwall_agent.leases import LeasePlan
from boxwall_agent.marks import UNREAD, Grant
from boxwall_agent.nft.expressions import host32
from boxwall_agent.nft.objects import Element
from boxwall_agent.restored import Restored
from boxwall_agent.ruleset import (
    BoxRules,
    Interface,
    absent,
    closed,
    first_key,
    lease_slots,
    rules_of,
    sealed,
)
from fakes.policy_strategies import POLICIES

INDEX = host32(7)
BOX = Interface(
    name="bwv1",
    index=7,
    addresses=(Address.parse("10.77.1.2"), Address.parse("fd00::2")),
    masquerade=True,
)
NAME = b"bwv1".ljust(16, b"\0")
IDENTITY = {
    Element("boxes", NAME),
    Element("masqueraded", NAME),
    Element("own4", INDEX + bytes((10, 77, 1, 2))),
    Element("box4", bytes((10, 77, 1, 2))),
    Element("own6", INDEX + b"\xfd" + bytes(14) + b"\x02"),
    Element("box6", b"\xfd" + bytes(14) + b"\x02"),
    *(
        Element(name, INDEX)
        for name in (
            *("hosted", "refused", "spoofed", "refused_in", "limited", "dropped"),
            *("records", "too_fast", "too_much", "asks_too_much"),
        )
    ),
}


def networks(*texts: str) -> tuple[Network, ...]:
    return tuple(map(Network.parse, texts))


SEAL = b"1234"


def rules(policy: Policy, before: BoxRules | None = None, first: int = 1) -> BoxRules:
    """What the policy comes to."""
    return rules_of(BOX, policy, closed(BOX) if before is None else before, GrantPool(range(first)))


def more(made: BoxRules) -> set[Element]:
    """What the policy adds to the box."""
    assert made.elements >= IDENTITY
    return set(made.elements - IDENTITY)


def test_without_a_policy_and_under_deny_all_a_box_is_only_known() -> None:
    assert closed(BOX).elements == IDENTITY
    assert rules(DenyAll()).elements == IDENTITY
    assert rules(DenyAll()).grants == {}


def test_an_interface_that_is_gone_leaves_its_name_policed() -> None:
    assert absent(BOX).elements == {Element("boxes", NAME)}


def test_allow_all_is_one_grant() -> None:
    assert more(rules(AllowAll())) == {
        Element("all", INDEX, host32(1)),
        Element("live", INDEX + host32(1)),
    }


def test_the_example_at_the_head_of_the_module() -> None:
    policy = Custom(
        allowed_cidrs=networks("104.16.0.0/12"), denied_cidrs=networks("104.16.120.0/24")
    )
    made = rules(policy, first=5)
    assert more(made) == {
        Element("has_allow4", INDEX),
        Element("has_deny4", INDEX),
        Element("allow4_12", INDEX + bytes((104, 16, 0, 0)), host32(5)),
        Element("deny4_24", INDEX + bytes((104, 16, 120, 0))),
        Element("live", INDEX + host32(5)),
    }
    assert made.lengths == {(4, 12), (4, 24)}


def test_a_deny_list_lets_the_rest_through_by_one_grant() -> None:
    policy = Custom(denied_cidrs=networks("1.0.0.0/8"), unlisted=Unlisted.ALLOW)
    assert more(rules(policy)) == {
        Element("has_deny4", INDEX),
        Element("deny4_8", INDEX + bytes((1, 0, 0, 0))),
        Element("all", INDEX, host32(1)),
        Element("live", INDEX + host32(1)),
    }


def test_a_network_of_a_length_without_a_set_is_split() -> None:
    made = rules(Custom(allowed_cidrs=networks("2600::/30")))
    keys = sorted(one.key[4:8].hex() for one in made.elements if one.set == "allow6_32")
    assert keys == ["26000000", "26000001", "26000002", "26000003"]
    assert len({one.value for one in made.elements if one.set == "allow6_32"}) == 1


def test_of_two_entries_with_one_key_the_first_counts() -> None:
    made = rules(Custom(allowed_cidrs=networks("2600::/31", "2600::/32")))
    values = {one.key: one.value for one in made.elements if one.set == "allow6_32"}
    assert set(values.values()) == {host32(made.grants[Network.parse("2600::/31")])}


@pytest.mark.parametrize(
    ("denied", "kept"),
    [
        (("9.0.0.0/8",), {"1.0.0.0/8", "2600::/32"}),
        (("1.2.0.0/16",), {"2600::/32"}),
        (("0.0.0.0/0",), {"2600::/32"}),
        (("2600::1/128",), {"1.0.0.0/8"}),
        ((), {"1.0.0.0/8", "2600::/32"}),
    ],
    ids=["elsewhere", "a part", "all of the family", "one address", "nothing"],
)
def test_entries_that_a_new_denied_network_touches_get_new_grants(
    denied: tuple[str, ...], kept: set[str]
) -> None:
    allowed = networks("1.0.0.0/8", "2600::/32")
    before = rules(Custom(allowed_cidrs=allowed))
    after = rules(Custom(allowed_cidrs=allowed, denied_cidrs=networks(*denied)), before, first=50)
    same = {str(one) for one in allowed if before.grants[one] == after.grants[one]}
    assert same == kept


def test_a_denied_network_that_stays_renews_nothing() -> None:
    policy = Custom(allowed_cidrs=networks("1.0.0.0/8"), denied_cidrs=networks("1.2.0.0/16"))
    before = rules(policy)
    assert rules(policy, before, first=50) == before
    less = Custom(allowed_cidrs=policy.allowed_cidrs)
    assert rules(less, before, first=50).grants == before.grants


def test_whatever_is_not_denied_is_touched_by_any_new_denied_network() -> None:
    before = rules(Custom(denied_cidrs=networks("1.0.0.0/8"), unlisted=Unlisted.ALLOW))
    wider = Custom(denied_cidrs=networks("1.0.0.0/8", "2.0.0.0/8"), unlisted=Unlisted.ALLOW)
    assert rules(wider, before, first=50).grants == {None: 50}


@given(POLICIES)
def test_the_grants_of_a_policy_are_what_its_elements_say(policy: Policy) -> None:
    """So an agent that starts again finds them in the table."""
    made = rules(policy)
    live = {one.key for one in made.elements if one.set == "live"}
    assert live == {INDEX + host32(grant) for grant in made.grants.values()}
    restored = Restored.of(sealed(made, BOX, SEAL).elements).rules_before(BOX, policy, SEAL)
    mine = {
        reason: grant
        for reason, grant in made.grants.items()
        if Element(*first_key(BOX, reason), host32(grant)) in made.elements
    }
    assert {reason: restored.grants[reason] for reason in mine} == mine
    assert restored.denied == made.denied
    assert restored.elements == IDENTITY


def test_a_grant_that_was_not_in_force_is_not_restored() -> None:
    made = sealed(rules(AllowAll()), BOX, SEAL)
    dead = [one for one in made.elements if one.set != "live"]
    assert Restored.of(made.elements).rules_before(BOX, AllowAll(), SEAL).grants == {None: 1}
    assert Restored.of(dead).rules_before(BOX, AllowAll(), SEAL).grants == {}
    assert Restored().rules_before(BOX, AllowAll(), SEAL).grants == {}


@pytest.mark.parametrize("seal", [b"", b"5678"], ids=["none", "of something else"])
def test_without_the_seal_of_the_policy_no_grant_is_restored(seal: bytes) -> None:
    made = rules(AllowAll())
    found = Restored.of(sealed(made, BOX, seal).elements if seal else made.elements)
    assert found.rules_before(BOX, AllowAll(), SEAL).grants == {}
    assert found.is_open(BOX) == bool(seal)


def test_leases_are_places_in_the_kernel() -> None:
    four, six = Address.parse("8.8.4.4"), Address.parse("2600::1")
    plan = LeasePlan(
        live=frozenset((Grant(3),)),
        dead=frozenset((Grant(2),)),
        addresses={four: Grant(3), six: None},
    )
    assert lease_slots(BOX, plan) == {
        ("live", INDEX + host32(3)): b"",
        ("live", INDEX + host32(2)): None,
        ("lease4", INDEX + bytes((8, 8, 4, 4))): host32(UNREAD | 3),
        ("lease6", INDEX + b"\x26" + bytes(14) + b"\x01"): None,
    }
