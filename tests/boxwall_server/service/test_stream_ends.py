"""How streams end: misuse, silence, replacement, fencing, and a server that stops."""

import asyncio
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from boxwall.v1 import enforcement_service_pb2, node_service_pb2, policy_pb2, stream_pb2
from boxwall.wire.errors import ErrorReason, WireError, error_from_rpc
from boxwall_server.changes.revision import cursor_from_token, cursor_to_token
from boxwall_server.service import node_streams
from boxwall_server.store.mutations import FenceNode
from fakes.agent import Agent
from fakes.service import Served, fields_of, refusal, serving, until

Request = enforcement_service_pb2.StreamPoliciesRequest
Subscribe = stream_pb2.Subscribe
MISUSED, INVALID = ErrorReason.STREAM_MISUSED, ErrorReason.INVALID_REQUEST


async def end_of(agent: Agent) -> WireError:
    """Read a stream to its end; return what the client learns."""
    return error_from_rpc(await agent.ended())


async def answer_to_first(served: Served, *first: Request) -> WireError:
    """Open a stream, send messages, close; return what the client learns."""
    call = served.enforcement.StreamPolicies()
    for message in first:
        await call.write(message)
    await call.done_writing()
    return await refusal(read_one(call))


async def read_one(call: Any) -> Any:
    async with asyncio.timeout(5):
        return await call.read()


FIRST: dict[str, tuple[list[Request], ErrorReason, list[str]]] = {
    "nothing": ([], MISUSED, []),
    "an empty message": ([Request()], MISUSED, []),
    "an acknowledgement": ([Request(ack=stream_pb2.Ack(cursor="x"))], MISUSED, []),
    "an attach": ([Request(attach=stream_pb2.Attach(box_ids=["b1"]))], MISUSED, []),
    "no node id": ([Request(subscribe=Subscribe())], INVALID, ["subscribe.node_id"]),
    "all that is wrong": (
        [
            Request(
                subscribe=Subscribe(
                    node_id="-n1",
                    agent_version="v\0",
                    cursor="garbage",
                    boxes=[{"box_id": "b1"}, {"box_id": "B2"}, {}],
                )
            )
        ],
        INVALID,
        [
            "subscribe.node_id",
            "subscribe.agent_version",
            "subscribe.cursor",
            "subscribe.boxes[1].box_id",
            "subscribe.boxes[2].box_id",
        ],
    ),
    "an observer with boxes": (
        [Request(subscribe=Subscribe(all_boxes=True, boxes=[{"box_id": "b1"}]))],
        INVALID,
        ["subscribe.boxes"],
    ),
    "an observer with a bad cursor": (
        [Request(subscribe=Subscribe(all_boxes=True, cursor="garbage"))],
        INVALID,
        ["subscribe.cursor"],
    ),
}


