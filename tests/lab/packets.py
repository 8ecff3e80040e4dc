"""Packets made by hand, so that a box can send what no socket would."""

import socket
import struct
from ipaddress import ip_address

from lab.namespaces import Namespace, inside

TCP, UDP, ICMP, ICMPV6, SCTP = 6, 17, 1, 58, 132


def ip_packet(
    source: str, destination: str, protocol: int, payload: bytes, *, hop_limit: int = 64
) -> bytes:
    """An IPv4 or IPv6 packet, whichever the addresses are."""
    sender, target = ip_address(source).packed, ip_address(destination).packed
    if len(target) == 16:
        header = struct.pack(">IHBB", 6 << 28, len(payload), protocol, hop_limit)
        return header + sender + target + payload
    header = struct.pack(
        ">BBHHHBBH4s4s",
        *(0x45, 0, 20 + len(payload), 0, 0, hop_limit, protocol, 0),
        sender,
        target,
    )
    return header[:10] + struct.pack(">H", checksum(header)) + header[12:] + payload


def udp(
    source: str, destination: str, port: int, data: bytes, *, source_port: int = 40000
) -> bytes:
    """A UDP datagram in its packet."""
    body = struct.pack(">HHHH", source_port, port, 8 + len(data), 0) + data
    total = checksum(_pseudo(source, destination, UDP, len(body)) + body) or 0xFFFF
    body = body[:6] + struct.pack(">H", total) + body[8:]
    return ip_packet(source, destination, UDP, body)


def tcp(
    source: str,
    destination: str,
    port: int,
    *,
    flags: int = 0x02,
    sequence: int = 1,
    acknowledged: int = 0,
    data: bytes = b"",
    source_port: int = 40000,
) -> bytes:
    """A TCP segment in its packet."""
    header = struct.pack(
        ">HHIIBBHHH", source_port, port, sequence, acknowledged, 5 << 4, flags, 65535, 0, 0
    )
    body = header + data
    total = checksum(_pseudo(source, destination, TCP, len(body)) + body)
    body = body[:16] + struct.pack(">H", total) + body[18:]
    return ip_packet(source, destination, TCP, body)


def icmpv6(source: str, destination: str, kind: int, data: bytes, *, hop_limit: int = 255) -> bytes:
    """An ICMPv6 message in its packet."""
    body = bytes((kind, 0, 0, 0)) + data
    total = checksum(_pseudo(source, destination, ICMPV6, len(body)) + body)
    body = body[:2] + struct.pack(">H", total) + body[4:]
    return ip_packet(source, destination, ICMPV6, body, hop_limit=hop_limit)


def sctp_init(source: str, destination: str, port: int) -> bytes:
    """An SCTP packet that opens an association, RFC 9260."""
    chunk = struct.pack(">BBHIIHHI", 1, 0, 20, 1, 1500, 1, 1, 1)
    unsummed = struct.pack(">HHII", 40000, port, 0, 0) + chunk
    total = struct.pack("<I", crc32c(unsummed))
    return ip_packet(source, destination, SCTP, unsummed[:8] + total + unsummed[12:])


def crc32c(data: bytes) -> int:
    """RFC 9260 appendix A."""
    value = 0xFFFFFFFF
    for octet in data:
        value ^= octet
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


def checksum(data: bytes) -> int:
    """The Internet checksum, RFC 1071."""
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Wire:
    """Sends packets from an interface to whoever is at its other end, as they are."""

    def __init__(self, place: Namespace, interface: str, to_mac: bytes) -> None:
        self._head = to_mac + place.mac_of(interface)
        with inside(place.name):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self._socket.bind((interface, 0))

    def send(self, packet: bytes) -> None:
        """Send one IP packet."""
        self._socket.send(self.frame(packet))

    def frame(self, packet: bytes) -> bytes:
        """An IP packet with its Ethernet header."""
        kind = b"\x86\xdd" if packet[0] >> 4 == 6 else b"\x08\x00"
        return self._head + kind + packet

    def close(self) -> None:
        """Stop."""
        self._socket.close()


def _pseudo(source: str, destination: str, protocol: int, size: int) -> bytes:
    sender, target = ip_address(source).packed, ip_address(destination).packed
    if len(target) == 16:
        return sender + target + struct.pack(">II", size, protocol)
    return sender + target + struct.pack(">BBH", 0, protocol, size)
