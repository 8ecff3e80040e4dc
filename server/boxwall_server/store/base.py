"""The contract of a store. Every engine keeps it; one test suite checks them all.

**Writes.** `apply` returns when the mutation is durable: it survives a kill and, as far as the
engine promises with its safest common setting, a loss of power. Mutations that wait at the same
time commit in one transaction. One that fails its check is answered alone, with a `Rejected`, and
does not fail the others. Box writes take consecutive revisions, without gaps, in commit order; the
state, its history row and its change row commit together. If the outcome of a commit cannot be
learnt, every caller in it gets StoreUnavailable.

**Request ids.** The answer to a mutation with a request key is remembered in the same transaction
for an hour; the same key returns it again with `replayed`, and another fingerprint raises
RequestIdReused. A rejection is not remembered.

**Reads** see every write whose `apply` has returned, and never block the event loop.

**The feed.** Every commit that took revisions is given to the listener on the event loop, in order
and exactly once, before its callers get their answers. The change log is kept for at least the last
`retain` revisions; below its floor a cursor cannot be verified. Policy history is kept apart,
longer.

A store that can lose the tail of its history (a failover) finds out, gives the rest another epoch,
and tells the listener NewHistory: commits from there on continue that head.

**Cursors.** `verify` is true only for a cursor whose epoch, revision and commit id are those of a
row that is still in the log (or of the empty store's revision 0 while nothing was compacted). A
database that was rolled back, restored or replaced does not verify what was handed out since.

**Tenants.** Every key belongs to one; nothing of one tenant is visible in reads of another.
Revisions are one sequence over all tenants.

**Time** is given by the caller, except the age of request ids, which is judged by mutation times.
"""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final, Protocol

from boxwall_server.changes.change import BoxRecord, Timestamp
from boxwall_server.changes.revision import Cursor, Revision
from boxwall_server.enforcement import NodeKey
from boxwall_server.store.batch_rows import Key
from boxwall_server.store.mutations import Mutation, Outcome
from boxwall_server.store.records import (
    AnswerRecord,
    BoxFilter,
    ChangesAt,
    Commit,
    EntriesAt,
    HistoryRecord,
    HostedRecord,
    HostRecord,
    NewHistory,
    NodeRecord,
    SessionId,
    SnapshotRecord,
)

MAX_NOTE: Final = 5_000
"""Bytes that one server can tell the others at once."""

DEAD_AFTER: Final = 5.0
"""Seconds without a sign of life after which a server that shares a store is dead."""

Listener = Callable[[Commit | NewHistory], None]
"""Is told of every commit, on the event loop. Must not block and must not raise."""


class Writer(Protocol):
    """The way to change anything."""

    async def apply(self, mutation: Mutation) -> Outcome:
        """Make `mutation` durable and return its outcome, or raise StoreError."""


class Reader(Protocol):
    """What the services read."""

    async def box(self, tenant: str, box_id: str, at_least: Revision = Revision(0)) -> HostedRecord:
        """Return one box. Raises BoxNotFound, NotYetRead (`at_least` is beyond the head)."""

    async def boxes(
        self,
        tenant: str,
        where: BoxFilter,
        *,
        after: str,
        limit: int,
        at_least: Revision = Revision(0),
    ) -> Sequence[HostedRecord]:
        """Return up to `limit` boxes with ids greater than `after`, ordered by id."""

    async def history(
        self, tenant: str, box_id: str, *, before: Revision, limit: int
    ) -> Sequence[HistoryRecord]:
        """Return up to `limit` policies of the living box with revisions below `before`, newest
        first.

        Raises BoxNotFound.
        """

    async def snapshot(self, tenant: str, snapshot_id: str) -> SnapshotRecord:
        """Return one snapshot. Raises SnapshotNotFound."""

    async def snapshots(
        self, tenant: str, *, box_id: str, after: str, limit: int
    ) -> Sequence[SnapshotRecord]:
        """Return up to `limit` snapshots (of one box, unless "") with ids above `after`, by id."""


class NodeReader(Protocol):
    """What is remembered of nodes."""

    async def node(self, tenant: str, node_id: str) -> NodeRecord:
        """Return one node. Raises NodeNotFound."""

    async def nodes(self, tenant: str, *, after: str, limit: int) -> Sequence[NodeRecord]:
        """Return up to `limit` nodes with ids greater than `after`, ordered by id."""

    async def attached(self, tenant: str, node_id: str) -> Sequence[str]:
        """Return the ids of the boxes recorded as attached to a node, sorted."""

    async def hosts(self, boxes: Collection[Key]) -> Mapping[Key, Sequence[HostRecord]]:
        """Return the nodes recorded as hosting boxes, whether these exist or not, by id."""


