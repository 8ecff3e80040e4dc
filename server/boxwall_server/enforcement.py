"""Who applied what: the ledger of acknowledgements.

Pure. The store remembers which nodes host a box; this ledger knows what the nodes with a living
stream have said. A node that is recorded and not here is out of contact: nobody knows what it
enforces, and that is what the state says (STALE).

    ledger.connect(node)
    ledger.attach(node, ["b1"])
    ledger.judge(box b1 at revision 7, recorded nodes ["n1"])   -> PENDING
    ledger.applied(node, "b1", 7)
    ledger.judge(...)                                           -> ENFORCED

Servers that share a store tell each other what their nodes have said; `judge` is given that as
`elsewhere`.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from types import MappingProxyType
from typing import NamedTuple

from boxwall_server.changes.change import Timestamp
from boxwall_server.changes.revision import Revision


class NodeKey(NamedTuple):
    """A node of a tenant."""

    tenant: str
    id: str


class State(IntEnum):
    """How far a policy has come. The numbers are those of the wire."""

    NOT_ATTACHED = 1
    PENDING = 2
    ENFORCED = 3
    FAILED = 4
    STALE = 5


_WORST_FIRST = (State.STALE, State.FAILED, State.PENDING, State.ENFORCED)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeEnforcement:
    """How far a box's policy has come on one node."""

    node_id: str
    state: State
    applied_revision: Revision = Revision(0)
    apply_time: Timestamp | None = None
    message: str = ""
    connections_kept: int = 0
    connections_cut: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Enforcement:
    """How far a box's policy has come, over all nodes that host it."""

    state: State
    applied_revision: Revision
    nodes: tuple[NodeEnforcement, ...]

    def settled(self) -> bool:
        """Return whether no node is left that could still answer. A node out of contact could come
        back.
        """
        return not any(node.state in (State.PENDING, State.STALE) for node in self.nodes)


NOT_ATTACHED = Enforcement(state=State.NOT_ATTACHED, applied_revision=Revision(0), nodes=())


@dataclass(slots=True, kw_only=True)
class Standing:
    """What one node has said of one box."""

    applied: Revision = Revision(0)
    apply_time: Timestamp | None = None
    answered: Revision = Revision(0)
    """The newest revision it has answered for, applied or failed."""
    failure: str = ""
    note: str = ""
    """What is in force otherwise than one would expect, of the newest revision it answered for."""
    kept: int = 0
    cut: int = 0


NOTHING_ELSEWHERE: Mapping[str, Standing] = MappingProxyType({})


