"""One connection of a box to an HTTP port, from its first bytes to its end."""

import asyncio
from errno import ECONNABORTED
from typing import Final, Protocol, assert_never

import structlog

from boxwall.policy import Address, Destination, Name, Reason
from boxwall.policy import Protocol as Transport
from boxwall_agent.firstbytes.hello import More
from boxwall_agent.firstbytes.opening import Http, Opaque, Tls, Unwanted, read_opening
from boxwall_agent.judging import Judgement, Passed, Refusal
from boxwall_agent.relay.http import HttpRelay
from boxwall_agent.relay.streams import CHUNK, Stream, splice
from boxwall_agent.relay.tls import shake_hands

FIRST_BYTES: Final = 10.0
"""Seconds that a box may take to say what it wants."""

TO_AGREE: Final = 30.0
"""Seconds that a server may take to answer a ClientHello."""

_TO_CONNECT: Final = 10.0
"""Seconds that a server may take to answer."""

_log = structlog.get_logger()


class Boxes(Protocol):
    """What the relay must know of boxes."""

    def judge(
        self, box_id: str, address: Address, name: Name | None, *, has_begun: bool
    ) -> Judgement:
        """May the box reach the address by the name that its connection carries?

        `has_begun`: it was allowed to by that name before, and needs no lease any more.
        """

    def refused(self, box_id: str, destination: Destination, refusal: Refusal) -> None:
        """This was refused."""


class Relayed:
    """`address` and `port` are what the box opened a connection to; `box` is its end."""

    def __init__(self, boxes: Boxes, box_id: str, address: Address, port: int, box: Stream) -> None:
        self.box_id = box_id
        self._boxes = boxes
        self._address = address
        self._port = port
        self._box = box
        self._server: Stream | None = None
        self._name: Name | None = None
        self._allowed: set[Name] = set()

    async def run(self) -> None:
        """Relay until either end has enough, or it is cut."""
        try:
            await self._run()
        except* (OSError, TimeoutError, asyncio.LimitOverrunError) as exc:
            _log.debug("relay_ended", box=self.box_id, error=str(exc.exceptions[0]))
            self.cut()
        finally:
            await self._box.close()

    def may_go_on(self) -> bool:
        """Whether the policy that the box has now allows what the connection carries."""
        if self._server is None or self._name is None:
            return True  # what it will carry will be judged
        return isinstance(self._judge(self._name), Passed)

    def cut(self) -> None:
        """End it at once, at both ends."""
        self._box.abort()
        if self._server is not None:
            self._server.abort()

    async def _run(self) -> None:
        async with asyncio.timeout(FIRST_BYTES):
            data, opening = await self._read_opening()
        match opening:
            case Http():
                await HttpRelay(self._box, self._port, self._why_not, self._connect).run(data)
            case Tls(name=Name() as name, end=end):
                await self._pass_on(name, data[:end], data[end:])
            case Tls():
                self._refuse(None, Refusal(Reason.NAME_MISMATCH))
            case Unwanted(reason=reason):
                self._refuse(None, Refusal(reason))
            case Opaque() | More():
                self._refuse(None, Refusal(Reason.UNRECOGNISED_PROTOCOL))
            case _:
                assert_never(opening)

    async def _read_opening(self) -> tuple[bytes, More | Http | Tls | Opaque | Unwanted]:
        """What comes first, as far as it takes to know what it is."""
        data = b""
        ports = frozenset((self._port,))
        while True:
            more = await self._box.reader.read(CHUNK)
            data += more
            opening = read_opening(data, self._port, ports)
            if not more or not isinstance(opening, More):
                return data, opening

    async def _pass_on(self, name: Name, hello: bytes, behind: bytes) -> None:
        """TLS: what follows once the server goes on with that name is not read."""
        if self._why_not(name):
            return
        server = await self._connect()
        try:
            async with asyncio.timeout(TO_AGREE):
                refusal = await shake_hands(self._box, server, name, hello, behind)
            if refusal is None:
                await splice(self._box, server)
            else:
                self._refuse(name, refusal)
                self.cut()
        finally:
            await server.close()

    async def _connect(self) -> Stream:
        async with asyncio.timeout(_TO_CONNECT):
            ends = await asyncio.open_connection(str(self._address), self._port)
        self._server = Stream(*ends)
        if not self.may_go_on():  # a server may take its time to answer, and a policy change
            self.cut()
            raise ConnectionAbortedError(ECONNABORTED, "the policy has changed")
        return self._server

    def _why_not(self, name: Name) -> str:
        """Judge a name; say why it is refused, and remember it if it is not."""
        judgement = self._judge(name)
        if isinstance(judgement, Passed):
            self._name = name
            self._allowed.add(name)
            return ""
        self._refuse(name, judgement)
        rule = "" if judgement.rule is None else f", by {judgement.rule}"
        return f"{name} at {self._address} is refused: {judgement.reason.name}{rule}"

    def _judge(self, name: Name) -> Judgement:
        has_begun = name in self._allowed
        return self._boxes.judge(self.box_id, self._address, name, has_begun=has_begun)

    def _refuse(self, name: Name | None, refusal: Refusal) -> None:
        where = Destination(
            domain=name, address=self._address, port=self._port, protocol=Transport.TCP
        )
        self._boxes.refused(self.box_id, where, refusal)
