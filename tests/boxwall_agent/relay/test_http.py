"""Requests through the relay, between a box and a server that are sockets of the test."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from boxwall.policy import Name
from boxwall_agent.relay.http import HttpRelay
from boxwall_agent.relay.streams import Stream

GET = b"GET /%s HTTP/1.1\r\nHost: %s\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def pair() -> tuple[Stream, Stream]:
    """Both ends of a connection."""
    ends = [await asyncio.open_connection(sock=one) for one in socket.socketpair()]
    return Stream(*ends[0]), Stream(*ends[1])


class Relay:
    """A relay at work: what the box says, and what the server hears."""

    def __init__(self, box: Stream) -> None:
        self.box = box
        self.server: Stream | None = None
        self.theirs: Stream | None = None
        """The relay's end of that connection."""
        self.connected = asyncio.Event()
        self.aborted = asyncio.Event()
        self.judged: list[str] = []

    async def ask(self, data: bytes) -> None:
        """The box sends."""
        await self.box.send(data)

    async def heard(self) -> bytes:
        """What the server gets next."""
        async with asyncio.timeout(5):
            return await (await self._connection()).reader.read(65536)

    async def heard_to(self, end: bytes) -> bytes:
        """What the server gets, up to something."""
        async with asyncio.timeout(5):
            return await (await self._connection()).reader.readuntil(end)

    async def _connection(self) -> Stream:
        await self.connected.wait()
        assert self.server is not None
        return self.server

    async def answer(self, data: bytes) -> None:
        """The server sends."""
        assert self.server is not None
        await self.server.send(data)

    async def server_ends(self, how: str) -> None:
        """The server ends the connection; the relay has heard of it on return."""
        assert self.server is not None
        assert self.theirs is not None
        self.connected.clear()
        self.server.abort()
        if how == "reset":
            self.theirs.reader.set_exception(ConnectionResetError(104, "Connection reset by peer"))
            return
        async with asyncio.timeout(5):
            assert await self.theirs.reader.read(-1) == b""

    async def told(self) -> bytes:
        """Everything that the box gets until the end."""
        async with asyncio.timeout(5):
            return await self.box.reader.read(-1)

    async def told_to(self, end: bytes) -> bytes:
        """What the box gets, up to something."""
        async with asyncio.timeout(5):
            return await self.box.reader.readuntil(end)


@asynccontextmanager
async def relaying(connect_fails: bool = False) -> AsyncIterator[Relay]:
    """Allow names that begin with an `a`."""
    box, end = await pair()
    relay = Relay(box)

    class Ours(Stream):
        def abort(self) -> None:
            relay.aborted.set()
            super().abort()

    ours = Ours(end.reader, end.writer)

    def judge(name: Name) -> str:
        relay.judged.append(str(name))
        return "" if str(name).startswith("a") else f"{name} is not allowed"

    async def connect() -> Stream:
        if connect_fails:
            raise ConnectionRefusedError(111, "Connection refused")
        relay.server, relay.theirs = await pair()
        relay.connected.set()
        return relay.theirs

    async def run() -> None:
        try:
            await HttpRelay(ours, 80, judge, connect).run(b"")
        finally:
            await ours.close()

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(run())
        yield relay
        task.cancel()
        await asyncio.wait([task])
        for stream in (box, relay.server):
            if stream is not None:
                stream.abort()


async def test_a_request_and_its_answer_go_through() -> None:
    async with relaying() as relay:
        await relay.ask(b"GET /path HTTP/1.1\r\nHost: a.com\r\nX-Mine: 1\r\n\r\n")

        heard = await relay.heard_to(b"\r\n\r\n")
        assert heard == b"GET /path HTTP/1.1\r\nHost: a.com\r\nX-Mine: 1\r\n\r\n"
        await relay.answer(OK)
        assert await relay.told_to(b"ok") == OK


