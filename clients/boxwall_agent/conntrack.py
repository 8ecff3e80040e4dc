"""Connection tracking: which connections carry which mark, and to where they go.

Raw netlink, because a dump of thousands of entries must not take a second. Source:
linux/netfilter/nfnetlink_conntrack.h. A dump walks every bucket of the kernel's table, some ten
milliseconds: call it in a thread.
"""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from boxwall.policy import Address
from boxwall_agent.audit import TCP_CLOSE, Connection
from boxwall_agent.errors import KernelRejected, KernelUnsure
from boxwall_agent.marks import grant_in
from boxwall_agent.netlink import (
    NLMSG_DONE,
    NLMSG_ERROR,
    Flags,
    message,
    read_attributes,
    read_be32,
    read_messages,
)
from boxwall_agent.nft.kernel import NETLINK_NETFILTER

_SUBSYSTEM: Final = 1
"""NFNL_SUBSYS_CTNETLINK."""

_GET: Final = 1
"""IPCTNL_MSG_CT_GET."""

_ORIGINAL, _PROTOCOL, _TIMEOUT, _MARK = 1, 4, 7, 8
"""CTA_TUPLE_ORIG, CTA_PROTOINFO, CTA_TIMEOUT, CTA_MARK."""

_CLOSE_TIMEOUT: Final = Path("/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_close")
_DEFAULT_CLOSE_TIMEOUT: Final = 10


def connections() -> Iterator[Connection]:
    """Yield every tracked connection of the namespace. Raises KernelError."""
    close_timeout = _close_timeout()
    with socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER
    ) as asked:
        asked.bind((0, 0))
        asked.send(message(_SUBSYSTEM << 8 | _GET, Flags.DUMP, 1, b""))
        while True:
            try:
                data = asked.recv(1 << 18)
            except OSError as exc:
                raise KernelUnsure(f"connection tracking cannot be read: {exc.strerror}") from exc
            for answer in read_messages(data):
                if answer.kind == NLMSG_DONE:
                    return
                if answer.kind == NLMSG_ERROR:
                    reason = os.strerror(answer.error)
                    raise KernelRejected(answer.error, "the list of connections", reason)
                found = _connection(answer.body, close_timeout)
                if found is not None:
                    yield found


def grants() -> frozenset[int]:
    """Return every grant that a connection carries, in force or not."""
    return frozenset(grant_in(connection.mark) for connection in connections())


def _connection(body: bytes, close_timeout: int) -> Connection | None:
    found = read_attributes(body)
    if _ORIGINAL not in found:
        return None
    opened = read_attributes(found[_ORIGINAL])
    addresses, protocol = read_attributes(opened[1]), read_attributes(opened[2])
    version, source, destination = (4, 1, 2) if 1 in addresses else (6, 3, 4)
    tcp = (
        read_attributes(read_attributes(found[_PROTOCOL]).get(1, b"")) if _PROTOCOL in found else {}
    )
    state = tcp[1][0] if 1 in tcp else None
    left = read_be32(found[_TIMEOUT]) if _TIMEOUT in found else 0
    return Connection(
        source=Address(version, int.from_bytes(addresses[source], "big")),
        destination=Address(version, int.from_bytes(addresses[destination], "big")),
        protocol=protocol[1][0],
        source_port=int.from_bytes(protocol.get(2, b""), "big"),
        destination_port=int.from_bytes(protocol.get(3, b""), "big"),
        mark=read_be32(found[_MARK]) if _MARK in found else 0,
        tcp_state=state,
        closed_for=close_timeout - left if state == TCP_CLOSE else None,
    )


def _close_timeout() -> int:
    """How long the kernel remembers a connection that was reset, in seconds."""
    try:
        return int(_CLOSE_TIMEOUT.read_text())
    except (OSError, ValueError):
        return _DEFAULT_CLOSE_TIMEOUT
