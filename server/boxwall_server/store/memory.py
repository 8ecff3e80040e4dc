"""A store in memory, for tests: the same plan as the others, and nothing to wait for."""

import secrets
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from boxwall_server.changes.change import (
    BoxRecord,
    Change,
    ChangeKind,
    Entry,
    Timestamp,
    entry_of,
    entry_of_record,
)
from boxwall_server.changes.revision import NO_COMMIT, Cursor, Epoch, Revision
from boxwall_server.store.base import Listener
from boxwall_server.store.batch import REQUEST_MEMORY, commit_ids, plan_batch
from boxwall_server.store.batch_rows import (
    Attachment,
    HistoryRow,
    Key,
    Keys,
    RememberedRequest,
    Rows,
    Writes,
    keys_of,
)
from boxwall_server.store.errors import (
    BoxNotFound,
    NodeNotFound,
    NotYetRead,
    Rejected,
    SnapshotNotFound,
)
from boxwall_server.store.mutations import Mutation, Outcome
from boxwall_server.store.records import (
    BoxFilter,
    ChangesAt,
    Commit,
    EntriesAt,
    HistoryRecord,
    HostedRecord,
    HostRecord,
    NodeRecord,
    SnapshotRecord,
)
from boxwall_server.store.unshared import Unshared

_PAGE = 500

Row = TypeVar("Row")