async def test_every_request_of_a_connection_is_judged() -> None:
    async with relaying() as relay:
        await relay.ask(
            b"GET / HTTP/1.1\r\nHost: a.com\r\n\r\nGET /2 HTTP/1.1\r\nHost: b.com\r\n\r\n"
        )
        await relay.heard_to(b"\r\n\r\n")
        await relay.answer(OK)

        told = await relay.told()
        assert told.startswith(OK)
        assert b"403" in told
        assert b"b.com is not allowed" in told
        assert relay.judged == ["a.com", "b.com"]
        assert await relay.heard() == b""


async def test_a_request_sent_ahead_waits_for_the_answer_before() -> None:
    async with relaying() as relay:
        await relay.ask(
            b"GET /1 HTTP/1.1\r\nHost: a.com\r\n\r\nGET /2 HTTP/1.1\r\nHost: a.com\r\n\r\n"
        )
        assert b"/1" in await relay.heard_to(b"\r\n\r\n")
        assert relay.judged == ["a.com"]

        await relay.answer(OK)
        assert b"/2" in await relay.heard_to(b"\r\n\r\n")
        await relay.answer(OK)
        assert await relay.told_to(b"ok") + await relay.told_to(b"ok") == OK + OK


@pytest.mark.parametrize("how", ["closed", "reset"])
async def test_a_server_that_has_ended_between_two_requests_is_connected_to_anew(how: str) -> None:
    async with relaying() as relay:
        for number in (b"1", b"2"):
            await relay.ask(GET % (number, b"a.com"))
            assert (await relay.heard_to(b"\r\n\r\n")).startswith(b"GET /" + number)
            await relay.answer(OK)
            assert await relay.told_to(b"ok") == OK
            await relay.server_ends(how)
    assert relay.judged == ["a.com", "a.com"]


async def test_nothing_of_a_refused_first_request_reaches_anybody() -> None:
    async with relaying() as relay:
        await relay.ask(b"POST / HTTP/1.1\r\nHost: b.com\r\nContent-Length: 6\r\n\r\nsecret")

        told = await relay.told()
        assert told.startswith(b"HTTP/1.1 403")
        assert relay.server is None


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\r\n\r\n\x00\x01garbage\r\n\r\n", id="no request"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a.com\r\nHost: b.com\r\n\r\n", id="two hosts"),
        pytest.param(b"GET / HTTP/1.1\r\nHost : a.com\r\n\r\n", id="a space before the colon"),
        pytest.param(b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000, id="endless headers"),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: a.com\r\nTransfer-Encoding: xchunked\r\n\r\n",
            id="an encoding that some servers take for another",
        ),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: a.com\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            id="two lengths",
        ),
    ],
)
async def test_what_is_no_request_is_refused(data: bytes) -> None:
    async with relaying() as relay:
        await relay.ask(data)

        assert (await relay.told()).startswith((b"HTTP/1.1 400", b"HTTP/1.1 403"))
        assert relay.server is None


async def test_bodies_go_both_ways_at_once() -> None:
    async with relaying() as relay:
        await relay.ask(b"POST / HTTP/1.1\r\nHost: a.com\r\nTransfer-Encoding: chunked\r\n\r\n")
        await relay.heard_to(b"\r\n\r\n")
        await relay.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        assert (await relay.told_to(b"one\r\n")).endswith(b"one\r\n")
        await relay.ask(b"3\r\ntwo\r\n")
        assert await relay.heard_to(b"two\r\n") == b"3\r\ntwo\r\n"
        await relay.ask(b"0\r\n\r\n")
        await relay.heard_to(b"0\r\n\r\n")
        await relay.answer(b"0\r\n\r\n")
        assert await relay.told_to(b"0\r\n\r\n") == b"0\r\n\r\n"


