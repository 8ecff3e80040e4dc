"""Clear HTTP from a box to a server: each request is read, judged, and written anew.

What the server gets is what was judged, because it gets what was understood, not what was sent.
One request at a time: those that a box sends ahead wait.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import h11

from boxwall.policy import Name
from boxwall_agent.relay.requests import Unclear, is_upgrade, name_of
from boxwall_agent.relay.streams import CHUNK, Stream, splice

Judge: TypeAlias = Callable[[Name], str]
"""Returns why a name must not be reached there; empty: it may."""

Connect: TypeAlias = Callable[[], Awaitable[Stream]]
"""Opens the connection to the server. Raises OSError."""

_ANSWERS: Final = (h11.InformationalResponse, h11.Response, h11.Data, h11.EndOfMessage)

IDLE: Final = 75.0
"""Seconds that a connection may wait for its next request."""


class HttpRelay:
    """One connection of a box."""

    def __init__(self, box: Stream, port: int, judge: Judge, connect: Connect) -> None:
        self._box = box
        self._port = port
        self._judge = judge
        self._connect = connect
        self._server: Stream | None = None
        self._is_head = False
        self._from_box = h11.Connection(h11.SERVER)
        self._to_server = h11.Connection(h11.CLIENT)
        """Anew with each connection."""

    async def run(self, first: bytes) -> None:
        """Relay until either end has enough. `first`: what was read of it already."""
        if first:  # nothing would stand for the end
            self._from_box.receive_data(first)
        try:
            while await self._exchange():
                pass
        except* h11.ProtocolError as exc:  # of a task that passes a body on, too
            await self._give_up(str(exc.exceptions[0]))
        finally:
            if self._server is not None:
                await self._server.close()

    async def _exchange(self) -> bool:
        """One request and its answer; whether another may follow."""
        self._is_head = False
        async with asyncio.timeout(IDLE):
            request = await self._event(self._from_box, self._box)
        if not isinstance(request, h11.Request):
            return False
        self._is_head = request.method == b"HEAD"
        name = name_of(request, self._port)
        refusal = name.why if isinstance(name, Unclear) else self._judge(name)
        if refusal:
            await self._refuse(403, refusal)
            return False
        try:
            server = await self._open_server()
        except OSError as exc:
            await self._refuse(502, f"the server cannot be reached: {exc.strerror}")
            return False
        return await self._relay(request, server)

    async def _open_server(self) -> Stream:
        """The connection to the server: a new one if it has ended the one before, as servers do
        that wait for no more requests. It has had nothing of the next yet.
        """
        if self._server is not None and self._server.has_ended:
            await self._server.close()
            self._server = None
        if self._server is None:
            self._server = await self._connect()
            self._to_server = h11.Connection(h11.CLIENT)
        return self._server

    async def _relay(self, request: h11.Request, server: Stream) -> bool:
        again = h11.Request(method=request.method, target=request.target, headers=request.headers)
        await self._tell(self._to_server, server, again)
        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(self._pass_request(server))
            await self._pass_answer(server)
            if not self._is_over():
                asking.cancel()
        if self._to_server.our_state is h11.SWITCHED_PROTOCOL and is_upgrade(request):
            await self._become_opaque(server)
            return False
        if not self._is_over():
            return False
        self._from_box.start_next_cycle()
        self._to_server.start_next_cycle()
        return True

    def _is_over(self) -> bool:
        return all(
            side is h11.DONE
            for connection in (self._from_box, self._to_server)
            for side in (connection.our_state, connection.their_state)
        )

    async def _pass_request(self, server: Stream) -> None:
        while True:
            event = await self._event(self._from_box, self._box)
            if isinstance(event, h11.Data):
                await self._tell(self._to_server, server, event)
            elif isinstance(event, h11.EndOfMessage):
                # Without its trailers: some servers take them for headers, and a Host from them.
                await self._tell(self._to_server, server, h11.EndOfMessage())
                return
            else:
                return

    async def _pass_answer(self, server: Stream) -> None:
        """Until its end, or until the connection becomes something else."""
        while True:
            event = await self._event(self._to_server, server)
            if not isinstance(event, _ANSWERS):
                return
            if isinstance(event, h11.Response):  # in our version of HTTP, framed anew
                event = h11.Response(
                    status_code=event.status_code, headers=event.headers, reason=event.reason
                )
            await self._tell(self._from_box, self._box, event)
            if isinstance(event, h11.EndOfMessage):
                return

    async def _become_opaque(self, server: Stream) -> None:
        """The name was judged; what a WebSocket carries is not read."""
        ahead, behind = self._from_box.trailing_data[0], self._to_server.trailing_data[0]
        await server.send(ahead)
        await self._box.send(behind)
        await splice(self._box, server)

    async def _give_up(self, why: str) -> None:
        """One end says what cannot be read. Half of an answer must not look like all of it."""
        if self._from_box.our_state is h11.SEND_BODY:
            self._box.abort()
        elif self._to_server.their_state is h11.ERROR:
            await self._refuse(502, f"the server's answer cannot be read: {why}")
        else:
            await self._refuse(400, f"this is no HTTP request that is relayed: {why}")

    async def _refuse(self, status: int, why: str) -> None:
        """Say so, where an answer is still due."""
        if self._from_box.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        text = f"Boxwall: {why}\n".encode()
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", str(len(text)).encode()),
            (b"connection", b"close"),
        ]
        await self._tell(
            self._from_box, self._box, h11.Response(status_code=status, headers=headers)
        )
        if not self._is_head:
            await self._tell(self._from_box, self._box, h11.Data(data=text))
        await self._tell(self._from_box, self._box, h11.EndOfMessage())

    @staticmethod
    async def _tell(connection: h11.Connection, stream: Stream, event: h11.Event) -> None:
        await stream.send(connection.send(event) or b"")

    @staticmethod
    async def _event(connection: h11.Connection, stream: Stream) -> h11.Event | type[h11.PAUSED]:
        while True:
            event = connection.next_event()
            if event is not h11.NEED_DATA:
                return event  # type: ignore[return-value]  # its other sentinel is gone
            connection.receive_data(await stream.reader.read(CHUNK))
