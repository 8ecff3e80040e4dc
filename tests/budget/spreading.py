"""What a change costs on its way to those who watch, and to those who do not."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from boxwall.policy import DenyAll
from boxwall.wire.policies import policy_to_bytes
from boxwall_server.changes.change import PolicyBytes
from boxwall_server.changes.log import ChangeLog
from boxwall_server.enforcement import EnforcementLedger, NodeKey
from boxwall_server.identity.caller import ANYONE
from boxwall_server.metrics import Metrics
from boxwall_server.service.call import Call
from boxwall_server.service.hub import Hub
from boxwall_server.service.observing import NodeView, observe
from boxwall_server.service.standings import Standings
from boxwall_server.service.subscriber import Subscriber
from boxwall_server.service.waits import Waits
from boxwall_server.store.memory import MemoryStore
from boxwall_server.store.mutations import CreateBox, SetPolicy
from budget.counting import Calls
from fakes.clock import FakeClock

ENCODERS: Final = ("entry_to_bytes", "changes_frame")
"""What makes bytes of a change, by their names."""

TENANT: Final = ANYONE.tenant
POLICY: Final = PolicyBytes(policy_to_bytes(DenyAll()))


class Written:
    """The side of a stream that gRPC takes."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []

    async def write(self, frame: bytes) -> None:
        self.frames.append(frame)


class Spread:
    """A hub behind a store, without gRPC."""

    def __init__(self) -> None:
        self.store, self.clock = MemoryStore(), FakeClock()
        self.metrics = Metrics()
        self.hub = Hub(ChangeLog(self.store.head), self.clock, self.metrics)
        self.store.listen(self.hub.publish)
        self.ledger = EnforcementLedger()
        self.waits = Waits(Standings(self.ledger, self.store))

    async def create(self, box: int) -> None:
        await self.store.apply(
            CreateBox(
                tenant=TENANT,
                id=f"b{box}",
                uid=f"u{box}",
                now=self.clock.now(),
                author="a",
                policy=POLICY,
                mode="deny-all",
            )
        )

    async def change(self, box: int) -> None:
        await self.store.apply(
            SetPolicy(
                tenant=TENANT,
                id=f"b{box}",
                now=self.clock.now(),
                author="a",
                policy=POLICY,
                mode="deny-all",
            )
        )

    def host(self, number: int) -> Subscriber:
        """Add a node that hosts the box of the same number."""
        context: Any = Written()
        subscriber = Subscriber(
            Call(context, caller=ANYONE),
            self.clock,
            NodeKey(TENANT, f"n{number}"),
            "",
            self.ledger,
            self.waits,
            lambda seconds: None,
        )
        subscriber.feed.widen([f"b{number}"])
        self.hub.routes.host(subscriber, TENANT, [f"b{number}"])
        return subscriber


async def routing(nodes: int) -> Mapping[str, float]:
    """A change of one box, when so many nodes host a box each."""
    spread = Spread()
    await spread.create(0)
    hosts = [spread.host(number) for number in range(nodes)]
    with Calls(*ENCODERS) as calls:
        await spread.change(0)
    assert [host for host in hosts if host._wakeup.is_set()] == hosts[:1]
    return {
        f"change routed to 1 of {nodes} nodes: calls": calls.total,
        f"change routed to 1 of {nodes} nodes: encoded": calls.named["entry_to_bytes"],
    }


async def watching(watchers: int) -> Mapping[str, float]:
    """A change that so many observers are told of."""
    spread = Spread()
    await spread.create(0)
    streams = [Written() for _ in range(watchers)]
    async with asyncio.TaskGroup() as tasks:
        start = spread.store.head
        observers = [
            tasks.create_task(
                observe(
                    NodeView(),
                    start,
                    Call(stream, caller=ANYONE),  # type: ignore[arg-type]  # of the same shape
                    spread.hub,
                    spread.store,
                    spread.clock,
                    spread.metrics,
                )
            )
            for stream in streams
        ]
        await _until_each_has(1, streams)
        with Calls(*ENCODERS) as calls:
            await spread.change(0)
            await _until_each_has(2, streams)
        for observer in observers:
            observer.cancel()
    return {
        f"change for {watchers} observers: calls for each": calls.total / watchers,
        f"change for {watchers} observers: encoded": sum(calls.named.values()),
    }


async def _until_each_has(count: int, streams: list[Written]) -> None:
    async with asyncio.timeout(30):
        while min(len(stream.frames) for stream in streams) < count:  # noqa: ASYNC110  # see above
            await asyncio.sleep(0)
    assert {len(stream.frames) for stream in streams} == {count}
