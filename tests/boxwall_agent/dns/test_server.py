"""Sockets of the DNS server: who is answered, in which order, and who is not kept waiting."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import dns.message
import dns.rcode
import pytest

from boxwall.policy import Address, Custom, Name, Reason, Rule, Surroundings
from boxwall.policy.names import DomainPattern
from boxwall_agent.dns import server
from boxwall_agent.dns.answer import Answer, Record
from boxwall_agent.dns.server import DnsServer
from boxwall_agent.dns.session import Asker, Session

HERE = "127.0.0.1"
POLICY = Custom(allowed_domains=(DomainPattern.parse("*.example.com"),))
EIGHT = bytes((8, 8, 4, 4))
FOUND = Answer(code=0, records=(Record(b"\0", 1, 60, EIGHT, Address.parse("8.8.4.4")),), ttl=60)


class World:
    """One box, on loopback, and a resolver that answers when it is told to."""

    def __init__(self) -> None:
        self.box: str | None = "b1"
        self.refused: list[str] = []
        self.asked: list[bytes] = []
        self.may_answer = asyncio.Event()
        self.writers: list[asyncio.StreamWriter] = []
        self.server = DnsServer(Session(lambda *_: True), self, self)

    def asker_at(self, address: Address) -> Asker | None:
        return None if self.box is None else self.asker(self.box)

    def asker(self, box_id: str) -> Asker | None:
        return Asker(box_id=box_id, policy=POLICY, revision=1, surroundings=Surroundings())

    def name_refused(
        self, box_id: str, name: Name | None, reason: Reason, rule: Rule | None
    ) -> None:
        self.refused.append(str(name))

    async def ask(self, name_on_wire: bytes, kind: int) -> Answer:
        self.asked.append(name_on_wire)
        await self.may_answer.wait()
        return FOUND

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        made = await asyncio.open_connection(HERE, self.server.port)
        self.writers.append(made[1])
        return made


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """It serves."""
    made = World()
    task = asyncio.ensure_future(made.server.run())
    try:
        async with asyncio.timeout(20):
            yield made
    finally:
        for writer in made.writers:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        task.cancel()
        await asyncio.wait([task])
        made.server.close()


def query(name: str, number: int) -> bytes:
    asked = dns.message.make_query(name, "A")
    asked.id = number
    return asked.to_wire()


def framed(*queries: bytes) -> bytes:
    """As a stream carries them (RFC 7766)."""
    return b"".join(len(one).to_bytes(2, "big") + one for one in queries)


async def heard(reader: asyncio.StreamReader) -> tuple[int, str]:
    """The id of the next answer, and its code."""
    data = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
    message = dns.message.from_wire(data)
    return message.id, dns.rcode.to_text(message.rcode())


async def test_queries_sent_ahead_are_answered_as_soon_as_each_can_be(world: World) -> None:
    reader, writer = await world.connect()
    writer.write(framed(query("a.example.com", 1), query("evil.test", 2)))

    assert await heard(reader) == (2, "NXDOMAIN")
    world.may_answer.set()
    assert await heard(reader) == (1, "NOERROR")
    assert world.refused == ["evil.test"]


async def test_a_client_that_asks_no_more_still_hears_its_answers(world: World) -> None:
    reader, writer = await world.connect()
    writer.write(framed(query("a.example.com", 1), query("a.example.com", 2)))
    writer.write_eof()
    for _ in range(10):
        await asyncio.sleep(0)
    world.may_answer.set()

    assert [await heard(reader), await heard(reader)] == [(1, "NOERROR"), (2, "NOERROR")]
    assert await reader.read() == b"", "and then it is over"
    assert len(world.asked) == 1


@pytest.mark.parametrize("octets", [1, 2, 7], ids=["of the length", "nothing more", "of a query"])
async def test_a_message_that_stops_in_the_middle_ends_the_connection(
    world: World, octets: int
) -> None:
    reader, writer = await world.connect()
    writer.write(framed(query("a.example.com", 1))[:octets])
    writer.write_eof()

    assert await reader.read() == b""


async def test_who_says_nothing_is_not_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_TCP_IDLE", 0.01)
    reader, _ = await world.connect()

    with contextlib.suppress(ConnectionResetError):
        assert await reader.read() == b""


async def test_a_box_has_so_many_connections_and_no_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_TCP_OF_A_BOX", 2)
    kept = [await world.connect() for _ in range(2)]
    for number, (reader, writer) in enumerate(kept):
        writer.write(framed(query("evil.test", number)))
        assert await heard(reader) == (number, "NXDOMAIN")

    reader, _ = await world.connect()
    with contextlib.suppress(ConnectionResetError):
        assert await reader.read() == b""


async def test_who_is_no_box_is_not_answered(world: World) -> None:
    world.box = None
    reader, writer = await world.connect()
    writer.write(framed(query("evil.test", 1)))
    with contextlib.suppress(ConnectionResetError):
        assert await reader.read() == b""
    assert world.refused == []


async def test_an_answer_comes_from_the_address_that_was_asked(world: World) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as asking:
        asking.bind((HERE, 0))
        for asked in ("127.0.0.1", "127.9.8.7"):
            asking.sendto(query("evil.test", 7), (asked, world.server.port))
            data, sender = await loop.sock_recvfrom(asking, 4096)
            assert sender == (asked, world.server.port)
            assert dns.message.from_wire(data).rcode() == dns.rcode.NXDOMAIN


async def test_a_query_that_makes_it_fail_does_not_end_the_service_of_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    healthy = world.asker_at

    def fails(address: Address) -> Asker | None:
        monkeypatch.setattr(world, "asker_at", healthy)
        raise RuntimeError

    monkeypatch.setattr(world, "asker_at", fails)
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as asking:
        asking.connect((HERE, world.server.port))
        for number in (1, 2):
            asking.send(query("evil.test", number))
        assert dns.message.from_wire(await loop.sock_recv(asking, 4096)).id == 2
