"""What a store keeps besides boxes, and how readers ask for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NewType

from boxwall_server.changes.change import BoxRecord, Change, Entry, PolicyBytes, Timestamp
from boxwall_server.changes.revision import Cursor, Epoch, Revision
from boxwall_server.enforcement import NodeKey, Standing

SessionId = NewType("SessionId", bytes)
"""16 random bytes: one stream of one node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotRecord:
    """A remembered policy."""

    tenant: str
    id: str
    box_id: str
    policy: PolicyBytes
    mode: str
    create_time: Timestamp


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRecord:
    """One policy a box has had."""

    revision: Revision
    policy: PolicyBytes
    create_time: Timestamp
    author: str
    request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRecord:
    """What was last heard of a node."""

    tenant: str
    id: str
    agent_version: str = ""
    last_contact_time: Timestamp | None = None
    applied_revision: Revision = Revision(0)
    fenced: bool = False
    fence_reason: str = ""
    attached_boxes: int = 0
    """Counted by the store; ignored when recording."""
    connect_time: Timestamp | None = None
    """Since when it has a stream, as the servers that share the store know it; ignored when
    recording. None: it has none, or the store is not shared."""
    failures: int = 0
    """Boxes it denies because their policy could not be applied; as `connect_time`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedRecord:
    """A box and the nodes that are recorded as hosting it, sorted."""

    box: BoxRecord
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRecord:
    """A node that is recorded as hosting a box."""

    node_id: str
    standing: Standing | None = None
    """What it has said of the box, if it is in contact with a server that shares the store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerRecord:
    """What a node has said of a box in one session."""

    session: SessionId
    node: NodeKey
    box_id: str
    standing: Standing


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxFilter:
    """Which boxes: those that match everything that is not empty."""

    labels: tuple[tuple[str, str], ...] = ()
    node_id: str = ""
    """Placed on it, or attached to it."""
    name_prefix: str = ""
    mode: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EntriesAt:
    """Entries of some boxes, read at one cursor. A box that does not exist has a tombstone."""

    cursor: Cursor
    entries: Sequence[Entry]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangesAt:
    """The newest change of each box after some cursor, in order, and the cursor they lead to."""

    cursor: Cursor
    changes: Sequence[Change]


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """Changes that became durable together, in order, without gaps."""

    epoch: Epoch
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewHistory:
    """History goes on from `head`, and what was told before may not lead there: begin anew."""

    head: Cursor
