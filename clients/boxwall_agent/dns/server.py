"""Where boxes' queries arrive: the kernel sends them here, whatever server they were meant for.

The sockets are bound to every address of the node, so an answer says which one it comes from: the
one that the query came to, or the kernel would not know it as an answer.
"""

import asyncio
import contextlib
import errno
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Protocol

import structlog

from boxwall.policy import Address, Name, Reason, Rule
from boxwall_agent.dns.answer import FAILED, Answer
from boxwall_agent.dns.session import Ask, Asker, Command, Key, Refused, Reply, Session

_IP_PKTINFO: Final = 8
_IPV6_RECVPKTINFO: Final = 49
_PKTINFO: Final = struct.Struct("=I4s4s")
_LARGEST: Final = 4096
"""Octets of a datagram; what is cut off one was no query."""

_ANCILLARY: Final = socket.CMSG_SPACE(20)
_BUFFER: Final = 4 << 20
_AT_A_TIME: Final = 64
"""Messages until something else has its turn."""

_TRIES_FOR_A_PORT: Final = 20
_BACKLOG: Final = 512
_TCP_OF_A_BOX: Final = 32
"""Connections at once."""

_TCP_IN_ALL: Final = 1_000
_TCP_AT_A_TIME: Final = 16
"""Messages of one connection until another has its turn."""

_TCP_IDLE: Final = 10.0
"""Seconds that a connection may say nothing, take to say something, or not listen."""

_NO_FAMILY: Final = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
"""What a kernel without IPv6 answers."""

_log = structlog.get_logger()


class Boxes(Protocol):
    """What the server must know of boxes."""

    def asker_at(self, address: Address) -> Asker | None:
        """Return the box with this address, or None."""

    def asker(self, box_id: str) -> Asker | None:
        """Return the box, or None if it is gone."""

    def name_refused(
        self, box_id: str, name: Name | None, reason: Reason, rule: Rule | None
    ) -> None:
        """A name was refused."""


class Resolving(Protocol):
    """What is asked."""

    async def ask(self, name_on_wire: bytes, kind: int) -> Answer:
        """Return the answer, or FAILED."""


@dataclass(frozen=True, slots=True)
class _Datagram:
    """Where an answer goes, and from which address of ours."""

    socket: socket.socket
    sender: tuple[object, ...]
    ancillary: tuple[tuple[int, int, bytes], ...]


@dataclass(slots=True, eq=False)
class _Stream:
    """A connection of a box, and how many of its queries are not answered yet."""

    writer: asyncio.StreamWriter
    owed: int = 0
    answered: asyncio.Event = field(default_factory=asyncio.Event)

    def answer(self, data: bytes) -> None:
        self.owed -= 1
        self.answered.set()
        if not self.writer.is_closing():
            self.writer.write(len(data).to_bytes(2, "big") + data)

    async def settled(self) -> None:
        """Return when it is owed nothing."""
        while self.owed:
            self.answered.clear()
            await self.answered.wait()


