"""No two boxes share an interface or an address, and none moves away from one that is there."""

import re
import zlib
from dataclasses import replace

import pytest

from boxwall.policy import Address, AllowAll, Destination, Network, Reason, decide
from boxwall_agent.errors import CannotAttach
from boxwall_agent.hosted import Hosted, Standing
from boxwall_agent.places import check_addresses, check_place, surroundings_of
from boxwall_agent.ruleset import Interface
from boxwall_agent.table import Shared


def interface(name: str, *addresses: str, index: int | None = None) -> Interface:
    """Without an index that is said, each name has its own."""
    return Interface(
        name=name,
        index=zlib.crc32(name.encode()) if index is None else index,
        addresses=tuple(map(Address.parse, addresses)),
    )


def hosted(box_id: str, *interfaces: Interface, standing: Standing = Standing.WAITING) -> Hosted:
    return Hosted(box_id=box_id, interfaces=interfaces, standing=standing)


BOX1 = interface("box1", "10.77.1.2", "fd00::2")
ONE = hosted("b1", BOX1, interface("more1", "10.77.1.3"))
GONE = hosted("b1", *(replace(one, index=0) for one in ONE.interfaces), standing=Standing.GONE)
HALF_GONE = hosted("b1", replace(BOX1, index=0), ONE.interfaces[1], standing=Standing.GONE)


@pytest.mark.parametrize(
    ("box_id", "wanted", "said"),
    [
        ("b2", [interface("box1", "10.77.2.2")], "box1 belongs to box b1; detach that first"),
        ("b2", [interface("box2", "10.77.2.2", "fd00::2")], "fd00::2 belongs to box b1; boxes"),
        ("b2", [interface("a"), interface("b", "10.77.1.3")], "10.77.1.3 belongs to box b1"),
        ("b2", [interface("renamed", index=BOX1.index)], "this was box1 of box b1"),
        ("b1", [interface("box9", "10.77.1.2")], "attached at box1, more1; detach it first"),
        ("b1", [interface("box1", "10.77.1.2")], "attached at more1; detach it first"),
    ],
    ids=[
        "interface",
        "address",
        "the second one's",
        "renamed",
        "moved away",
        "one of two left behind",
    ],
)
def test_a_place_that_cannot_be_had_is_told(
    box_id: str, wanted: list[Interface], said: str
) -> None:
    with pytest.raises(CannotAttach, match=said):
        check_place({"b1": ONE}, box_id, wanted)


@pytest.mark.parametrize(
    ("before", "box_id", "wanted"),
    [
        ({}, "b2", [interface("box2", "10.77.2.2")]),
        ({"b1": ONE}, "b2", [interface("box2", "10.77.2.2")]),
        ({"b1": ONE}, "b1", list(ONE.interfaces)),
        ({"b1": ONE}, "b1", [*ONE.interfaces, interface("new", "10.77.1.4")]),
        ({"b1": ONE}, "b1", [interface("renamed", index=BOX1.index), ONE.interfaces[1]]),
        ({"b1": GONE}, "b1", [interface("elsewhere", "10.77.1.2")]),
        ({"b1": GONE}, "b2", [interface("box2", "10.77.1.2")]),
        ({"b1": HALF_GONE}, "b1", [interface("new", "10.77.1.2"), ONE.interfaces[1]]),
    ],
    ids=[
        "the first",
        "apart",
        "again",
        "one more",
        "renamed",
        "its interface is gone",
        "its address is free",
        "with the one that is left",
    ],
)
def test_a_place_that_is_free_can_be_had(
    before: dict[str, Hosted], box_id: str, wanted: list[Interface]
) -> None:
    check_place(before, box_id, wanted)


@pytest.mark.parametrize(
    ("box_id", "wanted", "said"),
    [
        ("b1", interface("new", "10.77.1.2"), "attached at more1; detach it first"),
        ("b2", interface("new", "10.77.1.3"), "10.77.1.3 belongs to box b1"),
        ("b2", interface("new", index=ONE.interfaces[1].index), "this was more1 of box b1"),
    ],
    ids=["moved away from it", "its address", "it, renamed"],
)
def test_what_is_left_of_a_boxs_interfaces_is_still_its_own(
    box_id: str, wanted: Interface, said: str
) -> None:
    with pytest.raises(CannotAttach, match=said):
        check_place({"b1": HALF_GONE}, box_id, [wanted])


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("8.8.8.8", "is the node's own"),
        ("2600::1", "is the node's own"),
        ("0.0.0.0", "no host's"),
        ("127.0.0.1", "loopback"),
        ("::1", "loopback"),
        ("::", "no host's"),
        ("224.0.0.251", "multicast"),
        ("ff02::1", "multicast"),
        ("255.255.255.255", "no host's"),
    ],
)
def test_an_address_that_no_box_can_have_is_told(address: str, said: str) -> None:
    node = frozenset((Address.parse("8.8.8.8"), Address.parse("2600::1")))
    with pytest.raises(CannotAttach, match=f"^{re.escape(address)} .*{said}"):
        check_addresses([BOX1, interface("more", "10.77.1.9", address)], node)


def test_addresses_of_hosts_can_be_a_boxs() -> None:
    check_addresses(
        [BOX1, interface("more", "1.0.0.0", "223.255.255.255", "::2", "fe80::1")], set()
    )


def test_the_name_of_a_gone_interface_is_still_its_boxs() -> None:
    with pytest.raises(CannotAttach, match="box1 belongs to box b1"):
        check_place({"b1": GONE}, "b2", [interface("box1", "10.77.2.2")])


def test_the_operators_ranges_the_node_and_other_boxes_are_around_a_box() -> None:
    shared = Shared(
        blocked=(Network.parse("5.0.0.0/8"),),
        node_addresses=frozenset((Address.parse("8.8.8.8"), Address.parse("2600::1"))),
    )
    around = surroundings_of(shared, [hosted("b1", interface("box1", "9.9.9.9"))])
    reasons = {
        text: decide(
            AllowAll(), Destination(address=Address.parse(text)), surroundings=around
        ).reason
        for text in ("5.1.2.3", "8.8.8.8", "2600::1", "9.9.9.9", "1.1.1.1", "9.9.9.8")
    }
    blocked = Reason.RESERVED_ADDRESS
    assert reasons == {
        **dict.fromkeys(("5.1.2.3", "8.8.8.8", "2600::1", "9.9.9.9"), blocked),
        **dict.fromkeys(("1.1.1.1", "9.9.9.8"), Reason.ALLOW_ALL),
    }
