"""Addresses that nobody may reach, and packets that pretend."""

import socket
import struct

from attempts.catalogue import Surroundings, attempt
from attempts.wire import (
    ICMP,
    ICMPV6,
    TCP,
    UDP,
    checksum,
    ip,
    send_raw,
    tcp,
    tell,
    udp,
    with_checksum,
)

_BLOCKED = (
    ("metadata", ("169.254.169.254", "168.63.129.16", "fd00:ec2::254")),
    ("private", ("10.1.2.3", "172.16.5.5", "192.168.1.1", "100.64.0.1", "fd12::1")),
    ("this host", ("0.0.0.0", "0.1.2.3", "::")),
    ("multicast and broadcast", ("224.0.0.251", "239.1.1.1", "255.255.255.255", "ff05::1")),
    (
        "mapped, translated, tunnelled",
        ("::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1", "2001::1"),
    ),
    ("reserved", ("240.0.0.1", "198.18.0.1", "192.88.99.1", "2001:db8::1", "3fff::1", "4000::1")),
)


def _three_ways(s: Surroundings, target: str, mark: str) -> None:
    """UDP, TCP and ICMP, as packets of our own making: the box's kernel would refuse some."""
    source = s.own[":" in target]
    packets = [
        (UDP, udp(source, target, 4242, mark.encode())),
        (TCP, tcp(source, target, 4243, 80, mark.encode(), flags=2)),
    ]
    if ":" in target:
        echo = struct.pack(">BBHHH", 128, 0, 0, 1, 1) + mark.encode()
        packets.append((ICMPV6, with_checksum(source, target, ICMPV6, echo, 2)))
    else:
        echo = struct.pack(">BBHHH", 8, 0, 0, 1, 1) + mark.encode()
        packets.append((ICMP, echo[:2] + struct.pack(">H", checksum(echo)) + echo[4:]))
    for protocol, payload in packets:
        try:
            send_raw(ip(source, target, protocol, payload))
        except OSError:
            continue


for title, targets in _BLOCKED:
    for one in targets:

        @attempt("addresses", f"{title}: {one}")
        def _(s: Surroundings, mark: str, target: str = one) -> None:
            _three_ways(s, target, mark)


@attempt("addresses", "the node's own addresses")
def _(s: Surroundings, mark: str) -> None:
    for target in (*s.node, *s.router):
        _three_ways(s, target, mark)


@attempt("addresses", "another box")
def _(s: Surroundings, mark: str) -> None:
    for target in s.neighbour:
        _three_ways(s, target, mark)


@attempt("addresses", "public addresses that no rule allows")
def _(s: Surroundings, mark: str) -> None:
    for target in s.elsewhere:
        _three_ways(s, target, mark)


@attempt("addresses", "IPv4 as a number, octal, hexadecimal")
def _(s: Surroundings, mark: str) -> None:
    for text in ("134744072", "010.010.010.010", "0x8.0x8.0x8.0x8"):
        try:
            found = socket.getaddrinfo(text, 4242, type=socket.SOCK_DGRAM)
        except OSError:
            continue
        for family, kind, _, _, address in found:
            with socket.socket(family, kind) as made:
                try:
                    made.sendto(mark.encode(), address)
                except OSError:
                    continue


@attempt("spoofing", "from an address of another box, of the node, of nobody")
def _(s: Surroundings, mark: str) -> None:
    for source in (*s.neighbour, *s.node, "8.8.8.8", "2600::8"):
        for target in (*s.allowed_at, *s.elsewhere):
            if (":" in source) == (":" in target):
                send_raw(ip(source, target, UDP, udp(source, target, 4242, mark.encode())))


@attempt("spoofing", "router advertisement and redirect")
def _(s: Surroundings, mark: str) -> None:
    source = s.own[1]
    for kind in (134, 137):
        message = struct.pack(">BBHIII", kind, 0, 0, 64 << 24, 0, 0) + mark.encode() + b"\0" * 7
        for target in ("ff02::1", *(one for one in s.elsewhere if ":" in one)):
            send_raw(
                ip(
                    source,
                    target,
                    ICMPV6,
                    with_checksum(source, target, ICMPV6, message, 2),
                    ttl=255,
                )
            )


@attempt("spoofing", "packet marks")
def _(s: Surroundings, mark: str) -> None:
    for target in s.elsewhere:
        family = socket.AF_INET6 if ":" in target else socket.AF_INET
        for value in (0x00000001, 0x20000001, 0x30000001, 0x80000000, 0x42570001):
            with socket.socket(family, socket.SOCK_DGRAM) as made:
                made.setsockopt(socket.SOL_SOCKET, 36, struct.pack("=I", value))
                try:
                    made.sendto(mark.encode(), (target, 4242))
                except OSError:
                    continue


@attempt("addresses", "UDP without and with connect")
def _(s: Surroundings, mark: str) -> None:
    for target in s.elsewhere:
        tell(target, 4242, mark.encode())
        family = socket.AF_INET6 if ":" in target else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as made:
            made.connect((target, 4242))
            made.send(mark.encode())
            made.send(mark.encode())
