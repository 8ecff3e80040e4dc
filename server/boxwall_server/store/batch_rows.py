"""The rows that a batch of writes depends on, and those it leaves behind: values."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, assert_never

from boxwall_server.changes.change import BoxRecord, Change, Timestamp
from boxwall_server.store.mutations import (
    AttachBoxes,
    BoxWritten,
    CreateBox,
    CreateSnapshot,
    DeleteBox,
    DeleteSnapshot,
    DetachBoxes,
    FenceNode,
    ForgetNode,
    Mutation,
    RecordNodes,
    SetPolicy,
    SnapshotWritten,
    UnfenceNode,
    UpdateBox,
)
from boxwall_server.store.records import HistoryRecord, NodeRecord, SessionId, SnapshotRecord


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
    tenants: set[str] = field(default_factory=set)
    """Tenants of which the number of boxes is needed."""
    sessions: set[SessionId] = field(default_factory=set)


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
    box_counts: dict[str, int] = field(default_factory=dict)
    """How many boxes there are, by tenant; none of a tenant that is not here."""
    sessions: set[SessionId] = field(default_factory=set)
    """Those asked for that are their node's newest, and not over."""


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
    sessions: dict[Attachment, SessionId] = field(default_factory=dict)
    """Attachments that were made, or made again, in a session."""
    box_counts: dict[str, int] = field(default_factory=dict)
    """How many boxes there are now, by tenant."""

    def __bool__(self) -> bool:
        return bool(
            self.boxes
            or self.snapshots
            or self.requests
            or self.changes
            or self.nodes
            or self.attachments
            or self.sessions
        )


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
            keys.tenants.add(mutation.tenant)
            if mutation.source_snapshot:
                keys.snapshots.add(Key(mutation.tenant, mutation.source_snapshot))
        case UpdateBox() | SetPolicy():
            keys.boxes.add(Key(mutation.tenant, mutation.id))
        case DeleteBox():
            keys.boxes.add(Key(mutation.tenant, mutation.id))
            keys.tenants.add(mutation.tenant)
        case CreateSnapshot():
            keys.boxes.add(Key(mutation.tenant, mutation.box_id))
            keys.snapshots.add(Key(mutation.tenant, mutation.id))
        case DeleteSnapshot():
            keys.snapshots.add(Key(mutation.tenant, mutation.id))
        case AttachBoxes() | DetachBoxes():
            _add_keys_of_attachments(keys, mutation)
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


def _add_keys_of_attachments(keys: Keys, mutation: AttachBoxes | DetachBoxes) -> None:
    keys.nodes.add(Key(mutation.tenant, mutation.node_id))
    keys.boxes.update(Key(mutation.tenant, box_id) for box_id in mutation.box_ids)
    if mutation.session is not None:
        keys.sessions.add(mutation.session)