class EnforcementLedger:
    """What the nodes in contact have acknowledged, by box."""

    def __init__(self) -> None:
        self._nodes: dict[NodeKey, dict[str, Standing]] = {}
        self._hosts: dict[tuple[str, str], dict[str, Standing]] = {}

    def connect(self, node: NodeKey) -> None:
        """A node's stream is open. It hosts nothing until `attach`."""
        self.disconnect(node)
        self._nodes[node] = {}

    def disconnect(self, node: NodeKey) -> list[str]:
        """A node is out of contact. Returns the boxes whose state may be another now."""
        boxes = list(self._nodes.get(node, ()))
        self.detach(node, boxes)
        self._nodes.pop(node, None)
        return boxes

    def in_contact(self, node: NodeKey) -> bool:
        """Return whether the node has a living stream."""
        return node in self._nodes

    def attach(self, node: NodeKey, box_ids: Iterable[str]) -> None:
        """A node in contact hosts these boxes; whatever it said of them before is forgotten.

        Of a node that is not in contact (any more), nothing is recorded.
        """
        held = self._nodes.get(node)
        if held is None:
            return
        for box_id in box_ids:
            standing = held[box_id] = Standing()
            self._hosts.setdefault((node.tenant, box_id), {})[node.id] = standing

    def detach(self, node: NodeKey, box_ids: Iterable[str]) -> None:
        """A node does not host these boxes (any more)."""
        held = self._nodes.get(node, {})
        for box_id in box_ids:
            if held.pop(box_id, None) is None:
                continue
            hosts = self._hosts[node.tenant, box_id]
            del hosts[node.id]
            if not hosts:
                del self._hosts[node.tenant, box_id]

    def applied(
        self, node: NodeKey, box_id: str, revision: Revision, now: Timestamp | None
    ) -> None:
        """A node has a revision in force. About a box it does not host, nothing is recorded."""
        standing = self._nodes.get(node, {}).get(box_id)
        if standing is None or revision < standing.answered:
            return
        if revision > standing.answered:
            standing.kept = standing.cut = 0
            standing.note = ""
        standing.applied = standing.answered = revision
        standing.apply_time = now
        standing.failure = ""

    def failed(self, node: NodeKey, box_id: str, revision: Revision, message: str) -> None:
        """A node could not apply a revision and denies everything for the box instead."""
        standing = self._nodes.get(node, {}).get(box_id)
        if standing is None or revision < standing.answered:
            return
        standing.answered = revision
        standing.failure = message or "no reason given"
        standing.note = ""
        standing.kept = standing.cut = 0

    def noted(self, node: NodeKey, box_id: str, revision: Revision, note: str) -> None:
        """A node enforces a revision otherwise than one would expect, without allowing more.

        Not the last it answered: passed over.
        """
        standing = self._nodes.get(node, {}).get(box_id)
        if standing is not None and standing.answered == revision:
            standing.note = note

    def counted(
        self, node: NodeKey, box_id: str, revision: Revision, *, kept: int, cut: int
    ) -> None:
        """A node has counted connections for a revision. Not the last it answered: passed over."""
        standing = self._nodes.get(node, {}).get(box_id)
        if standing is not None and standing.answered == revision:
            standing.kept, standing.cut = kept, cut

    def standing(self, node: NodeKey, box_id: str) -> Standing | None:
        """Return what a node in contact has said of a box, as a copy. None: it does not host it."""
        standing = self._nodes.get(node, {}).get(box_id)
        return None if standing is None else replace(standing)

    def failures(self, node: NodeKey) -> int:
        """Return how many boxes of a node are denied because their policy could not be applied."""
        return sum(1 for standing in self._nodes.get(node, {}).values() if standing.failure)

    def boxes(self, node: NodeKey) -> int:
        """Return how many boxes a node in contact hosts."""
        return len(self._nodes.get(node, ()))

    def hosts(self, tenant: str, box_id: str) -> list[str]:
        """Return the nodes in contact that host a box."""
        return list(self._hosts.get((tenant, box_id), ()))

    def judge(
        self,
        tenant: str,
        box_id: str,
        required: Revision,
        recorded: Collection[str],
        elsewhere: Mapping[str, Standing] = NOTHING_ELSEWHERE,
    ) -> Enforcement:
        """Return how far `required` has come. `recorded` are the nodes that the store remembers,
        `elsewhere` is what those have said that are in contact with another server.
        """
        here = self._hosts.get((tenant, box_id), {})
        if not (here or recorded or elsewhere):
            return NOT_ATTACHED
        there = {
            node_id: standing
            for node_id, standing in elsewhere.items()
            if not self.in_contact(NodeKey(tenant, node_id))
        }
        live = {**there, **here}
        nodes = tuple(
            _judge_one(node_id, live.get(node_id), required)
            for node_id in sorted({*recorded, *live})
        )
        if not nodes:
            return NOT_ATTACHED
        states = {node.state for node in nodes}
        return Enforcement(
            state=next(state for state in _WORST_FIRST if state in states),
            applied_revision=min(node.applied_revision for node in nodes),
            nodes=nodes,
        )


def _judge_one(node_id: str, standing: Standing | None, required: Revision) -> NodeEnforcement:
    if standing is None:
        return NodeEnforcement(node_id=node_id, state=State.STALE)
    if standing.answered < required:
        state = State.PENDING
    else:
        state = State.FAILED if standing.failure else State.ENFORCED
    return NodeEnforcement(
        node_id=node_id,
        state=state,
        applied_revision=standing.applied,
        apply_time=standing.apply_time,
        message=standing.failure or standing.note,
        connections_kept=standing.kept,
        connections_cut=standing.cut,
    )
