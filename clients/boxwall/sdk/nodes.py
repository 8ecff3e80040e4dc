"""Nodes, for operators: `client.nodes`."""

from collections.abc import Sequence

from boxwall.sdk.connection import Connection
from boxwall.sdk.decode import node_from_proto
from boxwall.sdk.pages import Pages
from boxwall.sdk.values import Node
from boxwall.v1 import node_service_pb2 as pb


class Nodes:
    """The nodes that one control plane knows."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def list(self) -> Pages[Node]:
        """Return the nodes, ordered by id; await it, or walk through it with `async for`."""

        async def fetch(token: str) -> tuple[Sequence[Node], str]:
            answer: pb.ListNodesResponse = await self._connection.call(
                self._connection.nodes.ListNodes,
                lambda _: pb.ListNodesRequest(page_token=token),
                repeatable=True,
            )
            return [node_from_proto(node) for node in answer.nodes], answer.next_page_token

        return Pages(fetch)

    async def get(self, node_id: str) -> Node:
        """Return one node. Raises NodeNotFound."""
        return node_from_proto(
            await self._connection.call(
                self._connection.nodes.GetNode,
                lambda _: pb.GetNodeRequest(node_id=node_id),
                repeatable=True,
            )
        )

    async def fence(self, node_id: str, *, reason: str = "") -> Node:
        """Shut a node out: it denies everything if it can still be told, and no longer counts.

        It need not be known yet. `reason` is for other operators.
        """
        return node_from_proto(
            await self._connection.call(
                self._connection.nodes.FenceNode,
                lambda _: pb.FenceNodeRequest(node_id=node_id, reason=reason),
                repeatable=False,
            )
        )

    async def unfence(self, node_id: str) -> Node:
        """Let a node in again. Not retried: somebody may have fenced it again meanwhile."""
        return node_from_proto(
            await self._connection.call(
                self._connection.nodes.UnfenceNode,
                lambda _: pb.UnfenceNodeRequest(node_id=node_id),
                repeatable=False,
            )
        )

    async def forget(self, node_id: str) -> int:
        """Forget a node that is gone for good; return how many attachments went with it.

        Raises Conflict while it is connected, NodeNotFound.
        """
        answer: pb.ForgetNodeResponse = await self._connection.call(
            self._connection.nodes.ForgetNode,
            lambda _: pb.ForgetNodeRequest(node_id=node_id),
            repeatable=False,
        )
        return answer.attachments
