"""Two servers on one database: what one of them knows of nodes, the other knows."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from boxwall.v1 import box_service_pb2, node_pb2, node_service_pb2, stream_pb2
from boxwall.wire.errors import ErrorReason, error_from_rpc
from boxwall_server.enforcement import NodeKey
from boxwall_server.store.postgres_url import PostgresUrl
from boxwall_server.store.records import NewHistory, SessionId
from fakes.agent import Agent
from fakes.postgres_server import PostgresServer, roll_back, run
from fakes.replicas import serving_twice
from fakes.service import DENY_ALL, Served, refusal, state_name, until

LONG = Duration(seconds=30)


@pytest.fixture
async def url(postgres: PostgresServer) -> PostgresUrl:
    return await postgres.database()


@pytest.fixture
async def served(tmp_path: Path, url: PostgresUrl) -> AsyncIterator[Served]:
    """Nodes talk to one of two servers, everybody else to the other, unless a test says so."""
    async with serving_twice(tmp_path, url) as running:
        yield running


async def at_front(served: Served, *boxes: Any, **fields: Any) -> Agent:
    """Subscribe a node at the other server."""
    return await served.subscribe("n1", boxes, stub=served.enforcement_at_front, **fields)


async def reason_of_end(agent: Agent) -> ErrorReason | None:
    return error_from_rpc(await agent.ended()).reason


async def acknowledge_all(agent: Agent) -> None:
    """Acknowledge whatever comes, until the stream ends with an error."""
    try:
        while True:
            await agent.next()
            await agent.acknowledge()
    except grpc.aio.AioRpcError:
        return


async def database(url: PostgresUrl, statement: str) -> Any:
    connection = await asyncpg.connect(url.text)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def node_state(served: Served) -> str:
    node = await served.nodes.GetNode(node_service_pb2.GetNodeRequest(node_id="n1"))
    return node_pb2.Node.State.Name(node.state).removeprefix("STATE_")


async def test_a_node_that_subscribes_at_another_server_loses_its_older_stream(
    served: Served,
) -> None:
    await served.create()
    older = await served.hosting("b1")
    newer = await at_front(served, *older.held(), cursor=older.cursor)
    await newer.next()
    assert await reason_of_end(older) is ErrorReason.STREAM_REPLACED
    assert await served.state() == "ENFORCED", "it held what is current"
    await served.update()
    await newer.until("changes")
    assert await served.state() == "PENDING"
    await newer.acknowledge()
    await until(lambda: not served.front.peers.is_telling)
    box = await served.boxes.WaitEnforced(
        box_service_pb2.WaitEnforcedRequest(box_id="b1", timeout=LONG)
    )
    assert state_name(box.enforcement) == "ENFORCED"


async def test_a_wait_survives_that_its_node_moves_to_another_server(served: Served) -> None:
    await served.create()
    older = await served.hosting("b1")
    async with asyncio.TaskGroup() as tasks:
        update = tasks.create_task(served.update(wait_timeout=LONG))
        await until(lambda: served.waits._waiting)
        older.call.cancel()
        newer = await at_front(served, *older.held(), cursor=older.cursor)
        await newer.until("changes")
        assert not update.done()
        await newer.acknowledge()
    assert state_name((await update).enforcement) == "ENFORCED"


async def test_what_is_said_on_a_stream_that_was_replaced_elsewhere_does_not_count(
    served: Served,
) -> None:
    await served.create()
    older = await served.hosting("b1")
    newer = await at_front(served, "b1")
    await newer.until("reset")
    await served.update()
    await acknowledge_all(older)
    assert await served.state() == "PENDING"


async def test_a_watch_by_node_shows_what_is_attached_at_another_server(served: Served) -> None:
    await served.create("b1")
    await served.create("b2")
    await served.hosting("b1")
    watch = served.watch(node_id="n1", shown=lambda box: box.id == "b1")
    assert [box.id for box in (await watch.until("reset")).reset.boxes] == ["b1"]
    await served.update("b2")
    await served.update("b1")
    await watch.reaches(4)


@pytest.mark.parametrize("late", ["attach", "detach"])
async def test_what_a_replaced_stream_attaches_or_detaches_late_does_not_count(
    served: Served, late: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await served.create()
    older = await served.hosting("b1")
    # The server of the older stream does not hear that there is a newer one.
    looks: list[None] = []

    async def hears_nothing() -> dict[SessionId, bool]:
        looks.append(None)
        return {}

    monkeypatch.setattr(served.store, "sessions_to_end", hears_nothing)
    await until(lambda: looks)
    newer = await at_front(served, "b1")
    await newer.until("reset")
    await newer.acknowledge()
    await until(lambda: served.front.node_streams.all_connected()[0].applied_revision == 1)
    await (older.detach("b1") if late == "detach" else older.attach("b1"))
    assert await reason_of_end(older) is ErrorReason.STREAM_REPLACED
    assert await served.state() == "ENFORCED"
    await served.update()
    assert (await newer.until("changes")).changes.entries[0].policy_revision == 2


async def test_a_node_is_fenced_from_any_server(served: Served) -> None:
    await served.create()
    agent = await served.hosting("b1")
    await served.nodes.FenceNode(node_service_pb2.FenceNodeRequest(node_id="n1", reason="x"))
    assert await served.state() == "STALE", "its acknowledgements no longer count"
    await agent.until("fenced")
    assert await reason_of_end(agent) is ErrorReason.NODE_FENCED
    again = await at_front(served, "b1")
    assert await reason_of_end(again) is ErrorReason.NODE_FENCED


async def test_a_node_that_is_connected_at_another_server_is_shown_so_and_not_forgotten(
    served: Served,
) -> None:
    await served.create()
    agent = await served.hosting("b1")
    assert await node_state(served) == "CONNECTED"
    forget = node_service_pb2.ForgetNodeRequest(node_id="n1")
    assert (await refusal(served.nodes.ForgetNode(forget))).reason is ErrorReason.NODE_CONNECTED
    agent.call.cancel()
    await served.gone()
    assert await node_state(served) == "DISCONNECTED"
    await served.nodes.ForgetNode(forget)
    assert await served.state() == "NOT_ATTACHED"


async def test_what_nodes_told_a_server_that_died_counts_no_more(
    served: Served, url: PostgresUrl
) -> None:
    await served.create()
    await served.hosting("b1")
    assert await served.state() == "ENFORCED"
    # As if it had given no sign of life; it gives the next within a second.
    replica = served.store.replica.hex()  # type: ignore[attr-defined]  # of this engine
    await database(
        url,
        "UPDATE boxwall.replicas SET beat_time = beat_time - interval '6 s' "
        rf"WHERE id = '\x{replica}' RETURNING 1",
    )
    box = await served.get()
    assert state_name(box.enforcement) == "STALE"
    async with asyncio.timeout(5):
        while await served.state() != "ENFORCED":  # noqa: ASYNC110  # no event says so
            await asyncio.sleep(0.05)


async def test_a_server_that_was_taken_for_dead_lets_its_nodes_connect_anew(
    served: Served, url: PostgresUrl
) -> None:
    await served.create()
    agent = await served.hosting("b1")
    await database(url, "DELETE FROM boxwall.replicas RETURNING 1")
    assert await reason_of_end(agent) is ErrorReason.STORE_UNAVAILABLE
    again = await served.subscribe("n1", agent.held(), cursor=agent.cursor)
    await again.next()
    assert await served.state() == "ENFORCED"


async def test_a_stream_continues_at_another_server_where_it_was(served: Served) -> None:
    await served.create("b1")
    await served.create("b2")
    agent = await served.hosting("b1", "b2")
    agent.call.cancel()
    await served.gone()
    await served.update("b2", DENY_ALL)
    again = await at_front(served, *agent.held(), cursor=agent.cursor)
    message = await again.next()
    assert [entry.box_id for entry in message.changes.entries] == ["b2"]
    await again.acknowledge()
    await until(lambda: served.front.node_streams.all_connected()[0].applied_revision == 3)


async def test_streams_end_when_the_store_has_lost_what_they_sent_and_begin_with_a_reset(
    served: Served, url: PostgresUrl
) -> None:
    await served.create()
    agent = await served.hosting("b1")
    watch = served.watch()
    await watch.until("reset")
    await served.update()
    await agent.until("changes")
    await agent.acknowledge()
    await served.enforced_on("n1", "b1")
    assert await served.state() == "ENFORCED"
    await run(
        url,
        "UPDATE boxwall.boxes SET (policy, policy_revision, revision) = "
        "(SELECT policy, 1, 1 FROM boxwall.changes WHERE revision = 1)",
    )
    await roll_back(url, 1)
    assert await reason_of_end(agent) is ErrorReason.STORE_UNAVAILABLE
    assert error_from_rpc(await watch.ended()).reason is ErrorReason.STORE_UNAVAILABLE
    again = await served.subscribe("n1", agent.held(), cursor=agent.cursor, trusted=False)
    message = await again.until("reset")
    assert [entry.policy_revision for entry in message.reset.boxes] == [1]
    assert await served.state() == "PENDING"


async def test_what_nodes_have_said_counts_no_more_in_the_moment_history_begins_anew(
    served: Served,
) -> None:
    await served.create()
    await served.hosting("b1")
    node = NodeKey("default", "n1")
    assert served.ledger.in_contact(node)
    served.hub.publish(NewHistory(head=served.store.head))
    assert not served.ledger.in_contact(node)


async def test_a_failure_told_to_one_server_is_shown_by_the_other(served: Served) -> None:
    await served.create()
    agent = await served.hosting("b1")
    async with asyncio.TaskGroup() as tasks:
        update = tasks.create_task(served.update(wait_timeout=LONG))
        await agent.until("changes")
        await agent.acknowledge(
            stream_pb2.AckResult(box_id="b1", policy_revision=2, failure="table full")
        )
    (node,) = (await update).enforcement.nodes
    assert (node.message, node.applied_revision) == ("table full", 1)
    listed = await served.boxes.ListBoxes(box_service_pb2.ListBoxesRequest())
    assert [state_name(box.enforcement) for box in listed.boxes] == ["FAILED"]
