"""What one node still has to be told: the state machine behind a stream with acknowledgements.

    COLLECTING --load--> RESETTING --last page taken--> LIVE
         |                                               ^
         +------------------- load (continuing) ---------+

A feed is not a queue. It holds at most one item for each box in its scope, the newest, so a slow
node costs no more than its boxes and skips what it was too slow for. Frames are numbered, because
two of them can bring a node to one revision; an acknowledgement says which it means.

Items are opaque here: they were encoded once, for all feeds.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from boxwall_server.changes.revision import Cursor, Revision


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """An encoded entry."""

    box_id: str
    revision: Revision
    """Of the change; an item with a higher one replaces it."""
    payload: bytes
    is_refusal: bool = False
    """Whether it says that the node may not host the box: it puts nothing in force."""


class FrameKind(Enum):
    """What a frame says."""

    RESET = "reset"
    CHANGES = "changes"
    BOOKMARK = "bookmark"


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The next message of a stream."""

    kind: FrameKind
    cursor: Cursor | None
    """Where it brings the node. None: nowhere it could continue from (a page, not the last)."""
    items: tuple[Item, ...] = ()
    last: bool = False
    """Of a reset: whether it is complete now."""


class FeedState(Enum):
    """How far a feed is."""

    COLLECTING = "collecting"
    """The scope is being read; nothing can be sent."""
    RESETTING = "resetting"
    LIVE = "live"


class NeverSent(ValueError):
    """The acknowledgement is for a frame that this stream has not sent."""


class IllegalInput(RuntimeError):
    """The input does not fit the state: a bug in the caller. Nothing has changed."""


@dataclass(frozen=True, slots=True)
class _Sent:
    number: int
    cursor: Cursor | None
    time: float
    items: tuple[tuple[str, Revision], ...]


