"""A program that finds packets whose checksum would be written where the rules have looked. Pure.

Who sends a packet may leave its checksum to the network card, and says where it is to be written:

    skb->ip_summed is CHECKSUM_PARTIAL: the checksum of what is from csum_start on goes to
    csum_start + csum_offset, when the packet leaves the node

Root in a box may say anything (virtio_net_hdr, through a packet socket, a tun device, or as a
guest): two octets of an address, of a port, or of what follows would be others than those that were
judged. So they have to go to the checksum of the packet's own TCP, UDP or SCTP. Or, where that
carries other packets, behind all that the rules look at: a tunnel leaves inner checksums so.
"""

import struct
from dataclasses import dataclass, field
from typing import Final

from boxwall_agent.bpf.types import NoSuchType, Types

_MOVE, _SET, _ADD, _ADD_REGISTER, _TAKE_REGISTER = 0xBF, 0xB7, 0x07, 0x0F, 0x1F
_AND, _LEFT, _RIGHT = 0x57, 0x67, 0x77
_LOAD_8, _LOAD_16, _CALL, _EXIT = 0x71, 0x69, 0x85, 0x95
_GO, _IF_EQUAL, _IF_NOT, _IF_NOT_REGISTER, _IF_AT_LEAST_REGISTER = 0x05, 0x15, 0x55, 0x5D, 0x7D
_LOAD_FROM_PACKET, _READ_KERNEL = 26, 113
"""bpf_skb_load_bytes, bpf_probe_read_kernel."""

_PARTIAL: Final = 3
_OWN: Final = ((6, 16), (17, 6), (132, 8))
"""Where the checksums of TCP, UDP and SCTP are in their headers."""

_CARRIES_NOTHING: Final = (6, 0, 43, 44, 51, 60, 135)
"""TCP; and extension headers of IPv6, behind which the rules look on."""

_JUDGED: Final = 16
"""Octets of what follows the IP header that the rules look at, and some more."""

_PROTOCOL4, _PROTOCOL6 = 9, 6
"""Where the IP header says what follows, by version."""

_PACKET_AT, _FIELDS_AT = -16, -256
"""On the stack. Both are copied once: each call of the kernel's costs more than what it copies."""

_FIELDS_ROOM: Final = _PACKET_AT - _FIELDS_AT

_PACKET, _PROTOCOL, _START, _OFFSET, _HEADER = 6, 1, 7, 8, 9
"""Registers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """Where the fields of struct sk_buff are, in octets."""

    summed: int
    summed_shift: int
    """In bits, within that octet."""
    start: int
    offset: int
    network: int

    @property
    def span(self) -> tuple[int, int]:
        """Where all of them are, from a multiple of eight on: numbers on the stack are aligned."""
        places = (self.summed, self.start, self.offset, self.network)
        return min(places) & ~7, max(places) + 2

    @classmethod
    def of(cls, types: Types) -> "Fields":
        """Read them off the kernel's own description. Raises NoSuchType."""
        members = types.members("sk_buff")
        try:
            summed, start = members["ip_summed"], members["csum_start"] // 8
            offset, network = members["csum_offset"] // 8, members["network_header"] // 8
        except KeyError as exc:
            raise NoSuchType(f"struct sk_buff has no {exc}") from None
        found = cls(
            summed=summed // 8, summed_shift=summed % 8, start=start, offset=offset, network=network
        )
        first, end = found.span
        if end - first > _FIELDS_ROOM:
            raise NoSuchType("the fields of struct sk_buff are far apart")
        return found


