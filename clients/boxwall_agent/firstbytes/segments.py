"""TCP segments out of whole IP packets, with their payload. Pure, and total."""

import struct
from functools import lru_cache
from typing import Final

from boxwall.policy import Address
from boxwall_agent.firstbytes.flow import Segment
from boxwall_agent.packets import Ends

_TCP: Final = 6


def read_segment(packet: bytes) -> tuple[Ends, Segment] | None:
    """Return the segment in a packet that is not a fragment; None: there is none, or it is cut."""
    version = packet[0] >> 4 if packet else 0
    if version == 4 and len(packet) >= 20:
        head, size, protocol = (packet[0] & 15) * 4, int.from_bytes(packet[2:4], "big"), packet[9]
        addresses, octets = packet[12:20], 4
    elif version == 6 and len(packet) >= 40:
        head, size, protocol = 40, 40 + int.from_bytes(packet[4:6], "big"), packet[6]
        addresses, octets = packet[8:40], 16
    else:
        return None
    if protocol != _TCP or not 20 <= head <= size - 20 or size > len(packet):
        return None
    return _read(version, addresses, octets, packet[head:size])


def _read(
    version: int, addresses: bytes, octets: int, segment: bytes
) -> tuple[Ends, Segment] | None:
    source_port, port, sequence, acknowledged, offset, flags = struct.unpack_from(
        ">HHIIBB", segment
    )
    head = (offset >> 4) * 4
    if not 20 <= head <= len(segment):
        return None
    source, destination = (
        _address(version, addresses[:octets]),
        _address(version, addresses[octets:]),
    )
    ends = Ends(source, source_port, destination, port)
    return ends, Segment(sequence, acknowledged, flags, segment[head:])


@lru_cache(maxsize=4096)
def _address(version: int, octets: bytes) -> Address:
    """Packets come from few addresses, and go to few."""
    return Address(version, int.from_bytes(octets, "big"))
