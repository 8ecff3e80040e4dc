"""Packets made by hand, and connections taken apart."""

import contextlib
import itertools
import socket
import ssl
import struct
import time
from dataclasses import dataclass
from typing import Final

TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58
FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32
_TCP_REPAIR, _TCP_REPAIR_QUEUE, _TCP_QUEUE_SEQ = 19, 20, 21
_IPV6_HDRINCL: Final = 36
_TCP_TIMESTAMP: Final = 24
_ports = itertools.count(20000)


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
) -> bytes:
    """An IP packet. `fragment`: the flags and offset of IPv4."""
    sender, receiver = packed(source), packed(target)
    if ":" in target:
        return (
            struct.pack(">IHBB", 6 << 28, len(payload), protocol, ttl) + sender + receiver + payload
        )
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), number, fragment, ttl, protocol, 0)
    head += sender + receiver
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


def send_raw(packet: bytes) -> None:
    """Send a whole IP packet."""
    version = packet[0] >> 4
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    target = socket.inet_ntop(family, packet[16:20] if version == 4 else packet[24:40])
    with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        if version == 6:
            raw.setsockopt(socket.IPPROTO_IPV6, _IPV6_HDRINCL, 1)
        raw.sendto(packet, (target, 0))


def send_frame(interface: str, router_mac: bytes, packet: bytes) -> None:
    """Send a packet past the box's own routes, to the router."""
    kind = 0x0800 if packet[0] >> 4 == 4 else 0x86DD
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind((interface, kind))
        own = raw.getsockname()[4]
        raw.send(router_mac + own + struct.pack(">H", kind) + packet)


def tls_client(name: str | None) -> tuple[ssl.SSLObject, ssl.MemoryBIO, ssl.MemoryBIO]:
    """A client that is not connected: what comes to it, and what it wants to send."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
    return context.wrap_bio(coming, going, server_hostname=name), coming, going


def client_hello(name: str | None, *, alpn: tuple[str, ...] = ("http/1.1",)) -> bytes:
    """What a real TLS client says first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(list(alpn))
    out = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return out.read()


@dataclass
class Connection:
    """A connection that the kernel opened, with the numbers to write segments into it."""

    kernel: socket.socket
    source: str
    source_port: int
    target: str
    port: int
    seq: int
    ack: int
    sniffer: socket.socket

    def segment(
        self,
        data: bytes,
        *,
        at: int = 0,
        flags: int = PSH | ACK,
        ttl: int = 64,
        options: bytes = b"",
        urgent: int = 0,
        ack: int | None = None,
        spoil: bool = False,
        is_old: bool = False,
    ) -> None:
        """Send a segment by hand, `at` octets after what the kernel would send next.

        `is_old`: with a timestamp of before the connection, which a server drops (RFC 7323).
        """
        if is_old:
            now = self.kernel.getsockopt(socket.IPPROTO_TCP, _TCP_TIMESTAMP) & 0xFFFFFFFF
            options = b"\x01\x01\x08\x0a" + struct.pack(">II", (now - 10**8) & 0xFFFFFFFF, 0)
        made = tcp(
            self.source,
            self.target,
            self.source_port,
            self.port,
            data,
            seq=self.seq + at,
            ack=self.ack if ack is None else ack,
            flags=flags,
            options=options,
            urgent=urgent,
        )
        if spoil:
            made = made[:16] + bytes((made[16] ^ 0x55, made[17])) + made[18:]
        send_raw(ip(self.source, self.target, TCP, made, ttl=ttl))

    def answers(self, patience: float = 0.3) -> bytes:
        """What comes back, as far as the kernel takes it."""
        self.kernel.settimeout(patience)
        try:
            return self.kernel.recv(65536)
        except OSError:
            return b""

    def is_answered(self, patience: float = 0.15) -> bool:
        """Whether the server sends data. The kernel has not sent what it answers, and drops it."""
        until = time.monotonic() + patience
        while time.monotonic() < until:
            self.sniffer.settimeout(max(0.001, until - time.monotonic()))
            try:
                packet = self.sniffer.recv(65536)
            except OSError:
                return False
            segment = packet[(packet[0] & 15) * 4 :] if ":" not in self.target else packet
            ports = struct.unpack_from(">HH", segment)
            if ports == (self.port, self.source_port) and len(segment) > (segment[12] >> 4) * 4:
                return True
        return False

    def close(self) -> None:
        """Forget it."""
        self.kernel.close()
        self.sniffer.close()


def opened(target: str, port: int) -> Connection:
    """Open a connection, and learn its numbers."""
    made = socket.create_connection((target, port), timeout=1)
    source, source_port = made.getsockname()[:2]
    made.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 1)
    numbers = []
    for queue in (2, 1):  # what is sent, what is received
        made.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR_QUEUE, queue)
        numbers.append(made.getsockopt(socket.IPPROTO_TCP, _TCP_QUEUE_SEQ) & 0xFFFFFFFF)
    made.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR_QUEUE, 0)
    made.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, -1)  # on again, without a probe of the window
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    sniffer = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_TCP)
    return Connection(made, source, source_port, target, port, numbers[0], numbers[1], sniffer)


def say(target: str, port: int, *parts: bytes, patience: float = 0.3) -> bytes:
    """Open a connection, send the parts as segments of their own; return what comes back."""
    with socket.create_connection((target, port), timeout=1) as made:
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in parts:
            made.sendall(part)
        made.settimeout(patience)
        return made.recv(65536)


def tell(target: str, port: int, data: bytes) -> None:
    """Send a datagram."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as made:
        made.sendto(data, (target, port))


def dns_query(name: bytes, kind: int = 1, *, questions: int = 1, number: int = 7) -> bytes:
    """A query whose name is labels with their lengths, however wrong."""
    return (
        struct.pack(">HHHHHH", number, 0x0100, questions, 0, 0, 0)
        + (name + struct.pack(">HH", kind, 1)) * questions
    )


def labels(text: str) -> bytes:
    """A name on the wire."""
    return b"".join(bytes((len(one),)) + one.encode() for one in text.split(".")) + b"\0"


def ask(server: str, query: bytes, *, over_tcp: bool = False, patience: float = 1.0) -> bytes:
    """Ask a name server; return what it says."""
    if over_tcp:
        return say(server, 53, len(query).to_bytes(2, "big") + query, patience=patience)[2:]
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as made:
        made.settimeout(patience)
        made.sendto(query, (server, 53))
        return made.recv(65536)
