"""A peer that does not read: it costs the server nothing, slows nobody, and is ended in the end."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from boxwall.v1 import enforcement_service_pb2_grpc, policy_pb2
from boxwall.wire.errors import ErrorReason, error_from_rpc
from boxwall_server.changes.change import PolicyBytes
from boxwall_server.service.stream import Stream
from boxwall_server.store.mutations import SetPolicy
from fakes.agent import Agent
from fakes.service import Served, is_busy, until

NARROW = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_536)]
"""So that little is on its way to a client that does not read."""


@asynccontextmanager
async def not_reading(served: Served, **fields: Any) -> AsyncIterator[Agent]:
    """A subscriber over a narrow connection of its own; it reads when the test says so."""
    async with grpc.aio.insecure_channel(served.target, options=NARROW) as channel:
        stub = enforcement_service_pb2_grpc.EnforcementServiceStub(channel)
        agent = await served.subscribe(stub=stub, **fields)
        await agent.until("reset")
        if not fields.get("all_boxes"):
            await agent.acknowledge()
        yield agent


async def write_large(served: Served, number: int, box_id: str = "b1") -> None:
    """Write a policy that fills a good part of a frame, past the API and its limits."""
    name = f"{number}-".ljust(400_000, "x")
    policy = policy_pb2.NetworkPolicy(custom=policy_pb2.CustomPolicy(allowed_domains=[name]))
    await served.store.apply(
        SetPolicy(
            tenant="default",
            id=box_id,
            now=served.clock.now(),
            author="test",
            policy=PolicyBytes(policy.SerializeToString()),
            mode="custom",
        )
    )


async def fill(served: Served, stream: Stream) -> int:
    """Write until a stream is stuck in a write; return how many writes it took."""
    for number in range(200):
        await write_large(served, number)
        try:
            await until(lambda: not is_busy(stream) or is_stuck(served, stream))
        except TimeoutError:
            return number + 1
        if is_stuck(served, stream):
            return number + 1
    raise AssertionError("the stream never stops taking messages")


def is_stuck(served: Served, stream: Stream) -> bool:
    """Whether a write is not taken although the loop has had time for it (counted in polls)."""
    polls = POLLS[stream] = POLLS.get(stream, 0) + 1 if stream._writing_since is not None else 0
    return polls > 100


POLLS: dict[Stream, int] = {}


def the_stream(served: Served, node_id: str = "n1") -> Stream:
    return next(s for s in served.app.node_streams.all_connected() if s.node.id == node_id)


async def test_a_slow_node_skips_versions_gets_the_last_and_slows_nobody(served: Served) -> None:
    await served.create()
    fast = await served.hosting("b1", node_id="fast")
    async with not_reading(served, node_id="slow", boxes=["b1"]) as slow:
        written = await fill(served, the_stream(served, "slow"))
        for number in range(10):
            await write_large(served, 1_000 + number)
            await fast.reaches(1 + written + number + 1)
        subscriber = the_stream(served, "slow")
        assert len(subscriber.feed._pending) == 1  # type: ignore[attr-defined]  # a Subscriber
        await slow.reaches(1 + written + 10)
        assert len(slow.messages) <= 1 + written + 2, "it skipped what it was too slow for"


async def test_a_slow_observer_skips_versions_and_gets_the_last(served: Served) -> None:
    await served.create()
    async with not_reading(served, all_boxes=True) as slow:
        (stream,) = served.hub._streams
        written = await fill(served, stream)
        for number in range(10):
            await write_large(served, 1_000 + number)
        await slow.reaches(1 + written + 10)
        assert len(slow.messages) <= 1 + written + 2


@pytest.mark.parametrize("all_boxes", [False, True], ids=["a node", "an observer"])
async def test_a_peer_that_does_not_take_a_frame_within_20_s_is_ended(
    served: Served, all_boxes: bool
) -> None:
    await served.create()
    boxes = [] if all_boxes else ["b1"]
    async with not_reading(served, all_boxes=all_boxes, boxes=boxes) as slow:
        (stream,) = served.hub._streams
        await fill(served, stream)
        served.tick(20)
        assert served.hub.open_streams == 1
        served.tick(1)
        await until(lambda: not served.hub.open_streams)
        assert await served.state() == ("NOT_ATTACHED" if all_boxes else "STALE")
        error = error_from_rpc(await ended_unchecked(slow))
        assert error.reason is ErrorReason.STREAM_TOO_SLOW
        assert error.retry_after is not None


async def ended_unchecked(agent: Agent) -> grpc.aio.AioRpcError:
    """Read what was on its way and then the error; silence is what the test was about."""
    while True:
        try:
            assert await agent.call.read() is not grpc.aio.EOF
        except grpc.aio.AioRpcError as error:
            return error


async def test_a_node_resumes_from_what_it_applied_before_it_was_too_slow(served: Served) -> None:
    await served.create()
    async with not_reading(served, boxes=["b1"]) as slow:
        written = await fill(served, the_stream(served))
        served.tick(21)
        await until(lambda: not served.hub.open_streams)
        again = await served.subscribe(boxes=slow.held(), cursor=slow.cursor)
        await again.reaches(1 + written)
        assert len(again.messages) == 1


async def test_a_client_that_leaves_in_the_middle_of_a_write_is_no_error_of_ours(
    served: Served,
) -> None:
    await served.create()
    for all_boxes in (False, True):
        boxes = [] if all_boxes else ["b1"]
        async with not_reading(served, all_boxes=all_boxes, boxes=boxes) as slow:
            (stream,) = served.hub._streams
            await fill(served, stream)
            slow.call.cancel()
            await until(lambda: not served.hub.open_streams)
    assert [log for log in served.logs if log["event"] == "internal_error"] == []
