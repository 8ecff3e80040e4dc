"""The node's stream: what is closed out of contact comes back, and nothing waits without bound."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from boxwall.policy import Address, AllowAll
from boxwall.sdk.endpoint import Endpoint
from boxwall.v1 import enforcement_service_pb2 as service_pb
from boxwall.v1 import stream_pb2 as pb
from boxwall.wire.entries import PolicySet
from boxwall.wire.node_stream import detach_request
from boxwall_agent import state as state_module
from boxwall_agent.agent import Agent
from boxwall_agent.config import AgentConfig
from boxwall_agent.enforcer import Enforcer
from boxwall_agent.grants import GrantPool
from boxwall_agent.hosted import Standing
from boxwall_agent.in_force import InForce
from boxwall_agent.nft.batch import TableFlags
from boxwall_agent.ruleset import Interface
from boxwall_agent.state import State
from boxwall_agent.sync import MOST_WAITING, ROOM_FOR_REPORTS, Outbox, Sync
from boxwall_agent.table import Shared, Table
from boxwall_agent.wanted import after_entries
from fakes.kernel import FakeKernel, FakeSwitch

MAX_STALE = 0.04
BOOKMARK = service_pb.StreamPoliciesResponse(cursor="c2", bookmark=pb.Bookmark())


@dataclass
class FakeConnection:
    """A control plane that says what a test has it say, and keeps what it was asked first."""

    cursors: list[str] = field(default_factory=list)
    says: "asyncio.Queue[service_pb.StreamPoliciesResponse]" = field(default_factory=asyncio.Queue)
    enforcement: Any = field(default_factory=lambda: SimpleNamespace(StreamPolicies=None))

    async def stream(
        self, method: object, requests: AsyncIterator[Any], *, dead_at: Callable[[], float]
    ) -> AsyncIterator[service_pb.StreamPoliciesResponse]:
        """Answer one stream."""
        first = await anext(requests)
        self.cursors.append(first.subscribe.cursor)
        while True:
            yield await self.says.get()


class Node:
    """An agent with one box that may reach everything, and its place at a control plane."""

    def __init__(self, state: State) -> None:
        in_force = InForce(FakeKernel(), Table(Shared()), TableFlags.NONE)
        enforcer = Enforcer(in_force, GrantPool(), FakeSwitch())
        enforcer.start([], None, leases={})
        interface = Interface(name="box1", index=1, addresses=(Address.parse("10.77.1.2"),))
        enforcer.attach("b1", [interface])
        entry = PolicySet(box_id="b1", uid="u1", revision=1, policy=AllowAll())
        enforcer.put(after_entries(enforcer.hosted, [entry]))
        self.agent = Agent(enforcer, state, lambda seconds: None)
        self.connection = FakeConnection()
        self.now = 1_000.0

    def sync(self, last_contact: float | None = None) -> Sync:
        """Its stream."""
        return Sync(
            self.connection,  # type: ignore[arg-type]  # what is used of it
            self.agent,
            node_id="n1",
            agent_version="test",
            cursor="c1",
            max_stale=MAX_STALE,
            last_contact=last_contact,
            clock=lambda: self.now,
        )

    @property
    def standing(self) -> Standing:
        """Of its box."""
        return self.agent.hosted[0].standing


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    """An empty file."""
    state = State(tmp_path / "agent.db")
    yield state
    state.close()


@contextlib.asynccontextmanager
async def going(sync: Sync) -> AsyncIterator[None]:
    """Run it, for at most some seconds."""
    async with asyncio.timeout(10):
        task = asyncio.create_task(sync.run())
        yield
        task.cancel()


async def until(is_so: Callable[[], object]) -> None:
    """Wait for it."""
    while not is_so():  # noqa: ASYNC110  # what is waited for has no event
        await asyncio.sleep(0.001)


async def test_a_late_bookmark_begins_a_new_stream_with_the_whole_state(state: State) -> None:
    node = Node(state)
    async with going(node.sync()):
        await until(lambda: node.connection.cursors == ["c1"])
        node.now += 1
        await until(lambda: node.standing is Standing.SHUT_OUT)
        node.connection.says.put_nowait(BOOKMARK)
        await until(lambda: node.connection.cursors == ["c1", ""])


async def test_a_restart_does_not_begin_to_count_anew(state: State) -> None:
    node = Node(state)
    async with going(node.sync(last_contact=node.now - 1)):
        await until(lambda: node.connection.cursors)
        assert node.standing is Standing.SHUT_OUT
        assert node.connection.cursors == [""]


async def test_the_time_of_contact_is_remembered(state: State) -> None:
    node = Node(state)
    async with going(node.sync()):
        node.now += MAX_STALE / 2
        node.connection.says.put_nowait(BOOKMARK)
        await until(lambda: state.last_contact() == node.now)


def test_a_contact_before_the_last_boot_is_none(
    state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state.save_contact(12.5)
    assert state.last_contact() == 12.5
    state.close()
    monkeypatch.setattr(state_module, "_place", lambda: "another boot")
    after = State(tmp_path / "agent.db")
    assert after.last_contact() is None
    after.close()


@pytest.mark.parametrize(("seconds", "is_refused"), [(5, True), (29.9, True), (30, False)])
def test_a_max_stale_shorter_than_the_silence_of_a_living_stream_is_refused(
    seconds: float, is_refused: bool, tmp_path: Path
) -> None:
    expected = pytest.raises(ValueError, match="use 30s or more")
    with expected if is_refused else contextlib.nullcontext():
        AgentConfig(
            endpoint=Endpoint(target="127.0.0.1:1", is_local=True),
            node_id="n1",
            state_dir=tmp_path,
            max_stale=seconds,
        )


def test_an_outbox_that_nobody_reads_takes_no_more_than_it_can_hold() -> None:
    outbox, request = Outbox(), detach_request(["b1"])
    for _ in range(ROOM_FOR_REPORTS):
        assert outbox.has_room
        outbox.put(request)
    assert not outbox.has_room
    for _ in range(MOST_WAITING - ROOM_FOR_REPORTS):
        outbox.put(request)
    assert not outbox.is_overfull
    outbox.put(request)
    assert outbox.is_overfull
