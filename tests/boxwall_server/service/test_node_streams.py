"""The stream of a node that keeps to the rules. The seven guarantees are checked throughout."""

import asyncio
from collections.abc import Sequence

import pytest
from google.protobuf.duration_pb2 import Duration

from boxwall.v1 import (
    box_pb2,
    box_service_pb2,
    enforcement_service_pb2,
    policy_pb2,
    stream_pb2,
)
from boxwall_server.changes.revision import (
    cursor_from_token,
)
from boxwall_server.store.mutations import AttachBoxes, Mutation, Outcome
from fakes.agent import Agent
from fakes.service import DENY_ALL, Served, custom, until

ALSO_ON_TWO_SERVERS = True


def kinds(agent: Agent) -> list[str]:
    return [message.WhichOneof("message") for message in agent.messages]


async def test_a_first_subscription_is_answered_with_the_whole_state(served: Served) -> None:
    await served.create("b1", network_policy=DENY_ALL)
    await served.create("b2", network_policy=custom("api.test.example"))
    await served.create("elsewhere")
    agent = await served.subscribe(boxes=["b1", "b2"])
    message = await agent.next()
    assert message.reset.last
    assert set(agent.entries) == {"b1", "b2"}
    box = await served.get("b2")
    entry = agent.entries["b2"]
    assert (entry.uid, entry.policy_revision) == (box.uid, box.policy_revision)
    assert entry.network_policy == box.network_policy


async def test_a_node_without_boxes_gets_an_empty_reset(served: Served) -> None:
    agent = await served.subscribe()
    assert (await agent.next()).reset == stream_pb2.Reset(last=True)


async def test_a_box_is_enforced_once_its_entry_is_acknowledged(served: Served) -> None:
    await served.create()
    assert await served.state() == "NOT_ATTACHED"
    agent = await served.subscribe(boxes=["b1"])
    await agent.until("reset")
    assert await served.state() == "PENDING"
    await agent.acknowledge()
    await served.enforced_on("n1", "b1")
    assert await served.state() == "ENFORCED"


async def test_a_change_reaches_the_node_that_hosts_the_box_and_no_other(served: Served) -> None:
    await served.create("b1")
    await served.create("b2")
    host, other = await served.hosting("b1"), await served.hosting("b2", node_id="n2")
    await served.update("b1", DENY_ALL)
    message = await host.until("changes")
    assert [e.box_id for e in message.changes.entries] == ["b1"]
    assert message.changes.entries[0].network_policy == DENY_ALL
    await served.pass_time(8)
    await other.until("bookmark")
    assert kinds(other) == ["reset", "bookmark"]
    other.checkers.settle(served.clock.steady())


async def test_a_change_of_labels_is_no_news_for_a_node(served: Served) -> None:
    await served.create()
    agent = await served.hosting("b1")
    await served.boxes.UpdateBox(
        box_service_pb2.UpdateBoxRequest(
            box=box_pb2.Box(id="b1", name="new"), update_mask={"paths": ["name"]}
        )
    )
    await until(lambda: served.hub.log.head.revision == 2)  # its server may not be who wrote
    await served.pass_time(8)
    await agent.until("bookmark")
    assert kinds(agent) == ["reset", "bookmark"]
    assert cursor_from_token(agent.cursor, "default").revision == 2


async def test_an_attached_box_is_answered_whatever_the_cursor_says(served: Served) -> None:
    await served.create("b1")
    await served.create("b2", network_policy=DENY_ALL)
    agent = await served.hosting("b1")
    await agent.attach("b2", "b2", "never-made")
    message = await agent.until("changes")
    entries = {entry.box_id: entry for entry in message.changes.entries}
    assert entries["b2"].network_policy == DENY_ALL
    assert entries["never-made"].HasField("tombstone")
    assert await served.state("b2") == "PENDING"
    await agent.acknowledge()
    await served.enforced_on("n1", "b2")
    assert await served.state("b2") == "ENFORCED"