class NodeFeed:
    """The feed of one node's stream. Call `take` whenever the stream can write."""

    def __init__(self, *, max_frame_bytes: int) -> None:
        self._max_frame_bytes = max_frame_bytes
        self._state = FeedState.COLLECTING
        self._cursor: Cursor | None = None
        self._scope: dict[str, Revision] = {}  # box id -> revision of the item last taken
        self._pending: dict[str, Item] = {}
        self._unacknowledged: deque[_Sent] = deque()
        self._frames = 0

    @property
    def state(self) -> FeedState:
        """How far the feed is."""
        return self._state

    @property
    def scope(self) -> frozenset[str]:
        """The boxes that changes are wanted of."""
        return frozenset(self._scope)

    @property
    def cursor(self) -> Cursor | None:
        """Where the last frame brought the node. None: nowhere yet."""
        return self._cursor

    @property
    def has_items(self) -> bool:
        """Whether `take` would give more than a bookmark."""
        return self._state is FeedState.RESETTING or (
            self._state is FeedState.LIVE and bool(self._pending)
        )

    @property
    def unacknowledged_since(self) -> float | None:
        """When the oldest frame was taken that could be acknowledged and is not. None: there is
        none.

        A page that is not the last cannot be: its time does not count.
        """
        return next((sent.time for sent in self._unacknowledged if sent.cursor is not None), None)

    def widen(self, box_ids: Iterable[str]) -> None:
        """Want changes of these boxes too, whatever was sent of them before.

        What they are now comes with `load` or `answer`, unless a change was faster.
        """
        for box_id in box_ids:
            self._scope[box_id] = Revision(0)

    def narrow(self, box_ids: Iterable[str]) -> None:
        """Want no more changes of these boxes."""
        for box_id in box_ids:
            self._scope.pop(box_id, None)
            self._pending.pop(box_id, None)

    def load(self, items: Iterable[Item], at: Cursor, *, reset: bool) -> None:
        """Take in what the scope was at `at`, once; then frames can be taken.

        With `reset`, `items` is all of the scope, and the node is to drop what it holds; else they
        are what the node does not have yet.
        """
        if self._state is not FeedState.COLLECTING:
            raise IllegalInput("a feed is loaded once")
        self._state = FeedState.RESETTING if reset else FeedState.LIVE
        self._cursor = None if reset else at
        self._merge(items)

    def held(self, box_id: str, revision: Revision) -> None:
        """Take in that the node holds this revision of a box already, so it need not be sent."""
        if box_id in self._scope and revision > self._scope[box_id]:
            self._scope[box_id] = revision

    def answer(self, items: Iterable[Item]) -> None:
        """Take in what boxes are that `widen` has just added, as they were read after it.

        A change that came between the two may have been sent already: then it was the answer, and
        an older one must not follow it.
        """
        self._merge(items)

    def refuse(self, item: Item) -> None:
        """Send a refusal, once, and want no more changes of its box."""
        if not item.is_refusal:
            raise IllegalInput("an item that is to be put in force is no refusal")
        self.narrow([item.box_id])
        self._pending[item.box_id] = item

    def change(self, item: Item) -> None:
        """Take in a change that was routed here. One that was sent already is passed over."""
        self._merge([item])

    def take(self, head: Cursor, now: float) -> Frame | None:
        """Return the next frame, a bookmark if there is nothing else. None: still collecting.

        `head` is where the log ends; every change up to it must have been given to `change`. `now`
        is in seconds of a steady clock.
        """
        if self._state is FeedState.COLLECTING:
            return None
        items = self._next_items()
        whole = not self._pending
        if self._state is FeedState.RESETTING:
            kind = FrameKind.RESET
            if whole:
                self._state = FeedState.LIVE
        else:
            kind = FrameKind.CHANGES if items else FrameKind.BOOKMARK
        if whole and (self._cursor is None or self._cursor.revision < head.revision):
            self._cursor = head
        return self._numbered(kind, items, whole, now)

    def acknowledge(self, cursor: Cursor) -> list[tuple[str, Revision]]:
        """Return what this acknowledgement puts in force: (box id, revision), the oldest first.

        That a node has heard a refusal puts nothing in force. Acknowledging again is allowed, and
        gives nothing. Raises NeverSent, having changed nothing.
        """
        if not 0 < cursor.frame <= self._frames:
            raise NeverSent(f"frame {cursor.frame} was never sent on this stream")
        if not self._was_sent(cursor):
            raise NeverSent("the cursor is not the one that was sent with that frame")
        applied: list[tuple[str, Revision]] = []
        while self._unacknowledged and self._unacknowledged[0].number <= cursor.frame:
            applied.extend(self._unacknowledged.popleft().items)
        return applied

    def forget_acknowledgements(self) -> None:
        """Expect none for what was sent: the node cannot speak any more."""
        self._unacknowledged.clear()

    def _was_sent(self, cursor: Cursor) -> bool:
        """Return whether a cursor is that of its frame; of one that is acknowledged, could be."""
        for sent in self._unacknowledged:
            if sent.number == cursor.frame:
                return sent.cursor is not None and sent.cursor.same_place(cursor)
        reached = self._cursor
        return (
            reached is not None
            and cursor.epoch == reached.epoch
            and cursor.revision <= reached.revision
        )

    def _merge(self, items: Iterable[Item]) -> None:
        for item in items:
            sent = self._scope.get(item.box_id)
            if sent is None or item.revision < sent or (item.revision == sent and sent > 0):
                continue
            waiting = self._pending.get(item.box_id)
            if waiting is None or waiting.revision <= item.revision:
                self._pending[item.box_id] = item

    def _next_items(self) -> tuple[Item, ...]:
        taken: list[Item] = []
        room = self._max_frame_bytes
        for item in self._pending.values():
            room -= len(item.payload)
            if taken and room < 0:
                break
            taken.append(item)
        for item in taken:
            del self._pending[item.box_id]
            if item.box_id in self._scope and not item.is_refusal:
                self._scope[item.box_id] = item.revision
        return tuple(taken)

    def _numbered(self, kind: FrameKind, items: tuple[Item, ...], whole: bool, now: float) -> Frame:
        """Return the frame, remembered for its acknowledgement.

        A page that does not bring the node anywhere new carries no cursor and is acknowledged with
        the next frame that does.
        """
        self._frames += 1
        cursor = self._cursor.at_frame(self._frames) if self._cursor and whole else None
        self._unacknowledged.append(
            _Sent(
                self._frames,
                cursor,
                now,
                tuple((item.box_id, item.revision) for item in items if not item.is_refusal),
            )
        )
        return Frame(kind=kind, cursor=cursor, items=items, last=whole)
