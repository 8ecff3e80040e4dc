"""Netlink messages as bytes: attributes within attributes, and the messages that carry them. Pure.

Lengths and types are in the byte order of the machine, values that nfnetlink calls big-endian are
so. Source: linux/netlink.h, linux/netfilter/nfnetlink.h.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntFlag
from typing import Final

HEADER: Final = struct.Struct("=IHHII")
"""Length, type, flags, sequence number, port id."""

_GENERIC: Final = struct.Struct(">BBH")
"""nfgenmsg: address family, version 0, resource id."""

_ATTRIBUTE: Final = struct.Struct("=HH")
_NESTED: Final = 0x8000
_KIND_MASK: Final = 0x3FFF
_BE16: Final = struct.Struct(">H")
_BE32: Final = struct.Struct(">I")
_BE64: Final = struct.Struct(">Q")
_ERROR: Final = struct.Struct("=i")
_INTERRUPTED: Final = 0x10

NLMSG_ERROR: Final = 2
NLMSG_DONE: Final = 3
BODY_AT: Final = HEADER.size + _GENERIC.size
"""Where the attributes of a message begin."""


class Flags(IntFlag):
    """Of a request."""

    REQUEST = 0x1
    ACK = 0x4
    REPLACE = 0x100
    EXCL = 0x200
    CREATE = 0x400
    APPEND = 0x800
    DUMP = 0x300


_REQUEST: Final = int(Flags.REQUEST)
"""There is a message for every packet, and adding flags as flags would be half of its time."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message from the kernel."""

    kind: int
    sequence: int
    port: int
    family: int
    resource: int
    body: bytes
    """After the generic header; of an error or the end of a dump: the whole payload."""
    is_interrupted: bool = False
    """NLM_F_DUMP_INTR: what is listed changed meanwhile, so the list may be of no one moment."""

    @property
    def error(self) -> int:
        """The errno of an NLMSG_ERROR or NLMSG_DONE; 0 is an acknowledgement."""
        return -int(_ERROR.unpack_from(self.body)[0]) if len(self.body) >= _ERROR.size else 0


def attribute(kind: int, value: bytes) -> bytes:
    """Return one attribute, padded to four bytes."""
    size = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(size, kind) + value + bytes(-size % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    """Return an attribute that holds attributes."""
    return attribute(kind | _NESTED, b"".join(attributes))


def text(kind: int, value: str) -> bytes:
    """Return a NUL-terminated string."""
    return attribute(kind, value.encode("ascii") + b"\0")


def u8(kind: int, value: int) -> bytes:
    """Return one octet."""
    return attribute(kind, bytes((value,)))


def be16(kind: int, value: int) -> bytes:
    """Return 16 bits, big-endian."""
    return attribute(kind, _BE16.pack(value))


def be32(kind: int, value: int) -> bytes:
    """Return 32 bits, big-endian; a negative value as its two's complement."""
    return attribute(kind, _BE32.pack(value & 0xFFFFFFFF))


def be64(kind: int, value: int) -> bytes:
    """Return 64 bits, big-endian."""
    return attribute(kind, _BE64.pack(value))


def message(
    kind: int, flags: int, sequence: int, attributes: bytes, *, family: int = 0, resource: int = 0
) -> bytes:
    """Return a request to a netfilter subsystem."""
    size = BODY_AT + len(attributes)
    header = HEADER.pack(size, kind, int(flags) | _REQUEST, sequence, 0)
    return header + _GENERIC.pack(family, 0, resource) + attributes


def read_messages(data: bytes) -> Iterator[Message]:
    """Yield the messages of one datagram. What is cut short ends the reading."""
    at = 0
    while at + HEADER.size <= len(data):
        size, kind, flags, sequence, port = HEADER.unpack_from(data, at)
        interrupted = bool(flags & _INTERRUPTED)
        if size < HEADER.size or at + size > len(data):
            return
        if kind in (NLMSG_ERROR, NLMSG_DONE):
            body = data[at + HEADER.size : at + size]
            yield Message(kind, sequence, port, 0, 0, body, interrupted)
        elif size >= BODY_AT:
            family, _, resource = _GENERIC.unpack_from(data, at + HEADER.size)
            body = data[at + BODY_AT : at + size]
            yield Message(kind, sequence, port, family, resource, body, interrupted)
        at += (size + 3) & ~3


def read_attributes(data: bytes) -> dict[int, bytes]:
    """Return the attributes by kind; of several of a kind, the last."""
    return dict(iterate_attributes(data))


def iterate_attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (kind, value). What is cut short ends the reading."""
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        size, kind = _ATTRIBUTE.unpack_from(data, at)
        if size < _ATTRIBUTE.size or at + size > len(data):
            return
        yield kind & _KIND_MASK, data[at + _ATTRIBUTE.size : at + size]
        at += (size + 3) & ~3


def read_text(value: bytes) -> str:
    """Return a string attribute."""
    return value.rstrip(b"\0").decode("ascii", "backslashreplace")


def read_be32(value: bytes) -> int:
    """Return 32 bits, big-endian."""
    return int(_BE32.unpack_from(value)[0])
