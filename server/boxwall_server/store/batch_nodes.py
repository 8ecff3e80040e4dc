"""What writes about nodes and attachments do; the other half of `store.batch`. Pure."""

from dataclasses import replace

from boxwall_server.changes.change import BoxRecord, may_host
from boxwall_server.changes.revision import Revision
from boxwall_server.store.batch_rows import Attachment, Key, Rows, Writes
from boxwall_server.store.errors import NodeFenced, NodeNotFound, SessionEnded
from boxwall_server.store.mutations import (
    AttachBoxes,
    Attached,
    DetachBoxes,
    Done,
    FenceNode,
    ForgetNode,
    RecordNodes,
    UnfenceNode,
)
from boxwall_server.store.records import NodeRecord


def attach(rows: Rows, writes: Writes, mutation: AttachBoxes) -> Attached:
    """Record that a node hosts boxes, and of those that it may not host that it does not."""
    node = rows.nodes.get(Key(mutation.tenant, mutation.node_id))
    if node is not None and node.fenced:
        raise NodeFenced(mutation.node_id)
    _check_session(rows, mutation)
    refused: dict[str, str] = {}
    attached: list[str] = []
    for box_id in dict.fromkeys(mutation.box_ids):
        key = Key(mutation.tenant, box_id)
        box = rows.boxes.get(key)
        placed_on = "" if box is None else box.node_id
        if not may_host(mutation.node_id, placed_on, only_placed=mutation.only_placed):
            refused[box_id] = placed_on
            _end(rows, writes, Attachment(*key, mutation.node_id))
            continue
        attached.append(box_id)
        hosts = rows.hosts.setdefault(key, set())
        attachment = Attachment(*key, mutation.node_id)
        if mutation.node_id not in hosts:
            hosts.add(mutation.node_id)
            writes.attachments[attachment] = True
        if mutation.session is not None:
            writes.sessions[attachment] = mutation.session
    return Attached(attached=tuple(attached), refused=refused)


def detach(rows: Rows, writes: Writes, mutation: DetachBoxes) -> Done:
    """Record that a node hosts boxes no more."""
    _check_session(rows, mutation)
    count = 0
    for box_id in dict.fromkeys(mutation.box_ids):
        count += _end(rows, writes, Attachment(mutation.tenant, box_id, mutation.node_id))
    return Done(count=count)


def _check_session(rows: Rows, mutation: AttachBoxes | DetachBoxes) -> None:
    """What a stream says that was replaced at another server must not undo what the newer says."""
    if mutation.session is not None and mutation.session not in rows.sessions:
        raise SessionEnded(mutation.node_id)


def place(rows: Rows, writes: Writes, box: BoxRecord, *, only_placed: bool) -> None:
    """Record of a new box that the nodes which may not host it do not, though they had its id."""
    for node_id in tuple(rows.hosts.get(Key(box.tenant, box.id), ())):
        if not may_host(node_id, box.node_id, only_placed=only_placed):
            _end(rows, writes, Attachment(box.tenant, box.id, node_id))


def _end(rows: Rows, writes: Writes, attachment: Attachment) -> bool:
    """End an attachment. False: there is none."""
    hosts = rows.hosts.get(Key(attachment.tenant, attachment.box_id), set())
    if attachment.node_id not in hosts:
        return False
    hosts.remove(attachment.node_id)
    writes.attachments[attachment] = False
    return True


def record_nodes(rows: Rows, writes: Writes, mutation: RecordNodes) -> Done:
    """Remember what was heard of nodes."""
    for heard in mutation.nodes:
        key = Key(heard.tenant, heard.id)
        known = rows.nodes.get(key)
        _save_node(
            rows,
            writes,
            replace(
                heard,
                fenced=known is not None and known.fenced,
                fence_reason="" if known is None else known.fence_reason,
                applied_revision=max(
                    heard.applied_revision,
                    Revision(0) if known is None else known.applied_revision,
                ),
            ),
        )
    return Done(count=len(mutation.nodes))


def set_fence(rows: Rows, writes: Writes, mutation: FenceNode | UnfenceNode) -> Done:
    """Shut a node out, or let it in again."""
    key = Key(mutation.tenant, mutation.node_id)
    node = rows.nodes.get(key)
    match mutation:
        case FenceNode():
            node = node or NodeRecord(tenant=key.tenant, id=key.id)
            _save_node(rows, writes, replace(node, fenced=True, fence_reason=mutation.reason))
        case UnfenceNode():
            if node is None:
                raise NodeNotFound(mutation.node_id)
            _save_node(rows, writes, replace(node, fenced=False, fence_reason=""))
    return Done(count=1)


def forget(rows: Rows, writes: Writes, mutation: ForgetNode) -> Done:
    """Forget a node and its attachments."""
    key = Key(mutation.tenant, mutation.node_id)
    if rows.nodes.pop(key, None) is None:
        raise NodeNotFound(mutation.node_id)
    writes.nodes[key] = None
    boxes = _attached_to(rows, writes, key)
    for box_id in boxes:
        rows.hosts.get(Key(key.tenant, box_id), set()).discard(key.id)
        writes.attachments[Attachment(key.tenant, box_id, key.id)] = False
    return Done(count=len(boxes))


def _attached_to(rows: Rows, writes: Writes, node: Key) -> set[str]:
    """Return the boxes attached to a node: as loaded, and as changed since in this batch."""
    boxes = set(rows.hosted_by.get(node, ()))
    for attachment, made in writes.attachments.items():
        if (attachment.tenant, attachment.node_id) == node:
            (boxes.add if made else boxes.discard)(attachment.box_id)
    return boxes


def _save_node(rows: Rows, writes: Writes, node: NodeRecord) -> None:
    key = Key(node.tenant, node.id)
    rows.nodes[key] = writes.nodes[key] = node
