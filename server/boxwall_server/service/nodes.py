"""NodeService: nodes, for operators."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from boxwall.v1 import node_pb2, node_service_pb2
from boxwall.wire.errors import ApiError, ErrorReason
from boxwall_server.changes.log import ChangeLog
from boxwall_server.enforcement import EnforcementLedger, NodeKey
from boxwall_server.service.call import Call
from boxwall_server.service.decode import Problems
from boxwall_server.service.encode import node_to_proto
from boxwall_server.service.node_streams import NodeStreams
from boxwall_server.service.pages import page_token, position_of
from boxwall_server.service.registry import Handler
from boxwall_server.store.base import NodeReader, Writer
from boxwall_server.store.mutations import Done, FenceNode, ForgetNode, UnfenceNode
from boxwall_server.store.records import NodeRecord


class NodeStore(NodeReader, Writer, Protocol):
    """The part of a store that operators' calls need."""


class Nodes:
    """The rpcs about nodes."""

    def __init__(
        self,
        store: NodeStore,
        streams: NodeStreams,
        ledger: EnforcementLedger,
        log: ChangeLog,
    ) -> None:
        self._store = store
        self._streams = streams
        self._ledger = ledger
        self._log = log

    def handlers(self) -> Mapping[str, Handler]:
        """Return the handlers by method name."""
        return {
            "list_nodes": self.list_nodes,
            "get_node": self.get_node,
            "fence_node": self.fence_node,
            "unfence_node": self.unfence_node,
            "forget_node": self.forget_node,
        }

    async def list_nodes(
        self, request: node_service_pb2.ListNodesRequest, call: Call
    ) -> node_service_pb2.ListNodesResponse:
        """Read a page of nodes."""
        problems = Problems()
        size = problems.page_size(request.page_size)
        problems.raise_if_any()
        query = ("nodes", call.tenant)
        found = await self._store.nodes(
            call.tenant, after=position_of(request.page_token, query), limit=size + 1
        )
        page = found[:size]
        return node_service_pb2.ListNodesResponse(
            nodes=[self._node(record) for record in page],
            next_page_token=page_token(query, page[-1].id) if len(found) > size else "",
        )

    async def get_node(self, request: node_service_pb2.GetNodeRequest, call: Call) -> node_pb2.Node:
        """Read one node."""
        return await self._read(_node_key(request.node_id, call))

    async def fence_node(
        self, request: node_service_pb2.FenceNodeRequest, call: Call
    ) -> node_pb2.Node:
        """Shut a node out."""
        problems = Problems()
        node = NodeKey(call.tenant, problems.node_id(request.node_id, "node_id"))
        reason = problems.text(request.reason, "reason")
        problems.raise_if_any()
        await self._store.apply(FenceNode(tenant=node.tenant, node_id=node.id, reason=reason))
        self._streams.fence(node)
        return await self._read(node)

    async def unfence_node(
        self, request: node_service_pb2.UnfenceNodeRequest, call: Call
    ) -> node_pb2.Node:
        """Let a node in again."""
        node = _node_key(request.node_id, call)
        await self._store.apply(UnfenceNode(tenant=node.tenant, node_id=node.id))
        return await self._read(node)

    async def forget_node(
        self, request: node_service_pb2.ForgetNodeRequest, call: Call
    ) -> node_service_pb2.ForgetNodeResponse:
        """Forget a node that is gone for good."""
        node = _node_key(request.node_id, call)
        if await self._is_connected(node):
            raise ApiError(
                ErrorReason.NODE_CONNECTED,
                f"node {node.id} is connected; stop its agent, or fence it first",
            )
        boxes = await self._store.attached(node.tenant, node.id)
        outcome = await self._store.apply(ForgetNode(tenant=node.tenant, node_id=node.id))
        self._streams.forgotten(node, boxes)
        assert isinstance(outcome, Done), outcome
        return node_service_pb2.ForgetNodeResponse(attachments=outcome.count)

    async def _is_connected(self, node: NodeKey) -> bool:
        """Return whether a node has a stream here, or at another server that shares the store."""
        if self._streams.connected(node) is not None:
            return True
        return (await self._store.node(node.tenant, node.id)).connect_time is not None

    async def _read(self, node: NodeKey) -> node_pb2.Node:
        return self._node(await self._store.node(node.tenant, node.id))

    def _node(self, record: NodeRecord) -> node_pb2.Node:
        """Return a node: what is remembered, and what its living stream knows better."""
        key = NodeKey(record.tenant, record.id)
        stream = self._streams.connected(key)
        if stream is not None:
            record = replace(
                record,
                agent_version=stream.agent_version,
                last_contact_time=stream.last_contact_time,
                applied_revision=stream.applied_revision,
            )
        return node_to_proto(
            record,
            connect_time=record.connect_time if stream is None else stream.connect_time,
            head=self._log.head.revision,
            rejections=record.failures if stream is None else self._ledger.failures(key),
        )


def _node_key(node_id: str, call: Call) -> NodeKey:
    problems = Problems()
    problems.node_id(node_id, "node_id")
    problems.raise_if_any()
    return NodeKey(call.tenant, node_id)
