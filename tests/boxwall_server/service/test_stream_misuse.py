"""What does not fit a stream ends it, with the reason; the server lives."""

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from boxwall.v1 import box_service_pb2, enforcement_service_pb2, policy_pb2, stream_pb2
from boxwall.wire.errors import ErrorReason, WireError, error_from_rpc
from boxwall_server.changes.revision import cursor_from_token, cursor_to_token
from boxwall_server.service import node_streams
from fakes.agent import Agent
from fakes.service import Served, fields_of, refusal, until


async def end_of(agent: Agent) -> WireError:
    """Read a stream to its end; return what the client learns."""
    return error_from_rpc(await agent.ended())


Request = enforcement_service_pb2.StreamPoliciesRequest


Subscribe = stream_pb2.Subscribe


MISUSED, INVALID = ErrorReason.STREAM_MISUSED, ErrorReason.INVALID_REQUEST


async def answer_to_first(served: Served, *first: Request) -> WireError:
    """Open a stream, send messages, close; return what the client learns."""

    async def say_it() -> Any:
        call = served.enforcement.StreamPolicies()
        for message in first:
            await call.write(message)
        await call.done_writing()
        return await read_one(call)

    return await refusal(say_it())


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


@pytest.mark.parametrize(
    "result",
    [
        stream_pb2.AckResult(box_id="b1", failure="the kernel said no"),
        stream_pb2.AckResult(policy_revision=1, failure="the kernel said no"),
        stream_pb2.AckResult(box_id="b1"),
    ],
    ids=["no revision", "no box", "nothing to say"],
)
async def test_a_result_that_names_no_box_or_no_revision_does_not_pass_for_enforced(
    served: Served, result: stream_pb2.AckResult
) -> None:
    await served.create()
    agent = await served.subscribe(boxes=["b1"])
    await agent.until("reset")
    await agent.acknowledge(result)
    assert (await end_of(agent)).reason is MISUSED
    assert await served.state() == "STALE"


async def test_a_refusal_of_a_box_that_was_detached_meanwhile_is_dropped_and_counted(
    served: Served,
) -> None:
    """Reports are gathered: a detach may overtake them, and must not cost the other boxes."""
    await served.create()
    agent = await served.hosting("b1")
    gone = policy_pb2.Refusal(box="b9", count=3)
    await agent.refuse(gone, policy_pb2.Refusal(box="b1", count=1))
    dropped = served.app.metrics.refusals_dropped
    await until(lambda: dropped._value.get() == 3)
    assert await served.state() == "ENFORCED"
    watch = served.boxes.WatchRefusals(box_service_pb2.WatchRefusalsRequest(recent=10))
    message = await watch.read()
    assert [refusal.box for refusal in message.refusals] == ["b1"]
    watch.cancel()


LATER: dict[str, tuple[dict[str, Any], ErrorReason]] = {
    "a second subscribe": ({"subscribe": Subscribe(node_id="n1")}, MISUSED),
    "an empty message": ({}, MISUSED),
    "an attach of a bad id": ({"attach": stream_pb2.Attach(box_ids=["b1", "NO"])}, INVALID),
    "a detach of a bad id": ({"detach": stream_pb2.Detach(box_ids=[""])}, INVALID),
    "an attach of far too many": (
        {"attach": stream_pb2.Attach(box_ids=["b"] * 10_001)},
        INVALID,
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


async def test_ten_thousand_boxes_can_be_named_at_a_subscription(served: Served) -> None:
    """As many as are allowed at once must fit into one request."""
    boxes = [
        stream_pb2.HostedBox(box_id=f"box-{n:020}", uid="u" * 36, policy_revision=2**40)
        for n in range(10_000)
    ]
    agent = await served.subscribe(boxes=boxes)
    reset = await agent.until("reset")
    assert len(reset.reset.boxes) == 10_000
