"""What a write did: the box as it stands after it, and the revision it took.

A policy travels through the store and the change feed as the bytes of its wire form
(`boxwall.v1.NetworkPolicy`, canonical). Nothing here looks inside: what a policy means is decided
in `boxwall.policy`, before a write and at the node.
"""

from dataclasses import dataclass
from enum import Enum
from typing import NewType

from boxwall_server.changes.revision import CommitId, Cursor, Epoch, Revision

PolicyBytes = NewType("PolicyBytes", bytes)
"""A checked, canonical policy in its wire form."""

Timestamp = NewType("Timestamp", int)
"""Microseconds since 1970-01-01 UTC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxRecord:
    """A box as stored."""

    tenant: str
    id: str
    uid: str
    name: str
    node_id: str
    labels: tuple[tuple[str, str], ...]
    """Sorted by key."""
    runtime: str
    policy: PolicyBytes
    mode: str
    """`boxwall.policy.Mode` value of the policy, for filters."""
    policy_revision: Revision
    revision: Revision
    """Of the last write of any kind."""
    expire_time: Timestamp | None
    source_snapshot: str
    create_time: Timestamp
    update_time: Timestamp

    @property
    def etag(self) -> str:
        """Changes with every write; never the same for two boxes.

        The time is in it because revisions that a failover has lost are given out again.
        """
        return f"{self.uid[:8]}-{self.revision}-{self.update_time:x}"

    def with_policy(
        self, policy: PolicyBytes, mode: str, revision: Revision, now: Timestamp
    ) -> "BoxRecord":
        """Return the box after a write of its policy. Of `dataclasses.replace`, half the time."""
        return BoxRecord(
            tenant=self.tenant,
            id=self.id,
            uid=self.uid,
            name=self.name,
            node_id=self.node_id,
            labels=self.labels,
            runtime=self.runtime,
            policy=policy,
            mode=mode,
            policy_revision=revision,
            revision=revision,
            expire_time=self.expire_time,
            source_snapshot=self.source_snapshot,
            create_time=self.create_time,
            update_time=now,
        )


class ChangeKind(Enum):
    """What a write did to a box."""

    CREATED = "created"
    POLICY = "policy"
    UPDATED = "updated"
    """Labels, name, placement, expiry: nothing that nodes enforce."""
    DELETED = "deleted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One revision. `box` is as it stands after the write; for DELETED, as it last stood."""

    revision: Revision
    commit_id: CommitId
    kind: ChangeKind
    box: BoxRecord

    @property
    def concerns_nodes(self) -> bool:
        """Whether what a node enforces is another after this change."""
        return self.kind is not ChangeKind.UPDATED

    def cursor(self, epoch: Epoch) -> Cursor:
        """Return the place in `epoch` that this change makes."""
        return Cursor(epoch=epoch, revision=self.revision, commit_id=self.commit_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What a node has to put in force for one box. No policy is a tombstone: deny everything."""

    box_id: str
    uid: str
    revision: Revision
    """Policy revision, or the revision of the deletion. 0: there never was such a box."""
    policy: PolicyBytes | None
    placed_on: str = ""
    """The node that may host the box. Empty: any, or there is no box."""


def may_host(node_id: str, placed_on: str, *, only_placed: bool) -> bool:
    """Return whether a node may host a box that is placed on `placed_on` ("": nowhere).

    Whoever attaches, delivers or counts asks this, and nothing else.
    """
    return placed_on == node_id or not (placed_on or only_placed)


def entry_of(change: Change) -> Entry:
    """Return what nodes have to do after `change`."""
    box = change.box
    if change.kind is ChangeKind.DELETED:
        return Entry(box_id=box.id, uid=box.uid, revision=change.revision, policy=None)
    return entry_of_record(box)


def entry_of_record(box: BoxRecord) -> Entry:
    """Return what nodes have to do for a box as it stands."""
    return Entry(
        box_id=box.id,
        uid=box.uid,
        revision=box.policy_revision,
        policy=box.policy,
        placed_on=box.node_id,
    )
