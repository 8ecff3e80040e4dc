"""Cut connections end at both ends, and nothing that a box chooses tells its far end so.

The rules answer what they refuse with a reset that fits exactly, but only the sender, and an end
that waits sends nothing. So both ends are poked: a stray acknowledgement, made here of nothing but
addresses and ports from before the cut, makes an end say where its connection is. What it says is
refused like any other packet, and answered with that reset.

A reset made of what the box sends would be simpler, and carry it: its sequence number, and when.
"""

import asyncio
import secrets
import socket
from typing import Final

import structlog

from boxwall_agent.audit import Connection
from boxwall_agent.conntrack import find_answers
from boxwall_agent.errors import KernelError
from boxwall_agent.marks import POKE
from boxwall_agent.packets import TCP, Ends, stray_acknowledgement

SERVERS_A_SECOND: Final = 100
"""Far ends of a box's connections, refused by name, that are poked in a second."""

_SO_MARK: Final = 36
_IPV6_HDRINCL: Final = 36
_log = structlog.get_logger()


class RawSender:
    """Sends whole IP packets from the node, in whoever's name."""

    def __init__(self) -> None:
        self._sockets = {
            4: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW),
            6: socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW),
        }
        self._sockets[6].setsockopt(socket.IPPROTO_IPV6, _IPV6_HDRINCL, 1)
        for one in self._sockets.values():
            one.setsockopt(socket.SOL_SOCKET, _SO_MARK, POKE)
            one.setblocking(False)

    def send(self, packet: bytes, to: str, *, version: int) -> None:
        """Send, or give up: what is sent here only makes programs fail sooner."""
        try:
            self._sockets[version].sendto(packet, (to, 0))
        except OSError as exc:
            _log.debug("segment_not_sent", to=to, error=str(exc))

    def close(self) -> None:
        """Close the sockets."""
        for one in self._sockets.values():
            one.close()


class Poker:
    """Pokes the ends of TCP connections."""

    def __init__(self, sender: RawSender) -> None:
        self._sender = sender
        self._second = 0
        self._in_second: dict[str, int] = {}

    def poke(self, connection: Connection) -> None:
        """Both ends of a connection that is cut."""
        if connection.protocol == TCP:
            opened = Ends(
                connection.source,
                connection.source_port,
                connection.destination,
                connection.destination_port,
            )
            self._send(opened.turned)
            self._poke_server(connection.answers)

    def poke_server_of(self, box_id: str, opened: Ends) -> None:
        """The far end of a connection that was refused by name, so often in a second."""
        second = int(asyncio.get_running_loop().time())
        if second != self._second:
            self._second, self._in_second = second, {}
        count = self._in_second.get(box_id, 0)
        self._in_second[box_id] = count + 1
        if count >= SERVERS_A_SECOND:
            return
        try:
            self._poke_server(find_answers(opened))
        except KernelError as exc:
            _log.debug("connection_not_found", error=str(exc))

    def _poke_server(self, answers: Ends | None) -> None:
        """In the name that the node's NAT has given the box, which the far end knows."""
        if answers is not None:
            self._send(answers.turned)

    def _send(self, ends: Ends) -> None:
        poke = stray_acknowledgement(ends, secrets.randbits(32))
        to = ends.destination
        self._sender.send(poke, str(to), version=to.version)
