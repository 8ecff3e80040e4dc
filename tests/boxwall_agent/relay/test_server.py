"""How many connections the relay holds: of one box, and of all of them."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from boxwall.policy import Address, Destination, Name
from boxwall_agent.judging import Judgement, Passed, Refusal
from boxwall_agent.relay import server
from boxwall_agent.relay.server import RelayServer
from boxwall_agent.relay.streams import Stream

ONE, OTHER = "127.0.0.2", "127.0.0.3"
"""The addresses of two boxes."""


class Boxes:
    """As many as there are addresses; each may reach everything."""

    def box_at(self, address: Address) -> str:
        return f"box at {address}"

    def judge(
        self, box_id: str, address: Address, name: Name | None, *, has_begun: bool
    ) -> Judgement:
        return Passed(None)

    def refused(self, box_id: str, destination: Destination, refusal: Refusal) -> None:
        raise AssertionError("nothing is asked for")


class Held:
    """A connection that is relayed until a test has enough of it."""

    begun: asyncio.Queue["Held"]

    def __init__(self, boxes: Boxes, box_id: str, address: Address, port: int, box: Stream) -> None:
        self._box = box
        self._ended = asyncio.Event()

    async def run(self) -> None:
        self.begun.put_nowait(self)
        await self._ended.wait()

    def cut(self) -> None:
        self._box.abort()
        self._ended.set()


@asynccontextmanager
async def relay(monkeypatch: pytest.MonkeyPatch, most: int) -> AsyncIterator[RelayServer]:
    """One that may hold so many."""
    target = Address.parse("127.0.0.9"), 80
    monkeypatch.setattr(server, "_original_destination", lambda connection: target)
    monkeypatch.setattr(server, "Relayed", Held)
    Held.begun = asyncio.Queue()
    made = RelayServer(Boxes(), most=most)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(made.run())
        try:
            yield made
        finally:
            running.cancel()
    made.close()


async def opened(made: RelayServer, source: str) -> Held | None:
    """Open a connection as the box at `source`. None: the relay has ended it."""
    reader, writer = await connected(made, source)
    ended = asyncio.ensure_future(reader.read())
    begun = asyncio.ensure_future(Held.begun.get())
    try:
        async with asyncio.timeout(20):
            await asyncio.wait((ended, begun), return_when=asyncio.FIRST_COMPLETED)
        return begun.result() if begun.done() else None
    finally:
        for one in (ended, begun):
            one.cancel()
        await asyncio.gather(ended, begun, return_exceptions=True)
        writer.transport.abort()  # the relay does not read, and so does not hear of it


async def connected(
    made: RelayServer, source: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Wait for it to listen, which it does when it runs."""
    for _ in range(1000):
        try:
            return await asyncio.open_connection(
                "127.0.0.1", made.port, local_addr=(source, 0), family=socket.AF_INET
            )
        except ConnectionRefusedError:
            await asyncio.sleep(0.01)
    raise AssertionError("the relay does not listen")


async def test_a_box_has_no_more_than_its_part_and_others_have_theirs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with relay(monkeypatch, most=8) as made:
        held = [await opened(made, ONE) for _ in range(4)]
        assert [one is not None for one in held] == [True, True, False, False]
        assert await opened(made, OTHER)


async def test_all_boxes_together_have_no_more_than_there_are_files_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with relay(monkeypatch, most=3) as made:
        held = [await opened(made, f"127.0.0.{number}") for number in range(2, 7)]
        assert [one is not None for one in held] == [True, True, True, False, False]


async def test_a_connection_that_ends_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    async with relay(monkeypatch, most=1) as made:
        first = await opened(made, ONE)
        assert first is not None
        assert await opened(made, OTHER) is None
        first.cut()
        async with asyncio.timeout(20):
            while await opened(made, OTHER) is None:
                pass
        assert not any("127.0.0.2" in box_id for box_id in made._of_box)


async def test_without_a_bound_it_takes_half_of_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "file_limit", lambda: 1024)
    made = RelayServer(Boxes())
    assert (made._most, made._most_of_a_box) == (256, 64)
    made.close()
