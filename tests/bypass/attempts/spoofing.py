"""Packets that pretend."""

import socket
import struct

from attempts.catalogue import Bar, Place, attempt
from attempts.wire import (
    ICMPV6,
    UDP,
    family_of,
    ip,
    packed,
    router_mac,
    send,
    send_frame,
    udp,
    with_checksum,
)

_SO_MARK = 36


_MARTIAN = "Linux drops IPv4 packets that come from its own address"


@attempt("spoofing", "from the address of {}", Bar.ALWAYS, over=("another box", "nobody"))
@attempt("spoofing", "from the address of {}", Bar.ALWAYS, over=("the node",), versions=(6,))
@attempt(
    "spoofing",
    "from the address of {}",
    Bar.ALWAYS,
    over=("the node",),
    versions=(4,),
    not_carried=_MARTIAN,
)
def _(place: Place, mark: str, whose: str) -> None:
    nobody = "2600::8" if place.version == 6 else "8.8.8.8"
    source = {"another box": place.neighbour, "the node": place.node, "nobody": nobody}[whose]
    for target in (place.allowed_at, place.listed, place.elsewhere):
        send(place, ip(source, target, UDP, udp(source, target, 4242, mark.encode())))


@attempt(
    "spoofing",
    "ICMPv6 message {} to a public address",
    Bar.UNLISTED,
    over=(130, 131, 132, 133, 134, 135, 136, 137, 141, 143, 151),
    versions=(6,),
)
def _(place: Place, mark: str, kind: int) -> None:
    for ttl in (255, 1 + 1, 64):
        _link_message(place, place.elsewhere, kind, mark, ttl)


@attempt(
    "spoofing",
    "{} on the link",
    Bar.ALWAYS,
    over=(("a router advertisement", 134), ("a redirect", 137)),
    versions=(6,),
)
def _(place: Place, mark: str, kind: tuple[str, int]) -> None:
    for target in ("ff02::1", "ff02::2", place.router):
        _link_message(place, target, kind[1], mark, 255)


def _link_message(place: Place, target: str, kind: int, mark: str, ttl: int) -> None:
    message = struct.pack(">BBHIII", kind, 0, 0, 64 << 24, 0, 0) + packed(place.own)
    message += b"\x0e\x02\0\0" + mark.encode()  # an option: a nonce, of 16 octets
    whole = with_checksum(place.own, target, ICMPV6, message, 2)
    send(place, ip(place.own, target, ICMPV6, whole, ttl=ttl))


@attempt(
    "spoofing",
    "a packet mark of {}",
    Bar.UNLISTED,
    over=[
        (f"0x{mark:08x}", mark)
        for mark in (1, 0x04000000, 0x08000001, 0x20000001, 0x30000001, 0x80000000, 0x42570001)
    ],
)
def _(place: Place, mark: str, value: tuple[str, int]) -> None:
    with socket.socket(family_of(place.elsewhere), socket.SOCK_DGRAM) as made:
        made.setsockopt(socket.SOL_SOCKET, _SO_MARK, struct.pack("=I", value[1]))
        made.sendto(mark.encode(), (place.elsewhere, 4242))


@attempt("spoofing", "another hardware address", Bar.UNLISTED)
def _(place: Place, mark: str) -> None:
    packet = ip(
        place.own, place.elsewhere, UDP, udp(place.own, place.elsewhere, 4242, mark.encode())
    )
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind((place.interface, 0))
        kind = b"\x86\xdd" if place.version == 6 else b"\x08\x00"
        mac = router_mac(place.interface, place.router4)
        raw.send(mac + b"\x02\xbb\0\0\0\1" + kind + packet)


@attempt(
    "spoofing",
    "a frame to {}",
    Bar.UNLISTED,
    over=(("everybody", b"\xff" * 6), ("a group", b"\x01\0\x5e\0\0\1")),
    not_carried="Linux forwards only what is addressed to its own hardware address",
)
def _(place: Place, mark: str, to: tuple[str, bytes]) -> None:
    body = udp(place.own, place.elsewhere, 4242, mark.encode())
    send_frame(place.interface, to[1], ip(place.own, place.elsewhere, UDP, body))


@attempt(
    "spoofing",
    "a VLAN tag",
    Bar.UNLISTED,
    not_carried="the node has no interface for that VLAN",
)
def _(place: Place, mark: str) -> None:
    body = udp(place.own, place.elsewhere, 4242, mark.encode())
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind((place.interface, 0))
        tag = struct.pack(">HHH", 0x8100, 5, 0x86DD if place.version == 6 else 0x0800)
        own = raw.getsockname()[4]
        packet = ip(place.own, place.elsewhere, UDP, body)
        raw.send(router_mac(place.interface, place.router4) + own + tag + packet)
