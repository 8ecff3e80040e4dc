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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias, assert_never

from boxwall_server.changes.change import BoxRecord, Change, ChangeKind, PolicyBytes, Timestamp
from boxwall_server.changes.revision import CommitId, Revision
from boxwall_server.store import batch_nodes as nodes
from boxwall_server.store.batch_rows import (
    HistoryRow,
    Key,
    RememberedRequest,
    Rows,
    Writes,
)
from boxwall_server.store.errors import (
    BoxAttached,
    BoxExists,
    BoxNotFound,
    EtagMismatch,
    Rejected,
    RequestIdReused,
    SnapshotExists,
    SnapshotNotFound,
    TooManyBoxes,
)
from boxwall_server.store.mutations import (
    AttachBoxes,
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
from boxwall_server.store.records import HistoryRecord, SnapshotRecord

REQUEST_MEMORY: Final = 3600 * 1_000_000
"""Microseconds for which a request id is remembered."""


_DRAWN_AT_ONCE: Final = 64

Answer: TypeAlias = Outcome | Rejected


@dataclass(frozen=True, slots=True)
class Plan:
    """What a batch does: an answer for each mutation, and what to save."""

    answers: tuple[Answer, ...]
    writes: Writes


def commit_ids() -> Iterator[CommitId]:
    """Yield random commit ids for ever. Tests give their own instead."""
    while True:
        many = secrets.token_bytes(8 * _DRAWN_AT_ONCE)
        for start in range(0, len(many), 8):
            yield CommitId(many[start : start + 8])


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
                return nodes.attach(self._rows, self.writes, mutation)
            case DetachBoxes():
                return nodes.detach(self._rows, self.writes, mutation)
            case RecordNodes():
                return nodes.record_nodes(self._rows, self.writes, mutation)
            case FenceNode() | UnfenceNode():
                return nodes.set_fence(self._rows, self.writes, mutation)
            case ForgetNode():
                return nodes.forget(self._rows, self.writes, mutation)
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
        self._check_room(mutation)
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
        if not mutation.validate_only:
            nodes.place(self._rows, self.writes, box, only_placed=mutation.only_placed)
        written = BoxWritten(
            box=box, previous_policy=None, nodes=self._nodes(key), revision=revision
        )
        if not mutation.validate_only:
            self._count(mutation.tenant, 1)
            self.writes.relabelled.add(key)
            self._save(box, ChangeKind.CREATED)
            self._remember_policy(box, mutation.author, mutation.request)
            self._remember(mutation.tenant, mutation.request, mutation.now, written)
        return written

    def _check_room(self, mutation: CreateBox) -> None:
        """Raise TooManyBoxes for a box too many. What only validates takes no room."""
        limit = mutation.max_boxes
        if limit is None or mutation.validate_only:
            return
        if self._rows.box_counts.get(mutation.tenant, 0) >= limit:
            raise TooManyBoxes(limit)

    def _count(self, tenant: str, change: int) -> None:
        count = self._rows.box_counts.get(tenant, 0) + change
        self._rows.box_counts[tenant] = self.writes.box_counts[tenant] = count

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
        changed = box.with_policy(mutation.policy, mutation.mode, revision, mutation.now)
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
        self._count(mutation.tenant, -1)
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
