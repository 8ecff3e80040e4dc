"""A node's stream: its feed, its place in the ledger, and what it says."""

import secrets
from collections.abc import Callable, Collection, Sequence
from typing import Final

from boxwall.v1 import stream_pb2
from boxwall.wire.errors import ApiError, ErrorReason
from boxwall.wire.frames import (
    MAX_FRAME_BYTES,
    bookmark_frame,
    changes_frame,
    entry_to_bytes,
    reset_frame,
)
from boxwall_server.changes.change import Entry, Timestamp, may_host
from boxwall_server.changes.feed import Frame, FrameKind, Item, NeverSent, NodeFeed
from boxwall_server.changes.revision import (
    BadCursor,
    Cursor,
    Revision,
    cursor_from_token,
    cursor_to_token,
)
from boxwall_server.clock import Clock
from boxwall_server.enforcement import EnforcementLedger, NodeKey
from boxwall_server.service.call import Call
from boxwall_server.service.stream import Stream
from boxwall_server.service.waits import Waits
from boxwall_server.store.records import NodeRecord, SessionId

ACKNOWLEDGE_TIMEOUT: Final = 60.0
"""Seconds that a node may take to acknowledge a frame."""

MAX_MESSAGE_TEXT: Final = 500
"""Of a failure or a note."""


