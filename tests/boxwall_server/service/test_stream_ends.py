"""How streams end: misuse, silence, replacement, fencing, and a server that stops."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest

from boxwall.v1 import node_service_pb2, stream_pb2
from boxwall.wire.errors import ErrorReason, WireError, error_from_rpc
from boxwall_server.changes.revision import Revision
from boxwall_server.enforcement import State
from boxwall_server.store.mutations import FenceNode
from fakes.agent import Agent
from fakes.service import Served, refusal, serving, until

ALSO_ON_TWO_SERVERS = True


async def end_of(agent: Agent) -> WireError:
    """Read a stream to its end; return what the client learns."""
    return error_from_rpc(await agent.ended())


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
    await served.gone()
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
    found = served.ledger.judge("default", "b1", Revision(1), ["n1"])
    assert found.state is State.STALE, "at once, though the stream has not ended yet"
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
        assert agent.entries["b1"].refused.message == "box b1 is not placed on this node"
        assert agent.entries["b2"].HasField("network_policy")


async def first_message(served: Served, node_id: str) -> Any:
    agent = await served.subscribe(node_id)
    return await agent.next()


async def test_too_many_streams_at_once_are_asked_to_come_back_each_at_its_own_time(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path, stream_rate=10.0, stream_burst=2) as served:
        agents = [await served.subscribe(f"n{number}") for number in range(2)]
        for agent in agents:
            await agent.next()
        errors = [await refusal(first_message(served, f"n{n}")) for n in range(2, 5)]
        assert [error.reason for error in errors] == [ErrorReason.OVERLOADED] * 3
        assert [error.retry_after for error in errors] == pytest.approx([0.1, 0.2, 0.3])
        served.clock.advance(0.1)
        assert (await (await served.subscribe("n2")).next()).HasField("reset")
        assert served.metric("boxwall_streams_deferred_total") == 3
