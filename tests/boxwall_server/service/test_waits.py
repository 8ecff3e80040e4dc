"""Waiting until a policy is in force: completed by acknowledgements."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from boxwall.v1 import box_service_pb2, node_service_pb2, stream_pb2
from boxwall.wire.errors import ErrorReason
from fakes.agent import Agent
from fakes.service import ALLOW_ALL, DENY_ALL, Served, refusal, state_name, until

ALSO_ON_TWO_SERVERS = True

LONG = Duration(seconds=60)
SHORT = Duration(nanos=50_000_000)


def wait_enforced(served: Served, **fields: Any) -> Any:
    return served.boxes.WaitEnforced(
        box_service_pb2.WaitEnforcedRequest(box_id="b1", **({"timeout": LONG} | fields))
    )


async def waiting(served: Served, call: Any) -> asyncio.Task[Any]:
    """Start a call and return once the server waits for its box."""

    async def run() -> Any:
        return await call

    task = asyncio.get_running_loop().create_task(run())
    await until(lambda: served.waits._waiting or task.done())
    return task


async def test_a_box_that_no_node_hosts_is_answered_at_once(served: Served) -> None:
    await served.create()
    box = await served.update(wait_timeout=LONG)
    assert state_name(box.enforcement) == "NOT_ATTACHED"


async def test_a_wait_completes_when_every_node_has_acknowledged(served: Served) -> None:
    await served.create()
    first, second = (
        await served.hosting("b1", node_id="n1"),
        await served.hosting("b1", node_id="n2"),
    )
    update = await waiting(served, served.update(wait_timeout=LONG))
    await first.until("changes")
    await first.acknowledge()
    await second.until("changes")
    await until(lambda: not served.unacknowledged("n1"))
    assert not update.done()
    await second.acknowledge()
    enforcement = (await update).enforcement
    assert state_name(enforcement) == "ENFORCED"
    assert [(n.node_id, n.applied_revision) for n in enforcement.nodes] == [("n1", 2), ("n2", 2)]
    assert all(node.HasField("apply_time") for node in enforcement.nodes)


async def test_at_the_timeout_the_write_stands_and_is_pending(served: Served) -> None:
    await served.create()
    await served.hosting("b1")
    box = await served.update(wait_timeout=SHORT)
    assert (state_name(box.enforcement), box.enforcement.applied_revision) == ("PENDING", 1)
    assert (await served.get()).network_policy == DENY_ALL


async def test_a_node_that_is_out_of_contact_makes_a_wait_end_stale(served: Served) -> None:
    await served.create()
    agent = await served.hosting("b1")
    agent.call.cancel()
    await served.gone()
    box = await served.update(wait_timeout=SHORT)
    assert state_name(box.enforcement) == "STALE"


async def test_a_node_that_comes_back_completes_a_wait_on_its_stale_box(served: Served) -> None:
    await served.create()
    agent = await served.hosting("b1")
    agent.call.cancel()
    await served.gone()
    update = await waiting(served, served.update(wait_timeout=LONG))
    again = await served.subscribe(boxes=agent.held(), cursor=agent.cursor)
    await again.until("changes")
    await again.acknowledge()
    assert state_name((await update).enforcement) == "ENFORCED"


async def test_a_failure_is_the_answer_with_the_nodes_own_words(served: Served) -> None:
    await served.create()
    agent = await served.hosting("b1")
    update = await waiting(served, served.update(wait_timeout=LONG))
    await agent.until("changes")
    await agent.acknowledge(
        stream_pb2.AckResult(box_id="b1", policy_revision=2, failure="table full")
    )
    (node,) = (await update).enforcement.nodes
    assert (node.message, node.applied_revision) == ("table full", 1)
    assert await served.state() == "FAILED"


async def test_a_rejected_box_does_not_hold_back_the_others(served: Served) -> None:
    await served.create("b1")
    await served.create("b2")
    agent = await served.subscribe(boxes=["b1", "b2"])
    await agent.until("reset")
    await agent.acknowledge(stream_pb2.AckResult(box_id="b1", policy_revision=1, failure="no"))
    await until(lambda: not served.unacknowledged("n1"))
    await served.told()
    assert [await served.state("b1"), await served.state("b2")] == ["FAILED", "ENFORCED"]


async def test_a_later_write_in_force_completes_a_wait_for_an_earlier(served: Served) -> None:
    await served.create()
    agent = await served.hosting("b1")
    update = await waiting(served, served.update(wait_timeout=LONG))
    await served.update(policy=ALLOW_ALL)
    while agent.entries["b1"].policy_revision < 3:
        await agent.next()
    await agent.acknowledge()
    box = await update
    assert (box.policy_revision, state_name(box.enforcement)) == (2, "ENFORCED")
    assert box.enforcement.applied_revision == 3


async def acknowledges_a_tombstone(served: Served, agent: Agent) -> None:
    await served.delete()
    await agent.until("changes")
    await agent.acknowledge()


async def detaches(served: Served, agent: Agent) -> None:
    await agent.detach("b1")


async def is_forgotten(served: Served, agent: Agent) -> None:
    agent.call.cancel()
    await served.gone()
    await served.nodes.ForgetNode(node_service_pb2.ForgetNodeRequest(node_id="n1"))


ENDS: dict[str, tuple[Callable[[Served, Agent], Awaitable[None]], str]] = {
    "the node detaches": (detaches, "NOT_ATTACHED"),
    "the node is forgotten": (is_forgotten, "NOT_ATTACHED"),
    "the box is deleted": (acknowledges_a_tombstone, "ENFORCED"),
}


@pytest.mark.parametrize(("happens", "state"), ENDS.values(), ids=ENDS)
async def test_a_wait_ends_when_there_is_nothing_to_wait_for(
    served: Served, happens: Callable[[Served, Agent], Awaitable[None]], state: str
) -> None:
    await served.create()
    agent = await served.hosting("b1")
    update = await waiting(served, served.update(wait_timeout=LONG))
    await agent.until("changes")
    await happens(served, agent)
    async with asyncio.timeout(5):
        assert state_name((await update).enforcement) == state


async def test_wait_enforced_is_the_same_wait_later(served: Served) -> None:
    await served.create()
    agent = await served.hosting("b1")
    await served.update()
    wait = await waiting(served, wait_enforced(served))
    await agent.until("changes")
    await agent.acknowledge()
    assert state_name((await wait).enforcement) == "ENFORCED"


async def test_wait_enforced_without_a_timeout_answers_at_once(served: Served) -> None:
    await served.create()
    await served.hosting("b1")
    await served.update()
    box = await served.boxes.WaitEnforced(box_service_pb2.WaitEnforcedRequest(box_id="b1"))
    assert state_name(box.enforcement) == "PENDING"


async def test_an_earlier_revision_is_in_force_though_a_later_is_not(served: Served) -> None:
    await served.create()
    await served.hosting("b1")
    await served.update()
    assert state_name((await wait_enforced(served, policy_revision=1)).enforcement) == "ENFORCED"


async def test_waiting_for_a_revision_of_the_future_is_refused(served: Served) -> None:
    await served.create()
    error = await refusal(wait_enforced(served, policy_revision=2))
    assert (error.reason, error.violations[0].field) == (
        ErrorReason.INVALID_REQUEST,
        "policy_revision",
    )


async def test_waiting_for_a_box_that_is_deleted_meanwhile_ends_as_not_found(
    served: Served,
) -> None:
    await served.create()
    agent = await served.hosting("b1")
    await served.update()
    wait = await waiting(served, wait_enforced(served))
    await acknowledges_a_tombstone(served, agent)
    assert (await refusal(wait)).reason is ErrorReason.BOX_NOT_FOUND


async def test_a_deletion_waits_until_the_nodes_deny_everything(served: Served) -> None:
    await served.create()
    agent = await served.hosting("b1")
    deletion = await waiting(served, served.delete(wait_timeout=LONG))
    message = await agent.until("changes")
    assert message.changes.entries[0].HasField("tombstone")
    await agent.acknowledge()
    answer = await deletion
    assert (answer.revision, state_name(answer.enforcement)) == (2, "ENFORCED")


async def test_a_deletion_ends_its_wait_when_the_node_detaches_the_box(served: Served) -> None:
    await served.create()
    agent = await served.hosting("b1")
    deletion = await waiting(served, served.delete(wait_timeout=LONG))
    await agent.detach("b1")
    async with asyncio.timeout(5):
        assert state_name((await deletion).enforcement) == "NOT_ATTACHED"


async def test_a_wait_that_its_caller_gives_up_leaves_nothing_behind(served: Served) -> None:
    await served.create()
    await served.hosting("b1")
    await served.update()
    call = wait_enforced(served)
    await until(lambda: served.waits._waiting)
    call.cancel()
    await until(lambda: not served.waits._waiting)
