"""What nodes refused, on its way to those who watch."""

import asyncio
from typing import Any

import pytest

from boxwall.v1 import box_service_pb2, policy_pb2
from boxwall.wire.errors import ErrorReason, error_from_rpc
from boxwall_server.service import refusals as board
from fakes.service import Served, fields_of, refusal, until

Answer = box_service_pb2.WatchRefusalsResponse


def refused(box: str = "b1", count: int = 1, domain: str = "evil.test") -> policy_pb2.Refusal:
    return policy_pb2.Refusal(
        box=box,
        destination=policy_pb2.Destination(domain=domain, port=443),
        reason=policy_pb2.REASON_NO_RULE,
        count=count,
    )


def watch(served: Served, **fields: Any) -> Any:
    return served.boxes.WatchRefusals(box_service_pb2.WatchRefusalsRequest(**fields))


async def read(call: Any) -> Answer:
    async with asyncio.timeout(5):
        answer: Answer = await call.read()
    assert isinstance(answer, Answer)
    return answer


async def read_some(call: Any) -> list[policy_pb2.Refusal]:
    while not (answer := await read(call)).refusals:
        pass
    return list(answer.refusals)


async def reported(served: Served, number: int) -> None:
    """Wait until the server has taken in so many refusals."""
    await until(lambda: served.metric("boxwall_refusals_total", reason="NO_RULE") >= number)


async def test_a_refusal_is_shown_as_it_was_reported(served: Served) -> None:
    await served.create()
    agent = await served.hosting("b1")
    call = watch(served)
    assert await read(call) == Answer(), "a client hears at once that it is served"
    await agent.refuse(refused(count=3))
    assert await read_some(call) == [refused(count=3)]
    assert served.metric("boxwall_refusals_total", reason="NO_RULE") == 3


async def test_a_watch_of_a_box_shows_that_box_alone(served: Served) -> None:
    await served.create("b1")
    await served.create("b2")
    agent = await served.hosting("b1", "b2")
    call = watch(served, box_id="b2")
    await read(call)
    await agent.refuse(refused("b1"), refused("b2"))
    assert await read_some(call) == [refused("b2")]


async def test_a_watch_of_labels_shows_the_boxes_that_have_them_all(served: Served) -> None:
    await served.create("b1", labels={"team": "search", "tier": "1"})
    await served.create("b2", labels={"team": "search"})
    agent = await served.hosting("b1", "b2", "never-made")
    call = watch(served, labels={"team": "search", "tier": "1"})
    await read(call)
    await agent.refuse(refused("b2"), refused("never-made"), refused("b1"))
    assert await read_some(call) == [refused("b1")]


async def test_recent_refusals_come_first_the_oldest_first(served: Served) -> None:
    await served.create()
    agent = await served.hosting("b1")
    await agent.refuse(*[refused(domain=f"{number}.test") for number in range(5)])
    await reported(served, 5)
    call = watch(served, recent=2)
    assert [r.destination.domain for r in (await read(call)).refusals] == ["3.test", "4.test"]
    await agent.refuse(refused(domain="new.test"))
    assert [r.destination.domain for r in await read_some(call)] == ["new.test"]


async def test_nothing_recent_is_an_empty_first_message(served: Served) -> None:
    assert await read(watch(served, recent=10)) == Answer()


async def test_only_so_many_are_remembered(served: Served) -> None:
    await served.create()
    agent = await served.hosting("b1")
    for _ in range(3):
        await agent.refuse(*[refused()] * 500)
    await reported(served, 1_500)
    assert len((await read(watch(served, recent=1_000))).refusals) == 1_000


async def test_what_is_reported_while_the_board_is_read_is_not_lost(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading the labels of what is remembered takes a while; meanwhile a node reports."""
    await served.create(labels={"k": "v"})
    agent = await served.hosting("b1")
    await agent.refuse(refused(domain="old.test"))
    await reported(served, 1)
    read_box = served.store.box
    reads = 0

    async def slowly(*args: Any) -> Any:
        nonlocal reads
        reads += 1
        if reads == 1:
            await agent.refuse(refused(domain="new.test"))
            await until(lambda: reads == 2)
            await asyncio.sleep(0)
        return await read_box(*args)

    monkeypatch.setattr(served.store, "box", slowly)
    call = watch(served, labels={"k": "v"}, recent=10)
    seen = [r.destination.domain for r in (await read(call)).refusals]
    assert seen == ["old.test"]
    assert [r.destination.domain for r in await read_some(call)] == ["new.test"]


async def test_what_a_node_dropped_is_told_to_those_who_watch(served: Served) -> None:
    await served.create()
    agent = await served.hosting("b1")
    call = watch(served)
    await read(call)
    await agent.refuse(refused(), dropped=7)
    answer = await read(call)
    assert (list(answer.refusals), answer.dropped) == ([refused()], 7)


async def test_a_watcher_that_is_too_slow_loses_the_oldest_and_is_told_how_many(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(board, "QUEUED", 3)
    await served.create()
    agent = await served.hosting("b1")
    call = watch(served)
    await read(call)
    await agent.refuse(*[refused(domain=f"{number}.test") for number in range(5)])
    answer = await read(call)
    assert [r.destination.domain for r in answer.refusals] == ["2.test", "3.test", "4.test"]
    assert answer.dropped == 2
    assert served.metric("boxwall_refusals_dropped_total") == 2


async def test_a_watch_shows_a_sign_of_life_at_least_every_10_s(served: Served) -> None:
    call = watch(served)
    await read(call)
    for _ in range(3):
        await served.pass_time(8)
        assert await read(call) == Answer()


async def test_a_refusal_for_a_reason_of_a_newer_agent_is_passed_on(served: Served) -> None:
    await served.create()
    agent = await served.hosting("b1")
    call = watch(served)
    await read(call)
    newer = policy_pb2.Refusal(box="b1", reason=999, count=1)  # type: ignore[arg-type]  # is newer
    await agent.refuse(newer)
    assert await read_some(call) == [newer]


BAD: dict[str, tuple[dict[str, Any], list[str]]] = {
    "a box and labels": ({"box_id": "b1", "labels": {"k": "v"}}, ["labels"]),
    "too many recent": ({"recent": 1_001}, ["recent"]),
    "everything": (
        {"box_id": "NO", "labels": {"-": "\n"}, "recent": 2**32 - 1},
        ["box_id", "labels['-']", "labels['-']", "labels", "recent"],
    ),
}


@pytest.mark.parametrize(("request_fields", "fields"), BAD.values(), ids=BAD)
async def test_a_bad_watch_is_refused_with_everything_that_is_wrong(
    served: Served, request_fields: dict[str, Any], fields: list[str]
) -> None:
    error = await refusal(watch(served, **request_fields).read())
    assert (error.reason, fields_of(error)) == (ErrorReason.INVALID_REQUEST, fields)


async def test_a_box_that_does_not_exist_cannot_be_watched(served: Served) -> None:
    error = await refusal(watch(served, box_id="b1").read())
    assert (error.reason, error.resource) == (ErrorReason.BOX_NOT_FOUND, ("box", "b1"))


async def test_a_watch_that_its_client_leaves_is_forgotten(served: Served) -> None:
    call = watch(served)
    await read(call)
    call.cancel()
    await until(lambda: not served.hub.open_streams)


async def test_a_refusal_that_is_too_large_ends_the_stream_of_its_node(served: Served) -> None:
    await served.create()
    agent = await served.hosting("b1")
    await agent.refuse(refused(domain="x" * 3_000))
    assert error_from_rpc(await agent.ended()).reason is ErrorReason.STREAM_MISUSED
