"""A connection to an HTTP port is relayed by what it begins with, to a server on loopback."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from boxwall.policy import Address, Destination, Name, Protocol, Reason, Rule, RuleList
from boxwall_agent.judging import Judgement, Passed, Refusal
from boxwall_agent.relay import connection
from boxwall_agent.relay.connection import Relayed
from boxwall_agent.relay.streams import Stream
from fakes.tls_messages import hello_for, real_hello

HERE = Address.parse("127.0.0.1")
DENIED = Refusal(Reason.DENIED_CIDR, Rule(RuleList.DENIED_CIDRS, "127.0.0.0/8"))
NOT_LEASED = Refusal(Reason.NAME_MISMATCH)
GET = b"GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n"


class World:
    """A box on one side, an echo of what is said on the other."""

    def __init__(self) -> None:
        self.allowed = {"a.com"}
        self.leased = {"a.com", "b.com"}
        self.told: list[tuple[str, Destination, Refusal]] = []
        self.heard = b""
        self.answer = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
        self.server_heard = asyncio.Event()
        self.ended = asyncio.Event()

    def judge(
        self, box_id: str, address: Address, name: Name | None, *, has_begun: bool
    ) -> Judgement:
        assert (box_id, address) == ("b1", HERE)
        if name is None or name.text not in self.allowed:
            return DENIED
        return Passed(None) if has_begun or name.text in self.leased else NOT_LEASED

    def refused(self, box_id: str, destination: Destination, refusal: Refusal) -> None:
        self.told.append((box_id, destination, refusal))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                self.heard += data
                self.server_heard.set()
                writer.write(self.answer)
        except OSError:
            pass
        finally:
            self.ended.set()
            writer.close()


@asynccontextmanager
async def relayed(world: World, *, is_served: bool = True) -> AsyncIterator[tuple[Stream, Relayed]]:
    """The box's end, and what relays it."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    port = int(listening.getsockname()[1])
    server = None
    if is_served:
        server = await asyncio.start_server(world.serve, sock=listening)
    ours, theirs = socket.socketpair()
    box = Stream(*await asyncio.open_connection(sock=ours))
    relay = Relayed(world, "b1", HERE, port, Stream(*await asyncio.open_connection(sock=theirs)))
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        tasks.create_task(relay.run())
        yield box, relay
        box.writer.close()
    listening.close() if server is None else server.close()


async def rest(box: Stream) -> bytes:
    """All that the box still hears."""
    return await box.reader.read(-1)


async def test_clear_http_is_relayed_to_where_the_box_had_opened_it() -> None:
    world = World()
    async with relayed(world) as (box, _):
        await box.send(GET % b"a.com")
        assert (await rest(box)).startswith(b"HTTP/1.1 204")
    assert world.heard.startswith(b"GET / HTTP/1.1\r\nHost: a.com\r\n")
    assert world.told == []


async def test_a_refused_host_is_told_to_the_box_and_to_the_agent() -> None:
    world = World()
    async with relayed(world) as (box, relay):
        await box.send(GET % b"b.com")
        told = await rest(box)
        assert b"b.com at 127.0.0.1 is refused: DENIED_CIDR, by denied_cidrs 127.0.0.0/8" in told
    where = Destination(
        domain=Name.parse("b.com"), address=HERE, port=relay._port, protocol=Protocol.TCP
    )
    assert world.told == [("b1", where, DENIED)]
    assert world.heard == b""


async def test_tls_is_passed_on_as_it_is() -> None:
    world = World()
    data = hello_for("a.com")
    async with relayed(world) as (box, _):
        await box.send(data[:20])
        await box.send(data[20:])
        await world.server_heard.wait()
        box.writer.write_eof()
        assert (await rest(box)).startswith(b"HTTP/1.1 204")
    assert world.heard == data


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (hello_for("b.com"), Reason.DENIED_CIDR),
        (real_hello(None), Reason.NAME_MISMATCH),
        (b"SSH-2.0-box\r\n", Reason.UNRECOGNISED_PROTOCOL),
        (b"PRI * HTTP/2.0\r\n\r\n", Reason.UNRECOGNISED_PROTOCOL),
        (b"GE", Reason.UNRECOGNISED_PROTOCOL),
        (b"", Reason.UNRECOGNISED_PROTOCOL),
    ],
    ids=["another name", "no name", "SSH", "HTTP/2", "half of a word", "nothing"],
)
async def test_what_names_nobody_who_is_allowed_ends(data: bytes, reason: Reason) -> None:
    world = World()
    async with relayed(world) as (box, _):
        await box.send(data)
        box.writer.write_eof()
        assert await rest(box) == b""
    assert [refusal.reason for _, _, refusal in world.told] == [reason]
    assert world.heard == b""


async def test_a_box_that_says_nothing_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "FIRST_BYTES", 0)
    world = World()
    async with relayed(world) as (box, _):
        assert await rest(box) == b""
    assert world.heard == b""


async def test_a_server_that_is_not_there_ends_tls_without_a_word() -> None:
    async with relayed(World(), is_served=False) as (box, _):
        await box.send(hello_for("a.com"))
        assert await rest(box) == b""


async def test_a_server_that_is_not_there_is_told_in_http() -> None:
    async with relayed(World(), is_served=False) as (box, _):
        await box.send(GET % b"a.com")
        assert (await rest(box)).startswith(b"HTTP/1.1 502")


async def test_a_connection_goes_on_while_its_name_is_allowed_and_is_cut_at_both_ends() -> None:
    world = World()
    async with relayed(world) as (box, relay):
        assert relay.may_go_on(), "what it will carry will be judged"
        await box.send(hello_for("a.com"))
        await world.server_heard.wait()
        assert relay.may_go_on()
        world.allowed.clear()
        assert not relay.may_go_on()
        relay.cut()
        await world.ended.wait()
        await rest(box)


async def test_a_connection_outlives_the_lease_it_began_by_and_no_other_name_begins() -> None:
    world = World()
    world.allowed |= {"b.com"}
    kept_alive = b"GET / HTTP/1.1\r\nHost: %s\r\n\r\n"
    world.answer = b"HTTP/1.1 204 No Content\r\n\r\n"
    async with relayed(world) as (box, relay):
        await box.send(kept_alive % b"a.com")
        assert (await box.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204")
        world.leased.clear()

        assert relay.may_go_on()
        await box.send(kept_alive % b"a.com")
        assert (await box.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204")

        await box.send(kept_alive % b"b.com")
        assert b"b.com at 127.0.0.1 is refused: NAME_MISMATCH" in await rest(box)


@pytest.mark.parametrize("data", [GET % b"a.com", hello_for("a.com")], ids=["HTTP", "TLS"])
async def test_what_is_no_longer_allowed_when_the_server_answers_gets_nowhere(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, connect = World(), asyncio.open_connection

    async def slowly(*where: object) -> object:
        world.allowed.clear()
        return await connect(*where)  # type: ignore[arg-type]  # as it was called

    async with relayed(world) as (box, _):
        monkeypatch.setattr(asyncio, "open_connection", slowly)
        await box.send(data)
        with contextlib.suppress(ConnectionResetError):
            assert await rest(box) == b""
        await world.ended.wait()
    assert world.heard == b""
