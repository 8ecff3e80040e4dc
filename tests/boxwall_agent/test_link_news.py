"""What the kernel says of links and addresses, read."""

import struct

import pytest

from boxwall.policy import Address
from boxwall_agent.link_news import Deleted, Link, read_addresses, read_news
from boxwall_agent.netlink import attribute, nested, text
from fakes.rtnetlink_messages import (
    ADDRESS,
    DELLINK,
    INFO,
    LINK,
    LINK_NAMESPACE,
    LOCAL,
    MASTER,
    NAME,
    NEWADDR,
    NEWLINK,
    UP,
    address,
    link,
    told,
)


def number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


def of_kind(name: str) -> bytes:
    return nested(INFO, text(1, name))


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ((), Link(index=7, name="a")),
        ((number(MASTER, 9),), Link(index=7, name="a", master=9)),
        ((number(LINK, 3), of_kind("vlan")), Link(index=7, name="a", lower=3)),
        ((number(LINK, 3), of_kind("macvlan")), Link(index=7, name="a", lower=3)),
        ((number(LINK, 3), of_kind("veth")), Link(index=7, name="a")),
        ((number(LINK, 3), of_kind("gre")), Link(index=7, name="a")),
        ((number(LINK, 3),), Link(index=7, name="a")),
        (
            (number(LINK, 3), of_kind("vlan"), number(LINK_NAMESPACE, 0)),
            Link(index=7, name="a"),
        ),
    ],
    ids=[
        "alone",
        "a port",
        "a VLAN",
        "a macvlan",
        "a veth names its other end",
        "a tunnel takes no frames",
        "of no kind",
        "upon one in another namespace",
    ],
)
def test_a_link_is_read(attributes: tuple[bytes, ...], expected: Link) -> None:
    assert list(read_news(link(NEWLINK, 7, text(NAME, "a"), *attributes, flags=UP))) == [expected]


def test_what_is_down_and_what_is_gone_are_told_apart() -> None:
    data = link(NEWLINK, 7, text(NAME, "a")) + link(DELLINK, 8) + link(DELLINK, 9, family=7)
    assert list(read_news(data)) == [Link(index=7, name="a", is_up=False), Deleted(8)]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (address(attribute(ADDRESS, bytes((10, 0, 0, 1)))), "10.0.0.1"),
        (
            address(
                attribute(ADDRESS, bytes((10, 0, 0, 9))), attribute(LOCAL, bytes((10, 0, 0, 1)))
            ),
            "10.0.0.1",
        ),
        (address(attribute(ADDRESS, bytes(15) + b"\1"), family=10), "::1"),
        (
            address(
                attribute(LOCAL, b"\xfd" + bytes(15)),
                attribute(ADDRESS, bytes(15) + b"\1"),
                family=10,
            ),
            "fd00::",
        ),
    ],
    ids=["IPv4", "IPv4 with a peer", "IPv6", "IPv6 with a peer"],
)
def test_an_address_is_ones_own_and_not_the_peers(message: bytes, expected: str) -> None:
    assert list(read_addresses(message)) == [Address.parse(expected)]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        address(attribute(ADDRESS, b"\1\2\3")),
        address(),
        told(NEWADDR, b"\0"),
        address(attribute(ADDRESS, bytes(4)))[:-1],
        link(NEWLINK, 7),
    ],
    ids=["nothing", "of no family", "without one", "too short", "cut", "a link"],
)
def test_what_is_no_address_is_passed_over(data: bytes) -> None:
    assert list(read_addresses(data)) == []
