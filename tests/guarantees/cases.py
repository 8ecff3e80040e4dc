"""Streams made by hand, for the tests of the checkers."""

from typing import Any

from boxwall_server.changes.revision import CommitId, Cursor, Epoch, Revision, cursor_to_token
from guarantees.checkers import Checkers
from guarantees.heard import Heard, Said
from guarantees.history import History, Write

EPOCH = Epoch(b"e" * 16)


OTHER_EPOCH = Epoch(b"f" * 16)


def cursor(revision: int, frame: int = 0, epoch: Epoch = EPOCH) -> Cursor:
    commit = CommitId(revision.to_bytes(8, "big"))
    return Cursor(epoch=epoch, revision=Revision(revision), commit_id=commit, frame=frame)


def token(revision: int) -> str:
    return cursor_to_token(cursor(revision), "default")


def history() -> History:
    """b1 is made and written twice, b2 is made and deleted, revision 4 shows nothing."""
    return History(
        [
            Write(1, "b1", b"one"),
            Write(2, "b2", b"two"),
            Write(3, "b1", b"three"),
            Write(4),
            Write(5, "b2", None),
            Write(6, "b1", b"six"),
        ]
    )


def message(kind: str, at: int | None, time: float = 0.0, last: bool = False, **said: Any) -> Heard:
    return Heard(
        time=time,
        kind=kind,
        cursor=None if at is None else cursor(at),
        said=tuple(Said(box_id, state) for box_id, state in said.items()),
        last=last,
    )


def reset(at: int | None, **said: Any) -> Heard:
    return message("reset", at, last=at is not None, **said)


def changes(at: int | None, **said: Any) -> Heard:
    return message("changes", at, **said)


def bookmark(at: int, time: float = 0.0) -> Heard:
    return message("bookmark", at, time)


def observed(*messages: Heard, settle: float | None = None, **fields: Any) -> Checkers:
    checkers = Checkers(history(), now=0.0, **fields)
    for one in messages:
        checkers.take_heard(one)
    if settle is not None:
        checkers.settle(settle)
    return checkers
