"""After a change is acknowledged: count what it kept and cut, and tell both ends of what it cut.

The kernel refuses a cut connection's packets from the transaction on. An end that sends learns of
it by its next packet. A box that only waits is poked: a stray acknowledgement makes it say where
its connection is, and that packet is refused like any other, with a reset that fits exactly. The
far end is told by a copy of the refused packet, turned into the reset that the box would send.
"""

import asyncio
import secrets
import socket
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from boxwall.wire.entries import Result
from boxwall_agent.audit import Changed, Connection, Outcome, merged, outcomes
from boxwall_agent.conntrack import connections
from boxwall_agent.enforcer import Enforcer
from boxwall_agent.errors import KernelError
from boxwall_agent.marks import POKE
from boxwall_agent.nflog import LogGroup
from boxwall_agent.packets import TCP, Packet, read_packet, reset_after, stray_acknowledgement

_GATHER: Final = 0.05
"""Seconds in which changes are gathered for one look at connection tracking."""

_REST: Final = 4
"""Times as long as a look takes, nothing is looked at again: it competes with updates."""

_MOST_POKES: Final = 2_000
"""For one look; who is not poked learns of the cut by its own next packet."""

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
            one.setblocking(False)

    def send(self, packet: bytes, to: str, *, version: int, mark: int = 0) -> None:
        """Send, or give up: what is sent here only makes programs fail sooner."""
        one = self._sockets[version]
        try:
            one.setsockopt(socket.SOL_SOCKET, _SO_MARK, mark)
            one.sendto(packet, (to, 0))
        except OSError as exc:
            _log.debug("segment_not_sent", to=to, error=str(exc))

    def close(self) -> None:
        """Close the sockets."""
        for one in self._sockets.values():
            one.close()


class Auditor:
    """Looks at connections after changes. `report` takes what there is to say of each box."""

    def __init__(
        self,
        enforcer: Enforcer,
        cuts: LogGroup,
        sender: RawSender,
        report: Callable[[Sequence[Result]], None],
    ) -> None:
        self._enforcer = enforcer
        self._cuts = cuts
        self._sender = sender
        self._report = report
        self._changed: dict[str, Changed] = {}
        self._wake = asyncio.Event()

    def note(self, changed: Changed) -> None:
        """A box's policy was changed."""
        if not changed.grants_before:
            return  # nothing could pass, so nothing was open
        earlier = self._changed.get(changed.box_id)
        self._changed[changed.box_id] = changed if earlier is None else merged(earlier, changed)
        self._wake.set()

    async def run(self) -> None:
        """Look after every change, until cancelled."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._cuts.socket, self._reset_far_ends)
        try:
            while True:
                await self._wake.wait()
                await asyncio.sleep(_GATHER)
                began = loop.time()
                await self._look()
                await asyncio.sleep((loop.time() - began) * _REST)
        finally:
            loop.remove_reader(self._cuts.socket)

    async def _look(self) -> None:
        self._wake.clear()
        changes, self._changed = list(self._changed.values()), {}
        surroundings = self._enforcer.surroundings
        try:
            found = await asyncio.to_thread(lambda: outcomes(changes, connections(), surroundings))
        except KernelError as exc:
            _log.warning("connections_not_counted", error=str(exc))
            return
        for connection in [one for outcome in found for one in outcome.cut][:_MOST_POKES]:
            self._poke(connection)
        self._report([_result(outcome) for outcome in found])

    def _poke(self, connection: Connection) -> None:
        if connection.protocol != TCP:
            return
        poke = stray_acknowledgement(
            connection.destination,
            connection.source,
            connection.destination_port,
            connection.source_port,
            secrets.randbits(32),
        )
        version = connection.source.version
        self._sender.send(poke, str(connection.source), version=version, mark=POKE)

    def _reset_far_ends(self) -> None:
        for logged in self._cuts.read():
            packet = read_packet(logged.packet)
            if packet is not None and self._is_own(logged.input_index, packet):
                reset = reset_after(packet)
                if reset is not None:
                    to = packet.destination
                    self._sender.send(reset, str(to), version=to.version)

    def _is_own(self, index: int, packet: Packet) -> bool:
        """Whether the packet's source is the box's: the rules have seen to it, and we send it."""
        hosted = self._enforcer.hosted_on(index)
        return hosted is not None and any(
            packet.source in interface.addresses for interface in hosted.interfaces
        )


def _result(outcome: Outcome) -> Result:
    return Result(
        box_id=outcome.changed.box_id,
        revision=outcome.changed.revision,
        connections_kept=outcome.kept,
        connections_cut=len(outcome.cut),
    )
