"""What the kernel tells of refused packets: NFLOG, by raw netlink.

Source: linux/netfilter/nfnetlink_log.h. Records are lost rather than waited for: the counters in
the table are exact.
"""

import errno
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
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
    read_text,
)
from boxwall_agent.nft.kernel import NETLINK_NETFILTER, SO_RCVBUFFORCE
from boxwall_agent.nft.layout import COPIED_BYTES

_SUBSYSTEM: Final = 4
"""NFNL_SUBSYS_ULOG."""

_CONFIG: Final = 1
_PACKET: Final = 0
_BIND: Final = 1
_COPY_PACKET: Final = 2
_CFG_COMMAND, _CFG_MODE, _CFG_TIMEOUT, _CFG_THRESHOLD = 1, 2, 4, 5
_GATHERED: Final = 32
"""Records in one message, at most."""

_GATHER_TIME: Final = 5
"""Hundredths of a second that a record waits for others."""

_TAKEN: Final = "another program listens, another agent perhaps, or root is needed"
_AT_A_TIME: Final = 4
"""Messages."""

_BUFFER: Final = 8 << 20


@dataclass(frozen=True, slots=True)
class Logged:
    """One record."""

    prefix: str
    input_index: int
    """Interface it came in by; 0: none."""
    output_index: int
    packet: bytes
    """Its beginning."""


class LogGroup:
    """One group. Its socket is for `loop.add_reader`."""

    def __init__(self, group: int) -> None:
        """Several records come in one message, some hundredths of a second late.

        Raises KernelUnusable.
        """
        self.socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER
        )
        self._group = group
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, _BUFFER)
            self.socket.bind((0, 0))
            self._configure(attribute(_CFG_COMMAND, bytes((_BIND,))))
            mode = COPIED_BYTES.to_bytes(4, "big") + bytes((_COPY_PACKET, 0))
            self._configure(attribute(_CFG_MODE, mode))
            self._configure(be32(_CFG_THRESHOLD, _GATHERED))
            self._configure(be32(_CFG_TIMEOUT, _GATHER_TIME))
        except OSError as exc:
            self.socket.close()
            taken = exc.errno in (errno.EPERM, errno.EBUSY)
            hint = _TAKEN if taken else exc.strerror
            raise KernelUnusable(f"refused packets cannot be listened to (NFLOG): {hint}") from exc
        self.socket.setblocking(False)

    def close(self) -> None:
        """Stop listening."""
        self.socket.close()

    def read(self) -> Iterator[Logged]:
        """Yield what has come; of very much a part: the event loop has others to serve. What is
        left makes the socket readable.
        """
        for _ in range(_AT_A_TIME):
            try:
                data = self.socket.recv(1 << 18)
            except BlockingIOError:
                return
            except OSError as exc:
                if exc.errno != errno.ENOBUFS:
                    raise
                continue
            for one in read_messages(data):
                if one.kind == _SUBSYSTEM << 8 | _PACKET:
                    yield _logged(one.body)

    def _configure(self, attributes: bytes) -> None:
        request = message(_SUBSYSTEM << 8 | _CONFIG, Flags.ACK, 1, attributes, resource=self._group)
        self.socket.send(request)
        for answer in read_messages(self.socket.recv(65536)):
            if answer.kind == NLMSG_ERROR and answer.error:
                raise OSError(answer.error, os.strerror(answer.error))


def _logged(body: bytes) -> Logged:
    found = read_attributes(body)
    return Logged(
        prefix=read_text(found.get(10, b"")),
        input_index=read_be32(found[4]) if 4 in found else 0,
        output_index=read_be32(found[5]) if 5 in found else 0,
        packet=found.get(9, b""),
    )
