"""What changes on the node by itself: addresses, interfaces, and the table under our feet.

Three sockets of the kernel, read when there is something: each notification is only a reason to
look, so that one that is lost costs a look, not a leak.
"""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable
from typing import Final, assert_never

import structlog

from boxwall.policy import Address
from boxwall_agent.agent import Agent
from boxwall_agent.errors import KernelError
from boxwall_agent.link_news import Deleted, Link, read_news
from boxwall_agent.netlink import read_attributes, read_messages, read_text
from boxwall_agent.nft.batch import INET, SUBSYSTEM, Type
from boxwall_agent.nft.kernel import (
    BUFFER_BYTES,
    NETLINK_NETFILTER,
    SO_RCVBUFFORCE,
    Nftables,
)
from boxwall_agent.nft.objects import TABLE
from boxwall_agent.rtnetlink import links, node_addresses

_RTMGRP: Final = 0x1 | 0x10 | 0x100
"""RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR."""

_NFNLGRP_NFTABLES: Final = 7
_SOL_NETLINK: Final = 270
_NETLINK_ADD_MEMBERSHIP: Final = 1
_SETTLE: Final = 0.05
"""Seconds to gather notifications before looking."""

_RETRY: Final = 1.0
"""Seconds until what failed is tried again."""

_log = structlog.get_logger()


class NodeWatch:
    """Keeps the node's own addresses current, and closes boxes whose interface is another now."""

    def __init__(self, agent: Agent, more_addresses: frozenset[Address]) -> None:
        self._agent = agent
        self._more = more_addresses
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        self._socket.bind((0, _RTMGRP))
        self._socket.setblocking(False)
        self._look_now = asyncio.Event()
        agent.on_attached = self._look_now.set

    def close(self) -> None:
        """Stop."""
        self._socket.close()

    async def run(self) -> None:
        """Look whenever something has changed, until cancelled."""
        while True:
            # Asked before the look: what is attached during it may be too new to be seen by it.
            known = self._agent.interface_indexes()
            self._look_now.clear()
            try:
                addresses, found = await asyncio.to_thread(_look)
            except KernelError as exc:
                _log.error("node_not_looked_at", error=str(exc))
                await asyncio.sleep(_RETRY)
                continue
            is_told = self._agent.node_has(addresses | self._more)
            for link in found.values():
                if link.index in known or link.lower in known:
                    self._agent.link_is(link)
            for index in known - found.keys():
                self._agent.interface_gone(index)
            await self._until_something_changes(None if is_told else _RETRY)

    async def _until_something_changes(self, longest: float | None) -> None:
        """`longest`: seconds; None: however long it takes."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(longest):
                await _readable(self._socket, self._look_now)
        while True:
            try:
                data = self._socket.recv(65536)
            except BlockingIOError:
                break
            except OSError as exc:
                if exc.errno != errno.ENOBUFS:
                    raise
                continue
            self._act_on(data)
        await asyncio.sleep(_SETTLE)

    def _act_on(self, data: bytes) -> None:
        """At once, not after a look: what has become a port is open until it is taken down, and the
        index of what is gone may be used again.
        """
        for news in read_news(data):
            match news:
                case Link():
                    self._agent.link_is(news)
                case Deleted():
                    self._agent.interface_gone(news.index)
                case _:
                    assert_never(news)


class TableWatch:
    """Repairs the table when somebody else has changed it.

    Whatever they changed, everything is put in force anew: to compare rules with what they should
    be would take a listing of the table, and miss what the listing does not show.
    """

    def __init__(
        self, repair: Callable[[], None], nft: Nftables, observe_repair: Callable[[], None]
    ) -> None:
        """`repair` puts everything in force anew, by `nft`, and raises KernelError."""
        self._repair = repair
        self._nft = nft
        self._observe_repair = observe_repair
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER
        )
        self._socket.bind((0, 0))
        # Our own transactions come here too, those of ten thousand boxes among them.
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, _NFNLGRP_NFTABLES)
        self._socket.setblocking(False)

    def close(self) -> None:
        """Stop."""
        self._socket.close()

    async def run(self) -> None:
        """Look at every transaction of others, until cancelled."""
        while True:
            await _readable(self._socket)
            doubtful = self._read_all()
            while doubtful:
                try:
                    doubtful = self._put_right()
                except KernelError as exc:
                    _log.error("repair_failed", error=str(exc))
                if doubtful:
                    await asyncio.sleep(_RETRY)

    def _put_right(self) -> bool:
        """Returns whether the table may have been changed once more. Raises KernelError."""
        before = self._nft.generation().number
        self._repair()
        self._observe_repair()
        changed = self._read_all()
        # If the repair was the only transaction, all that was read is the repair, or older. So a
        # repair whose own messages are too many to be kept is not repeated for ever.
        return changed and self._nft.generation().number != before + 1

    def _read_all(self) -> bool:
        """Read all there is. Returns whether the table may be another than ours."""
        doubtful = False
        while True:
            try:
                data = self._socket.recv(1 << 18)
            except BlockingIOError:
                return doubtful
            except OSError as exc:
                if exc.errno != errno.ENOBUFS:
                    raise
                doubtful = True
                continue
            doubtful = doubtful or self._is_foreign(data)

    def _is_foreign(self, data: bytes) -> bool:
        for message in read_messages(data):
            if message.kind >> 8 != SUBSYSTEM or message.port == self._nft.port:
                continue
            if message.kind & 0xFF == Type.NEWGEN or message.family != INET:
                continue
            if read_text(read_attributes(message.body).get(1, b"")) == TABLE:
                return True
        return False


def _look() -> tuple[frozenset[Address], dict[int, Link]]:
    return node_addresses(), links()


async def _readable(one: socket.socket, ready: asyncio.Event | None = None) -> None:
    """Return when there is something to read, or `ready` is set."""
    loop = asyncio.get_running_loop()
    ready = ready or asyncio.Event()
    loop.add_reader(one, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(one)
