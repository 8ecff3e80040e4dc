"""Protocols that are not asked for, and TCP that does not begin as TCP does."""

import socket
import struct
from pathlib import Path

from attempts.catalogue import Bar, Place, attempt
from attempts.wire import (
    ACK,
    FIN,
    GRE,
    PSH,
    RST,
    SCTP,
    SYN,
    TCP,
    UDP,
    URG,
    answer,
    echo,
    family_of,
    icmp,
    ip,
    send,
    tcp,
    udp,
)

_MSG_FASTOPEN = 0x20000000


@attempt(
    "protocols",
    "IP protocol {}",
    Bar.UNLISTED,
    over=[
        ("IPv4 in IP", 4),
        ("IPv6 in IP", 41),
        ("GRE", GRE),
        ("ESP", 50),
        ("SCTP", SCTP),
        ("DCCP", 33),
        ("UDP-Lite", 136),
        ("an experiment", 253),
        ("255", 255),
    ],
)
def _(place: Place, mark: str, protocol: tuple[str, int]) -> None:
    body = struct.pack(">HHII", 4242, 4242, 0, 0) + mark.encode()
    send(place, ip(place.own, place.elsewhere, protocol[1], body))


@attempt("protocols", "an SCTP association", Bar.UNLISTED)
def _(place: Place, mark: str) -> None:
    # INIT with an unknown parameter that holds the mark; RFC 9260 sections 3.3.2 and 3.2.1.
    more = struct.pack(">HH", 0xC0DE, 4 + len(mark)) + mark.encode()
    chunk = struct.pack(">BBHIIHHI", 1, 0, 20 + len(more), 1, 65535, 1, 1, 1) + more
    unsummed = struct.pack(">HHII", 4242, 4242, 0, 0) + chunk
    whole = unsummed[:8] + struct.pack("<I", _crc32c(unsummed)) + unsummed[12:]
    send(place, ip(place.own, place.elsewhere, SCTP, whole))


def _crc32c(data: bytes) -> int:
    value = 0xFFFFFFFF
    for octet in data:
        value ^= octet
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


@attempt("protocols", "GRE with a whole packet inside", Bar.UNLISTED)
def _(place: Place, mark: str) -> None:
    inner = ip(place.own, place.elsewhere, UDP, udp(place.own, place.elsewhere, 53, mark.encode()))
    kind = 0x86DD if place.version == 6 else 0x0800
    send(place, ip(place.own, place.elsewhere, GRE, struct.pack(">HH", 0, kind) + inner))


@attempt("protocols", "a ping with something in it", Bar.UNLISTED)
def _(place: Place, mark: str) -> None:
    send(
        place,
        ip(
            place.own, place.elsewhere, *echo(place.own, place.elsewhere, b"x" * 40 + mark.encode())
        ),
    )


@attempt("protocols", "an answer to a ping that nobody sent", Bar.UNLISTED)
def _(place: Place, mark: str) -> None:
    send(place, ip(place.own, place.elsewhere, *answer(place.own, place.elsewhere, mark.encode())))


@attempt("protocols", "an ICMP error about somebody else's connection", Bar.UNLISTED)
def _(place: Place, mark: str) -> None:
    quoted = ip(
        place.elsewhere,
        place.own,
        TCP,
        tcp(place.elsewhere, place.own, 80, 40000, mark.encode()),
    )
    kind = 1 if place.version == 6 else 3
    protocol, message = icmp(place.own, place.elsewhere, kind, quoted)
    send(place, ip(place.own, place.elsewhere, protocol, message))


_FLAGS = {
    "ACK": ACK,
    "ACK and PSH": ACK | PSH,
    "SYN and ACK": SYN | ACK,
    "none": 0,
    "FIN, PSH and URG": FIN | PSH | URG,
    "SYN and FIN": SYN | FIN,
    "RST": RST,
    "SYN and RST": SYN | RST,
}


@attempt("protocols", "TCP that begins with flags: {}", Bar.UNLISTED, over=_FLAGS.items())
def _(place: Place, mark: str, flags: tuple[str, int]) -> None:
    made = tcp(place.own, place.elsewhere, 21000 + flags[1], 443, mark.encode(), flags=flags[1])
    send(place, ip(place.own, place.elsewhere, TCP, made))


@attempt(
    "protocols",
    "TCP to an allowed name that begins with flags: {}",
    Bar.NAMED,
    over=_FLAGS.items(),
)
def _(place: Place, mark: str, flags: tuple[str, int]) -> None:
    made = tcp(place.own, place.allowed_at, 21100 + flags[1], 443, mark.encode(), flags=flags[1])
    send(place, ip(place.own, place.allowed_at, TCP, made))


@attempt("protocols", "data on the opening segment", Bar.UNLISTED)
def _(place: Place, mark: str) -> None:
    made = tcp(place.own, place.elsewhere, 22000, 443, mark.encode())
    send(place, ip(place.own, place.elsewhere, TCP, made))


@attempt(
    "protocols",
    "data on the opening segment to an allowed name, port {}",
    Bar.NAMED,
    over=(443, 80, 9443, 2222),
)
def _(place: Place, mark: str, port: int) -> None:
    made = tcp(place.own, place.allowed_at, 22000 + port % 1000, port, mark.encode())
    send(place, ip(place.own, place.allowed_at, TCP, made))


@attempt("protocols", "TCP Fast Open to an allowed name", Bar.NAMED, is_alone=True)
def _(place: Place, mark: str) -> None:
    # Data without a cookie, which some servers take (RFC 7413 section 4.1.3.1).
    Path("/proc/sys/net/ipv4/tcp_fastopen").write_text("0x5")
    with socket.socket(family_of(place.own), socket.SOCK_STREAM) as made:
        made.settimeout(0.3)
        made.sendto(mark.encode(), _MSG_FASTOPEN, (place.allowed_at, 443))


@attempt("protocols", "a TCP option of an opening, to an allowed name", Bar.NAMED)
def _(place: Place, mark: str) -> None:
    # Multipath TCP says in options what the octets of a segment mean; RFC 8684 section 3.
    option = b"\x1e" + bytes((2 + len(mark),)) + mark.encode() + b"\x01\x01"
    made = tcp(place.own, place.allowed_at, 22500, 443, options=option)
    send(place, ip(place.own, place.allowed_at, TCP, made))
