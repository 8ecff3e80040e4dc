"""Connection tracking: which connections carry which mark, and to where they go.

Raw netlink, because a dump of thousands of entries must not take a second. Source:
linux/netfilter/nfnetlink_conntrack.h. A dump locks every bucket of the kernel's table in turn, some
ten milliseconds: call it in a thread.

Each part of a dump is as many entries as fit a datagram, and the kernel does nothing else on that
processor, not even take packets, until it has found them. So a dump of few entries holds up most:
while there are few, the same list is read as text (see `conntrack_list`), which locks nothing. For
the same reason the kernel is not asked to pick the entries itself.
"""

import errno
import os
import socket
import struct
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from boxwall.policy import Address
from boxwall_agent import conntrack_list
from boxwall_agent.audit import TCP_CLOSE, Connection
from boxwall_agent.errors import KernelRejected, KernelUnsure
from boxwall_agent.marks import grant_in
from boxwall_agent.netlink import (
    BODY_AT,
    HEADER,
    NLMSG_DONE,
    NLMSG_ERROR,
    Flags,
    attribute,
    be16,
    message,
    nested,
    read_attributes,
    read_be32,
    read_messages,
    u8,
)
from boxwall_agent.nft.kernel import NETLINK_NETFILTER
from boxwall_agent.packets import TCP, Ends

_SUBSYSTEM: Final = 1
"""NFNL_SUBSYS_CTNETLINK."""

_GET: Final = 1
"""IPCTNL_MSG_CT_GET."""

_ORIGINAL, _REPLY, _PROTOCOL, _TIMEOUT, _MARK = 1, 2, 4, 7, 8
"""CTA_TUPLE_ORIG, CTA_TUPLE_REPLY, CTA_PROTOINFO, CTA_TIMEOUT, CTA_MARK."""

_SOURCE_AT: Final = BODY_AT + 12
"""An entry begins with three attributes, one in the other: its tuple, addresses, the source."""

_FIRST_KINDS: Final = struct.Struct("=2xH2xH2xH")
_SOURCE_OCTETS: Final = {(0x8001, 0x8001, 1): 4, (0x8001, 0x8001, 3): 16}

_CLOSE_TIMEOUT: Final = Path("/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_close")
_COUNT: Final = Path("/proc/sys/net/netfilter/nf_conntrack_count")
_LIMIT: Final = Path("/proc/sys/net/netfilter/nf_conntrack_max")
_DEFAULT_CLOSE_TIMEOUT: Final = 10

_LIST: Final = Path("/proc/thread-self/net/nf_conntrack")
"""Not every kernel has it (CONFIG_NF_CONNTRACK_PROCFS)."""

_FEW: Final = 1_000
"""Up to so many connections are read as text. It comes by pages, and some kernels begin anew for
each: what is much is slow then."""


def connections() -> Iterator[Connection]:
    """Yield every tracked connection of the namespace, by netlink. Raises KernelError."""
    close_timeout = _close_timeout()
    for data, at, size in _dump():
        found = _connection(data[at + BODY_AT : at + size], close_timeout)
        if found is not None:
            yield found


def opened_by(sources: Collection[Address]) -> list[Connection]:
    """Return the tracked connections that these have opened. Raises KernelError."""
    close_timeout = _close_timeout()
    try:
        if tracked() <= _FEW:
            return list(conntrack_list.opened_by(sources, _LIST.read_bytes(), close_timeout))
    except (OSError, ValueError, KernelUnsure):
        pass  # netlink says it as well
    wanted = frozenset(map(_packed, sources))
    own = ((data, at, size) for data, at, size in _dump() if _source(data, at, size) in wanted)
    found = (_connection(data[at + BODY_AT : at + size], close_timeout) for data, at, size in own)
    return [one for one in found if one is not None]


def connections_of(addresses: Collection[Address]) -> dict[Address, int]:
    """Return how many connections each of these addresses has opened. Raises KernelError.

    Looks at nothing but the first attributes of each entry: what is counted may be very much.
    """
    wanted = {_packed(one): one for one in addresses}
    counted = dict.fromkeys(wanted, 0)
    for data, at, size in _dump():
        source = _source(data, at, size)
        if source in counted:
            counted[source] += 1
    return {address: counted[packed] for packed, address in wanted.items()}


def tracked() -> int:
    """Return how many connections are tracked in the namespace. Raises KernelUnsure."""
    try:
        return int(_COUNT.read_text())
    except (OSError, ValueError) as exc:
        raise KernelUnsure(f"connections cannot be counted: {exc}") from exc


