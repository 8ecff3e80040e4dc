"""Every write there is, as a closed union, and what each answers.

A mutation names all it depends on, so that many can be checked and written in one transaction. What
it does is decided in `store.batch`, for every engine alike.
"""

from dataclasses import dataclass, field
from typing import TypeAlias

from boxwall_server.changes.change import BoxRecord, PolicyBytes, Timestamp
from boxwall_server.changes.revision import Revision
from boxwall_server.store.records import NodeRecord, SessionId, SnapshotRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestKey:
    """A caller's promise that repeating it means the same request."""

    request_id: str
    fingerprint: bytes
    """Digest of the request's body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateBox:
    """Make a box. Without `policy`, that of `source_snapshot`, which must be there then.

    A node that has the id of an earlier box attached, and may not host this one, hosts it no more.
    Answers BoxWritten. Raises BoxExists, SnapshotNotFound, RequestIdReused, TooManyBoxes.
    """

    tenant: str
    id: str
    uid: str
    now: Timestamp
    author: str
    name: str = ""
    node_id: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    runtime: str = ""
    policy: PolicyBytes | None = None
    mode: str = ""
    """Of `policy`; empty when there is none."""
    source_snapshot: str = ""
    expire_time: Timestamp | None = None
    only_placed: bool = False
    """As for AttachBoxes."""
    max_boxes: int | None = None
    """How many the tenant may have with this one. None: any number."""
    request: RequestKey | None = None
    validate_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateBox:
    """Change what is not policy: each field is the new value, or None to leave it.

    Answers BoxWritten. Raises BoxNotFound, EtagMismatch, BoxAttached (node_id would change while a
    node hosts the box).
    """

    tenant: str
    id: str
    now: Timestamp
    etag: str = ""
    name: str | None = None
    node_id: str | None = None
    labels: tuple[tuple[str, str], ...] | None = None
    runtime: str | None = None
    expiry: "Expiry | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Expiry:
    """A new end of a box; `at` None means never."""

    at: Timestamp | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SetPolicy:
    """Replace a box's policy.

    Answers BoxWritten. Raises BoxNotFound, EtagMismatch, RequestIdReused.
    """

    tenant: str
    id: str
    now: Timestamp
    author: str
    policy: PolicyBytes
    mode: str
    etag: str = ""
    request: RequestKey | None = None
    validate_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteBox:
    """End a box. With `expired_at`, only if its time was up then (else BoxNotFound).

    Answers BoxWritten with the box as it last stood, `revision` being that of the deletion. Raises
    BoxNotFound, EtagMismatch.
    """

    tenant: str
    id: str
    now: Timestamp
    etag: str = ""
    expired_at: Timestamp | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateSnapshot:
    """Remember a box's policy. Answers SnapshotWritten.

    Raises BoxNotFound, SnapshotExists, RequestIdReused.
    """

    tenant: str
    id: str
    box_id: str
    now: Timestamp
    request: RequestKey | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteSnapshot:
    """Forget a snapshot. Answers Done. Raises SnapshotNotFound."""

    tenant: str
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachBoxes:
    """Record that a node hosts boxes, which need not exist. Answers Attached. Raises NodeFenced.

    A box that is placed on another node is refused; with `only_placed`, so is one that is placed on
    none. Of what is refused no attachment is left. Takes no revision: attachments are not history.
    """

    tenant: str
    node_id: str
    box_ids: tuple[str, ...]
    only_placed: bool = False
    session: SessionId | None = None
    """Where the store is shared: the stream that attaches them. What the node said of them before
    counts no more. Raises SessionEnded if the node has a newer one, or this one is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DetachBoxes:
    """Record that a node does not host boxes (any more). Answers Done with how many it did."""

    tenant: str
    node_id: str
    box_ids: tuple[str, ...]
    session: SessionId | None = None
    """Where the store is shared: the stream that detaches them. Raises SessionEnded as attaching
    does: the newer stream may have attached what this one gives up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordNodes:
    """Remember what was heard of nodes (all but whether they are fenced). Answers Done."""

    nodes: tuple[NodeRecord, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FenceNode:
    """Shut a node out, known or not. Answers Done."""

    tenant: str
    node_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnfenceNode:
    """Let a node in again. Answers Done. Raises NodeNotFound."""

    tenant: str
    node_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetNode:
    """Forget a node and its attachments. Answers Done with their number. Raises NodeNotFound."""

    tenant: str
    node_id: str


Mutation: TypeAlias = (
    CreateBox
    | UpdateBox
    | SetPolicy
    | DeleteBox
    | CreateSnapshot
    | DeleteSnapshot
    | AttachBoxes
    | DetachBoxes
    | RecordNodes
    | FenceNode
    | UnfenceNode
    | ForgetNode
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxWritten:
    """A box write is durable (or, with validate_only, would have been accepted)."""

    box: BoxRecord
    previous_policy: PolicyBytes | None
    """The policy before the write. None: the box is new."""
    nodes: tuple[str, ...]
    """Ids of the nodes that host the box, sorted."""
    revision: Revision
    """Taken by this write. 0: nothing was written (validate_only)."""
    replayed: bool = False
    """The request id was known: this is its first answer again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotWritten:
    """A snapshot is durable."""

    snapshot: SnapshotRecord
    replayed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """Which boxes a node hosts now, of those it asked for."""

    attached: tuple[str, ...]
    refused: dict[str, str] = field(default_factory=dict)
    """Box id to the node it is placed on ("" if on none)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """It is durable; `count` says how many rows it concerned."""

    count: int = 0


Outcome: TypeAlias = BoxWritten | SnapshotWritten | Attached | Done
