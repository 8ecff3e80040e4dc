"""Who is written together, who waits, and for how long."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from boxwall_server.changes.change import Timestamp
from boxwall_server.store.batch import Answer
from boxwall_server.store.group_commit import GroupCommit
from boxwall_server.store.mutations import DeleteBox, Done, Mutation


def mutation(number: int) -> Mutation:
    return DeleteBox(tenant="t", id=f"b{number}", now=Timestamp(0))


class Disk:
    """Notes each batch, and writes it when the test says so."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self._gates: list[asyncio.Event] = []

    async def write(self, batch: list[Mutation]) -> Sequence[Answer]:
        gate = asyncio.Event()
        self.batches.append(len(batch))
        self._gates.append(gate)
        await gate.wait()
        return [Done() for _ in batch]

    def finish(self) -> None:
        """End the write that is under way."""
        self._gates[-1].set()


async def settle(passes: int = 20) -> None:
    """Let everything run that does not wait for time or for the disk."""
    for _ in range(passes):
        await asyncio.sleep(0)


def trial(play: Callable[[GroupCommit, Disk], Awaitable[None]]) -> None:
    async def run() -> None:
        disk = Disk()
        group = GroupCommit(disk.write, translated=lambda exc: exc, observe=lambda seconds: None)
        await play(group, disk)

    asyncio.run(run())


def test_one_who_is_alone_does_not_wait() -> None:
    async def play(group: GroupCommit, disk: Disk) -> None:
        for number in range(3):
            one = asyncio.ensure_future(group.apply(mutation(number)))
            await settle()
            assert disk.batches == [1] * (number + 1)
            disk.finish()
            await one

    trial(play)


def test_those_who_come_at_once_are_written_together() -> None:
    async def play(group: GroupCommit, disk: Disk) -> None:
        all_of_them = asyncio.gather(*(group.apply(mutation(n)) for n in range(7)))
        await settle()
        assert disk.batches == [7]
        disk.finish()
        await all_of_them

    trial(play)


def test_a_batch_waits_for_as_many_as_were_about_and_not_for_more() -> None:
    async def play(group: GroupCommit, disk: Disk) -> None:
        group._patience = 1e9  # time must not end this wait
        first = asyncio.gather(*(group.apply(mutation(n)) for n in range(3)))
        await settle()
        disk.finish()
        await first
        group._patience = 1e9
        some = asyncio.gather(*(group.apply(mutation(n)) for n in range(2)))
        await settle()
        assert disk.batches == [3], "two of three are there"
        third = asyncio.ensure_future(group.apply(mutation(2)))
        await settle()
        assert disk.batches == [3, 3]
        disk.finish()
        await asyncio.gather(some, third)

    trial(play)


def test_a_batch_whose_company_does_not_come_is_written_without_it() -> None:
    async def play(group: GroupCommit, disk: Disk) -> None:
        first = asyncio.gather(*(group.apply(mutation(n)) for n in range(3)))
        await settle()
        disk.finish()
        await first
        one = asyncio.ensure_future(group.apply(mutation(0)))
        async with asyncio.timeout(30):
            while disk.batches != [3, 1]:  # noqa: ASYNC110  # about state that has no event
                await asyncio.sleep(0.001)
        disk.finish()
        await one

    trial(play)


def test_closing_does_not_wait_for_company() -> None:
    async def play(group: GroupCommit, disk: Disk) -> None:
        first = asyncio.gather(*(group.apply(mutation(n)) for n in range(3)))
        await settle()
        disk.finish()
        await first
        group._patience = 1e9  # time must not end this wait
        one = asyncio.ensure_future(group.apply(mutation(0)))
        await settle()
        assert disk.batches == [3]
        closing = asyncio.ensure_future(group.close())
        await settle()
        assert disk.batches == [3, 1]
        disk.finish()
        await asyncio.gather(one, closing)

    trial(play)