def most_tracked() -> int:
    """Return how many connections the kernel tracks at most. Raises KernelUnsure."""
    try:
        return int(_LIMIT.read_text())
    except (OSError, ValueError) as exc:
        raise KernelUnsure(f"the limit of tracked connections cannot be read: {exc}") from exc


def find_answers(ends: Ends) -> Ends | None:
    """Return `Connection.answers` of the TCP connection that was opened so; None: there is none.

    Raises KernelError.
    """
    version = ends.source.version
    kinds = (1, 2) if version == 4 else (3, 4)
    addresses = zip(kinds, (_packed(ends.source), _packed(ends.destination)), strict=True)
    asked_for = nested(
        _ORIGINAL,
        nested(1, *(attribute(kind, packed) for kind, packed in addresses)),
        nested(2, u8(1, TCP), be16(2, ends.source_port), be16(3, ends.destination_port)),
    )
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    with _opened() as asked:
        asked.send(message(_SUBSYSTEM << 8 | _GET, Flags(0), 1, asked_for, family=family))
        for answer in read_messages(_received(asked)):
            if answer.kind != NLMSG_ERROR:
                return _ends(read_attributes(answer.body).get(_REPLY, b""))
            if answer.error != errno.ENOENT:
                raise KernelRejected(answer.error, "a connection", os.strerror(answer.error))
    return None


def _ends(answers: bytes) -> Ends | None:
    """Read a tuple; None: nobody with ports."""
    found = read_attributes(answers)
    addresses, protocol = read_attributes(found.get(1, b"")), read_attributes(found.get(2, b""))
    version, source, destination = (4, 1, 2) if 1 in addresses else (6, 3, 4)
    if source not in addresses or destination not in addresses or not {2, 3} <= protocol.keys():
        return None
    return Ends(
        Address(version, int.from_bytes(addresses[source], "big")),
        int.from_bytes(protocol[2], "big"),
        Address(version, int.from_bytes(addresses[destination], "big")),
        int.from_bytes(protocol[3], "big"),
    )


def grants() -> frozenset[int]:
    """Return every grant that a connection carries, in force or not. Raises KernelError."""
    found = (read_attributes(data[at + BODY_AT : at + size]) for data, at, size in _dump())
    return frozenset(grant_in(read_be32(one[_MARK])) for one in found if _MARK in one)


def _opened() -> socket.socket:
    try:
        opened = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER
        )
        opened.bind((0, 0))
    except OSError as exc:  # no file is left, among others
        raise KernelUnsure(f"connection tracking cannot be asked: {exc.strerror}") from exc
    return opened


def _received(asked: socket.socket) -> bytes:
    try:
        return asked.recv(1 << 18)
    except OSError as exc:
        raise KernelUnsure(f"connection tracking cannot be read: {exc.strerror}") from exc


def _dump() -> Iterator[tuple[bytes, int, int]]:
    """Yield every entry: a datagram, where the entry begins in it, its size. Raises KernelError."""
    with _opened() as asked:
        asked.send(message(_SUBSYSTEM << 8 | _GET, Flags.DUMP, 1, b""))
        while True:
            data, at = _received(asked), 0
            while at + HEADER.size <= len(data):
                size, kind, *_ = HEADER.unpack_from(data, at)
                if kind == NLMSG_DONE:
                    return
                if kind == NLMSG_ERROR:
                    number = next(read_messages(data[at:])).error
                    reason = os.strerror(number)
                    raise KernelRejected(number, "the list of connections", reason)
                yield data, at, size
                at += max(size + 3 & ~3, HEADER.size)


def _source(data: bytes, at: int, size: int) -> bytes:
    """Who opened the connection; empty if the entry does not begin as entries do."""
    if size < _SOURCE_AT:
        return b""
    octets = _SOURCE_OCTETS.get(_FIRST_KINDS.unpack_from(data, at + BODY_AT), 0)
    return data[at + _SOURCE_AT : at + _SOURCE_AT + octets]


def _packed(address: Address) -> bytes:
    return address.value.to_bytes(4 if address.version == 4 else 16, "big")


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
        answers=_ends(found.get(_REPLY, b"")),
    )


def _close_timeout() -> int:
    """How long the kernel remembers a connection that was reset, in seconds."""
    try:
        return int(_CLOSE_TIMEOUT.read_text())
    except (OSError, ValueError):
        return _DEFAULT_CLOSE_TIMEOUT
