"""Protocols that are not asked for, and packets cut into pieces."""

import socket
import struct

from attempts.catalogue import Surroundings, attempt
from attempts.wire import ACK, SYN, TCP, UDP, ip, send_raw, tcp, udp

GRE, SCTP, FRAGMENT, HOP_BY_HOP, ROUTING = 47, 132, 44, 0, 43


def _to_elsewhere(s: Surroundings, version: int = 4) -> tuple[str, str]:
    target = next(one for one in s.elsewhere if (":" in one) == (version == 6))
    return s.own[version == 6], target


@attempt("protocols", "GRE, SCTP, IP in IP, ESP, an experiment")
def _(s: Surroundings, mark: str) -> None:
    for version in (4, 6):
        source, target = _to_elsewhere(s, version)
        for protocol in (GRE, SCTP, 4, 41, 50, 51, 253):
            send_raw(ip(source, target, protocol, b"\0" * 8 + mark.encode()))


@attempt(
    "protocols",
    "GRE and UDP other than the name check reads, to an allowed name's address, QUIC inside",
)
def _(s: Surroundings, mark: str) -> None:
    initial = b"\xc3\0\0\0\1\x08" + bytes(8) + b"\0\0" + mark.encode()
    for target in s.allowed_at:
        source = s.own[":" in target]
        send_raw(ip(source, target, UDP, udp(source, target, 443, initial)))
        send_raw(ip(source, target, UDP, udp(source, target, 443, mark.encode())))
        send_raw(ip(source, target, UDP, udp(source, target, 8443, initial)))


@attempt("protocols", "QUIC on a port where something else came first")
def _(s: Surroundings, mark: str) -> None:
    initial = b"\xc3\0\0\0\1\x08" + bytes(8) + b"\0\0" + mark.encode()
    for target in s.allowed_at:
        source = s.own[":" in target]
        send_raw(ip(source, target, UDP, udp(source, target, 5555, b"harmless", source_port=5001)))
        send_raw(ip(source, target, UDP, udp(source, target, 5555, initial, source_port=5001)))


@attempt("protocols", "fragments, in order, in reverse, overlapping")
def _(s: Surroundings, mark: str) -> None:
    source, target = _to_elsewhere(s)
    whole = udp(source, target, 4242, b"x" * 40 + mark.encode())
    whole += b"\0" * (-len(whole) % 8)
    pieces = [(0, whole[:24]), (24, whole[24:])]
    for number, order in enumerate((pieces, pieces[::-1], [(0, whole[:32]), *pieces])):
        for offset, piece in order:
            more = 0x2000 if offset + len(piece) < len(whole) else 0
            send_raw(
                ip(source, target, UDP, piece, fragment=more | offset // 8, number=90 + number)
            )


@attempt("protocols", "IPv6 fragments and extension headers")
def _(s: Surroundings, mark: str) -> None:
    source, target = _to_elsewhere(s, 6)
    inner = udp(source, target, 4242, mark.encode())
    for header in (HOP_BY_HOP, ROUTING, 60):
        send_raw(ip(source, target, header, struct.pack(">BB6x", UDP, 0) + inner))
    inner += b"\0" * (-len(inner) % 8)
    first, rest = inner[:8], inner[8:]
    send_raw(ip(source, target, FRAGMENT, struct.pack(">BBHI", UDP, 0, 1, 77) + first))
    send_raw(ip(source, target, FRAGMENT, struct.pack(">BBHI", UDP, 0, 8, 77) + rest))


@attempt("protocols", "TCP without an opening, and with flags that no opening has")
def _(s: Surroundings, mark: str) -> None:
    for target in (*s.elsewhere, *s.allowed_at):
        source = s.own[":" in target]
        for number, flags in enumerate((ACK, ACK | 8, SYN | ACK, 0, 0x29, SYN | 1)):
            made = tcp(source, target, 21000 + number, 443, mark.encode(), flags=flags)
            send_raw(ip(source, target, TCP, made))


@attempt("protocols", "data on the opening segment")
def _(s: Surroundings, mark: str) -> None:
    for target in (*s.elsewhere, *s.allowed_at):
        source = s.own[":" in target]
        for port in (443, 80, 9443):
            made = tcp(source, target, 22000 + port % 1000, port, mark.encode(), flags=SYN)
            send_raw(ip(source, target, TCP, made))


@attempt("protocols", "TCP Fast Open")
def _(s: Surroundings, mark: str) -> None:
    for target in s.allowed_at:
        family = socket.AF_INET6 if ":" in target else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as made:
            made.settimeout(1)
            try:
                made.sendto(mark.encode(), 0x20000000, (target, 443))
            except OSError:
                continue
