"""Who writes, and in which order."""

import asyncio

import pytest

from boxwall_server.service.slots import Slots, TooManyWait


async def settle() -> None:
    """Let everybody do what can be done."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_tenants_take_turns_however_many_one_of_them_has() -> None:
    slots, order = Slots(at_once=1), list[str]()

    async def write(tenant: str) -> None:
        await slots.take(tenant)
        order.append(tenant)
        await asyncio.sleep(0)
        slots.give_back()

    async with asyncio.TaskGroup() as tasks:
        for tenant in "aaaabbc":
            tasks.create_task(write(tenant))
    assert "".join(order) == "aabcaba"


async def test_no_more_than_so_many_write_at_once() -> None:
    slots, writing, most = Slots(at_once=3), 0, 0

    async def write(number: int) -> None:
        nonlocal writing, most
        await slots.take(f"t{number % 4}")
        writing += 1
        most = max(most, writing)
        await asyncio.sleep(0)
        writing -= 1
        slots.give_back()

    await asyncio.gather(*(write(number) for number in range(50)))
    assert (most, writing, slots.waiting) == (3, 0, 0)


async def test_who_finds_no_place_to_wait_hears_so_at_once() -> None:
    slots = Slots(at_once=1, most_waiting=1)
    await slots.take("a")
    waits = asyncio.ensure_future(slots.take("a"))
    await settle()
    with pytest.raises(TooManyWait):
        await slots.take("b")
    slots.give_back()
    await waits


async def test_who_leaves_while_waiting_is_passed_over() -> None:
    slots = Slots(at_once=1)
    await slots.take("a")
    leaves, stays = (asyncio.ensure_future(slots.take(tenant)) for tenant in ("a", "b"))
    await settle()
    leaves.cancel()
    await settle()
    assert slots.waiting == 1
    slots.give_back()
    await asyncio.wait_for(stays, 1)


async def test_who_leaves_just_as_it_is_served_loses_no_slot() -> None:
    slots = Slots(at_once=1)
    await slots.take("a")
    waits = asyncio.ensure_future(slots.take("a"))
    await settle()
    slots.give_back()
    waits.cancel()
    await settle()
    assert waits.cancelled()
    await asyncio.wait_for(slots.take("b"), 1)


async def test_nobody_overtakes_those_who_wait() -> None:
    slots, order = Slots(at_once=1), list[str]()
    await slots.take("a")

    async def write(tenant: str) -> None:
        await slots.take(tenant)
        order.append(tenant)

    waits = asyncio.ensure_future(write("a"))
    await settle()
    slots.give_back()
    late = asyncio.ensure_future(write("b"))
    await settle()
    slots.give_back()
    await asyncio.gather(waits, late)
    assert order == ["a", "b"]
