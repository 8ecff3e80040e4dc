"""Who records every packet that arrives outside: not the agent's word, but the wire's."""

import select
import socket
import sys
import time
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from lab.namespaces import Namespace, inside

ETH_P_ALL: Final = 3
_ETHERNET: Final = 14
_IPV4: Final = b"\x08\x00"
_IPV6: Final = b"\x86\xdd"
_OUTGOING: Final = 4
_SO_RCVBUFFORCE: Final = 33
_SOL_PACKET: Final = 263
_PACKET_STATISTICS: Final = 6


@dataclass(frozen=True, slots=True)
class Seen:
    """One packet that arrived."""

    at: float
    """Seconds of time.monotonic, when it was read."""
    source: IPv4Address | IPv6Address
    destination: IPv4Address | IPv6Address
    protocol: int
    payload: bytes
    """What follows the IP header (IPv6 extension headers in it)."""

    @property
    def ports(self) -> tuple[int, int]:
        """Of TCP, UDP and SCTP."""
        return int.from_bytes(self.payload[:2], "big"), int.from_bytes(self.payload[2:4], "big")


class Witness:
    """Reads what arrives at an interface. What the interface's own host sends is left out."""

    def __init__(self, place: Namespace, interface: str) -> None:
        with inside(place.name):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 256 << 20)
            self._socket.bind((interface, ETH_P_ALL))
        self._socket.setblocking(False)
        self.seen: list[Seen] = []

    def look(self) -> list[Seen]:
        """Read what has come since the last look; return it, and keep it in `seen`."""
        new = []
        while True:
            try:
                frame, address = self._socket.recvfrom(65536)
            except BlockingIOError:
                break
            packet = None if address[2] == _OUTGOING else _read(frame)
            if packet is not None:
                new.append(packet)
        self.seen += new
        return new

    def wait_for(self, payload: bytes, patience: float = 5.0) -> list[Seen]:
        """Look until a packet with `payload` at its end has come; return all that came."""
        came: list[Seen] = []
        until = time.monotonic() + patience
        while time.monotonic() < until:
            new = self.look()
            came += new
            if any(packet.payload.endswith(payload) for packet in new):
                return came
            select.select([self._socket], [], [], 0.05)
        raise AssertionError(f"the witness has not seen {payload!r}")

    def close(self) -> None:
        """Stop. A witness that has not seen everything is worth nothing: that is an error."""
        statistics = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        self._socket.close()
        missed = int.from_bytes(statistics[4:8], sys.byteorder)
        assert missed == 0, f"the witness has missed {missed} packets"


def _read(frame: bytes) -> Seen | None:
    kind, packet = frame[12:14], frame[_ETHERNET:]
    now = time.monotonic()
    if kind == _IPV4:
        header = (packet[0] & 15) * 4
        source, destination = ip_address(packet[12:16]), ip_address(packet[16:20])
        size = int.from_bytes(packet[2:4], "big")
        return Seen(now, source, destination, packet[9], packet[header:size])
    if kind == _IPV6:
        source, destination = ip_address(packet[8:24]), ip_address(packet[24:40])
        return Seen(now, source, destination, packet[6], packet[40:])
    return None
