"""Networks of links: private, small, and nobody else's."""

import random
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxwall_agent.sandbox.addresses import Net, choose, route_network
from boxwall_agent.sandbox.errors import CannotSandbox


def first(_: int) -> int:
    """Draws the lowest number."""
    return 0


def test_a_link_has_a_network_in_each_family() -> None:
    four, six = choose((), with_ipv6=True, draw=first)
    assert (four.host, four.box, four.plen) == ("100.64.0.1", "100.64.0.2", 30)
    assert (six.host, six.box, six.plen) == ("fd00::1", "fd00::2", 126)
    assert (four.everything, six.everything) == ("0.0.0.0/0", "::/0")


def test_a_host_without_ipv6_gets_none() -> None:
    assert [one.network.version for one in choose((), with_ipv6=False, draw=first)] == [4]


@pytest.mark.parametrize(
    ("routed", "begins"),
    [
        ("100.64.0.0/10", "10."),
        ("0.0.0.0/0", "100.64."),
        ("fd00::/8", "100.64."),
        ("192.168.0.0/16", "100.64."),
    ],
    ids=["the whole pool", "a default route", "the other family", "elsewhere"],
)
def test_what_is_routed_is_avoided(routed: str, begins: str) -> None:
    (four,) = choose([ip_network(routed)], with_ipv6=False, draw=first)
    assert four.host.startswith(begins)


def test_a_single_address_inside_is_enough_to_avoid_a_network() -> None:
    numbers = iter([0, 0, 5])
    routed = [ip_network("100.64.0.3/32")]
    (four,) = choose(routed, with_ipv6=False, draw=lambda _: next(numbers))
    assert four.box == "100.64.0.22"


def test_a_host_that_routes_everything_private_is_told() -> None:
    routed = [ip_network("100.64.0.0/10"), ip_network("10.0.0.0/8")]
    with pytest.raises(CannotSandbox, match=r"100\.64\.0\.0/10 and 10\.0\.0\.0/8"):
        choose(routed, with_ipv6=False, draw=first)


@given(
    st.lists(st.ip_addresses(v=4, network="100.64.0.0/10"), max_size=20),
    st.integers(8, 32),
    st.integers(0),
)
def test_no_choice_overlaps_a_route(addresses: list[object], plen: int, seed: int) -> None:
    routed: list[Net] = [route_network(str(address), max(plen, 12)) for address in addresses]
    draw = random.Random(seed).randrange
    try:
        (four,) = choose(routed, with_ipv6=False, draw=draw)
    except CannotSandbox:
        return
    assert four.network.version == 4
    assert not any(four.network.overlaps(one) for one in routed if one.version == 4)
