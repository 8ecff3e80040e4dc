"""A whole server over a memory store, on a unix socket, with clocks that stand still."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from structlog.testing import capture_logs

from boxwall.policy import Violation
from boxwall.v1 import (
    box_pb2,
    box_service_pb2,
    box_service_pb2_grpc,
    enforcement_service_pb2_grpc,
    node_service_pb2_grpc,
    policy_pb2,
)
from boxwall.wire.errors import WireError, error_from_rpc
from boxwall_server.app import App
from boxwall_server.changes.change import BoxRecord
from boxwall_server.changes.revision import cursor_from_token
from boxwall_server.config import ServerConfig, UnixAddress
from boxwall_server.metrics import Metrics
from boxwall_server.service.hub import Hub
from boxwall_server.service.stream import Stream
from boxwall_server.service.waits import Waits
from boxwall_server.store.base import Store
from boxwall_server.store.memory import MemoryStore
from boxwall_server.store.records import Commit, NewHistory
from fakes.agent import Agent, Watch, subscribed, watch_request
from fakes.clock import FakeClock
from guarantees.checkers import Checkers
from guarantees.history import History, box_write, policy_write

ALLOW_ALL = policy_pb2.NetworkPolicy(allow_all=policy_pb2.AllowAll())
DENY_ALL = policy_pb2.NetworkPolicy(deny_all=policy_pb2.DenyAll())


def custom(*domains: str, **lists: Any) -> policy_pb2.NetworkPolicy:
    """A custom policy."""
    return policy_pb2.NetworkPolicy(
        custom=policy_pb2.CustomPolicy(allowed_domains=domains, **lists)
    )


class Served:
    """A running server and a client of it."""

    def __init__(
        self, app: App, store: Store, clock: FakeClock, logs: list[Any], front: App | None = None
    ) -> None:
        """`front`: the server that callers other than nodes talk to, if that is another."""
        self.app = app
        self.front = front or app
        self.store = store
        self.clock = clock
        self.logs = logs
        """What was logged, one mapping each."""
        self.history = History()
        """What StreamPolicies shows of everything that was written."""
        self._commits: list[Commit] = []
        self.listen(store, app.hub)

    def listen(self, store: Store, hub: Hub) -> None:
        """Note what a store tells a server, before it is served to anyone."""

        def heard(news: Commit | NewHistory) -> None:
            if isinstance(news, Commit):
                self._note(news)
            hub.publish(news)

        store.listen(heard)

    def _note(self, commit: Commit) -> None:
        known = self._commits[-1].changes[-1].revision if self._commits else 0
        new = tuple(change for change in commit.changes if change.revision > known)
        if new:
            self._commits.append(Commit(epoch=commit.epoch, changes=new))
        for change in new:
            self.history.add(policy_write(change))

    def connect(self, channel: grpc.aio.Channel, front: grpc.aio.Channel | None = None) -> None:
        """Make the stubs."""
        self.channel = channel
        self.boxes: Any = box_service_pb2_grpc.BoxServiceStub(front or channel)
        self.nodes: Any = node_service_pb2_grpc.NodeServiceStub(front or channel)
        enforcement: Any = enforcement_service_pb2_grpc.EnforcementServiceStub
        self.enforcement: Any = enforcement(channel)
        self.enforcement_at_front: Any = enforcement(front or channel)

    @property
    def hub(self) -> Hub:
        """The server's streams."""
        return self.app.hub

    @property
    def open_streams(self) -> int:
        """How many streams are open."""
        return sum(hub.open_streams for hub in self._hubs)

    @property
    def _apps(self) -> set[App]:
        return {self.app, self.front}

    @property
    def _hubs(self) -> list[Hub]:
        return [app.hub for app in self._apps]

    @property
    def target(self) -> str:
        """What clients connect to."""
        return str(self.app.address)

    async def pass_time(self, seconds: float) -> None:
        """Let time pass, once every stream has sent what it had to."""
        await until(lambda: not any(is_busy(s) for hub in self._hubs for s in hub.streams()))
        self.tick(seconds)

    def tick(self, seconds: float) -> None:
        """Let time pass, second by second, whatever the streams are doing."""
        for _ in range(round(seconds)):
            self.clock.advance(1.0)
            for hub in self._hubs:
                hub.tick()

    def metric(self, name: str, **labels: str) -> float:
        """The value of a metric; 0 if it never was."""
        values = [app.metrics.registry.get_sample_value(name, labels) for app in self._apps]
        return sum(value or 0.0 for value in values)

    async def create(self, box_id: str = "b1", **fields: Any) -> box_pb2.Box:
        """Make a box."""
        request = box_service_pb2.CreateBoxRequest(box_id=box_id, box=box_pb2.Box(**fields))
        box: box_pb2.Box = await self.boxes.CreateBox(request)
        return box

    async def update(
        self, box_id: str = "b1", policy: policy_pb2.NetworkPolicy = DENY_ALL, **fields: Any
    ) -> box_pb2.Box:
        """Replace a policy."""
        request = box_service_pb2.UpdateNetworkPolicyRequest(
            box_id=box_id, network_policy=policy, **fields
        )
        box: box_pb2.Box = await self.boxes.UpdateNetworkPolicy(request)
        return box

    async def get(self, box_id: str = "b1") -> box_pb2.Box:
        """Read a box, once the server that is asked knows what that of the nodes knows."""
        await self.told()
        box: box_pb2.Box = await self.boxes.GetBox(box_service_pb2.GetBoxRequest(box_id=box_id))
        return box

    async def delete(self, box_id: str = "b1", **fields: Any) -> box_service_pb2.DeleteBoxResponse:
        """End a box."""
        request = box_service_pb2.DeleteBoxRequest(box_id=box_id, **fields)
        answer: box_service_pb2.DeleteBoxResponse = await self.boxes.DeleteBox(request)
        return answer

    async def state(self, box_id: str = "b1") -> str:
        """The state of a box's enforcement, without its prefix."""
        return state_name((await self.get(box_id)).enforcement)

    async def subscribe(self, node_id: str = "n1", boxes: Any = (), **fields: Any) -> Agent:
        """Open a node's stream."""
        stub = fields.pop("stub", self.enforcement)
        return await subscribed(stub, self.history, self.clock, node_id, boxes, **fields)

    async def hosting(self, *box_ids: str, node_id: str = "n1") -> Agent:
        """Open a node's stream and acknowledge the reset."""
        agent = await self.subscribe(node_id, box_ids)
        await agent.until("reset")
        await agent.acknowledge()
        for box_id in box_ids:
            await self.enforced_on(node_id, box_id)
        return agent

    async def enforced_on(self, node_id: str, box_id: str) -> None:
        """Wait until the servers have taken in that a node has answered for a box."""
        await until(
            lambda: (
                node_id in self.ledger.hosts("default", box_id) and not self.unacknowledged(node_id)
            )
        )
        await self.told()

    async def told(self) -> None:
        """Wait until what the server of the nodes knows is known to all servers."""
        peers, streams = self.app.peers, self.app.node_streams
        await until(lambda: not peers.is_telling and peers.sessions <= len(streams.all_connected()))

    async def gone(self) -> None:
        """Wait until no node has a stream, and all servers know."""
        await until(lambda: not self.app.node_streams.all_connected())
        await self.told()

    @property
    def waits(self) -> Waits:
        """Those who wait at the server that they talk to."""
        return self.front.waits

    def unacknowledged(self, node_id: str) -> bool:
        """Whether a node still owes an acknowledgement."""
        streams = [s for s in self.app.node_streams.all_connected() if s.node.id == node_id]
        return any(s.feed.unacknowledged_since is not None for s in streams)

    @property
    def ledger(self) -> Any:
        """The server's ledger."""
        return self.app.node_streams._ledger

    def watch(
        self,
        cursor: str = "",
        shown: Callable[[BoxRecord], bool] = lambda box: True,
        *,
        trusted: bool = True,
        **where: Any,
    ) -> Watch:
        """Open WatchBoxes; `shown` says what the filter `where` lets through.

        `trusted` False: the cursor is not one of this history.
        """
        history = LiveBoxHistory(self._commits, shown)
        start = cursor_from_token(cursor, "default") if cursor and trusted else None
        checkers = Checkers(
            history,
            now=self.clock.steady(),
            cursor=cursor if start else "",
            held=history.state_at(start.revision) if start else {},
        )
        return Watch(self.boxes.WatchBoxes(watch_request(cursor, **where)), checkers, self.clock)


