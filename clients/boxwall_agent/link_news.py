"""What the kernel says of links when something about them changes: RTM_NEWLINK, RTM_DELLINK. Pure.

Source: linux/rtnetlink.h, linux/if_link.h.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from boxwall_agent.netlink import HEADER, read_attributes, read_text

_NEW_LINK, _DELETED_LINK = 16, 17
_UNSPECIFIED: Final = 0
"""A bridge tells of its ports by the same messages, in its own family: one that leaves it is said
to be deleted."""

_INFO: Final = struct.Struct("=BxHiII")
"""ifinfomsg: family, type, index, flags, changed flags."""

_NAME, _MASTER = 3, 10
_IFF_UP: Final = 0x1


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """An interface of the node, as it is now."""

    index: int
    name: str
    master: int = 0
    """Index of the bridge, bond or other device that it is a port of; 0: none."""
    is_up: bool = True


@dataclass(frozen=True, slots=True)
class Deleted:
    """There is no interface with this index any more."""

    index: int


News: TypeAlias = Link | Deleted


def read_news(data: bytes) -> Iterator[News]:
    """Yield what the messages of one datagram say. What is cut short ends the reading."""
    at = 0
    while at + HEADER.size <= len(data):
        size, kind, *_ = HEADER.unpack_from(data, at)
        body = data[at + HEADER.size : at + size]
        if size < HEADER.size or at + size > len(data):
            return
        if kind in (_NEW_LINK, _DELETED_LINK) and len(body) >= _INFO.size:
            family, _, index, flags, _ = _INFO.unpack_from(body)
            if family == _UNSPECIFIED:
                yield Deleted(index) if kind == _DELETED_LINK else _link(index, flags, body)
        at += (size + 3) & ~3


def _link(index: int, flags: int, body: bytes) -> Link:
    found = read_attributes(body[_INFO.size :])
    return Link(
        index=index,
        name=read_text(found.get(_NAME, b"")),
        master=struct.unpack_from("=I", found[_MASTER])[0] if _MASTER in found else 0,
        is_up=bool(flags & _IFF_UP),
    )