class DnsServer:
    """One port, both families, UDP and TCP."""

    def __init__(self, session: Session, boxes: Boxes, upstream: Resolving, port: int = 0) -> None:
        """`port`: taken if it is free, else any. Raises OSError."""
        self._session = session
        self._boxes = boxes
        self._upstream = upstream
        self._udp, self._tcp = _listening(port)
        self._connections: Counter[str] = Counter()

    @property
    def port(self) -> int:
        """The same for all."""
        return int(self._udp[0].getsockname()[1])

    def close(self) -> None:
        """Stop listening."""
        for one in (*self._udp, *self._tcp):
            one.close()

    async def run(self) -> None:
        """Answer, until cancelled."""
        loop = asyncio.get_running_loop()
        async with contextlib.AsyncExitStack() as stack:
            self._tasks = await stack.enter_async_context(asyncio.TaskGroup())
            for one in self._tcp:
                server = await asyncio.start_server(self._accept, sock=one, backlog=_BACKLOG)
                stack.callback(server.close)
            for one in self._udp:
                loop.add_reader(one, self._read, one)
                stack.callback(loop.remove_reader, one)
            await asyncio.Event().wait()

    def _read(self, one: socket.socket) -> None:
        for _ in range(_AT_A_TIME):
            try:
                data, ancillary, _, sender = one.recvmsg(_LARGEST, _ANCILLARY)
            except BlockingIOError:
                return
            except OSError as exc:
                _log.warning("query_not_read", error=str(exc))
                return
            try:
                asker = self._boxes.asker_at(_address(sender[0]))
                if asker is not None:
                    to = _Datagram(one, sender, tuple(map(_from_there, ancillary)))
                    self._do(self._query(asker, data, to, over_tcp=False))
            except Exception as exc:  # noqa: BLE001  # one query must not end the service of others
                _log.error("query_failed", sender=str(sender[0]), exc_info=exc)

    def _query(self, asker: Asker, data: bytes, to: object, *, over_tcp: bool) -> Iterable[Command]:
        return self._session.query(asker, data, to, time.monotonic(), over_tcp=over_tcp)

    def _do(self, commands: Iterable[Command]) -> None:
        for command in commands:
            match command:
                case Reply(to=_Datagram() as to, data=data):
                    # What does not go out now is asked for again.
                    with contextlib.suppress(OSError):
                        to.socket.sendmsg([data], to.ancillary, 0, to.sender)
                case Reply(to=_Stream() as stream, data=data):
                    stream.answer(data)
                case Ask(key=key):
                    self._tasks.create_task(self._ask(key))
                case Refused():
                    self._boxes.name_refused(
                        command.box_id, command.name, command.reason, command.rule
                    )

    async def _ask(self, key: Key) -> None:
        box_id, name, kind = key
        try:
            answer = await self._upstream.ask(name, kind)
        except Exception as exc:  # noqa: BLE001  # whatever an upstream says, others are served
            _log.error("upstream_failed", exc_info=exc)
            answer = FAILED
        asker = self._boxes.asker(box_id)
        try:
            self._do(self._session.answered(key, answer, asker, time.monotonic()))
        except Exception as exc:  # noqa: BLE001
            _log.error("answer_failed", box=box_id, exc_info=exc)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")
        asker = None if peer is None else self._boxes.asker_at(_address(peer[0]))
        if (
            asker is None
            or self._connections[asker.box_id] >= _TCP_OF_A_BOX
            or self._connections.total() >= _TCP_IN_ALL
        ):
            writer.transport.abort()
            return
        self._connections[asker.box_id] += 1
        self._tasks.create_task(self._serve(reader, writer, asker.box_id))

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, box_id: str
    ) -> None:
        stream = _Stream(writer)
        try:
            try:
                await self._read_stream(reader, stream, box_id)
            except asyncio.IncompleteReadError:
                # It asks no more, and may still listen (RFC 7766 section 6.2.3).
                async with asyncio.timeout(_TCP_IDLE):
                    await stream.settled()
            writer.close()
            async with asyncio.timeout(_TCP_IDLE):
                await writer.wait_closed()
        except OSError:
            pass  # gone, or too slow
        except Exception as exc:  # noqa: BLE001  # one connection must not end the service of others
            _log.error("connection_failed", box=box_id, exc_info=exc)
        finally:
            self._connections[box_id] -= 1
            if not self._connections[box_id]:
                del self._connections[box_id]
            writer.transport.abort()

    async def _read_stream(
        self, reader: asyncio.StreamReader, stream: _Stream, box_id: str
    ) -> None:
        """RFC 7766: two octets of length, and a message, again and again. Who does not listen is
        not read from either.
        """
        while True:
            for _ in range(_TCP_AT_A_TIME):
                async with asyncio.timeout(_TCP_IDLE):
                    size = int.from_bytes(await reader.readexactly(2), "big")
                    data = await reader.readexactly(size)
                asker = self._boxes.asker(box_id)
                if asker is None:
                    return
                stream.owed += 1
                self._do(self._query(asker, data, stream, over_tcp=True))
                async with asyncio.timeout(_TCP_IDLE):
                    await stream.writer.drain()
            await asyncio.sleep(0)


def _listening(port: int) -> tuple[list[socket.socket], list[socket.socket]]:
    """Sockets for UDP and TCP, of both families where there are both, on one port."""
    for tried in (port, *(0 for _ in range(_TRIES_FOR_A_PORT))):
        made: list[socket.socket] = []
        try:
            made.append(_bound(socket.AF_INET, socket.SOCK_DGRAM, tried))
            found = int(made[0].getsockname()[1])
            made.append(_bound(socket.AF_INET, socket.SOCK_STREAM, found))
            if _has_ipv6():
                made.append(_bound(socket.AF_INET6, socket.SOCK_DGRAM, found))
                made.append(_bound(socket.AF_INET6, socket.SOCK_STREAM, found))
        except OSError:
            for one in made:
                one.close()
            continue
        return made[::2], made[1::2]
    raise OSError("no port is free for DNS")


def _has_ipv6() -> bool:
    """A kernel may be without, whatever Python was built with."""
    try:
        _bound(socket.AF_INET6, socket.SOCK_DGRAM, 0).close()
    except OSError as exc:
        if exc.errno in _NO_FAMILY:
            return False
        raise
    return True


def _bound(family: int, kind: int, port: int) -> socket.socket:
    made = socket.socket(family, kind)
    try:
        made.setblocking(False)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind == socket.SOCK_STREAM:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            if family == socket.AF_INET6:
                made.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
            else:
                made.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        made.bind(("", port))
    except OSError:
        made.close()
        raise
    return made


@lru_cache(maxsize=4096)
def _from_there(one: tuple[int, int, bytes]) -> tuple[int, int, bytes]:
    """Turn where a query came to into where its answer comes from."""
    level, kind, data = one
    if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO):
        _, _, address = _PKTINFO.unpack(data)
        return level, kind, _PKTINFO.pack(0, address, bytes(4))
    return one


@lru_cache(maxsize=4096)
def _address(text: object) -> Address:
    return Address.parse(str(text).partition("%")[0])
