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

_FIN, _SYN, _RST, _ACK = 0x01, 0x02, 0x04, 0x10


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """The headers of one packet."""

    source: Address
    destination: Address
    protocol: int
    source_port: int = 0
    destination_port: int = 0
    tcp: "Segment | None" = None


@dataclass(frozen=True, slots=True)
class Segment:
    """Of a TCP segment what a reset needs."""

    sequence: int
    acknowledged: int
    flags: int
    length: int
    """Octets of sequence space: data, and one each for SYN and FIN."""

    @property
    def is_reset(self) -> bool:
        """Whether the segment ends the connection itself."""
        return bool(self.flags & _RST)


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
    size = int.from_bytes(data[2:4], "big")
    is_first = int.from_bytes(data[6:8], "big") & 0x1FFF == 0
    body = data[header:] if is_first and header >= 20 else b""
    return _with_ports(
        Address(4, int.from_bytes(data[12:16], "big")),
        Address(4, int.from_bytes(data[16:20], "big")),
        data[9],
        body,
        size - header,
    )


def _read_ipv6(data: bytes) -> Packet:
    protocol, at = data[6], 40
    size = 40 + int.from_bytes(data[4:6], "big")
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
        size - at,
    )


def _with_ports(
    source: Address, destination: Address, protocol: int, body: bytes, size: int
) -> Packet:
    """`body` may be cut short; `size` is what the packet says of its length."""
    if protocol not in _WITH_PORTS or len(body) < 4:
        return Packet(source=source, destination=destination, protocol=protocol)
    source_port, destination_port = struct.unpack_from(">HH", body)
    return Packet(
        source=source,
        destination=destination,
        protocol=protocol,
        source_port=source_port,
        destination_port=destination_port,
        tcp=_segment(body, size) if protocol == TCP else None,
    )


def _segment(body: bytes, size: int) -> Segment | None:
    if len(body) < 20:
        return None
    sequence, acknowledged, offset, flags = struct.unpack_from(">IIBB", body, 4)
    data = max(0, size - (offset >> 4) * 4)
    return Segment(sequence, acknowledged, flags, data + bool(flags & _SYN) + bool(flags & _FIN))


def reset_after(packet: Packet) -> bytes | None:
    """Return the reset that the sender of a refused segment would send to its far end.

    RFC 9293 section 3.10.7.4: it is accepted if its number is the next one expected, which is the
    one after the segment that did not arrive, or its own if that is a retransmission.
    """
    segment = packet.tcp
    if segment is None or segment.is_reset:
        return None
    return _tcp_packet(
        packet.source,
        packet.destination,
        packet.source_port,
        packet.destination_port,
        sequence=segment.sequence,
        acknowledged=segment.acknowledged,
        flags=_RST | (segment.flags & _ACK),
    )


def stray_acknowledgement(
    source: Address, destination: Address, source_port: int, destination_port: int, sequence: int
) -> bytes:
    """Return a segment that makes the receiver say, exactly, where its connection is.

    RFC 9293 section 3.10.7.4: a segment outside the window is answered with an acknowledgement.
    """
    return _tcp_packet(
        source,
        destination,
        source_port,
        destination_port,
        sequence=sequence,
        acknowledged=0,
        flags=_ACK,
    )


def _tcp_packet(
    source: Address,
    destination: Address,
    source_port: int,
    destination_port: int,
    *,
    sequence: int,
    acknowledged: int,
    flags: int,
) -> bytes:
    octets = 4 if source.version == 4 else 16
    sender, target = source.value.to_bytes(octets, "big"), destination.value.to_bytes(octets, "big")
    segment = struct.pack(
        ">HHIIBBHHH",
        *(source_port, destination_port, sequence, acknowledged),
        *(5 << 4, flags, 0, 0, 0),
    )
    pseudo = sender + target + struct.pack(">II", len(segment), TCP)
    checked = segment[:16] + struct.pack(">H", _checksum(pseudo + segment)) + segment[18:]
    if source.version == 6:
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