@dataclass(slots=True)
class _Assembly:
    """Instructions, and where jumps go that are not resolved yet."""

    made: list[tuple[int, int, int, int, int]] = field(default_factory=list)
    jumps: dict[int, str] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)

    def do(self, code: int, to: int = 0, source: int = 0, *, at: int = 0, value: int = 0) -> None:
        self.made.append((code, to, source, at, value))

    def jump(self, code: int, label: str, to: int = 0, source: int = 0, *, value: int = 0) -> None:
        self.jumps[len(self.made)] = label
        self.do(code, to, source, value=value)

    def here(self, label: str) -> None:
        self.labels[label] = len(self.made)

    def read_kernel(self, slot: int, size: int, where: int) -> None:
        """Copy from the packet's sk_buff to the stack."""
        self.do(_MOVE, 1, 10)
        self.do(_ADD, 1, value=slot)
        self.do(_SET, 2, value=size)
        self.do(_MOVE, 3, _PACKET)
        self.do(_ADD, 3, value=where)
        self.do(_CALL, value=_READ_KERNEL)

    def load_packet(self, slot: int, size: int) -> None:
        """Copy the packet's first octets to the stack."""
        self.do(_MOVE, 1, _PACKET)
        self.do(_SET, 2, value=0)
        self.do(_MOVE, 3, 10)
        self.do(_ADD, 3, value=slot)
        self.do(_SET, 4, value=size)
        self.do(_CALL, value=_LOAD_FROM_PACKET)
        self.jump(_IF_NOT, "displaced", 0)

    def bytes(self) -> bytes:
        for number, label in self.jumps.items():
            code, to, source, _, value = self.made[number]
            self.made[number] = (code, to, source, self.labels[label] - number - 1, value)
        return b"".join(
            struct.pack("<BBhi", code, to | source << 4, at, value)
            for code, to, source, at, value in self.made
        )


def displaced_checksum(fields: Fields) -> bytes:
    """Return a socket filter: 1 for a packet whose checksum would go elsewhere, else 0."""
    it = _Assembly()
    it.do(_MOVE, _PACKET, 1)
    _find_place(it, fields)
    _find_header(it)
    it.jump(_IF_NOT_REGISTER, "carried", _START, _HEADER)
    for number, own in _OWN:
        it.do(_IF_NOT, _PROTOCOL, at=1, value=number)
        it.jump(_IF_EQUAL, "own", _OFFSET, value=own)
    it.here("carried")
    for number in _CARRIES_NOTHING:
        it.jump(_IF_EQUAL, "displaced", _PROTOCOL, value=number)
    it.do(_ADD, _HEADER, value=_JUDGED)
    it.do(_ADD_REGISTER, _START, _OFFSET)
    it.jump(_IF_AT_LEAST_REGISTER, "own", _START, _HEADER)
    it.here("displaced")
    it.do(_SET, 0, value=1)
    it.do(_EXIT)
    it.here("own")
    it.do(_SET, 0)
    it.do(_EXIT)
    return it.bytes()


def _find_place(it: _Assembly, fields: Fields) -> None:
    """Where the checksum begins, counted from the IP header, and where it goes from there."""
    partial = _PARTIAL << fields.summed_shift
    first, end = fields.span
    it.read_kernel(_FIELDS_AT, end - first, first)
    it.do(_LOAD_8, 1, 10, at=_FIELDS_AT + fields.summed - first)
    it.do(_AND, 1, value=partial)
    it.jump(_IF_NOT, "own", 1, value=partial)
    it.do(_LOAD_16, _START, 10, at=_FIELDS_AT + fields.start - first)
    it.do(_LOAD_16, 1, 10, at=_FIELDS_AT + fields.network - first)
    it.do(_TAKE_REGISTER, _START, 1)
    it.do(_LOAD_16, _OFFSET, 10, at=_FIELDS_AT + fields.offset - first)


def _find_header(it: _Assembly) -> None:
    """How long the IP header is, and what it says that follows."""
    it.load_packet(_PACKET_AT, _PROTOCOL4 + 1)
    it.do(_LOAD_8, _HEADER, 10, at=_PACKET_AT)
    it.do(_MOVE, 1, _HEADER)
    it.do(_RIGHT, 1, value=4)
    it.jump(_IF_EQUAL, "version 6", 1, value=6)
    it.do(_AND, _HEADER, value=15)
    it.do(_LEFT, _HEADER, value=2)
    it.do(_LOAD_8, _PROTOCOL, 10, at=_PACKET_AT + _PROTOCOL4)
    it.jump(_GO, "read")
    it.here("version 6")
    it.do(_SET, _HEADER, value=40)
    it.do(_LOAD_8, _PROTOCOL, 10, at=_PACKET_AT + _PROTOCOL6)
    it.here("read")