class MemoryStore(Unshared):
    """Keeps the contract of `store.base`, but for surviving anything."""

    def __init__(self) -> None:
        self._epoch = Epoch(secrets.token_bytes(16))
        self._boxes: dict[Key, BoxRecord] = {}
        self._snapshots: dict[Key, SnapshotRecord] = {}
        self._requests: dict[Key, RememberedRequest] = {}
        self._nodes: dict[Key, NodeRecord] = {}
        self._attachments: set[Attachment] = set()
        self._box_counts: dict[str, int] = {}
        self._history: list[HistoryRow] = []
        self._changes: list[Change] = []
        self._floor = Revision(0)
        """The revision before the first change that is kept."""
        self._listener: Listener | None = None

    @property
    def head(self) -> Cursor:
        """The cursor of the last commit."""
        if self._changes:
            return self._changes[-1].cursor(self._epoch)
        return Cursor(epoch=self._epoch, revision=Revision(0), commit_id=NO_COMMIT)

    def listen(self, listener: Listener) -> None:
        """Set who is told of commits."""
        self._listener = listener

    async def close(self) -> None:
        """There is nothing to release."""

    async def apply(self, mutation: Mutation) -> Outcome:
        """Do the mutation, or raise."""
        plan = plan_batch(
            [mutation], self._load(keys_of([mutation])), self.head.revision, commit_ids()
        )
        self._save(plan.writes)
        changes = tuple(plan.writes.changes)
        if changes and self._listener is not None:
            self._listener(Commit(epoch=self._epoch, changes=changes))
        (answer,) = plan.answers
        if isinstance(answer, Rejected):
            raise answer
        return answer

    async def box(self, tenant: str, box_id: str, at_least: Revision = Revision(0)) -> HostedRecord:
        """Return one box."""
        self._reached(at_least)
        box = self._boxes.get(Key(tenant, box_id))
        if box is None:
            raise BoxNotFound(box_id)
        return self._hosted(box)

    async def boxes(
        self,
        tenant: str,
        where: BoxFilter,
        *,
        after: str,
        limit: int,
        at_least: Revision = Revision(0),
    ) -> Sequence[HostedRecord]:
        """Return a page of boxes."""
        self._reached(at_least)
        found = (self._hosted(box) for box in self._of_tenant(tenant) if box.id > after)
        return [hosted for hosted in found if _matches(hosted, where)][:limit]

    async def history(
        self, tenant: str, box_id: str, *, before: Revision, limit: int
    ) -> Sequence[HistoryRecord]:
        """Return a page of a living box's policies."""
        uid = (await self.box(tenant, box_id)).box.uid
        found = (
            row.record
            for row in reversed(self._history)
            if (row.tenant, row.box_uid) == (tenant, uid) and row.record.revision < before
        )
        return list(found)[:limit]

    async def snapshot(self, tenant: str, snapshot_id: str) -> SnapshotRecord:
        """Return one snapshot."""
        snapshot = self._snapshots.get(Key(tenant, snapshot_id))
        if snapshot is None:
            raise SnapshotNotFound(snapshot_id)
        return snapshot

    async def snapshots(
        self, tenant: str, *, box_id: str, after: str, limit: int
    ) -> Sequence[SnapshotRecord]:
        """Return a page of snapshots."""
        return [
            snapshot
            for key, snapshot in sorted(self._snapshots.items())
            if key.tenant == tenant and key.id > after and box_id in ("", snapshot.box_id)
        ][:limit]

    async def node(self, tenant: str, node_id: str) -> NodeRecord:
        """Return one node."""
        node = self._nodes.get(Key(tenant, node_id))
        if node is None:
            raise NodeNotFound(node_id)
        return self._counted(node)

    async def nodes(self, tenant: str, *, after: str, limit: int) -> Sequence[NodeRecord]:
        """Return a page of nodes."""
        return [
            self._counted(node)
            for key, node in sorted(self._nodes.items(), key=lambda item: item[0])
            if key.tenant == tenant and key.id > after
        ][:limit]

    async def attached(self, tenant: str, node_id: str) -> Sequence[str]:
        """Return the boxes attached to a node."""
        return sorted(
            a.box_id for a in self._attachments if (a.tenant, a.node_id) == (tenant, node_id)
        )

    async def hosts(self, boxes: Collection[Key]) -> Mapping[Key, Sequence[HostRecord]]:
        """Return the nodes attached to boxes."""
        return {
            key: [HostRecord(node_id=node_id) for node_id in self._nodes_of(key)] for key in boxes
        }

    async def verify(self, cursor: Cursor) -> bool:
        """Return whether a stream can continue from `cursor`."""
        if cursor.epoch != self._epoch:
            return False
        if cursor.revision == 0:
            return self._floor == 0 and cursor.commit_id == NO_COMMIT
        place = cursor.revision - self._floor - 1
        return (
            0 <= place < len(self._changes) and self._changes[place].commit_id == cursor.commit_id
        )

    async def entries(self, tenant: str, box_ids: Sequence[str]) -> EntriesAt:
        """Return what nodes have to do for boxes."""
        return EntriesAt(
            cursor=self.head, entries=[self._entry(tenant, box_id) for box_id in box_ids]
        )

    async def since(
        self, tenant: str, cursor: Cursor, *, limit: int, for_nodes: bool = False
    ) -> ChangesAt | None:
        """Return the newest change of each box after `cursor`."""
        if not await self.verify(cursor):
            return None
        newest: dict[str, Change] = {}
        for change in self._changes[max(0, cursor.revision - self._floor) :]:
            if change.box.tenant == tenant and (change.concerns_nodes or not for_nodes):
                newest.pop(change.box.id, None)
                newest[change.box.id] = change
        if len(newest) > limit:
            return None
        return ChangesAt(cursor=self.head, changes=list(newest.values()))

    @asynccontextmanager
    async def scan(self, tenant: str) -> AsyncIterator["_Scan"]:
        """Open a reading of all boxes at the head."""
        yield _Scan(self.head, self._of_tenant(tenant))

    async def next_expiry(self) -> Timestamp | None:
        """Return when the next box expires."""
        times = [box.expire_time for box in self._boxes.values() if box.expire_time is not None]
        return min(times, default=None)

    async def expired(self, now: Timestamp, *, limit: int) -> Sequence[BoxRecord]:
        """Return boxes whose time is up."""
        due = [
            (box.expire_time, box.tenant, box.id, box)
            for box in self._boxes.values()
            if box.expire_time is not None and box.expire_time <= now
        ]
        return [box for *_, box in sorted(due, key=lambda row: row[:3])[:limit]]

    async def compact(self, *, now: Timestamp, retain: int) -> Revision:
        """Drop old changes and request ids."""
        gone = max(0, len(self._changes) - retain)
        del self._changes[:gone]
        self._floor = Revision(self._floor + gone)
        old = [key for key, r in self._requests.items() if now - r.time > REQUEST_MEMORY]
        for key in old:
            del self._requests[key]
        return Revision(self._floor + 1 if self._floor else 0)

    async def backup(self, path: Path) -> None:
        """There is nothing to copy to a file."""
        raise NotImplementedError("a memory store has no file")

    def _load(self, keys: Keys) -> Rows:
        rows = Rows(
            boxes={key: self._boxes[key] for key in keys.boxes if key in self._boxes},
            snapshots={k: self._snapshots[k] for k in keys.snapshots if k in self._snapshots},
            requests={k: self._requests[k] for k in keys.requests if k in self._requests},
            nodes={k: self._nodes[k] for k in keys.nodes if k in self._nodes},
            box_counts={t: self._box_counts[t] for t in keys.tenants if t in self._box_counts},
        )
        for attachment in self._attachments:
            box = Key(attachment.tenant, attachment.box_id)
            node = Key(attachment.tenant, attachment.node_id)
            if box in keys.boxes:
                rows.hosts.setdefault(box, set()).add(node.id)
            if node in keys.hosted_by:
                rows.hosted_by.setdefault(node, set()).add(box.id)
        return rows

    def _save(self, writes: Writes) -> None:
        _merge(self._boxes, writes.boxes)
        _merge(self._snapshots, writes.snapshots)
        _merge(self._nodes, writes.nodes)
        self._requests.update({request.key: request for request in writes.requests})
        self._box_counts.update(writes.box_counts)
        self._history.extend(writes.history)
        self._changes.extend(writes.changes)
        for attachment, made in writes.attachments.items():
            (self._attachments.add if made else self._attachments.discard)(attachment)

    def _of_tenant(self, tenant: str) -> list[BoxRecord]:
        return [box for key, box in sorted(self._boxes.items()) if key.tenant == tenant]

    def _hosted(self, box: BoxRecord) -> HostedRecord:
        key = Key(box.tenant, box.id)
        return HostedRecord(box=box, nodes=tuple(self._nodes_of(key)))

    def _nodes_of(self, box: Key) -> list[str]:
        return sorted(a.node_id for a in self._attachments if (a.tenant, a.box_id) == box)

    def _counted(self, node: NodeRecord) -> NodeRecord:
        key = (node.tenant, node.id)
        count = sum(1 for a in self._attachments if (a.tenant, a.node_id) == key)
        return replace(node, attached_boxes=count)

    def _entry(self, tenant: str, box_id: str) -> Entry:
        box = self._boxes.get(Key(tenant, box_id))
        if box is not None:
            return entry_of_record(box)
        for change in reversed(self._changes):
            if (change.box.tenant, change.box.id) == (tenant, box_id):
                assert change.kind is ChangeKind.DELETED
                return entry_of(change)
        return Entry(box_id=box_id, uid="", revision=Revision(0), policy=None)

    def _reached(self, at_least: Revision) -> None:
        if at_least > self.head.revision:
            raise NotYetRead(f"revision {at_least}")


class _Scan:
    def __init__(self, cursor: Cursor, boxes: Sequence[BoxRecord]) -> None:
        self.cursor = cursor
        self._boxes = boxes

    async def pages(self) -> AsyncIterator[Sequence[BoxRecord]]:
        """Yield the boxes."""
        for start in range(0, max(1, len(self._boxes)), _PAGE):
            yield self._boxes[start : start + _PAGE]


def _matches(hosted: HostedRecord, where: BoxFilter) -> bool:
    box = hosted.box
    return (
        set(where.labels) <= set(box.labels)
        and box.name.startswith(where.name_prefix)
        and where.mode in ("", box.mode)
        and (where.node_id in ("", box.node_id) or where.node_id in hosted.nodes)
    )


def _merge(rows: dict[Key, Row], writes: Mapping[Key, Row | None]) -> None:
    for key, row in writes.items():
        if row is None:
            rows.pop(key, None)
        else:
            rows[key] = row
