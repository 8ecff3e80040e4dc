"""Nodes, for operators."""

from typing import Any

import grpc
import pytest

from boxwall.v1 import box_service_pb2, node_pb2, node_service_pb2, stream_pb2
from boxwall.wire.errors import ErrorReason
from fakes.service import DENY_ALL, Served, fields_of, refusal, until

ALSO_ON_TWO_SERVERS = True


def get(served: Served, node_id: str = "n1") -> Any:
    return served.nodes.GetNode(node_service_pb2.GetNodeRequest(node_id=node_id))


def fence(served: Served, node_id: str = "n1", reason: str = "") -> Any:
    return served.nodes.FenceNode(node_service_pb2.FenceNodeRequest(node_id=node_id, reason=reason))


def forget(served: Served, node_id: str = "n1") -> Any:
    return served.nodes.ForgetNode(node_service_pb2.ForgetNodeRequest(node_id=node_id))


async def gone(served: Served) -> None:
    """Wait until no node is connected and the last is recorded."""
    await served.gone()
    await until(lambda: any(log["event"] == "node_disconnected" for log in served.logs))


async def test_a_connected_node_is_shown_as_its_stream_knows_it(served: Served) -> None:
    await served.create("b1")
    await served.create("b2")
    agent = await served.subscribe("n1", ["b1", "b2"])
    await agent.until("reset")
    await agent.acknowledge(stream_pb2.AckResult(box_id="b2", policy_revision=2, failure="no"))
    await until(lambda: not served.unacknowledged("n1"))
    await served.told()
    await served.update("b1", DENY_ALL)
    node = await get(served)
    assert node.state == node_pb2.Node.STATE_CONNECTED
    assert (node.agent_version, node.attached_boxes, node.rejections) == ("test/1", 2, 1)
    assert (node.applied_revision, node.lag) == (2, 1)
    assert node.HasField("connect_time")


async def test_a_node_that_left_is_remembered(served: Served) -> None:
    await served.create()
    agent = await served.hosting("b1")
    agent.call.cancel()
    await gone(served)
    node = await get(served)
    assert node.state == node_pb2.Node.STATE_DISCONNECTED
    assert (node.applied_revision, node.attached_boxes) == (1, 1)
    assert not node.HasField("connect_time")
    assert node.HasField("last_contact_time")


async def test_nodes_are_listed_in_pages(served: Served) -> None:
    for number in range(3):
        await served.hosting(node_id=f"n{number}")
    page = await served.nodes.ListNodes(node_service_pb2.ListNodesRequest(page_size=2))
    assert [node.id for node in page.nodes] == ["n0", "n1"]
    rest = await served.nodes.ListNodes(
        node_service_pb2.ListNodesRequest(page_size=2, page_token=page.next_page_token)
    )
    assert ([node.id for node in rest.nodes], rest.next_page_token) == (["n2"], "")


async def test_a_page_token_of_boxes_is_none_of_nodes(served: Served) -> None:
    await served.create("b1")
    await served.create("b2")
    page = await served.boxes.ListBoxes(box_service_pb2.ListBoxesRequest(page_size=1))
    request = node_service_pb2.ListNodesRequest(page_token=page.next_page_token)
    assert (await refusal(served.nodes.ListNodes(request))).reason is (
        ErrorReason.INVALID_PAGE_TOKEN
    )
    negative = node_service_pb2.ListNodesRequest(page_size=-1)
    assert fields_of(await refusal(served.nodes.ListNodes(negative))) == ["page_size"]


async def test_a_node_that_is_not_known_can_be_fenced_and_let_in_again(served: Served) -> None:
    node = await fence(served, reason="stolen")
    assert (node.state, node.fence_reason) == (node_pb2.Node.STATE_FENCED, "stolen")
    node = await served.nodes.UnfenceNode(node_service_pb2.UnfenceNodeRequest(node_id="n1"))
    assert (node.state, node.fence_reason) == (node_pb2.Node.STATE_DISCONNECTED, "")


async def test_the_boxes_of_a_fenced_node_stay_attached_and_stale(served: Served) -> None:
    await served.create()
    await served.hosting("b1")
    await fence(served)
    await gone(served)
    assert (await get(served)).attached_boxes == 1
    assert await served.state() == "STALE"


async def test_a_forgotten_node_goes_with_its_attachments(served: Served) -> None:
    await served.create()
    agent = await served.hosting("b1")
    error = await refusal(forget(served))
    assert (error.status, error.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        ErrorReason.NODE_CONNECTED,
    )
    agent.call.cancel()
    await gone(served)
    assert (await forget(served)).attachments == 1
    assert await served.state() == "NOT_ATTACHED"
    assert (await refusal(get(served))).reason is ErrorReason.NODE_NOT_FOUND


CALLS: dict[str, tuple[str, Any]] = {
    "GetNode": ("GetNode", node_service_pb2.GetNodeRequest),
    "UnfenceNode": ("UnfenceNode", node_service_pb2.UnfenceNodeRequest),
    "ForgetNode": ("ForgetNode", node_service_pb2.ForgetNodeRequest),
    "FenceNode": ("FenceNode", node_service_pb2.FenceNodeRequest),
}


@pytest.mark.parametrize(("method", "request_type"), CALLS.values(), ids=CALLS)
async def test_a_node_id_is_checked_by_every_call(
    served: Served, method: str, request_type: Any
) -> None:
    for bad in ("", "-n", "a b", "n\0"):
        error = await refusal(getattr(served.nodes, method)(request_type(node_id=bad)))
        assert (error.status, fields_of(error)) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            ["node_id"],
        )


@pytest.mark.parametrize("method", ["GetNode", "UnfenceNode", "ForgetNode"])
async def test_an_unknown_node_is_not_found(served: Served, method: str) -> None:
    error = await refusal(getattr(served.nodes, method)(CALLS[method][1](node_id="n9")))
    assert (error.status, error.resource) == (grpc.StatusCode.NOT_FOUND, ("node", "n9"))


async def test_a_reason_that_cannot_be_is_refused_together_with_the_id(served: Served) -> None:
    error = await refusal(fence(served, "-", "x" * 201))
    assert fields_of(error) == ["node_id", "reason"]
