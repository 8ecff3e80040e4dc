"""Leases end in time, and are forgotten when no connection needs them."""

import asyncio
from collections.abc import Callable, Set

import pytest

from boxwall_agent import lease_keeper
from boxwall_agent.errors import KernelUnsure
from boxwall_agent.lease_keeper import LeaseKeeper


class FakeAgent:
    """Remembers what it was asked; `full`: how often it says that there is no room."""

    def __init__(self, *, full: bool = False, fails: int = 0) -> None:
        self.on_room_needed: Callable[[], None] = lambda: None
        self.ended = 0
        self.forgotten: list[tuple[Set[int], float]] = []
        self.failures = 0
        self._full = full
        self._fails = fails
        self.done = asyncio.Event()

    def end_leases(self, now: float) -> None:
        self.ended += 1
        if self._full:
            self._full = False
            self.on_room_needed()
        if self._fails:
            self._fails -= 1
            self.failures += 1
            raise KernelUnsure("ENOBUFS")
        if self.ended > 4:
            self.done.set()

    def forget_leases(self, carried: Set[int], before: float) -> None:
        self.forgotten.append((carried, before))


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_keeper, "_TICK", 0)
    monkeypatch.setattr(lease_keeper, "grants", lambda: frozenset((7,)))


async def keep(agent: FakeAgent) -> None:
    """Until leases have been looked at some times."""
    keeper = LeaseKeeper(agent)  # type: ignore[arg-type]  # what it uses of one
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(keeper.run())
        async with asyncio.timeout(5):
            await agent.done.wait()
        running.cancel()


async def test_leases_are_ended_and_connections_are_seldom_looked_at() -> None:
    agent = FakeAgent()
    await keep(agent)
    assert agent.ended >= 5
    assert agent.forgotten == []


async def test_a_box_that_needs_room_has_connections_looked_at_at_once() -> None:
    agent = FakeAgent(full=True)
    before = asyncio.get_running_loop().time()
    await keep(agent)
    ((carried, settled),) = agent.forgotten
    assert carried == {7}
    assert settled <= asyncio.get_running_loop().time() - lease_keeper._SETTLED
    assert settled >= before - lease_keeper._SETTLED - 1


async def test_connections_are_looked_at_from_time_to_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lease_keeper, "_SWEEP", -1)
    agent = FakeAgent()
    await keep(agent)
    assert len(agent.forgotten) >= 4


async def test_leases_that_could_not_be_ended_are_tried_again() -> None:
    agent = FakeAgent(fails=2)
    await keep(agent)
    assert agent.failures == 2
    assert agent.ended >= 5


async def test_room_that_could_not_be_made_is_made_at_the_next_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = iter([KernelUnsure("ENOBUFS")])

    def grants() -> frozenset[int]:
        for error in answers:
            raise error
        return frozenset((7,))

    monkeypatch.setattr(lease_keeper, "grants", grants)
    agent = FakeAgent(full=True)
    await keep(agent)
    assert len(agent.forgotten) == 1
