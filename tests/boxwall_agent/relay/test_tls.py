"""TLS on a relayed port: nothing passes unread until the server goes on with the name."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from boxwall.policy import Name, Reason
from boxwall_agent.judging import Refusal
from boxwall_agent.relay.streams import Stream
from boxwall_agent.relay.tls import shake_hands

GOOD = Name.parse("api.example.com")
CHANGE_CIPHER = b"\x14\x03\x03\0\1\1"
RETRY = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
"""What stands for the random of a server that asks again: RFC 8446 section 4.1.3."""


def client_hello(name: str | None) -> bytes:
    """What a TLS client says first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    going = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), going, server_hostname=name).do_handshake()
    return going.read()


def server_hello(random: bytes = bytes(32)) -> bytes:
    """A ServerHello without extensions."""
    body = b"\x03\x03" + random + b"\0\x13\x01\0"
    message = b"\x02" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x03" + len(message).to_bytes(2, "big") + message


HELLO = client_hello("api.example.com")


@dataclass
class Ends:
    """The far ends of a relayed connection, and what becomes of it."""

    box: Stream
    server: Stream
    agreed: "asyncio.Task[Refusal | None]"


async def pair() -> tuple[Stream, Stream]:
    """Both ends of a connection."""
    ends = [await asyncio.open_connection(sock=one) for one in socket.socketpair()]
    return Stream(*ends[0]), Stream(*ends[1])


@asynccontextmanager
async def shaking(behind: bytes = b"") -> AsyncIterator[Ends]:
    """Begin with a good hello, and what is `behind` it."""
    box, inner = await pair()
    server, outer = await pair()
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        agreed = tasks.create_task(shake_hands(inner, outer, GOOD, HELLO, behind))
        yield Ends(box, server, agreed)
    for stream in (box, inner, server, outer):
        stream.abort()


async def test_a_server_that_goes_on_is_enough() -> None:
    async with shaking() as ends:
        assert await ends.server.reader.readexactly(len(HELLO)) == HELLO
        await ends.server.send(server_hello())
        assert await ends.agreed is None
        assert await ends.box.reader.readexactly(len(server_hello())) == server_hello()


@pytest.mark.parametrize(
    ("again", "expected"),
    [
        pytest.param(HELLO, None, id="the same name"),
        pytest.param(CHANGE_CIPHER + HELLO, None, id="the same, after a change of cipher"),
        pytest.param(client_hello("evil.example.com"), Reason.NAME_MISMATCH, id="another name"),
        pytest.param(client_hello(None), Reason.NAME_MISMATCH, id="no name"),
        pytest.param(b"GET / HTTP/1.1\r\n", Reason.NAME_MISMATCH, id="no TLS"),
        pytest.param(b"\x16\x03\x01\0\4\2\0\0\0", Reason.UNRECOGNISED_PROTOCOL, id="no hello"),
    ],
)
async def test_the_second_hello_must_name_the_same(again: bytes, expected: Reason | None) -> None:
    async with shaking() as ends:
        await ends.server.reader.readexactly(len(HELLO))
        await ends.server.send(server_hello(RETRY))
        for at in range(0, len(again), 50):
            await ends.box.send(again[at : at + 50])
            await asyncio.sleep(0)
        if expected is None:
            assert await ends.server.reader.readexactly(len(again)) == again
            for part in (CHANGE_CIPHER[:2], CHANGE_CIPHER[2:], server_hello()):
                await ends.server.send(part)
                await asyncio.sleep(0)
            assert await ends.agreed is None
        else:
            assert await ends.agreed == Refusal(expected)


async def test_a_second_hello_that_nobody_asked_for_is_not_passed_on() -> None:
    async with shaking(behind=client_hello("evil.example.com")) as ends:
        assert await ends.agreed == Refusal(Reason.NAME_MISMATCH)


async def test_a_server_that_asks_twice_is_not_believed() -> None:
    async with shaking() as ends:
        await ends.server.send(server_hello(RETRY))
        await ends.box.send(HELLO)
        await ends.server.reader.readexactly(2 * len(HELLO))
        await ends.server.send(CHANGE_CIPHER + server_hello(RETRY))
        assert await ends.agreed == Refusal(Reason.UNRECOGNISED_PROTOCOL)


async def test_a_server_that_says_something_else_ends_the_connection() -> None:
    async with shaking() as ends:
        await ends.server.send(b"HTTP/1.1 400 Bad Request\r\n")
        assert await ends.agreed == Refusal(Reason.UNRECOGNISED_PROTOCOL)
