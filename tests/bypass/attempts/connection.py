"""Connections, and the same taken apart: segments by hand into what the kernel has opened."""

import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from attempts.catalogue import Place
from attempts.wire import ACK, PSH, SYN, TCP, family_of, ip, send, tcp

_TCP_REPAIR, _TCP_REPAIR_QUEUE, _TCP_QUEUE_SEQ = 19, 20, 21
_TCP_TIMESTAMP: Final = 24


@dataclass
class Connection:
    """A connection that the kernel opened, with the numbers to write segments into it."""

    place: Place
    kernel: socket.socket
    source_port: int
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
            self.place.own,
            self.place.allowed_at,
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
        send(self.place, ip(self.place.own, self.place.allowed_at, TCP, made, ttl=ttl))

    def answers(self, patience: float = 0.3) -> bytes:
        """What comes back, as far as the kernel takes it."""
        self.kernel.settimeout(patience)
        try:
            return self.kernel.recv(65536)
        except OSError:
            return b""

    def is_answered(self, patience: float = 1.0) -> bool:
        """Whether the server sends data. The kernel has not sent what it answers, and drops it."""
        return any(self._heard(patience))

    def end_of_answer(self, patience: float = 0.3) -> int:
        """The number behind the last octet that the server sends."""
        return max(self._heard(patience), default=self.ack)

    def _heard(self, patience: float) -> Iterator[int]:
        """The number behind each segment with data, as they come."""
        until = time.monotonic() + patience
        while time.monotonic() < until:
            self.sniffer.settimeout(max(0.001, until - time.monotonic()))
            try:
                packet = self.sniffer.recv(65536)
            except OSError:
                return
            segment = packet[(packet[0] & 15) * 4 :] if self.place.version == 4 else packet
            source, target, seq = struct.unpack_from(">HHI", segment)
            size = len(segment) - (segment[12] >> 4) * 4
            if (source, target) == (self.port, self.source_port) and size:
                yield (seq + size) & 0xFFFFFFFF

    def close(self) -> None:
        """Forget it."""
        self.kernel.close()
        self.sniffer.close()


def opened(place: Place, port: int) -> Connection:
    """Open a connection to the allowed name's address, and learn its numbers."""
    made = socket.create_connection((place.allowed_at, port), timeout=1)
    source_port = made.getsockname()[1]
    made.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 1)
    numbers = []
    for queue in (2, 1):  # what is sent, what is received
        made.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR_QUEUE, queue)
        numbers.append(made.getsockopt(socket.IPPROTO_TCP, _TCP_QUEUE_SEQ) & 0xFFFFFFFF)
    made.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR_QUEUE, 0)
    made.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, -1)  # on again, without a probe of the window
    sniffer = socket.socket(family_of(place.own), socket.SOCK_RAW, socket.IPPROTO_TCP)
    return Connection(place, made, source_port, port, numbers[0], numbers[1], sniffer)


def opened_by_hand(place: Place, port: int, source_port: int, seq: int) -> Connection:
    """The same without the kernel, which must not answer for that source port.

    Raises TimeoutError if the server does not.
    """
    sniffer = socket.socket(family_of(place.own), socket.SOCK_RAW, socket.IPPROTO_TCP)
    ends = (place.own, place.allowed_at, source_port, port)
    send(place, ip(place.own, place.allowed_at, TCP, tcp(*ends, seq=seq)))
    until = time.monotonic() + 1
    sniffer.settimeout(1)
    while time.monotonic() < until:
        packet = sniffer.recv(65536)
        segment = packet[(packet[0] & 15) * 4 :] if place.version == 4 else packet
        source, target, theirs = struct.unpack_from(">HHI", segment)
        if (source, target) == (port, source_port) and segment[13] & (SYN | ACK) == SYN | ACK:
            made = Connection(
                place, socket.socket(), source_port, port, seq + 1, theirs + 1 & 0xFFFFFFFF, sniffer
            )
            made.segment(b"", flags=ACK)
            return made
    raise TimeoutError


def say(target: str, port: int, *parts: bytes, patience: float = 0.2, pause: float = 0.0) -> bytes:
    """Open a connection, send the parts as segments of their own; return what comes back."""
    with socket.create_connection((target, port), timeout=1) as made:
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in parts:
            made.sendall(part)
            time.sleep(pause)
        made.settimeout(patience)
        return made.recv(65536)
