"""Addresses that nobody may reach."""

import contextlib
import socket

from attempts.catalogue import Bar, Place, attempt
from attempts.wire import TCP, UDP, echo, family_of, ip, router_mac, send, tcp, tell, udp

_ALWAYS = (
    *("169.254.169.254", "168.63.129.16", "fd00:ec2::254"),  # metadata
    *("10.1.2.3", "172.16.5.5", "192.168.1.1", "100.64.0.1", "fd12::1"),  # private
    *("0.1.2.3", "::"),
    *("64:ff9b::808:808", "2002:808:808::1", "2001::1", "::ffff:8.8.8.8"),  # IPv4 inside
    *("240.0.0.1", "198.18.0.1", "192.88.99.1", "192.0.2.1", "198.51.100.1", "203.0.113.1"),
    *("2001:db8::1", "3fff::1", "4000::1", "fec0::1", "5f00::1", "100::1", "64:ff9b:1::1"),
)
_TO_THE_NODE = (
    *("224.0.0.1", "224.0.0.251", "255.255.255.255"),
    *("ff02::1", "ff02::fb"),
)
_NOWHERE = {
    "0.0.0.0": "Linux takes it for this host only where it is sent from, and drops it on arrival",
    "127.0.0.1": "Linux drops loopback addresses that arrive from outside",
    "::1": "Linux drops loopback addresses that arrive from outside",
    "239.1.1.1": "the node routes no multicast",
    "ff05::1": "the node routes no multicast",
    "fe80::1": "link-local addresses are not forwarded, and the node does not have this one",
}


def three_ways(place: Place, target: str, mark: str) -> None:
    """UDP, TCP and ICMP, as packets of our own making: the box's kernel would refuse some."""
    source = place.own
    protocol, message = echo(source, target, mark.encode())
    send(place, ip(source, target, UDP, udp(source, target, 4242, mark.encode())))
    send(place, ip(source, target, TCP, tcp(source, target, 4243, 80, mark.encode())))
    send(place, ip(source, target, protocol, message))


def _register(target: str, not_carried: str = "") -> None:
    @attempt(
        "addresses",
        f"always blocked: {target}",
        Bar.ALWAYS,
        versions=(6 if ":" in target else 4,),
        not_carried=not_carried,
    )
    def _(place: Place, mark: str) -> None:
        three_ways(place, target, mark)


for address in (*_ALWAYS, *_TO_THE_NODE):
    _register(address)
for address, why in _NOWHERE.items():
    _register(address, why)


@attempt("addresses", "the node's public address", Bar.ALWAYS)
def _(place: Place, mark: str) -> None:
    three_ways(place, place.node, mark)


@attempt("addresses", "the node's end of the link", Bar.ALWAYS)
def _(place: Place, mark: str) -> None:
    three_ways(place, place.router, mark)


@attempt("addresses", "the node's link-local address", Bar.ALWAYS, versions=(6,))
def _(place: Place, mark: str) -> None:
    """As it follows from its hardware address: RFC 4291 appendix A."""
    mac = router_mac(place.interface, place.router4)
    host = bytes((mac[0] ^ 2,)) + mac[1:3] + b"\xff\xfe" + mac[3:]
    three_ways(place, socket.inet_ntop(socket.AF_INET6, b"\xfe\x80" + bytes(6) + host), mark)


@attempt("addresses", "a TCP port of the node, which listens", Bar.ALWAYS)
def _(place: Place, mark: str) -> None:
    for target in (place.router, place.node):
        with contextlib.suppress(OSError), socket.create_connection((target, 4242), 0.5) as made:
            made.sendall(mark.encode())


@attempt("addresses", "another box", Bar.ALWAYS)
def _(place: Place, mark: str) -> None:
    three_ways(place, place.neighbour, mark)


@attempt("addresses", "a public address that no rule allows", Bar.UNLISTED)
def _(place: Place, mark: str) -> None:
    three_ways(place, place.elsewhere, mark)


@attempt(
    "addresses",
    "IPv4 {} given to a resolver",
    Bar.ALWAYS,
    over=(
        ("as a number", "2852039166"),
        ("in octal", "0251.0376.0251.0376"),
        ("in hexadecimal", "0xa9.0xfe.0xa9fe"),
        ("mapped into IPv6", "::ffff:169.254.169.254"),
    ),
    versions=(4,),
)
def _(place: Place, mark: str, given: tuple[str, str]) -> None:
    for family, kind, _, _, address in socket.getaddrinfo(given[1], 4242, type=socket.SOCK_DGRAM):
        with socket.socket(family, kind) as made:
            made.sendto(mark.encode(), address)


@attempt("addresses", "UDP without connect", Bar.UNLISTED)
def _(place: Place, mark: str) -> None:
    tell(place.elsewhere, 4242, mark.encode())


@attempt("addresses", "UDP with connect, again and again", Bar.UNLISTED)
def _(place: Place, mark: str) -> None:
    with socket.socket(family_of(place.elsewhere), socket.SOCK_DGRAM) as made:
        made.connect((place.elsewhere, 4242))
        for _ in range(3):
            made.send(mark.encode())
