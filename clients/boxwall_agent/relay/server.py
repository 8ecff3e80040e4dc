"""Where boxes' connections to HTTP ports arrive: the kernel sends those here that a name led to."""

import asyncio
import contextlib
import resource
import socket
import struct
from collections import Counter
from typing import Final, Protocol

from boxwall.policy import Address
from boxwall_agent.relay.connection import Boxes, Relayed
from boxwall_agent.relay.streams import Stream

_ORIGINAL_DESTINATION: Final = 80
"""SO_ORIGINAL_DST and IP6T_SO_ORIGINAL_DST."""

_SOCKADDR_IN: Final = struct.Struct(">2xH4s8x")
_SOCKADDR_IN6: Final = struct.Struct(">2xH4x16s4x")
_OF_A_BOX: Final = 512
"""Connections at once."""

_FILES_OF_ONE: Final = 2

_BACKLOG: Final = 1024
_TRIES_FOR_A_PORT: Final = 20


class Hosts(Boxes, Protocol):
    """What the relay's server must know besides."""

    def box_at(self, address: Address) -> str | None:
        """Return the id of the box with this address, or None."""


class RelayServer:
    """Listens on every address of the node."""

    def __init__(self, boxes: Hosts, port: int = 0) -> None:
        """`port`: taken if it is free, else any. Raises OSError."""
        self._boxes = boxes
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._in_all = files // _FILES_OF_ONE // 2
        self._of_one_box = min(_OF_A_BOX, self._in_all // 2)
        self._sockets = _listening(port)
        self._relayed: set[Relayed] = set()
        self._of_box: Counter[str] = Counter()

    @property
    def port(self) -> int:
        """The same in both families."""
        return int(self._sockets[0].getsockname()[1])

    def close(self) -> None:
        """Stop listening."""
        for one in self._sockets:
            one.close()

    async def run(self) -> None:
        """Relay, until cancelled; then every connection ends."""
        with contextlib.ExitStack() as stack:
            for one in self._sockets:
                server = await asyncio.start_server(self._serve, sock=one, backlog=_BACKLOG)
                stack.callback(server.close)
            try:
                await asyncio.Event().wait()
            finally:
                for relayed in list(self._relayed):
                    relayed.cut()

    def policy_changed(self, box_id: str) -> None:
        """Cut what the box's policy does not allow any more."""
        for relayed in [one for one in self._relayed if one.box_id == box_id]:
            if not relayed.may_go_on():
                relayed.cut()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        box = Stream(reader, writer)
        source = Address.parse(writer.get_extra_info("peername")[0].partition("%")[0])
        target = _original_destination(writer.get_extra_info("socket"))
        box_id = self._boxes.box_at(source)
        if box_id is None or target is None or not self._has_room(box_id):
            box.abort()
            return
        relayed = Relayed(self._boxes, box_id, *target, box)
        self._relayed.add(relayed)
        self._of_box[box_id] += 1
        try:
            await relayed.run()
        finally:
            self._relayed.discard(relayed)
            self._of_box[box_id] -= 1

    def _has_room(self, box_id: str) -> bool:
        """Relayed connections leave half of the files that this process may open to others."""
        return self._of_box[box_id] < self._of_one_box and len(self._relayed) < self._in_all


def _original_destination(connection: socket.socket) -> tuple[Address, int] | None:
    """Where the box had opened the connection to; None: it came here by itself."""
    family = connection.family
    level = socket.IPPROTO_IPV6 if family == socket.AF_INET6 else socket.IPPROTO_IP
    layout, version = (_SOCKADDR_IN6, 6) if family == socket.AF_INET6 else (_SOCKADDR_IN, 4)
    try:
        data = connection.getsockopt(level, _ORIGINAL_DESTINATION, layout.size)
    except OSError:
        return None
    port, address = layout.unpack(data)
    found = Address(version, int.from_bytes(address, "big")), int(port)
    here = connection.getsockname()
    if (str(found[0]), found[1]) == (here[0], here[1]):
        return None
    return found


def _listening(port: int) -> list[socket.socket]:
    for tried in (port, *(0 for _ in range(_TRIES_FOR_A_PORT))):
        made: list[socket.socket] = []
        try:
            made.append(_bound(socket.AF_INET, tried))
            if socket.has_ipv6:
                made.append(_bound(socket.AF_INET6, int(made[0].getsockname()[1])))
        except OSError:
            for one in made:
                one.close()
            continue
        return made
    raise OSError("no port is free for the relay")


def _bound(family: int, port: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(("", port))
    except OSError:
        made.close()
        raise
    return made
