"""What must be done now and then."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from boxwall_server import upkeep
from boxwall_server.changes.change import PolicyBytes, Timestamp
from boxwall_server.metrics import Metrics
from boxwall_server.store.errors import BoxNotFound, StoreUnavailable
from boxwall_server.store.memory import MemoryStore
from boxwall_server.store.mutations import CreateBox, Expiry, UpdateBox
from boxwall_server.store.records import NodeRecord
from boxwall_server.upkeep import Sweeper, record_nodes
from fakes.clock import FakeClock
from fakes.store_cases import Heard


class Sweeping:
    """A store with boxes that end, and a sweeper."""

    def __init__(self) -> None:
        self.store, self.clock, self.metrics = MemoryStore(), FakeClock(), Metrics()
        self.sweeper = Sweeper(self.store, self.clock, self.metrics)
        self.heard = Heard()
        self.store.listen(self.heard)

    def at(self, seconds: float) -> Timestamp:
        return Timestamp(self.clock.now() + round(seconds * 1_000_000))

    async def create(self, box_id: str, ttl: float | None, tenant: str = "default") -> None:
        await self.store.apply(
            CreateBox(
                tenant=tenant,
                id=box_id,
                uid=f"uid-{tenant}-{box_id}",
                now=self.clock.now(),
                author="test",
                policy=PolicyBytes(b""),
                mode="deny-all",
                expire_time=None if ttl is None else self.at(ttl),
            )
        )

    async def exists(self, box_id: str, tenant: str = "default") -> bool:
        try:
            await self.store.box(tenant, box_id)
        except BoxNotFound:
            return False
        return True


@pytest.fixture
def sweeping() -> Sweeping:
    return Sweeping()


async def test_a_box_ends_when_its_time_is_up_and_not_before(sweeping: Sweeping) -> None:
    await sweeping.create("b1", ttl=10)
    sweeping.clock.advance(9.999)
    assert await sweeping.sweeper.sweep() == 0
    assert await sweeping.exists("b1")
    sweeping.clock.advance(0.001)
    assert await sweeping.sweeper.sweep() == 1
    assert not await sweeping.exists("b1")


async def test_a_box_without_an_end_stays(sweeping: Sweeping) -> None:
    await sweeping.create("b1", ttl=None)
    sweeping.clock.advance(10**9)
    assert await sweeping.sweeper.sweep() == 0
    assert await sweeping.exists("b1")


async def test_the_end_of_a_box_is_a_write_like_any_other_and_is_told(sweeping: Sweeping) -> None:
    await sweeping.create("b1", ttl=1)
    sweeping.clock.advance(1)
    with capture_logs() as logs:
        await sweeping.sweeper.sweep()
    assert [
        change.kind.value for commit in sweeping.heard.commits for change in commit.changes
    ] == [
        "created",
        "deleted",
    ]
    assert sweeping.metrics.registry.get_sample_value("boxwall_boxes_expired_total") == 1
    assert [(log["event"], log["box"]) for log in logs] == [("box_expired", "b1")]


async def test_boxes_of_every_tenant_end(sweeping: Sweeping) -> None:
    await sweeping.create("b1", ttl=1, tenant="t1")
    await sweeping.create("b1", ttl=1, tenant="t2")
    sweeping.clock.advance(1)
    assert await sweeping.sweeper.sweep() == 2
    assert not await sweeping.exists("b1", "t1")
    assert not await sweeping.exists("b1", "t2")


async def test_very_many_boxes_end_a_sweep_at_a_time(
    sweeping: Sweeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "_AT_ONCE", 4)
    for number in range(10):
        await sweeping.create(f"b{number}", ttl=1)
    sweeping.clock.advance(1)
    assert [await sweeping.sweeper.sweep() for _ in range(4)] == [4, 4, 2, 0]


async def test_a_box_that_gets_more_time_while_it_is_swept_stays(
    sweeping: Sweeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sweeping.create("b1", ttl=1)
    await sweeping.create("b2", ttl=1)
    sweeping.clock.advance(1)
    list_expired = sweeping.store.expired

    async def then_extended(*args: Any, **kwargs: Any) -> Any:
        found = await list_expired(*args, **kwargs)
        more = UpdateBox(
            tenant="default", id="b1", now=sweeping.clock.now(), expiry=Expiry(at=sweeping.at(60))
        )
        await sweeping.store.apply(more)
        return found

    monkeypatch.setattr(sweeping.store, "expired", then_extended)
    assert await sweeping.sweeper.sweep() == 1
    assert await sweeping.exists("b1")
    assert not await sweeping.exists("b2")


NODE = NodeRecord(tenant="default", id="n1", agent_version="1")


async def test_what_is_heard_of_nodes_is_remembered() -> None:
    store = MemoryStore()
    await record_nodes(store, [NODE])
    assert (await store.node("default", "n1")).agent_version == "1"


async def test_a_store_that_does_not_answer_is_no_reason_to_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = MemoryStore()

    async def fails(mutation: object) -> Any:
        raise StoreUnavailable("locked")

    monkeypatch.setattr(store, "apply", fails)
    with capture_logs() as logs:
        await record_nodes(store, [NODE])
        await record_nodes(store, [])
    assert [log["event"] for log in logs] == ["record_nodes_failed"]
