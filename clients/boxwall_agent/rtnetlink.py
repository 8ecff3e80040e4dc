"""The node's links and addresses, all of them at one moment, by raw netlink.

A node of a thousand boxes has a thousand links, and is looked at whenever one of them changes: what
reads every attribute takes a second for that, during which nothing else runs.
"""

import os
import socket
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from boxwall.policy import Address
from boxwall_agent.errors import KernelRejected, KernelUnsure
from boxwall_agent.link_news import ADDRESS_BODY, LINK_BODY, Link, read_addresses, read_news
from boxwall_agent.netlink import HEADER, NLMSG_DONE, NLMSG_ERROR, Flags, read_messages

_GET_LINK, _GET_ADDRESS = 18, 22
_RECEIVE_BYTES: Final = 1 << 18
_PATIENCE: Final = 5.0
_TRIES: Final = 20
"""To read what changes meanwhile: before Linux 6.10 such a list can lack what was always there."""

T = TypeVar("T")


def links() -> dict[int, Link]:
    """Return every interface of the node, by index. Blocks; raises KernelError."""
    found = _list(_GET_LINK, bytes(LINK_BODY.size), read_news)
    return {one.index: one for one in found if isinstance(one, Link)}


def node_addresses() -> frozenset[Address]:
    """Return every address of the node, on all interfaces. Blocks; raises KernelError."""
    return frozenset(_list(_GET_ADDRESS, bytes(ADDRESS_BODY.size), read_addresses))


def _list(kind: int, body: bytes, read: Callable[[bytes], Iterator[T]]) -> list[T]:
    for _ in range(_TRIES):
        listed = _list_once(kind, body)
        if listed is not None:
            return [one for data in listed for one in read(data)]
    raise KernelUnsure("the node's interfaces change faster than they can be listed")


def _list_once(kind: int, body: bytes) -> list[bytes] | None:
    """The datagrams of a list. None: it is of no one moment."""
    flags = Flags.REQUEST | Flags.DUMP
    listed: list[bytes] = []
    try:
        with socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        ) as asked:
            asked.settimeout(_PATIENCE)
            asked.send(HEADER.pack(HEADER.size + len(body), kind, int(flags), 1, 0) + body)
            while True:
                data = asked.recv(_RECEIVE_BYTES)
                listed.append(data)
                for one in read_messages(data):
                    if one.is_interrupted:
                        return None
                    if one.kind in (NLMSG_DONE, NLMSG_ERROR):
                        if one.error:
                            reason = os.strerror(one.error)
                            raise KernelRejected(one.error, "the list of interfaces", reason)
                        return listed
    except OSError as exc:
        raise KernelUnsure(f"the node's interfaces cannot be listed: {exc}") from exc
