"""IP packets as far as the agent must understand them, and the few segments that it makes. Pure.

What is read comes from inside a box: nothing is trusted, and what is cut short is no packet.
"""

import struct
from dataclasses import dataclass
from typing import Final

from boxwall.policy import Address

TCP: Final = 6
UDP: Final = 17
SCTP: Final = 132
_WITH_PORTS: Final = (TCP, UDP, SCTP)
_EXTENSIONS: Final = (0, 43, 60, 135)
"""IPv6 extension headers that say their length in units of eight: hop-by-hop, routing, destination
options, mobility."""

_FRAGMENT: Final = 44
_MOST_EXTENSIONS: Final = 8

_ACK: Final = 0x10


@dataclass(frozen=True, slots=True)
class Ends:
    """Who sends to whom."""

    source: Address
    source_port: int
    destination: Address
    destination_port: int

    @property
    def turned(self) -> "Ends":
        """The other direction."""
        return Ends(self.destination, self.destination_port, self.source, self.source_port)


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """The headers of one packet."""

    source: Address
    destination: Address
    protocol: int
    source_port: int = 0
    destination_port: int = 0


def read_packet(data: bytes) -> Packet | None:
    """Return the headers of an IP packet, of which `data` may be the beginning only."""
    version = data[0] >> 4 if data else 0
    if version == 4 and len(data) >= 20:
        return _read_ipv4(data)
    if version == 6 and len(data) >= 40:
        return _read_ipv6(data)
    return None


def _read_ipv4(data: bytes) -> Packet:
    header = (data[0] & 15) * 4
    is_first = int.from_bytes(data[6:8], "big") & 0x1FFF == 0
    return _with_ports(
        Address(4, int.from_bytes(data[12:16], "big")),
        Address(4, int.from_bytes(data[16:20], "big")),
        data[9],
        data[header:] if is_first and header >= 20 else b"",
    )


def _read_ipv6(data: bytes) -> Packet:
    protocol, at = data[6], 40
    for _ in range(_MOST_EXTENSIONS):
        if at + 8 > len(data):
            break
        if protocol in _EXTENSIONS:
            protocol, at = data[at], at + 8 + data[at + 1] * 8
        elif protocol == _FRAGMENT:
            is_first = int.from_bytes(data[at + 2 : at + 4], "big") >> 3 == 0
            protocol, at = data[at], at + 8 if is_first else len(data)
        else:
            break
    return _with_ports(
        Address(6, int.from_bytes(data[8:24], "big")),
        Address(6, int.from_bytes(data[24:40], "big")),
        protocol,
        data[at:],
    )


def _with_ports(source: Address, destination: Address, protocol: int, body: bytes) -> Packet:
    """`body` may be cut short."""
    if protocol not in _WITH_PORTS or len(body) < 4:
        return Packet(source=source, destination=destination, protocol=protocol)
    source_port, destination_port = struct.unpack_from(">HH", body)
    return Packet(
        source=source,
        destination=destination,
        protocol=protocol,
        source_port=source_port,
        destination_port=destination_port,
    )


def stray_acknowledgement(ends: Ends, sequence: int) -> bytes:
    """Return a segment that makes the receiver say, exactly, where its connection is.

    RFC 9293 section 3.10.7.4: a segment outside the window is answered with an acknowledgement.
    """
    octets = 4 if ends.source.version == 4 else 16
    sender = ends.source.value.to_bytes(octets, "big")
    target = ends.destination.value.to_bytes(octets, "big")
    segment = struct.pack(
        ">HHIIBBHHH",
        *(ends.source_port, ends.destination_port, sequence, 0),
        *(5 << 4, _ACK, 0, 0, 0),
    )
    pseudo = sender + target + struct.pack(">II", len(segment), TCP)
    checked = segment[:16] + struct.pack(">H", _checksum(pseudo + segment)) + segment[18:]
    if octets == 16:
        return struct.pack(">IHBB", 6 << 28, len(checked), TCP, 64) + sender + target + checked
    # The kernel fills in the identification and the checksum of the IPv4 header.
    header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(checked), 0, 0, 64, TCP, 0)
    return header + sender + target + checked


def _checksum(data: bytes) -> int:
    """RFC 1071."""
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