class Subscriber(Stream):
    """The stream of a node that hosts boxes."""

    def __init__(
        self,
        call: Call,
        clock: Clock,
        node: NodeKey,
        agent_version: str,
        ledger: EnforcementLedger,
        waits: Waits,
        observe_acknowledgement: Callable[[float], None],
        *,
        only_placed: bool = False,
    ) -> None:
        super().__init__(call, clock)
        self.node = node
        self.session = SessionId(secrets.token_bytes(16))
        self.agent_version = agent_version
        self.connect_time: Timestamp = clock.now()
        self.last_contact_time: Timestamp = self.connect_time
        self.on_answers: Callable[[Subscriber, Collection[str]], None] = lambda *_: None
        """Is told of boxes that the node has answered for."""
        self.applied_revision = Revision(0)
        self.feed = NodeFeed(max_frame_bytes=MAX_FRAME_BYTES)
        self.acknowledges = True
        """False once the node has closed its side: it observes, and what it enforces is unknown."""
        self.fenced = False
        self.is_newest = True
        """False once the node has another stream at this server, or this one is over."""
        self._only_placed = only_placed
        self._ledger = ledger
        self._waits = waits
        self._observe_acknowledgement = observe_acknowledgement

    def may_have(self, entry: Entry) -> bool:
        """Return whether an entry is for this node. One that is not must be refused to it.

        An id can come back as a box that is placed elsewhere; what that box may do is not for this
        node to know. That there is no box may be known.
        """
        return entry.policy is None or may_host(
            self.node.id, entry.placed_on, only_placed=self._only_placed
        )

    def changed(self, item: Item) -> None:
        """Take in a change of a box that the node hosts, and may have."""
        self.feed.change(item)
        self.wake()

    def refuse(self, box_id: str, placed_on: str) -> None:
        """Tell the node that it may not host a box. From now on it does not.

        Whoever routes must route no more changes of it here. The store has no attachment.
        """
        self.feed.refuse(_refusal_of(box_id, self._where(placed_on)))
        self._ledger.detach(self.node, [box_id])
        self._waits.notify(self.node.tenant, [box_id])
        self.wake()

    def heard(self) -> None:
        """Note that the node lives."""
        self.last_contact_time = self._clock.now()

    def record(self) -> NodeRecord:
        """Return what is to be remembered of the node."""
        return NodeRecord(
            tenant=self.node.tenant,
            id=self.node.id,
            agent_version=self.agent_version,
            last_contact_time=self.last_contact_time,
            applied_revision=self.applied_revision,
        )

    def next_frame(self, head: Cursor) -> bytes | None:
        """Return what to send now. None: nothing."""
        now = self._clock.steady()
        if not self.feed.has_items and not self.bookmark_due(now):
            return None
        frame = self.feed.take(head, now)
        if frame is not None and not self.acknowledges:
            self.feed.forget_acknowledgements()
        return None if frame is None else _encoded(frame, self.node.tenant)

    def acknowledged(self, message: stream_pb2.Ack) -> None:
        """Take in an acknowledgement. Raises ApiError for what was never sent."""
        _refuse_results_about_nothing(message.results)
        sent_at = self.feed.unacknowledged_since
        cursor, applied = self._applied_by(message)
        if sent_at is not None and applied:
            self._observe_acknowledgement(self._clock.steady() - sent_at)
        now = self._clock.now()
        failed = {(r.box_id, r.policy_revision) for r in message.results if r.failure}
        for box_id, revision in applied:
            if (box_id, revision) not in failed:
                self._ledger.applied(self.node, box_id, revision, now)
        self._take_results(message.results)
        self.applied_revision = max(self.applied_revision, cursor.revision)
        touched = {box_id for box_id, _ in applied} | {r.box_id for r in message.results}
        self._waits.notify(self.node.tenant, touched)
        self.on_answers(self, touched)

    def half_closed(self) -> None:
        """The node has closed its side: what it enforces from now on, nobody knows."""
        self.acknowledges = False
        self.feed.forget_acknowledgements()
        self.lose_contact()

    def lose_contact(self) -> None:
        """Let the ledger know that the node is out of contact, if this is its newest stream."""
        if not self.is_newest:
            return
        self._waits.notify(self.node.tenant, self._ledger.disconnect(self.node))

    def fence(self) -> None:
        """Let the node be told to deny everything, and the stream end."""
        self.fenced = True
        self.lose_contact()
        self.wake()

    def check(self, now: float) -> None:
        """Do what time demands; see Stream.check."""
        super().check(now)
        since = self.feed.unacknowledged_since
        if since is not None and now - since > ACKNOWLEDGE_TIMEOUT:
            self.end(
                ApiError(
                    ErrorReason.STREAM_TOO_SLOW,
                    f"a message was not acknowledged within {ACKNOWLEDGE_TIMEOUT:.0f} s; "
                    "connect again and continue from the cursor you have applied",
                )
            )

    def _where(self, placed_on: str) -> str:
        # A node that may host only what is placed on it does not learn what else there is.
        return "not placed on this node" if self._only_placed else f"placed on node {placed_on}"

    def _applied_by(self, message: stream_pb2.Ack) -> tuple[Cursor, Sequence[tuple[str, Revision]]]:
        try:
            cursor = cursor_from_token(message.cursor, self.node.tenant)
            if any(result.policy_revision > cursor.revision for result in message.results):
                raise NeverSent("a result is about a revision that is newer than its cursor")
            return cursor, self.feed.acknowledge(cursor)
        except (BadCursor, NeverSent) as exc:
            raise ApiError(
                ErrorReason.STREAM_MISUSED,
                f"an acknowledgement must carry a cursor received on this stream: {exc}",
            ) from exc

    def _take_results(self, results: Sequence[stream_pb2.AckResult]) -> None:
        for result in results:
            revision = Revision(result.policy_revision)
            if result.failure:
                text = result.failure[:MAX_MESSAGE_TEXT]
                self._ledger.failed(self.node, result.box_id, revision, text)
            elif result.note:
                text = result.note[:MAX_MESSAGE_TEXT]
                self._ledger.noted(self.node, result.box_id, revision, text)
            self._ledger.counted(
                self.node,
                result.box_id,
                revision,
                kept=result.connections_kept,
                cut=result.connections_cut,
            )


def _refusal_of(box_id: str, why: str) -> Item:
    payload = entry_to_bytes(box_id, "", 0, refused=f"box {box_id} is {why}")
    return Item(box_id=box_id, revision=Revision(0), payload=payload, is_refusal=True)


def _refuse_results_about_nothing(results: Sequence[stream_pb2.AckResult]) -> None:
    """A failure that names no box, or no revision, must not pass for an acknowledgement of it."""
    if any(not result.box_id or not result.policy_revision for result in results):
        raise ApiError(
            ErrorReason.STREAM_MISUSED,
            "a result of an acknowledgement must name its box_id and its policy_revision",
        )


def _encoded(frame: Frame, tenant: str) -> bytes:
    token = "" if frame.cursor is None else cursor_to_token(frame.cursor, tenant)
    payloads = (item.payload for item in frame.items)
    match frame.kind:
        case FrameKind.RESET:
            return reset_frame(token, payloads, last=frame.last)
        case FrameKind.CHANGES:
            return changes_frame(token, payloads)
        case FrameKind.BOOKMARK:
            return bookmark_frame(token)
