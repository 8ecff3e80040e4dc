"""What every write does, for every engine alike. Pure.

An engine takes the mutations that wait, asks `keys_of` which rows they depend on, loads those in
bulk, gives them to `plan`, and saves the writes of the plan in the same transaction:

    keys = keys_of(mutations)
    plan = plan_batch(mutations, load(keys), head, commit_ids)
    save(plan.writes); commit; tell the listener plan.changes; answer plan.outcomes

A later mutation of a batch sees what earlier ones did. One that is rejected, or only validates,
leaves nothing behind.
"""

import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple, TypeAlias, assert_never

from boxwall_server.changes.change import BoxRecord, Change, ChangeKind, PolicyBytes, Timestamp
from boxwall_server.changes.revision import CommitId, Revision
from boxwall_server.store.errors import (
    BoxAttached,
    BoxExists,
    BoxNotFound,
    EtagMismatch,
    NodeFenced,
    NodeNotFound,
    Rejected,
    RequestIdReused,
    SnapshotExists,
    SnapshotNotFound,
)
from boxwall_server.store.mutations import (
    AttachBoxes,
    Attached,
    BoxWritten,
    CreateBox,
    CreateSnapshot,
    DeleteBox,
    DeleteSnapshot,
    DetachBoxes,
    Done,
    FenceNode,
    ForgetNode,
    Mutation,
    Outcome,
    RecordNodes,
    RequestKey,
    SetPolicy,
    SnapshotWritten,
    UnfenceNode,
    UpdateBox,
)
from boxwall_server.store.records import HistoryRecord, NodeRecord, SnapshotRecord

REQUEST_MEMORY: Final = 3600 * 1_000_000
"""Microseconds for which a request id is remembered."""


class Key(NamedTuple):
    """What rows are found by: nothing is found without its tenant."""

    tenant: str
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RememberedRequest:
    """The first answer to a request id."""

    key: Key
    fingerprint: bytes
    time: Timestamp
    outcome: BoxWritten | SnapshotWritten


@dataclass(slots=True)
class Keys:
    """Which rows a batch depends on."""

    boxes: set[Key] = field(default_factory=set)
    """With the nodes that host them, whether the boxes exist or not."""
    snapshots: set[Key] = field(default_factory=set)
    requests: set[Key] = field(default_factory=set)
    nodes: set[Key] = field(default_factory=set)
    hosted_by: set[Key] = field(default_factory=set)
    """Nodes of which every attachment is needed."""


@dataclass(slots=True)
class Rows:
    """The rows that were loaded. What is not in a dictionary does not exist."""

    boxes: dict[Key, BoxRecord] = field(default_factory=dict)
    snapshots: dict[Key, SnapshotRecord] = field(default_factory=dict)
    requests: dict[Key, RememberedRequest] = field(default_factory=dict)
    nodes: dict[Key, NodeRecord] = field(default_factory=dict)
    hosts: dict[Key, set[str]] = field(default_factory=dict)
    """Nodes by box."""
    hosted_by: dict[Key, set[str]] = field(default_factory=dict)
    """Boxes by node, of the nodes asked for."""


class HistoryRow(NamedTuple):
    """A policy that a box was given."""

    tenant: str
    box_uid: str
    record: HistoryRecord


class Attachment(NamedTuple):
    """A node hosts a box."""

    tenant: str
    box_id: str
    node_id: str


@dataclass(slots=True)
class Writes:
    """What is to be saved. None in a dictionary: delete the row."""

    boxes: dict[Key, BoxRecord | None] = field(default_factory=dict)
    relabelled: set[Key] = field(default_factory=set)
    """Boxes among those whose labels may be others than before."""
    snapshots: dict[Key, SnapshotRecord | None] = field(default_factory=dict)
    requests: list[RememberedRequest] = field(default_factory=list)
    history: list[HistoryRow] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    nodes: dict[Key, NodeRecord | None] = field(default_factory=dict)
    attachments: dict[Attachment, bool] = field(default_factory=dict)
    """True: make it. False: delete it."""

    def __bool__(self) -> bool:
        return bool(
            self.boxes
            or self.snapshots
            or self.requests
            or self.changes
            or self.nodes
            or self.attachments
        )


