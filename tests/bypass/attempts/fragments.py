"""Packets in pieces, and headers before the one that is judged."""

import itertools
import socket
import struct
from functools import partial

from attempts.catalogue import Bar, Place, attempt
from attempts.wire import SYN, TCP, UDP, ip, send, tcp, udp

_HOP_BY_HOP, _ROUTING, _FRAGMENT, _AUTHENTICATION, _OPTIONS = 0, 43, 44, 51, 60
_numbers = itertools.count(90)


def _pieces(place: Place, target: str, protocol: int, pieces: list[tuple[int, bytes]]) -> None:
    number = next(_numbers)
    end = max(offset + len(piece) for offset, piece in pieces)
    for offset, piece in pieces:
        is_last = offset + len(piece) == end
        if place.version == 4:
            more = (0 if is_last else 0x2000) | offset // 8
            send(place, ip(place.own, target, protocol, piece, fragment=more, number=number))
        else:
            head = struct.pack(">BBHI", protocol, 0, offset | (not is_last), number)
            send(place, ip(place.own, target, _FRAGMENT, head + piece))


_ORDERS = {
    "in order": [(0, 24), (24, 64)],
    "in reverse": [(24, 64), (0, 24)],
    "overlapping": [(0, 32), (24, 64)],
    "the second without the first": [(24, 64)],
    "twice": [(0, 24), (0, 24), (24, 64)],
    "so small that the ports are in the second": [(0, 8), (8, 64)],
}


@attempt("fragments", "UDP {}", Bar.UNLISTED, over=_ORDERS.items())
def _(place: Place, mark: str, order: tuple[str, list[tuple[int, int]]]) -> None:
    whole = udp(place.own, place.elsewhere, 4242, b"x" * 44 + mark.encode())
    assert len(whole) == 64
    _pieces(place, place.elsewhere, UDP, [(a, whole[a:b]) for a, b in order[1]])


@attempt("fragments", "another destination in the overlapping first", Bar.UNLISTED)
def _(place: Place, mark: str) -> None:
    good = udp(place.own, place.listed, 4242, b"x" * 44 + mark.encode())
    number = next(_numbers)
    for target, at, end in ((place.listed, 0, 24), (place.elsewhere, 24, 64)):
        piece, more = good[at:end], end < 64
        if place.version == 4:
            flags = (0x2000 if more else 0) | at // 8
            send(place, ip(place.own, target, UDP, piece, fragment=flags, number=number))
        else:
            head = struct.pack(">BBHI", UDP, 0, at | more, number)
            send(place, ip(place.own, target, _FRAGMENT, head + piece))


@attempt("fragments", "a DNS query in two", Bar.ASKED)
def _(place: Place, mark: str) -> None:
    query = struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + b"\x0c" + mark.encode()
    query += b"\x03net\0" + struct.pack(">HH", 1, 1)
    whole = udp(place.own, place.elsewhere, 53, query)
    _pieces(place, place.elsewhere, UDP, [(0, whole[:8]), (8, whole[8:])])


@attempt(
    "fragments",
    "an IPv6 header before UDP: {}",
    Bar.UNLISTED,
    over=[
        ("hop by hop", _HOP_BY_HOP),
        ("routing", _ROUTING),
        ("destination options", _OPTIONS),
        ("fragment", _FRAGMENT),
        ("authentication", _AUTHENTICATION),
    ],
    versions=(6,),
)
def _(place: Place, mark: str, header: tuple[str, int]) -> None:
    body = udp(place.own, place.elsewhere, 4242, mark.encode())
    head = struct.pack(">BB6x", UDP, 0)
    if header[1] == _AUTHENTICATION:
        head = struct.pack(">BB2xII4x", UDP, 2, 1, 1)
    send(place, ip(place.own, place.elsewhere, header[1], head + body))


@attempt("fragments", "eight IPv6 headers in a row", Bar.UNLISTED, versions=(6,))
def _(place: Place, mark: str) -> None:
    chain = b"".join(struct.pack(">BB6x", _OPTIONS, 0) for _ in range(7))
    chain += struct.pack(">BB6x", UDP, 0)
    body = udp(place.own, place.elsewhere, 4242, mark.encode())
    send(place, ip(place.own, place.elsewhere, _OPTIONS, chain + body))


@attempt("fragments", "an IPv6 header before TCP to an allowed name", Bar.NAMED, versions=(6,))
def _(place: Place, mark: str) -> None:
    for header in (_HOP_BY_HOP, _OPTIONS):
        made = tcp(place.own, place.allowed_at, 22600 + header, 443, mark.encode(), flags=SYN)
        head = struct.pack(">BB6x", TCP, 0)
        send(place, ip(place.own, place.allowed_at, header, head + made))


_IPV4_OPTIONS = {
    "a loose source route": lambda via: b"\x83\x07\x04" + via + b"\0",
    "a strict source route": lambda via: b"\x89\x07\x04" + via + b"\0",
    "a route to record": lambda _: b"\x07\x07\x04" + bytes(4) + b"\0",
    "a router alert": lambda _: b"\x94\x04\0\0",
}


@attempt(
    "fragments",
    "IPv4 with {}",
    Bar.UNLISTED,
    over=[(key, make) for key, make in _IPV4_OPTIONS.items() if "source" not in key],
    versions=(4,),
)
@attempt(
    "fragments",
    "IPv4 with {}",
    Bar.UNLISTED,
    over=[(key, make) for key, make in _IPV4_OPTIONS.items() if "source" in key],
    versions=(4,),
    not_carried="Linux drops source routes unless a sysctl asks for them",
)
def _(place: Place, mark: str, option: "tuple[str, partial[bytes]]") -> None:
    via = socket.inet_aton(place.listed)
    body = udp(place.own, place.elsewhere, 4242, mark.encode())
    send(place, ip(place.own, place.elsewhere, UDP, body, options=option[1](via)))
