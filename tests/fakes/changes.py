"""Changes, cursors and items without a store."""

from typing import Any

from boxwall_server.changes.change import BoxRecord, Change, ChangeKind, PolicyBytes, Timestamp
from boxwall_server.changes.feed import Item
from boxwall_server.changes.revision import CommitId, Cursor, Epoch, Revision

EPOCH = Epoch(b"an epoch is 16 b")
OTHER_EPOCH = Epoch(b"another epoch 16")


def commit_id(revision: int) -> CommitId:
    """The commit id of a revision in these tests."""
    return CommitId(revision.to_bytes(8, "big"))


def cursor(revision: int, *, frame: int = 0, epoch: Epoch = EPOCH) -> Cursor:
    """The place that a revision makes."""
    return Cursor(
        epoch=epoch, revision=Revision(revision), commit_id=commit_id(revision), frame=frame
    )


def item(box_id: str, revision: int, size: int = 1) -> Item:
    """An encoded entry of some size."""
    return Item(box_id=box_id, revision=Revision(revision), payload=b"x" * size)


def refusal(box_id: str, revision: int = 0) -> Item:
    """What a node gets for a box that it may not host."""
    return Item(box_id=box_id, revision=Revision(revision), payload=b"not yours", is_refusal=True)


def record(box_id: str = "b1", revision: int = 1, **fields: Any) -> BoxRecord:
    """A box as its write at `revision` left it."""
    defaults: dict[str, Any] = {
        "tenant": "t1",
        "uid": f"uid-of-{box_id}",
        "name": "",
        "node_id": "",
        "labels": (),
        "runtime": "",
        "policy": PolicyBytes(b"policy"),
        "mode": "custom",
        "policy_revision": Revision(revision),
        "expire_time": None,
        "source_snapshot": "",
        "create_time": Timestamp(1),
        "update_time": Timestamp(1),
    }
    return BoxRecord(id=box_id, revision=Revision(revision), **(defaults | fields))


def change(
    revision: int, box_id: str = "b1", kind: ChangeKind = ChangeKind.POLICY, **fields: Any
) -> Change:
    """What a write did."""
    return Change(
        revision=Revision(revision),
        commit_id=commit_id(revision),
        kind=kind,
        box=record(box_id, revision, **fields),
    )