Answer: TypeAlias = Outcome | Rejected


@dataclass(frozen=True, slots=True)
class Plan:
    """What a batch does: an answer for each mutation, and what to save."""

    answers: tuple[Answer, ...]
    writes: Writes


def keys_of(mutations: Iterable[Mutation]) -> Keys:
    """Return what must be loaded before `plan_batch`."""
    keys = Keys()
    for mutation in mutations:
        _add_keys(keys, mutation)
    return keys


def _add_keys(keys: Keys, mutation: Mutation) -> None:
    match mutation:
        case CreateBox():
            keys.boxes.add(Key(mutation.tenant, mutation.id))
            if mutation.source_snapshot:
                keys.snapshots.add(Key(mutation.tenant, mutation.source_snapshot))
        case UpdateBox() | SetPolicy() | DeleteBox():
            keys.boxes.add(Key(mutation.tenant, mutation.id))
        case CreateSnapshot():
            keys.boxes.add(Key(mutation.tenant, mutation.box_id))
            keys.snapshots.add(Key(mutation.tenant, mutation.id))
        case DeleteSnapshot():
            keys.snapshots.add(Key(mutation.tenant, mutation.id))
        case AttachBoxes() | DetachBoxes():
            keys.nodes.add(Key(mutation.tenant, mutation.node_id))
            keys.boxes.update(Key(mutation.tenant, box_id) for box_id in mutation.box_ids)
        case RecordNodes():
            keys.nodes.update(Key(node.tenant, node.id) for node in mutation.nodes)
        case FenceNode() | UnfenceNode():
            keys.nodes.add(Key(mutation.tenant, mutation.node_id))
        case ForgetNode():
            keys.nodes.add(Key(mutation.tenant, mutation.node_id))
            keys.hosted_by.add(Key(mutation.tenant, mutation.node_id))
        case _:
            assert_never(mutation)
    if isinstance(mutation, CreateBox | SetPolicy | CreateSnapshot) and mutation.request:
        keys.requests.add(Key(mutation.tenant, mutation.request.request_id))


def commit_ids() -> Iterator[CommitId]:
    """Yield random commit ids for ever. Tests give their own instead."""
    while True:
        yield CommitId(secrets.token_bytes(8))


def plan_batch(
    mutations: Sequence[Mutation], rows: Rows, head: Revision, commit_ids: Iterator[CommitId]
) -> Plan:
    """Return what the mutations do, in order. `rows` is used up: it changes as the plan grows."""
    batch = _Batch(rows, head, commit_ids)
    return Plan(tuple(batch.answer(mutation) for mutation in mutations), batch.writes)