class LiveBoxHistory(History):
    """What WatchBoxes shows of commits, also of those that come later."""

    def __init__(self, commits: list[Commit], shown: Callable[[BoxRecord], bool]) -> None:
        super().__init__()
        self._commits = commits
        self._shown = shown
        self._taken = 0
        self.catch_up()

    @property
    def head(self) -> int:
        """The newest revision."""
        self.catch_up()
        return self._head

    def catch_up(self) -> None:
        """Take in the commits that are new."""
        new, self._taken = self._commits[self._taken :], len(self._commits)
        for commit in new:
            for change in commit.changes:
                self.add(box_write(change, self._shown))


def config_of(folder: Path, name: str, **settings: Any) -> ServerConfig:
    """The configuration of a server on a socket in a folder."""
    return ServerConfig(
        listen=UnixAddress(folder / f"{name}.sock"),
        database=folder / "unused.db",
        metrics_listen=None,
        **({"grace": 0.0} | settings),
    )


@asynccontextmanager
async def serving(folder: Path, **settings: Any) -> AsyncIterator[Served]:
    """Run a server for as long as the context lasts."""
    config = config_of(folder, "s", **settings)
    clock, store = FakeClock(), MemoryStore()
    with capture_logs() as logs:
        app = App(store, config, clock, Metrics())
        served = Served(app, store, clock, logs)
        await app.start()
        try:
            async with grpc.aio.insecure_channel(served.target) as channel:
                served.connect(channel)
                yield served
        finally:
            await app.stop()


def is_busy(stream: Stream) -> bool:
    """Whether a stream is writing or about to."""
    return stream._writing_since is not None or stream._wakeup.is_set()


async def until(condition: Callable[[], object]) -> None:
    """Let the loop run until something is so; fail if that takes long."""

    async with asyncio.timeout(5.0):
        while not condition():  # noqa: ASYNC110  # about state that has no event
            await asyncio.sleep(0.001)


async def refusal(call: Any) -> WireError:
    """Await a call that must fail; return what a client learns."""
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        return error_from_rpc(error)
    raise AssertionError(f"it was not refused: {answer}")


def fields_of(error: WireError) -> list[str]:
    """The paths of the violations."""
    return [violation.field for violation in error.violations]


def violation(error: WireError, field: str) -> Violation:
    """The violation of a field."""
    return next(v for v in error.violations if v.field == field)


def state_name(enforcement: box_pb2.Enforcement) -> str:
    """The state without its prefix."""
    return box_pb2.Enforcement.State.Name(enforcement.state).removeprefix("STATE_")