async def test_an_acknowledgement_of_an_earlier_frame_at_the_same_revision_does_not_count(
    served: Served,
) -> None:
    await served.create("b1")
    agent = await served.hosting("b1")
    before = agent.cursor
    await agent.detach("b1")
    await agent.attach("b1")
    await agent.until("changes")
    await agent.acknowledge(cursor=before)
    await agent.attach("b9")
    await agent.until("changes")
    assert await served.state() == "PENDING"


async def test_a_box_that_is_made_after_it_was_attached_arrives(served: Served) -> None:
    agent = await served.hosting("b1")
    assert agent.entries["b1"].HasField("tombstone")
    box = await served.create("b1", network_policy=DENY_ALL)
    await agent.until("changes")
    assert agent.entries["b1"].uid == box.uid


async def test_a_box_deleted_and_made_again_has_another_uid(served: Served) -> None:
    first = await served.create("b1")
    agent = await served.hosting("b1")
    await served.delete("b1")
    second = await served.create("b1")
    while agent.entries["b1"].uid != second.uid:
        await agent.next()
    assert first.uid != second.uid
    await agent.reaches(3)


async def test_a_detached_box_is_not_attached_and_not_sent(served: Served) -> None:
    await served.create()
    agent = await served.hosting("b1")
    await agent.detach("b1", "never-attached")
    await agent.attach("b2")
    await agent.until("changes")
    assert await served.state() == "NOT_ATTACHED"
    assert served.hub.routes.hosts("default", "b1") == (), "nothing is kept of it"
    await served.update()
    await served.pass_time(8)
    await agent.until("bookmark")
    assert set(agent.messages[-1].changes.entries) == set()


async def test_a_box_hosted_by_two_nodes_is_enforced_when_both_say_so(served: Served) -> None:
    await served.create()
    await served.hosting("b1", node_id="n1")
    second = await served.subscribe("n2", ["b1"])
    await second.until("reset")
    assert await served.state() == "PENDING"
    await second.acknowledge()
    await served.enforced_on("n2", "b1")
    assert await served.state() == "ENFORCED"
    second.call.cancel()
    await until(lambda: len(served.app.node_streams.all_connected()) == 1)
    assert await served.state() == "STALE"


async def test_counts_of_connections_may_come_after_the_acknowledgement(served: Served) -> None:
    await served.create()
    agent = await served.hosting("b1")
    result = stream_pb2.AckResult(
        box_id="b1", policy_revision=1, connections_kept=4, connections_cut=2
    )
    await agent.acknowledge(result)
    await until(lambda: served.ledger._nodes["default", "n1"]["b1"].kept)
    (node,) = (await served.get()).enforcement.nodes
    assert (node.connections_kept, node.connections_cut) == (4, 2)


async def test_a_box_placed_on_another_node_is_refused_and_the_others_are_not(
    served: Served,
) -> None:
    await served.create("b1", node_id="n2")
    await served.create("b2")
    agent = await served.subscribe("n1", ["b1", "b2"])
    await agent.until("reset")
    assert agent.entries["b1"].refused.message == "box b1 is placed on node n2"
    assert agent.entries["b2"].HasField("network_policy")
    assert await served.state("b1") == "NOT_ATTACHED"
    await agent.attach("b1")
    await agent.until("changes")
    assert agent.entries["b1"].HasField("refused")
    await served.hosting("b1", node_id="n2")
    assert await served.state("b1") == "ENFORCED"


async def test_a_box_made_anew_elsewhere_is_refused_to_the_node_that_had_the_id(
    served: Served,
) -> None:
    """What the box may do is not for that node to know, and its word about it does not count."""
    await served.create("b1")
    old = await served.hosting("b1")
    await served.delete("b1")
    await old.until("changes")
    again = await served.create("b1", node_id="n2")
    message = await old.call.read()
    (entry,) = message.changes.entries
    assert entry.refused.message == "box b1 is placed on node n2"
    assert again.uid not in str(message)
    assert await served.state() == "NOT_ATTACHED"
    await old.acknowledge(cursor=message.cursor)
    await until(lambda: not served.unacknowledged("n1"))
    assert await served.state() == "NOT_ATTACHED"
    await old.refuse(policy_pb2.Refusal(box="b1", count=1))
    await until(lambda: served.metric("boxwall_refusals_dropped_total"))

    new = await served.hosting("b1", node_id="n2")
    updating = asyncio.ensure_future(served.update(wait_timeout=Duration(seconds=60)))
    await new.until("changes")
    assert not updating.done()
    await new.acknowledge()
    enforcement = (await updating).enforcement
    assert [node.node_id for node in enforcement.nodes] == ["n2"]
    old.call.cancel()
    await until(lambda: len(served.app.node_streams.all_connected()) == 1)
    assert await served.state() == "ENFORCED"