class _Batch:
    """The rows as they stand after the mutations so far, and what must be saved for that."""

    def __init__(self, rows: Rows, head: Revision, commit_ids: Iterator[CommitId]) -> None:
        self.writes = Writes()
        self._rows = rows
        self._head = head
        self._commit_ids = commit_ids

    def answer(self, mutation: Mutation) -> Answer:
        """Do one mutation, or reject it."""
        try:
            return self._do(mutation)
        except Rejected as rejection:
            return rejection

    def _do(self, mutation: Mutation) -> Outcome:
        match mutation:
            case CreateBox():
                return self._create_box(mutation)
            case UpdateBox():
                return self._update_box(mutation)
            case SetPolicy():
                return self._set_policy(mutation)
            case DeleteBox():
                return self._delete_box(mutation)
            case CreateSnapshot():
                return self._create_snapshot(mutation)
            case DeleteSnapshot():
                return self._delete_snapshot(mutation)
            case AttachBoxes():
                return self._attach(mutation)
            case DetachBoxes():
                return self._detach(mutation)
            case RecordNodes():
                return self._record_nodes(mutation)
            case FenceNode() | UnfenceNode():
                return self._set_fence(mutation)
            case ForgetNode():
                return self._forget(mutation)
            case _:
                assert_never(mutation)

    # Boxes.

    def _create_box(self, mutation: CreateBox) -> Outcome:
        replayed = self._replayed(mutation.tenant, mutation.request, mutation.now)
        if replayed is not None:
            return replayed
        key = Key(mutation.tenant, mutation.id)
        if key in self._rows.boxes:
            raise BoxExists(mutation.id)
        policy, mode = self._first_policy(mutation)
        revision = self._next_revision(mutation.validate_only)
        box = BoxRecord(
            tenant=mutation.tenant,
            id=mutation.id,
            uid=mutation.uid,
            name=mutation.name,
            node_id=mutation.node_id,
            labels=mutation.labels,
            runtime=mutation.runtime,
            policy=policy,
            mode=mode,
            policy_revision=revision,
            revision=revision,
            expire_time=mutation.expire_time,
            source_snapshot=mutation.source_snapshot,
            create_time=mutation.now,
            update_time=mutation.now,
        )
        written = BoxWritten(
            box=box, previous_policy=None, nodes=self._nodes(key), revision=revision
        )
        if not mutation.validate_only:
            self.writes.relabelled.add(key)
            self._save(box, ChangeKind.CREATED)
            self._remember_policy(box, mutation.author, mutation.request)
            self._remember(mutation.tenant, mutation.request, mutation.now, written)
        return written

    def _first_policy(self, mutation: CreateBox) -> tuple[PolicyBytes, str]:
        """Return the policy that is given, or that of the snapshot; the snapshot must exist."""
        snapshot = None
        if mutation.source_snapshot:
            snapshot = self._rows.snapshots.get(Key(mutation.tenant, mutation.source_snapshot))
            if snapshot is None:
                raise SnapshotNotFound(mutation.source_snapshot)
        if mutation.policy is not None:
            return mutation.policy, mutation.mode
        if snapshot is None:
            raise ValueError("a box needs a policy, or a snapshot to take it from")
        return snapshot.policy, snapshot.mode

    def _update_box(self, mutation: UpdateBox) -> Outcome:
        key = Key(mutation.tenant, mutation.id)
        box = self._box(key, mutation.etag)
        moves = mutation.node_id is not None and mutation.node_id != box.node_id
        if moves and self._rows.hosts.get(key):
            raise BoxAttached(mutation.id)
        revision = self._next_revision()
        changed = replace(
            box,
            name=box.name if mutation.name is None else mutation.name,
            node_id=box.node_id if mutation.node_id is None else mutation.node_id,
            labels=box.labels if mutation.labels is None else mutation.labels,
            runtime=box.runtime if mutation.runtime is None else mutation.runtime,
            expire_time=box.expire_time if mutation.expiry is None else mutation.expiry.at,
            revision=revision,
            update_time=mutation.now,
        )
        if changed.labels != box.labels:
            self.writes.relabelled.add(key)
        self._save(changed, ChangeKind.UPDATED)
        return BoxWritten(
            box=changed, previous_policy=box.policy, nodes=self._nodes(key), revision=revision
        )

    def _set_policy(self, mutation: SetPolicy) -> Outcome:
        replayed = self._replayed(mutation.tenant, mutation.request, mutation.now)
        if replayed is not None:
            return replayed
        key = Key(mutation.tenant, mutation.id)
        box = self._box(key, mutation.etag)
        revision = self._next_revision(mutation.validate_only)
        changed = replace(
            box,
            policy=mutation.policy,
            mode=mutation.mode,
            policy_revision=revision,
            revision=revision,
            update_time=mutation.now,
        )
        written = BoxWritten(
            box=changed, previous_policy=box.policy, nodes=self._nodes(key), revision=revision
        )
        if not mutation.validate_only:
            self._save(changed, ChangeKind.POLICY)
            self._remember_policy(changed, mutation.author, mutation.request)
            self._remember(mutation.tenant, mutation.request, mutation.now, written)
        return written

    def _delete_box(self, mutation: DeleteBox) -> Outcome:
        key = Key(mutation.tenant, mutation.id)
        box = self._box(key, mutation.etag)
        if mutation.expired_at is not None and (
            box.expire_time is None or box.expire_time > mutation.expired_at
        ):
            raise BoxNotFound(mutation.id)
        revision = self._next_revision()
        del self._rows.boxes[key]
        self.writes.boxes[key] = None
        self._change(ChangeKind.DELETED, box, revision)
        return BoxWritten(
            box=box, previous_policy=box.policy, nodes=self._nodes(key), revision=revision
        )

    # Snapshots.

    def _create_snapshot(self, mutation: CreateSnapshot) -> Outcome:
        replayed = self._replayed(mutation.tenant, mutation.request, mutation.now)
        if replayed is not None:
            return replayed
        key = Key(mutation.tenant, mutation.id)
        box = self._box(Key(mutation.tenant, mutation.box_id))
        if key in self._rows.snapshots:
            raise SnapshotExists(mutation.id)
        snapshot = SnapshotRecord(
            tenant=mutation.tenant,
            id=mutation.id,
            box_id=mutation.box_id,
            policy=box.policy,
            mode=box.mode,
            create_time=mutation.now,
        )
        self._rows.snapshots[key] = self.writes.snapshots[key] = snapshot
        written = SnapshotWritten(snapshot=snapshot)
        self._remember(mutation.tenant, mutation.request, mutation.now, written)
        return written

    def _delete_snapshot(self, mutation: DeleteSnapshot) -> Outcome:
        key = Key(mutation.tenant, mutation.id)
        if self._rows.snapshots.pop(key, None) is None:
            raise SnapshotNotFound(mutation.id)
        self.writes.snapshots[key] = None
        return Done(count=1)

    # Nodes.

    def _attach(self, mutation: AttachBoxes) -> Outcome:
        node = self._rows.nodes.get(Key(mutation.tenant, mutation.node_id))
        if node is not None and node.fenced:
            raise NodeFenced(mutation.node_id)
        refused: dict[str, str] = {}
        attached: list[str] = []
        for box_id in dict.fromkeys(mutation.box_ids):
            key = Key(mutation.tenant, box_id)
            box = self._rows.boxes.get(key)
            placed_on = "" if box is None else box.node_id
            if placed_on != mutation.node_id and (placed_on or mutation.only_placed):
                refused[box_id] = placed_on
                continue
            attached.append(box_id)
            hosts = self._rows.hosts.setdefault(key, set())
            if mutation.node_id not in hosts:
                hosts.add(mutation.node_id)
                self.writes.attachments[Attachment(*key, mutation.node_id)] = True
        return Attached(attached=tuple(attached), refused=refused)

    def _detach(self, mutation: DetachBoxes) -> Outcome:
        count = 0
        for box_id in dict.fromkeys(mutation.box_ids):
            hosts = self._rows.hosts.get(Key(mutation.tenant, box_id), set())
            if mutation.node_id in hosts:
                hosts.remove(mutation.node_id)
                attachment = Attachment(mutation.tenant, box_id, mutation.node_id)
                self.writes.attachments[attachment] = False
                count += 1
        return Done(count=count)

    def _record_nodes(self, mutation: RecordNodes) -> Outcome:
        for heard in mutation.nodes:
            key = Key(heard.tenant, heard.id)
            known = self._rows.nodes.get(key)
            self._save_node(
                replace(
                    heard,
                    fenced=known is not None and known.fenced,
                    fence_reason="" if known is None else known.fence_reason,
                    applied_revision=max(
                        heard.applied_revision,
                        Revision(0) if known is None else known.applied_revision,
                    ),
                )
            )
        return Done(count=len(mutation.nodes))

    def _set_fence(self, mutation: FenceNode | UnfenceNode) -> Outcome:
        key = Key(mutation.tenant, mutation.node_id)
        node = self._rows.nodes.get(key)
        match mutation:
            case FenceNode():
                node = node or NodeRecord(tenant=key.tenant, id=key.id)
                self._save_node(replace(node, fenced=True, fence_reason=mutation.reason))
            case UnfenceNode():
                if node is None:
                    raise NodeNotFound(mutation.node_id)
                self._save_node(replace(node, fenced=False, fence_reason=""))
        return Done(count=1)

    def _forget(self, mutation: ForgetNode) -> Outcome:
        key = Key(mutation.tenant, mutation.node_id)
        if self._rows.nodes.pop(key, None) is None:
            raise NodeNotFound(mutation.node_id)
        self.writes.nodes[key] = None
        boxes = self._attached_to(key)
        for box_id in boxes:
            self._rows.hosts.get(Key(key.tenant, box_id), set()).discard(key.id)
            self.writes.attachments[Attachment(key.tenant, box_id, key.id)] = False
        return Done(count=len(boxes))

    def _attached_to(self, node: Key) -> set[str]:
        """Return the boxes attached to a node: as loaded, and as changed since in this batch."""
        boxes = set(self._rows.hosted_by.get(node, ()))
        for attachment, made in self.writes.attachments.items():
            if (attachment.tenant, attachment.node_id) == node:
                (boxes.add if made else boxes.discard)(attachment.box_id)
        return boxes

    def _save_node(self, node: NodeRecord) -> None:
        key = Key(node.tenant, node.id)
        self._rows.nodes[key] = self.writes.nodes[key] = node

    # What several of them need.

    def _box(self, key: Key, etag: str = "") -> BoxRecord:
        box = self._rows.boxes.get(key)
        if box is None:
            raise BoxNotFound(key.id)
        if etag and etag != box.etag:
            raise EtagMismatch(key.id)
        return box

    def _nodes(self, key: Key) -> tuple[str, ...]:
        return tuple(sorted(self._rows.hosts.get(key, ())))

    def _next_revision(self, validate_only: bool = False) -> Revision:
        """Return the revision for a write; 0 for one that only validates."""
        if validate_only:
            return Revision(0)
        self._head = Revision(self._head + 1)
        return self._head

    def _save(self, box: BoxRecord, kind: ChangeKind) -> None:
        key = Key(box.tenant, box.id)
        self._rows.boxes[key] = self.writes.boxes[key] = box
        self._change(kind, box, box.revision)

    def _change(self, kind: ChangeKind, box: BoxRecord, revision: Revision) -> None:
        self.writes.changes.append(
            Change(revision=revision, commit_id=next(self._commit_ids), kind=kind, box=box)
        )

    def _remember_policy(self, box: BoxRecord, author: str, request: RequestKey | None) -> None:
        record = HistoryRecord(
            revision=box.policy_revision,
            policy=box.policy,
            create_time=box.update_time,
            author=author,
            request_id="" if request is None else request.request_id,
        )
        self.writes.history.append(HistoryRow(box.tenant, box.uid, record))

    def _replayed(self, tenant: str, request: RequestKey | None, now: Timestamp) -> Outcome | None:
        """Return the first answer to a request id. None: it is new, or forgotten by now."""
        if request is None:
            return None
        first = self._rows.requests.get(Key(tenant, request.request_id))
        if first is None or now - first.time > REQUEST_MEMORY:
            return None
        if first.fingerprint != request.fingerprint:
            raise RequestIdReused(request.request_id)
        if isinstance(first.outcome, BoxWritten):
            nodes = self._nodes(Key(tenant, first.outcome.box.id))
            return replace(first.outcome, nodes=nodes, replayed=True)
        return replace(first.outcome, replayed=True)

    def _remember(
        self,
        tenant: str,
        request: RequestKey | None,
        now: Timestamp,
        outcome: BoxWritten | SnapshotWritten,
    ) -> None:
        if request is None:
            return
        key = Key(tenant, request.request_id)
        remembered = RememberedRequest(
            key=key, fingerprint=request.fingerprint, time=now, outcome=outcome
        )
        self._rows.requests[key] = remembered
        self.writes.requests.append(remembered)