async def test_a_client_that_waits_for_permission_to_go_on_gets_it() -> None:
    async with relaying() as relay:
        await relay.ask(
            b"PUT / HTTP/1.1\r\nHost: a.com\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
        )
        await relay.heard_to(b"\r\n\r\n")
        await relay.answer(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert b"100" in await relay.told_to(b"\r\n\r\n")
        await relay.ask(b"abc")
        assert await relay.heard_to(b"abc") == b"abc"


async def test_a_websocket_is_passed_on_as_it_is() -> None:
    async with relaying() as relay:
        await relay.ask(
            b"GET / HTTP/1.1\r\nHost: a.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        )
        await relay.heard_to(b"\r\n\r\n")
        await relay.answer(
            b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nframe"
        )
        assert (await relay.told_to(b"frame")).startswith(b"HTTP/1.1 101")
        await relay.ask(b"\x81\x01a")
        assert await relay.heard_to(b"a") == b"\x81\x01a"


async def test_a_server_that_cannot_be_reached_is_said_to_be_so() -> None:
    async with relaying(connect_fails=True) as relay:
        await relay.ask(b"GET / HTTP/1.1\r\nHost: a.com\r\n\r\n")

        told = await relay.told()
        assert told.startswith(b"HTTP/1.1 502")
        assert b"Connection refused" in told


async def test_an_answer_that_ends_with_the_connection_is_passed_on_whole() -> None:
    async with relaying() as relay:
        await relay.ask(b"GET / HTTP/1.1\r\nHost: a.com\r\n\r\n")
        await relay.heard_to(b"\r\n\r\n")
        await relay.answer(b"HTTP/1.0 200 OK\r\n\r\nall of it")
        assert relay.server is not None
        await relay.server.close()

        assert b"all of it" in await relay.told()


async def test_a_body_that_cannot_be_read_is_refused_and_ends_the_connection() -> None:
    async with relaying() as relay:
        await relay.ask(b"POST / HTTP/1.1\r\nHost: a.com\r\nTransfer-Encoding: chunked\r\n\r\n")
        await relay.heard_to(b"\r\n\r\n")
        await relay.ask(b"zz\r\n")

        assert (await relay.told()).startswith(b"HTTP/1.1 400")
        assert await relay.heard() == b""


async def test_an_answer_that_cannot_be_read_is_said_to_be_so() -> None:
    async with relaying() as relay:
        await relay.ask(b"GET / HTTP/1.1\r\nHost: a.com\r\n\r\n")
        await relay.heard_to(b"\r\n\r\n")
        await relay.answer(b"SSH-2.0-server\r\n\r\n")

        assert (await relay.told()).startswith(b"HTTP/1.1 502")


async def test_half_of_an_answer_does_not_look_like_all_of_it() -> None:
    """To HTTP/1.0 the end of the connection is the end of the answer, so it must be a reset."""
    async with relaying() as relay:
        await relay.ask(b"GET / HTTP/1.0\r\nHost: a.com\r\n\r\n")
        await relay.heard_to(b"\r\n\r\n")
        await relay.answer(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\nzz\r\n"
        )

        assert b"one" in await relay.told_to(b"one")
        assert relay.aborted.is_set()


async def test_a_refused_request_for_a_head_gets_one() -> None:
    async with relaying() as relay:
        await relay.ask(b"HEAD / HTTP/1.1\r\nHost: b.com\r\n\r\n")

        told = await relay.told()
        assert told.startswith(b"HTTP/1.1 403")
        assert told.endswith(b"\r\n\r\n")


async def test_a_trailer_does_not_go_through() -> None:
    async with relaying() as relay:
        await relay.ask(b"POST / HTTP/1.1\r\nHost: a.com\r\nTransfer-Encoding: chunked\r\n\r\n")
        await relay.ask(b"2\r\nok\r\n0\r\nHost: b.com\r\n\r\n")

        assert (await relay.heard_to(b"0\r\n\r\n")).endswith(b"ok\r\n0\r\n\r\n")
        await relay.answer(OK)
        assert await relay.told_to(b"ok") == OK
