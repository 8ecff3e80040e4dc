"""Packets made by hand."""

import socket
import struct
import time
from functools import lru_cache
from pathlib import Path

from attempts.catalogue import Place

TCP, UDP, ICMP, ICMPV6, SCTP, GRE = 6, 17, 1, 58, 132, 47
FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32


def packed(address: str) -> bytes:
    """An address as it is in packets."""
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def checksum(data: bytes) -> int:
    """RFC 1071."""
    total: int = sum(struct.unpack(f">{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ip(
    source: str,
    target: str,
    protocol: int,
    payload: bytes,
    *,
    ttl: int = 64,
    fragment: int = 0,
    number: int = 1,
    options: bytes = b"",
) -> bytes:
    """An IP packet. `fragment`: the flags and offset of IPv4, `options`: of IPv4."""
    sender, receiver = packed(source), packed(target)
    if ":" in target:
        return (
            struct.pack(">IHBB", 6 << 28, len(payload), protocol, ttl) + sender + receiver + payload
        )
    size = 20 + len(options)
    head = struct.pack(
        ">BBHHHBBH", 0x40 | size // 4, 0, size + len(payload), number, fragment, ttl, protocol, 0
    )
    head += sender + receiver + options
    return head[:10] + struct.pack(">H", checksum(head)) + head[12:] + payload


def with_checksum(source: str, target: str, protocol: int, segment: bytes, at: int) -> bytes:
    """Fill in a checksum that covers the addresses."""
    pseudo = packed(source) + packed(target) + struct.pack(">II", len(segment), protocol)
    value = checksum(pseudo + segment[:at] + b"\0\0" + segment[at + 2 :])
    return segment[:at] + struct.pack(">H", value) + segment[at + 2 :]


def udp(source: str, target: str, port: int, data: bytes, *, source_port: int = 4000) -> bytes:
    """A UDP datagram without IP."""
    made = struct.pack(">HHHH", source_port, port, 8 + len(data), 0) + data
    return with_checksum(source, target, UDP, made, 6)


def icmp(source: str, target: str, kind: int, data: bytes) -> tuple[int, bytes]:
    """The protocol of a message of ICMP or ICMPv6, and the message."""
    message = struct.pack(">BBHHH", kind, 0, 0, 1, 1) + data
    if ":" in target:
        return ICMPV6, with_checksum(source, target, ICMPV6, message, 2)
    return ICMP, message[:2] + struct.pack(">H", checksum(message)) + message[4:]


def echo(source: str, target: str, data: bytes) -> tuple[int, bytes]:
    """A ping."""
    return icmp(source, target, 128 if ":" in target else 8, data)


def answer(source: str, target: str, data: bytes) -> tuple[int, bytes]:
    """What answers a ping."""
    return icmp(source, target, 129 if ":" in target else 0, data)


def tcp(
    source: str,
    target: str,
    source_port: int,
    port: int,
    data: bytes = b"",
    *,
    seq: int = 1000,
    ack: int = 0,
    flags: int = SYN,
    options: bytes = b"",
    urgent: int = 0,
) -> bytes:
    """A TCP segment without IP."""
    words = 5 + len(options) // 4
    made = struct.pack(
        ">HHIIBBHHH",
        source_port,
        port,
        seq & 0xFFFFFFFF,
        ack & 0xFFFFFFFF,
        words << 4,
        flags,
        65535,
        0,
        urgent,
    )
    return with_checksum(source, target, TCP, made + options + data, 16)


def send(place: Place, packet: bytes) -> None:
    """Send a whole IP packet to the router, whatever the box's own kernel thinks of it."""
    send_frame(place.interface, router_mac(place.interface, place.router4), packet)


@lru_cache
def router_mac(interface: str, router: str) -> bytes:
    """The router's hardware address, as the box's kernel has learnt it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.sendto(b"", (router, 9))
    until = time.monotonic() + 2
    while time.monotonic() < until:
        for line in Path("/proc/net/arp").read_text().splitlines():
            words = line.split()
            if words[0] == router and words[5] == interface and words[2] != "0x0":
                return bytes.fromhex(words[3].replace(":", ""))
        time.sleep(0.05)
    raise LookupError(f"{router} has no hardware address")


def send_frame(interface: str, to_mac: bytes, packet: bytes) -> None:
    """Send a packet in a frame of its own."""
    kind = 0x0800 if packet[0] >> 4 == 4 else 0x86DD
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind((interface, 0))
        raw.send(to_mac + raw.getsockname()[4] + struct.pack(">H", kind) + packet)


def tell(target: str, port: int, data: bytes) -> None:
    """Send a datagram."""
    with socket.socket(family_of(target), socket.SOCK_DGRAM) as made:
        made.sendto(data, (target, port))


def family_of(address: str) -> socket.AddressFamily:
    """AF_INET or AF_INET6."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET
