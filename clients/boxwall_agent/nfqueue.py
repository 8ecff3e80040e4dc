"""Packets that wait for the agent's verdict: NFQUEUE, by raw netlink.

Source: linux/netfilter/nfnetlink_queue.h. A packet that nobody listens for is dropped by the
kernel, and so is one that does not fit into the queue.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from boxwall_agent.errors import KernelUnusable
from boxwall_agent.netlink import (
    NLMSG_ERROR,
    Flags,
    attribute,
    be32,
    message,
    read_attributes,
    read_be32,
    read_messages,
)
from boxwall_agent.nft.kernel import NETLINK_NETFILTER, SO_RCVBUFFORCE

_LIST: Final = Path("/proc/net/netfilter/nfnetlink_queue")
_SUBSYSTEM: Final = 3
"""NFNL_SUBSYS_QUEUE."""

_PACKET, _VERDICT, _CONFIG = 0, 1, 2
_CFG_COMMAND, _CFG_PARAMETERS, _CFG_LENGTH = 1, 2, 3
_BIND: Final = 1
_COPY_PACKET: Final = 2
_LONGEST: Final = 0xFFFF
_WAITING: Final = 4096
"""Packets that may wait."""

_BUFFER: Final = 32 << 20
_SOL_NETLINK: Final = 270
_NO_ENOBUFS: Final = 5

_DROP, _ACCEPT, _REPEAT = 0, 1, 4
_VERDICT_AND_ID: Final = struct.Struct(">II")


@dataclass(frozen=True, slots=True)
class Queued:
    """One packet."""

    id: int
    mark: int
    """Of its connection is not told; this is the packet's own."""
    input_index: int
    output_index: int
    """Of the interface that it goes out by; 0: not known yet."""
    packet: bytes


def read_dropped(number: int, listing: str) -> int | None:
    """Return how many packets a queue has dropped, because it or its listener's socket was full, as
    the kernel lists it. None: there is no such queue.
    """
    for line in listing.splitlines():
        # Number, listener, waiting, copy mode, copy range, dropped by the queue, by the socket ...
        found = line.split()
        if len(found) >= 7 and found[0] == str(number):
            return int(found[5]) + int(found[6])
    return None


def dropped(number: int) -> int | None:
    """Return how many packets a queue of this namespace has dropped. None: nobody knows."""
    try:
        return read_dropped(number, _LIST.read_text())
    except (OSError, ValueError):
        return None


class PacketQueue:
    """The listener of one queue. Its socket is for `loop.add_reader`.

    Segments that the kernel has joined come one by one. As one (NFQA_CFG_F_GSO) they would come
    before their checksums are written, and a box chooses where that is: what leaves the node would
    have two octets that were not read.
    """

    def __init__(self, number: int) -> None:
        """Raises KernelUnusable."""
        self._number = number
        self.socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER
        )
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, _BUFFER)
            self.socket.setsockopt(_SOL_NETLINK, _NO_ENOBUFS, 1)
            self.socket.bind((0, 0))
            self._configure(attribute(_CFG_COMMAND, struct.pack(">BBH", _BIND, 0, 0)))
            mode = struct.pack(">IB", _LONGEST, _COPY_PACKET)
            self._configure(attribute(_CFG_PARAMETERS, mode))
            self._configure(be32(_CFG_LENGTH, _WAITING))
        except OSError as exc:
            self.socket.close()
            taken = exc.errno in (errno.EPERM, errno.EBUSY)
            hint = "another program listens, or root is needed" if taken else exc.strerror
            raise KernelUnusable(f"packets cannot be read (NFQUEUE): {hint}") from exc
        self.socket.setblocking(False)

    def close(self) -> None:
        """Stop listening: what waits is dropped."""
        self.socket.close()

    def read(self) -> Iterator[Queued]:
        """Yield what waits."""
        while True:
            try:
                data = self.socket.recv(1 << 17)
            except BlockingIOError:
                return
            except OSError as exc:
                if exc.errno != errno.ENOBUFS:
                    raise
                continue  # what was lost is dropped
            for one in read_messages(data):
                if one.kind == _SUBSYSTEM << 8 | _PACKET:
                    yield _queued(one.body)

    def accept(self, queued: Queued) -> None:
        """Let the packet pass, and leave its connection as it is."""
        self._answer(queued, _ACCEPT)

    def drop(self, queued: Queued) -> None:
        """Let it disappear."""
        self._answer(queued, _DROP)

    def repeat(self, queued: Queued, mark: int) -> None:
        """Have the rules judge it again, with this mark on it."""
        self._answer(queued, _REPEAT, be32(3, mark))

    def _answer(self, queued: Queued, verdict: int, more: bytes = b"") -> None:
        body = attribute(2, _VERDICT_AND_ID.pack(verdict, queued.id)) + more
        kind = _SUBSYSTEM << 8 | _VERDICT
        # The kernel does not answer, and refuses only packets that it has given up already.
        self.socket.send(message(kind, 0, 0, body, resource=self._number))

    def _configure(self, attributes: bytes) -> None:
        kind = _SUBSYSTEM << 8 | _CONFIG
        self.socket.send(message(kind, Flags.ACK, 1, attributes, resource=self._number))
        for answer in read_messages(self.socket.recv(65536)):
            if answer.kind == NLMSG_ERROR and answer.error:
                raise OSError(answer.error, os.strerror(answer.error))


def _queued(body: bytes) -> Queued:
    found = read_attributes(body)
    return Queued(
        id=int.from_bytes(found[1][:4], "big"),
        mark=read_be32(found[3]) if 3 in found else 0,
        input_index=read_be32(found[5]) if 5 in found else 0,
        output_index=read_be32(found[6]) if 6 in found else 0,
        packet=found.get(10, b""),
    )