async def test_a_box_that_comes_back_to_its_node_can_be_attached_there_again(
    served: Served,
) -> None:
    await served.create("b1")
    agent = await served.hosting("b1")
    for node_id in ("n2", "n1"):
        await served.delete("b1")
        again = await served.create("b1", node_id=node_id)
    assert await served.state() == "NOT_ATTACHED"
    await agent.attach("b1")
    while agent.entries["b1"].uid != again.uid:
        agent.messages.append(await agent.call.read())
    await agent.acknowledge()
    await until(lambda: not served.unacknowledged("n1"))
    assert await served.state() == "ENFORCED"


async def test_a_box_that_is_made_elsewhere_between_attaching_and_reading_is_refused(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = await served.subscribe("n1")
    await agent.until("reset")
    store = served.app.node_streams._store  # of the server that the node is connected to
    apply = store.apply

    async def overtaken(mutation: Mutation) -> Outcome:
        outcome = await apply(mutation)
        if isinstance(mutation, AttachBoxes):
            # Nobody hosts the box here yet when this is published.
            await served.create("b1", node_id="n2")
        return outcome

    monkeypatch.setattr(store, "apply", overtaken)
    await agent.attach("b1")
    message = await agent.call.read()
    (entry,) = message.changes.entries
    assert entry.refused.message == "box b1 is placed on node n2"

    async def acknowledge_all(cursor: str) -> None:
        """From another server the news may come twice: with the answer, and by the tail."""
        while True:
            await agent.acknowledge(cursor=cursor)
            again = await agent.call.read()
            assert [one.refused.message for one in again.changes.entries] in (
                [],
                ["box b1 is placed on node n2"],
            )
            cursor = again.cursor

    acknowledging = asyncio.ensure_future(acknowledge_all(message.cursor))
    await until(lambda: not served.unacknowledged("n1"))
    assert await served.state() == "NOT_ATTACHED"
    acknowledging.cancel()


async def test_a_node_that_closed_its_side_keeps_receiving_and_is_out_of_contact(
    served: Served,
) -> None:
    await served.create()
    agent = await served.subscribe(boxes=["b1"])
    await agent.call.done_writing()
    await agent.until("reset")
    await until(lambda: not served.unacknowledged("n1"))
    await served.update()
    await agent.until("changes")
    for _ in range(10):
        await served.pass_time(8)
        await agent.until("bookmark")
    assert await served.state() == "STALE"


async def test_a_node_that_attaches_is_sent_every_change_between_reading_and_answering(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change that overtakes the answer to an attach must not be followed by what was read."""
    await served.create("b1")
    agent = await served.hosting()
    read = served.store.entries

    async def slowly(tenant: str, box_ids: Sequence[str]) -> object:
        found = await read(tenant, box_ids)
        await served.update("b1", DENY_ALL)
        await until(lambda: not served.app.node_streams.all_connected()[0].feed.has_items)
        return found

    monkeypatch.setattr(served.store, "entries", slowly)
    await agent.attach("b1")
    await agent.until("changes")
    await served.pass_time(8)
    await agent.reaches(2)
    assert agent.entries["b1"].network_policy == DENY_ALL


def test_the_kinds_of_messages_are_those_of_the_contract() -> None:
    message = enforcement_service_pb2.StreamPoliciesResponse.DESCRIPTOR.oneofs_by_name["message"]
    assert [field.name for field in message.fields] == [
        "reset",
        "changes",
        "bookmark",
        "go_away",
        "fenced",
    ]