class Sessions(Protocol):
    """Streams of nodes and what they answer, as all servers that share the store see them.

    A node has one session that counts: the newest. A server that gives no sign of life for
    DEAD_AFTER seconds is dead, and so are its sessions. Of a store that nobody shares there is
    nothing to tell: everything here does nothing.
    """

    @property
    def is_shared(self) -> bool:
        """Whether several servers can use the store at once."""

    async def open_session(self, node: NodeKey, session: SessionId, now: Timestamp) -> None:
        """Make this the session of a node: an older one, wherever it is, counts no more."""

    async def close_session(self, session: SessionId) -> None:
        """End a session of this server."""

    async def save_answers(
        self, answers: Collection[AnswerRecord], applied: Mapping[SessionId, Revision]
    ) -> None:
        """Let all servers know what nodes have said, and up to which revision they have applied
        everything. Of sessions that count no more, nothing is kept.
        """

    async def sessions_to_end(self) -> Mapping[SessionId, bool]:
        """Return the sessions of this server that were replaced, and (true) those whose node is
        fenced.
        """

    async def beat(self) -> bool:
        """Give a sign of life. False: this server counted as dead, and its sessions are gone."""

    async def tell_peers(self, notes: Sequence[bytes]) -> None:
        """Tell the other servers that live something, each note of at most MAX_NOTE bytes. Nothing
        keeps it: who is not in contact with the store does not hear it.
        """

    def listen_to_peers(self, peers: "PeerListener") -> None:
        """Set who is told what other servers do; once."""


class PeerListener(Protocol):
    """Is told on the event loop, and not of everything: it must also look now and then."""

    def nodes_changed(self) -> None:
        """Sessions may have to end."""

    def answered_elsewhere(self, boxes: Collection[Key]) -> None:
        """Nodes have answered for these boxes at another server. Empty: nobody knows which."""

    def told(self, note: bytes) -> None:
        """Another server has told this."""


class Scan(Protocol):
    """All boxes of a tenant at one cursor."""

    @property
    def cursor(self) -> Cursor:
        """The one place in history that every page shows."""

    def pages(self) -> AsyncIterator[Sequence[BoxRecord]]:
        """Yield the boxes, by id, some hundreds at a time; at least one page, maybe empty."""


class Feed(Protocol):
    """What streams are served from."""

    @property
    def head(self) -> Cursor:
        """The cursor of the last commit that the listener was told of."""

    async def verify(self, cursor: Cursor) -> bool:
        """Return whether a stream can continue from `cursor`."""

    async def entries(self, tenant: str, box_ids: Sequence[str]) -> EntriesAt:
        """Return what nodes have to do for boxes, one entry for each id, in that order.

        A box that does not exist has a tombstone: with its last uid and the revision of its
        deletion while the log remembers that, else with uid "" and revision 0.
        """

    async def since(
        self, tenant: str, cursor: Cursor, *, limit: int, for_nodes: bool = False
    ) -> ChangesAt | None:
        """Return the newest change of each box after `cursor`, ordered by revision.

        `for_nodes` leaves out changes of what nodes do not enforce.

        None: the cursor does not verify, or more than `limit` boxes changed; begin anew.
        """

    def scan(self, tenant: str) -> AbstractAsyncContextManager[Scan]:
        """Open a reading of all boxes at one cursor."""


class Upkeep(Protocol):
    """What must be done now and then."""

    async def next_expiry(self) -> Timestamp | None:
        """Return when the next box of any tenant expires. None: none does."""

    async def expired(self, now: Timestamp, *, limit: int) -> Sequence[BoxRecord]:
        """Return up to `limit` boxes, of all tenants, whose time is up, the oldest first."""

    async def compact(self, *, now: Timestamp, retain: int) -> Revision:
        """Drop change rows but for the last `retain` revisions, and request ids older than an hour.

        Returns the new floor: the lowest revision a cursor can have.
        """

    async def takes_turn(self) -> bool:
        """Return whether this server is the one, of those that share the store, that sweeps."""

    async def backup(self, path: Path) -> None:
        """Write a consistent copy, of another epoch, to a path that must not exist."""


AWAY_AFTER: Final = 3.0
"""Seconds without an answer after which a store counts as away."""


class Store(Writer, Reader, NodeReader, Sessions, Feed, Upkeep, Protocol):
    """All of it."""

    @property
    def is_answering(self) -> bool:
        """Whether reads and writes can be expected to work: false once it is away."""

    def listen(self, listener: Listener) -> None:
        """Set who is told of commits; once, before the first write."""

    async def close(self) -> None:
        """Finish what was accepted and release everything. No calls after this."""
