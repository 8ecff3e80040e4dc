"""What nodes refused at one of two servers, watched at the other."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from boxwall.v1 import box_service_pb2, policy_pb2
from boxwall_server.service import refusal_exchange
from boxwall_server.store.base import MAX_NOTE
from boxwall_server.store.errors import StoreUnavailable
from fakes.postgres_server import PostgresServer
from fakes.replicas import serving_twice
from fakes.service import Served, until

PATIENCE = 20


@pytest.fixture
async def served(tmp_path: Path, postgres: PostgresServer) -> AsyncIterator[Served]:
    """Nodes talk to one of two servers, those who watch to the other."""
    async with serving_twice(tmp_path, await postgres.database()) as running:
        yield running


def refused(count: int = 1, domain: str = "evil.test", box: str = "b1") -> policy_pb2.Refusal:
    return policy_pb2.Refusal(
        box=box,
        destination=policy_pb2.Destination(domain=domain, port=443),
        reason=policy_pb2.REASON_NO_RULE,
        count=count,
    )


class Watching:
    """What one call of WatchRefusals has shown so far."""

    def __init__(self, served: Served, **fields: Any) -> None:
        self._call = served.boxes.WatchRefusals(box_service_pb2.WatchRefusalsRequest(**fields))
        self.refusals: list[policy_pb2.Refusal] = []
        self.dropped = 0

    async def shows(self, refusals: int, dropped: int = 0) -> None:
        """Read until so much was shown."""
        async with asyncio.timeout(PATIENCE):
            while len(self.refusals) < refusals or self.dropped < dropped:
                await self.next()

    async def next(self) -> None:
        answer = await self._call.read()
        self.refusals += answer.refusals
        self.dropped += answer.dropped


async def test_what_is_refused_at_one_server_is_shown_at_the_other_once(served: Served) -> None:
    await served.create()
    agent = await served.hosting("b1")
    watching = Watching(served)
    await watching.next()
    for number in range(3):
        await agent.refuse(refused(count=number + 1))
        await watching.shows(number + 1)
    assert watching.refusals == [refused(count=1), refused(count=2), refused(count=3)]
    assert served.metric("boxwall_refusals_total", reason="NO_RULE") == 6
    counted = served.front.metrics.registry.get_sample_value(
        "boxwall_refusals_total", {"reason": "NO_RULE"}
    )
    assert counted is None, "each is counted at one server"


async def test_what_was_refused_lately_is_remembered_at_every_server(served: Served) -> None:
    await served.create()
    agent = await served.hosting("b1")
    await agent.refuse(refused(count=7))
    await Watching(served).shows(1)
    await Watching(served, recent=5, box_id="b1").shows(1)


async def test_a_watch_of_labels_shows_what_is_refused_elsewhere(served: Served) -> None:
    await served.create("b1", labels={"team": "search"})
    await served.create("b2")
    agent = await served.hosting("b1", "b2")
    watching = Watching(served, labels={"team": "search"})
    await watching.next()
    await agent.refuse(refused(box="b2"), refused(box="b1"))
    await watching.shows(1)
    assert watching.refusals == [refused(box="b1")]


async def test_a_large_report_goes_in_many_notes_and_arrives_whole(served: Served) -> None:
    await served.create()
    agent = await served.hosting("b1")
    watching = Watching(served)
    await watching.next()
    many = [refused(count=n + 1, domain=f"{'x' * 60}.{n}.test") for n in range(300)]
    await agent.refuse(*many, dropped=5)
    await watching.shows(300, dropped=5)
    assert watching.refusals == many
    assert watching.dropped == 5


async def test_more_than_can_be_told_is_dropped_the_oldest_first_and_counted(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusal_exchange, "WAITING", 10)
    await served.create()
    agent = await served.hosting("b1")
    watching = Watching(served)
    await watching.next()
    await agent.refuse(*(refused(count=n + 1) for n in range(14)))
    await watching.shows(10, dropped=1 + 2 + 3 + 4)
    assert watching.refusals == [refused(count=n + 1) for n in range(4, 14)]


async def test_what_the_store_did_not_take_is_counted_as_dropped(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    await served.create()
    agent = await served.hosting("b1")
    watching = Watching(served)
    await watching.next()
    tell, failures = served.store.tell_peers, list[int]()

    async def fails_at_first(notes: Sequence[bytes]) -> None:
        if not failures:
            failures.append(1)
            raise StoreUnavailable("away")
        await tell(notes)

    monkeypatch.setattr(served.store, "tell_peers", fails_at_first)
    await agent.refuse(refused(count=3), refused(count=4))
    await until(lambda: failures)
    await agent.refuse(refused(count=9))
    await watching.shows(1, dropped=7)
    assert watching.refusals == [refused(count=9)]


async def test_no_note_is_larger_than_the_store_takes(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    await served.create()
    agent = await served.hosting("b1")
    watching = Watching(served)
    await watching.next()
    tell, sizes = served.store.tell_peers, list[int]()

    async def weighed(notes: Sequence[bytes]) -> None:
        sizes.extend(map(len, notes))
        await tell(notes)

    monkeypatch.setattr(served.store, "tell_peers", weighed)
    largest = [refused(count=2**63, domain="x" * 2_000) for _ in range(20)]
    await agent.refuse(*largest)
    await watching.shows(20)
    assert len(sizes) == 10, "two of these fit"
    assert MAX_NOTE - 2_048 < max(sizes) <= MAX_NOTE
