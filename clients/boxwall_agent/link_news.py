"""What the kernel says of links and of addresses, asked or when something changes. Pure.

Source: linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from boxwall.policy import Address
from boxwall_agent.netlink import HEADER, read_attributes, read_text

NEW_LINK, _DELETED_LINK, NEW_ADDRESS = 16, 17, 20
_UNSPECIFIED: Final = 0
"""A bridge tells of its ports by the same messages, in its own family: one that leaves it is said
to be deleted."""

LINK_BODY: Final = struct.Struct("=BxHiII")
"""ifinfomsg: family, type, index, flags, changed flags."""

ADDRESS_BODY: Final = struct.Struct("=BBBBI")
"""ifaddrmsg: family, prefix length, flags, scope, index."""

_NAME, _LINK, _MASTER, _INFO, _LINK_NAMESPACE = 3, 5, 10, 18, 37
"""IFLA_*; of IFLA_LINKINFO the first is its kind."""

_KIND: Final = 1
_ADDRESS, _LOCAL = 1, 2
_IFF_UP: Final = 0x1
_VERSIONS: Final = {4: 4, 16: 6}

_UPON: Final = frozenset(("vlan", "macvlan", "macvtap", "ipvlan", "ipvtap", "macsec"))
"""Kinds that take frames from the interface that IFLA_LINK names. Of others it is something else:
of a veth its other end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """An interface of the node, as it is now."""

    index: int
    name: str
    master: int = 0
    """Index of the bridge, bond or other device that it is a port of; 0: none."""
    lower: int = 0
    """Index of the interface that it lies upon, as a VLAN does; 0: none."""
    is_up: bool = True


@dataclass(frozen=True, slots=True)
class Deleted:
    """There is no interface with this index any more."""

    index: int


News: TypeAlias = Link | Deleted


def read_news(data: bytes) -> Iterator[News]:
    """Yield what the messages of one datagram say of links."""
    for kind, body in _messages(data):
        if kind in (NEW_LINK, _DELETED_LINK) and len(body) >= LINK_BODY.size:
            family, _, index, flags, _ = LINK_BODY.unpack_from(body)
            if family == _UNSPECIFIED:
                yield Deleted(index) if kind == _DELETED_LINK else _link(index, flags, body)


def read_addresses(data: bytes) -> Iterator[Address]:
    """Yield the node's own addresses that the messages of one datagram name.

    IFA_ADDRESS is not it where the address has a peer (`ip address add X peer Y`): there it is the
    peer, and IFA_LOCAL is one's own.
    """
    for kind, body in _messages(data):
        if kind == NEW_ADDRESS and len(body) >= ADDRESS_BODY.size:
            found = read_attributes(body[ADDRESS_BODY.size :])
            packed = found.get(_LOCAL, found.get(_ADDRESS, b""))
            if len(packed) in _VERSIONS:
                yield Address(_VERSIONS[len(packed)], int.from_bytes(packed, "big"))


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield type and body. What is cut short ends the reading."""
    at = 0
    while at + HEADER.size <= len(data):
        size, kind, *_ = HEADER.unpack_from(data, at)
        if size < HEADER.size or at + size > len(data):
            return
        yield kind, data[at + HEADER.size : at + size]
        at += (size + 3) & ~3


def _link(index: int, flags: int, body: bytes) -> Link:
    found = read_attributes(body[LINK_BODY.size :])
    kind = read_text(read_attributes(found.get(_INFO, b"")).get(_KIND, b""))
    is_upon = kind in _UPON and _LINK_NAMESPACE not in found
    return Link(
        index=index,
        name=read_text(found.get(_NAME, b"")),
        master=_index(found.get(_MASTER)),
        lower=_index(found.get(_LINK)) if is_upon else 0,
        is_up=bool(flags & _IFF_UP),
    )


def _index(value: bytes | None) -> int:
    return 0 if value is None else int(struct.unpack_from("=I", value)[0])
