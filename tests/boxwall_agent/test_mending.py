"""What is in doubt is tried again until the kernel does it."""

import asyncio

import pytest

from boxwall_agent.errors import KernelRejected
from boxwall_agent.mending import FIRST_WAIT, LONGEST_WAIT, Mender


class Doubtful:
    """An agent whose kernel refuses so many times."""

    def __init__(self, refusals: int) -> None:
        self.is_in_doubt = refusals >= 0
        self._refusals = refusals
        self.asked = 0

    def repair(self) -> None:
        self.asked += 1
        if self.asked <= self._refusals:
            raise KernelRejected(12, "transaction", "no memory")
        self.is_in_doubt = False


def waits_of(agent: Doubtful, number: int) -> tuple[list[float], int]:
    """How long it waits, so many times, and how many repairs it tells of."""
    waits: list[float] = []
    repairs: list[None] = []

    async def sleep(seconds: float) -> None:
        if len(waits) == number:
            raise asyncio.CancelledError
        waits.append(seconds)

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(Mender(agent, lambda: repairs.append(None), sleep).run())
    return waits, len(repairs)


def test_without_doubt_nothing_is_asked() -> None:
    agent = Doubtful(refusals=-1)
    assert waits_of(agent, 3) == ([FIRST_WAIT] * 3, 0)
    assert agent.asked == 0


def test_it_tries_until_it_succeeds_and_then_no_more() -> None:
    agent = Doubtful(refusals=2)
    assert waits_of(agent, 5) == ([1.0, 2.0, 4.0, 1.0, 1.0], 1)
    assert agent.asked == 3


def test_it_waits_longer_each_time_but_not_for_ever() -> None:
    waits, _ = waits_of(Doubtful(refusals=100), 10)
    assert waits[-1] == LONGEST_WAIT