@pytest.mark.parametrize(("first", "reason", "fields"), FIRST.values(), ids=FIRST)
async def test_a_bad_first_message_ends_the_stream(
    served: Served, first: list[Request], reason: ErrorReason, fields: list[str]
) -> None:
    error = await answer_to_first(served, *first)
    assert (error.status, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
    assert fields_of(error) == fields


async def test_a_client_that_says_nothing_is_not_waited_for(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_streams, "SUBSCRIBE_TIMEOUT", 0.02)
    call = served.enforcement.StreamPolicies()
    assert (await refusal(read_one(call))).reason is MISUSED


def of_another_epoch(agent: Agent) -> str:
    cursor = cursor_from_token(agent.cursor, "default")
    return cursor_to_token(
        dataclasses.replace(cursor, epoch=type(cursor.epoch)(b"x" * 16)), "default"
    )


def of_a_frame_to_come(agent: Agent) -> str:
    return cursor_to_token(cursor_from_token(agent.cursor, "default").at_frame(99), "default")


ACKS: dict[str, Callable[[Agent], str]] = {
    "no cursor": lambda agent: "",
    "garbage": lambda agent: "garbage",
    "another epoch": of_another_epoch,
    "a frame to come": of_a_frame_to_come,
    "another tenant": lambda agent: cursor_to_token(
        cursor_from_token(agent.cursor, "default"), "other"
    ),
}


@pytest.mark.parametrize("cursor", ACKS.values(), ids=ACKS)
async def test_acknowledging_what_was_never_sent_ends_the_stream_and_counts_for_nothing(
    served: Served, cursor: Callable[[Agent], str]
) -> None:
    await served.create()
    agent = await served.subscribe(boxes=["b1"])
    await agent.until("reset")
    await agent.send(ack=stream_pb2.Ack(cursor=cursor(agent)))
    assert (await end_of(agent)).reason is MISUSED
    assert await served.state() == "STALE"


async def test_a_result_about_a_revision_that_was_never_sent_ends_the_stream(
    served: Served,
) -> None:
    await served.create()
    agent = await served.hosting("b1")
    await agent.acknowledge(
        stream_pb2.AckResult(box_id="b1", policy_revision=2**63, failure="of the future")
    )
    assert (await end_of(agent)).reason is MISUSED


LATER: dict[str, tuple[dict[str, Any], ErrorReason]] = {
    "a second subscribe": ({"subscribe": Subscribe(node_id="n1")}, MISUSED),
    "an empty message": ({}, MISUSED),
    "an attach of a bad id": ({"attach": stream_pb2.Attach(box_ids=["b1", "NO"])}, INVALID),
    "a detach of a bad id": ({"detach": stream_pb2.Detach(box_ids=[""])}, INVALID),
    "an attach of far too many": (
        {"attach": stream_pb2.Attach(box_ids=["b"] * 10_001)},
        INVALID,
    ),
    "a refusal of a box it does not host": (
        {"refusals": stream_pb2.Refusals(refusals=[policy_pb2.Refusal(box="b9")])},
        MISUSED,
    ),
    "too many refusals": (
        {"refusals": stream_pb2.Refusals(refusals=[policy_pb2.Refusal(box="b1")] * 1_001)},
        MISUSED,
    ),
}


@pytest.mark.parametrize(("message", "reason"), LATER.values(), ids=LATER)
async def test_a_message_that_does_not_fit_ends_the_stream_and_the_server_lives(
    served: Served, message: dict[str, Any], reason: ErrorReason
) -> None:
    await served.create()
    agent = await served.hosting("b1")
    await agent.send(**message)
    error = await end_of(agent)
    assert (error.status, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
    assert await served.state() == "STALE"
    await served.hosting("b1")
    assert await served.state() == "ENFORCED"


async def test_a_megabyte_of_garbage_ends_the_stream_and_the_server_lives(served: Served) -> None:
    raw: Any = served.channel.stream_stream("/boxwall.v1.EnforcementService/StreamPolicies")
    for garbage in (b"\xff" * 100_000, b"\x0a" * 1_048_576):
        call = raw()
        await call.write(garbage)
        error = await refusal(read_one(call))
        assert error.status is not grpc.StatusCode.INTERNAL, error.message
    await served.create()
    await served.hosting("b1")


async def test_a_newer_subscription_of_a_node_replaces_the_older(served: Served) -> None:
    await served.create()
    older = await served.hosting("b1")
    newer = await served.subscribe(boxes=["b1"])
    await newer.until("reset")
    assert (await end_of(older)).reason is ErrorReason.STREAM_REPLACED
    assert await served.state() == "PENDING", "what was said on the older stream is forgotten"
    await newer.acknowledge()
    await served.enforced_on("n1", "b1")
    assert await served.state() == "ENFORCED"


async def test_a_node_that_does_not_acknowledge_within_60_s_is_ended_and_stale(
    served: Served,
) -> None:
    await served.create()
    agent = await served.subscribe(boxes=["b1"])
    await agent.until("reset")
    for _ in range(6):
        await served.pass_time(10)
        await agent.until("bookmark")
    assert await served.state() == "PENDING"
    await served.pass_time(1)
    assert (await end_of(agent)).reason is ErrorReason.STREAM_TOO_SLOW
    await until(lambda: not served.app.node_streams.all_connected())
    assert await served.state() == "STALE"


async def test_a_node_that_acknowledges_bookmarks_stays(served: Served) -> None:
    await served.create()
    agent = await served.hosting("b1")
    for _ in range(20):
        await served.pass_time(8)
        await agent.until("bookmark")
        await agent.acknowledge()
        await until(lambda: not served.unacknowledged("n1"))
    assert await served.state() == "ENFORCED"


async def test_something_comes_at_least_every_10_s(served: Served) -> None:
    agent = await served.hosting()
    for _ in range(5):
        await served.pass_time(9)
        await agent.until("bookmark")
        await agent.acknowledge()
    agent.checkers.settle(served.clock.steady())


def node(node_id: str = "n1") -> node_service_pb2.FenceNodeRequest:
    return node_service_pb2.FenceNodeRequest(node_id=node_id, reason="lost")


async def test_a_fenced_node_is_told_and_its_stream_ends(served: Served) -> None:
    await served.create()
    agent = await served.hosting("b1")
    await served.nodes.FenceNode(node())
    assert (await agent.until("fenced")).HasField("fenced")
    assert (await end_of(agent)).reason is ErrorReason.NODE_FENCED
    assert await served.state() == "STALE"


async def test_the_acknowledgements_of_a_fenced_node_do_not_count(served: Served) -> None:
    await served.create()
    agent = await served.subscribe(boxes=["b1"])
    await agent.until("reset")
    (stream,) = served.app.node_streams.all_connected()
    await served.store.apply(FenceNode(tenant="default", node_id="n1", reason=""))
    served.app.node_streams.fence(stream.node)
    stream.acknowledged(stream_pb2.Ack(cursor=agent.cursor))  # it was on its way
    assert await served.state() == "STALE"


async def test_a_fenced_node_is_told_again_when_it_subscribes(served: Served) -> None:
    await served.nodes.FenceNode(node())
    agent = await served.subscribe(boxes=["b1"])
    assert (await agent.next()).HasField("fenced")
    error = await end_of(agent)
    assert (error.status, error.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        ErrorReason.NODE_FENCED,
    )
    await served.nodes.UnfenceNode(node_service_pb2.UnfenceNodeRequest(node_id="n1"))
    await served.hosting("b1")


async def test_before_it_stops_the_server_asks_streams_to_come_back_later(tmp_path: Path) -> None:
    async with serving(tmp_path, grace=5.0) as served:
        await served.create()
        agent, watch = await served.hosting("b1"), served.watch()
        await watch.until("reset")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(served.app.stop())
            delays = [
                (await stream.until("go_away")).go_away.reconnect_after.ToTimedelta()
                for stream in (agent, watch)
            ]
            for stream in (agent, watch):
                with pytest.raises(EOFError):
                    await stream.next()
        assert all(0 <= delay.total_seconds() <= 5 for delay in delays)


async def test_a_client_that_leaves_is_no_error_of_ours(served: Served) -> None:
    await served.create()
    agent, watch = await served.hosting("b1"), served.watch()
    await watch.until("reset")
    agent.call.cancel()
    watch.call.cancel()
    await until(lambda: not served.hub.open_streams)
    assert [log for log in served.logs if log["event"] == "internal_error"] == []


async def test_only_the_placed_if_the_operator_says_so(tmp_path: Path) -> None:
    async with serving(tmp_path, only_placed=True) as served:
        await served.create("b1")
        await served.create("b2", node_id="n1")
        agent = await served.subscribe("n1", ["b1", "b2"])
        await agent.until("reset")
        assert agent.entries["b1"].refused.message == "box b1 is not placed on any node"
        assert agent.entries["b2"].HasField("network_policy")


async def test_too_many_streams_at_once_are_asked_to_come_back_each_at_its_own_time(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path, stream_rate=10.0, stream_burst=2) as served:
        agents = [await served.subscribe(f"n{number}") for number in range(2)]
        for agent in agents:
            await agent.next()
        errors = [await end_of(await served.subscribe(f"n{n}")) for n in range(2, 5)]
        assert [error.reason for error in errors] == [ErrorReason.OVERLOADED] * 3
        assert [error.retry_after for error in errors] == pytest.approx([0.1, 0.2, 0.3])
        served.clock.advance(0.1)
        assert (await (await served.subscribe("n2")).next()).HasField("reset")
        assert served.metric("boxwall_streams_deferred_total") == 3


async def test_ten_thousand_boxes_can_be_named_at_a_subscription(served: Served) -> None:
    """As many as are allowed at once must fit into one request."""
    boxes = [
        stream_pb2.HostedBox(box_id=f"box-{n:020}", uid="u" * 36, policy_revision=2**40)
        for n in range(10_000)
    ]
    agent = await served.subscribe(boxes=boxes)
    reset = await agent.until("reset")
    assert len(reset.reset.boxes) == 10_000
