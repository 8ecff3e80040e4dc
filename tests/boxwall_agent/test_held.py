"""What the kernel holds for an address, looked up in the order of the rules."""

import pytest

from boxwall.policy import Address
from boxwall_agent.held import Held, Kind, held_for, lengths_in
from boxwall_agent.nft.expressions import host32
from boxwall_agent.ruleset import Interface

BOX = Interface(name="box7", index=7, addresses=(Address.parse("10.77.7.2"),))
BOXES = ("boxes", b"box7".ljust(16, b"\0"))
INDEX = host32(7)
ASKED = Address.parse("104.16.1.1")
LENGTHS = ((4, 12), (4, 24), (6, 32))


def key(address: str) -> bytes:
    """Interface and IPv4 address."""
    return INDEX + Address.parse(address).value.to_bytes(4, "big")


POLICED = {BOXES: b""}
GATE, DENY_GATE = {("has_allow4", INDEX): b""}, {("has_deny4", INDEX): b""}
ALL = {("all", INDEX): host32(3), ("live", INDEX + host32(3)): b""}
WIDE = {("allow4_12", key("104.16.0.0")): host32(4), ("live", INDEX + host32(4)): b""}
NARROW = {("allow4_24", key("104.16.1.0")): host32(5), ("live", INDEX + host32(5)): b""}
LEASE = {("lease4", key("104.16.1.1")): host32(0x08000006), ("live", INDEX + host32(6)): b""}
DENIED = {("deny4_24", key("104.16.1.0")): b""}
NODE = {("node4", ASKED.value.to_bytes(4, "big")): b""}


@pytest.mark.parametrize(
    ("elements", "kind", "where", "grant"),
    [
        ({}, Kind.NOT_POLICED, "", 0),
        (POLICED, Kind.NOTHING, "", 0),
        (POLICED | ALL, Kind.ALL, 'all { "box7" : 0x00000003 }', 3),
        (
            POLICED | GATE | WIDE,
            Kind.ALLOWED,
            'allow4_12 { "box7" . 104.16.0.0 : 0x00000004 }',
            4,
        ),
        (
            POLICED | GATE | WIDE | NARROW | LEASE,
            Kind.ALLOWED,
            'allow4_24 { "box7" . 104.16.1.0 : 0x00000005 }',
            5,
        ),
        (POLICED | WIDE, Kind.NOTHING, "", 0),
        (POLICED | LEASE, Kind.LEASED, 'lease4 { "box7" . 104.16.1.1 : 0x08000006 }', 6),
        (POLICED | ALL | LEASE, Kind.ALL, 'all { "box7" : 0x00000003 }', 3),
        (
            POLICED | ALL | GATE | WIDE | DENY_GATE | DENIED,
            Kind.DENIED,
            'deny4_24 { "box7" . 104.16.1.0 }',
            0,
        ),
        (POLICED | ALL | DENIED, Kind.ALL, 'all { "box7" : 0x00000003 }', 3),
        (POLICED | ALL | NODE, Kind.BLOCKED, "node4 { 104.16.1.1 }", 0),
    ],
    ids=[
        "no interface",
        "no policy",
        "all",
        "a network",
        "the narrowest of several networks, before a lease",
        "a network whose gate is missing counts for nothing",
        "a lease",
        "all comes before a lease",
        "deny comes before all",
        "a denied network whose gate is missing counts for nothing",
        "the node's own address comes first",
    ],
)
def test_what_is_found_first_counts(
    elements: dict[tuple[str, bytes], bytes], kind: Kind, where: str, grant: int
) -> None:
    found = look_up(elements)

    assert found.kind is kind
    assert (f"{found.set} {{ {found.element} }}" if found.set else "") == where
    assert (found.grant, found.is_live) == (grant, grant != 0)


def test_a_grant_that_is_not_live_is_found_and_said() -> None:
    found = look_up({k: v for k, v in (POLICED | LEASE).items() if k[0] != "live"})

    assert (found.kind, found.grant, found.is_live) == (Kind.LEASED, 6, False)


def test_an_ipv6_address_is_looked_up_in_its_own_sets() -> None:
    address = Address.parse("2600:5::5")
    packed = Address.parse("2600:5::").value.to_bytes(16, "big")
    elements = POLICED | {("has_allow6", INDEX): b"", ("allow6_32", INDEX + packed): host32(9)}

    found = held_for(lambda *at: elements.get(at), BOX, address, LENGTHS)

    assert (found.kind, found.grant) == (Kind.ALLOWED, 9)
    assert found.element == '"box7" . 2600:5:: : 0x00000009'


def test_the_lengths_are_read_from_the_names_of_sets() -> None:
    names = ["boxes", "allow4_12", "deny4_12", "allow6_128", "has_allow4", "lease4", "allow4_x"]

    assert lengths_in(names) == {(4, 12), (6, 128)}


def look_up(elements: dict[tuple[str, bytes], bytes]) -> Held:
    """Ask for one address."""
    return held_for(lambda *at: elements.get(at), BOX, ASKED, LENGTHS)
