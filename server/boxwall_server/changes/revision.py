"""Where a watcher stands: revisions and cursors.

A revision alone cannot tell a continued history from one that was rolled back and written anew. A
cursor can: it carries the epoch of the store and the random commit id of the row it points at, and
the store verifies all three.
"""

import base64
import binascii
import hashlib
import struct
from dataclasses import dataclass, replace
from typing import Final, NewType, Self

Revision = NewType("Revision", int)
"""Number of a write, from 1, without gaps, in commit order. 0 is the empty store."""

Epoch = NewType("Epoch", bytes)
"""16 random bytes: one history. A restored or truncated store gets another."""

CommitId = NewType("CommitId", bytes)
"""8 random bytes, made with each change: which of two changes with one revision this is."""

NO_COMMIT: Final = CommitId(bytes(8))
"""Commit id of revision 0, which no change made."""

MAX_REVISION: Final = 2**63 - 1
"""No store counts further."""

_LAYOUT: Final = struct.Struct(">B4s16sQ8sI")
_VERSION: Final = 1


class BadCursor(ValueError):
    """The text is not a cursor of this tenant: it was made up, cut, or taken from another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """A place in one history, and perhaps which frame of a stream brought the watcher there."""

    epoch: Epoch
    revision: Revision
    commit_id: CommitId
    frame: int = 0
    """Number of the frame on its stream, from 1. 0: not of a stream that is acknowledged. Two
    frames can bring a watcher to one revision (an attached box is answered at once); an
    acknowledgement must say which of them it means."""

    def at_frame(self, frame: int) -> Self:
        """Return the same place, as reached by that frame."""
        return replace(self, frame=frame)

    def same_place(self, other: "Cursor") -> bool:
        """Return whether both point at the same change of the same history."""
        return (self.epoch, self.revision, self.commit_id) == (
            other.epoch,
            other.revision,
            other.commit_id,
        )


def cursor_to_token(cursor: Cursor, tenant: str) -> str:
    """Return the opaque text for clients. Only `tenant` can use it."""
    packed = _LAYOUT.pack(
        _VERSION,
        _tenant_tag(tenant),
        cursor.epoch,
        cursor.revision,
        cursor.commit_id,
        cursor.frame,
    )
    return base64.urlsafe_b64encode(packed).decode("ascii").rstrip("=")


def cursor_from_token(token: str, tenant: str) -> Cursor:
    """Return the cursor in a client's text, or raise BadCursor. Whether it is true is for the
    store.
    """
    try:
        packed = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        version, tag, epoch, revision, commit_id, frame = _LAYOUT.unpack(packed)
    except (ValueError, binascii.Error, struct.error) as exc:
        raise BadCursor("not a cursor; leave it empty to begin with the whole state") from exc
    if version != _VERSION or tag != _tenant_tag(tenant) or revision > MAX_REVISION:
        raise BadCursor("not a cursor of this stream; leave it empty to begin with the whole state")
    return Cursor(epoch=epoch, revision=revision, commit_id=commit_id, frame=frame)


def _tenant_tag(tenant: str) -> bytes:
    return hashlib.blake2b(tenant.encode(), digest_size=4).digest()
