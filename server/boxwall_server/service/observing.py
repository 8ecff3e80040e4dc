"""Streams of observers: a cursor and a wake-up, and nothing that grows with what they miss."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, Protocol

from boxwall.wire.frames import (
    MAX_FRAME_BYTES,
    bookmark_frame,
    box_change_to_element,
    box_to_element,
    changes_frame,
    go_away_frame,
    reset_frame,
)
from boxwall_server.changes.change import BoxRecord, Change, ChangeKind, entry_of, entry_of_record
from boxwall_server.changes.revision import Cursor, cursor_to_token
from boxwall_server.clock import Clock
from boxwall_server.metrics import Metrics
from boxwall_server.service.call import Call
from boxwall_server.service.encode import box_to_proto
from boxwall_server.service.hub import Hub, item_of
from boxwall_server.service.stream import Stream
from boxwall_server.store.base import Feed
from boxwall_server.store.batch_rows import Key
from boxwall_server.store.records import BoxFilter, HostRecord

MAX_MISSED: Final = 10_000
"""Boxes that an observer may have missed; with more, beginning anew is cheaper."""


class View(Protocol):
    """What an observer sees of boxes and changes."""

    @property
    def shared_key(self) -> object | None:
        """Views with equal keys see the same bytes. None: this one is like no other."""

    @property
    def for_nodes(self) -> bool:
        """Whether changes that nodes do not enforce are left out."""

    async def prepare(self, boxes: Iterable[BoxRecord]) -> None:
        """Learn what there is to know of boxes that are asked for next, if the view is of its own
        kind. Raises StoreError.
        """

    def box(self, box: BoxRecord) -> bytes | None:
        """Return a box as an element of a reset. None: not seen."""

    def change(self, change: Change) -> bytes | None:
        """Return a change as an element of changes. None: not seen."""


class NodeView:
    """What an observer of StreamPolicies sees: entries as nodes get them."""

    shared_key = "entries"
    for_nodes = True

    async def prepare(self, boxes: Iterable[BoxRecord]) -> None:
        """An entry is all there is to know."""

    def box(self, box: BoxRecord) -> bytes:
        """Return the entry of a box."""
        return item_of(entry_of_record(box)).payload

    def change(self, change: Change) -> bytes:
        """Return the entry that a change makes."""
        return item_of(entry_of(change)).payload


class BoxView:
    """What WatchBoxes sees: boxes, of those that a filter matches."""

    for_nodes = False

    def __init__(self, where: BoxFilter, hosts: "Hosts") -> None:
        self._where = where
        self._hosts = hosts
        self._attached: set[Key] = set()
        """Boxes that were prepared, are placed elsewhere or nowhere, and are attached there."""
        self.shared_key = "boxes" if where == BoxFilter() else None

    async def prepare(self, boxes: Iterable[BoxRecord]) -> None:
        """Learn which boxes are attached to the node of the filter, at whatever server."""
        node_id = self._where.node_id
        if not node_id:
            return
        elsewhere = [Key(box.tenant, box.id) for box in boxes if box.node_id != node_id]
        hosts = await self._hosts.hosts(elsewhere) if elsewhere else {}
        self._attached = {
            key for key, found in hosts.items() if any(host.node_id == node_id for host in found)
        }

    def box(self, box: BoxRecord) -> bytes | None:
        """Return a box that the filter matches."""
        return box_to_element(box_to_proto(box)) if self._matches(box) else None

    def change(self, change: Change) -> bytes:
        """Return what became of a box; one that does not match (any more) is gone."""
        seen = change.kind is not ChangeKind.DELETED and self._matches(change.box)
        return box_change_to_element(change.box.id, box_to_proto(change.box) if seen else None)

    def _matches(self, box: BoxRecord) -> bool:
        where = self._where
        return (
            set(where.labels) <= set(box.labels)
            and box.name.startswith(where.name_prefix)
            and where.mode in ("", box.mode)
            and (where.node_id in ("", box.node_id) or Key(box.tenant, box.id) in self._attached)
        )


class Hosts(Protocol):
    """Who knows where a box is."""

    async def hosts(self, boxes: Collection[Key]) -> Mapping[Key, Sequence[HostRecord]]:
        """Return the nodes recorded as hosting boxes."""


async def observe(
    view: View,
    start: Cursor | None,
    call: Call,
    hub: Hub,
    store: Feed,
    clock: Clock,
    metrics: Metrics,
) -> None:
    """Serve an observer from `start` (None: from the whole state) until its stream ends."""
    stream = Stream(call, clock)
    hub.opened(stream)
    hub.observe(stream)
    gauge = metrics.streams.labels("observer")
    gauge.inc()
    try:
        async with stream:
            await Observer(view, stream, hub, store, clock).serve(start)
    finally:
        gauge.dec()
        hub.unobserve(stream)
        hub.closed(stream)


class Observer:
    """The handler's side of one observer."""

    def __init__(self, view: View, stream: Stream, hub: Hub, store: Feed, clock: Clock) -> None:
        self._view = view
        self._stream = stream
        self._hub = hub
        self._store = store
        self._clock = clock
        self._tenant = stream.call.tenant

    async def serve(self, start: Cursor | None) -> None:
        """Bring the client to the head, and keep it there."""
        cursor = await self._caught_up(start)
        while self._stream.go_away_after is None:
            head = self._hub.log.head
            if cursor.revision < head.revision:
                cursor = await self._advance(cursor)
            elif self._stream.bookmark_due(self._clock.steady()):
                await self._stream.send(bookmark_frame(self._token(cursor)))
            else:
                await self._stream.woken()
        await self._stream.send(go_away_frame(self._token(cursor), self._stream.go_away_after))

    async def _caught_up(self, start: Cursor | None) -> Cursor:
        """Begin anew, or continue; either way say at once where the client is."""
        missed = (
            None
            if start is None
            else await self._store.since(
                self._tenant, start, limit=MAX_MISSED, for_nodes=self._view.for_nodes
            )
        )
        if missed is None:
            return await self._reset()
        await self._send_changes(missed.changes, missed.cursor)
        return missed.cursor

    async def _advance(self, cursor: Cursor) -> Cursor:
        """Send what is new in the log; a client that fell off it begins anew."""
        head = self._hub.log.head
        key = self._view.shared_key
        if key is not None and head.revision - cursor.revision <= MAX_MISSED:
            where = (key, self._tenant, cursor, head)
            frames = self._hub.shared_frames(where, lambda: self._frames_since(cursor, head))
        else:
            frames = await self._own_frames_since(cursor, head)
        if frames is None:
            return await self._caught_up(cursor)
        for frame in frames:
            await self._stream.send(frame)
        return head

    def _frames_since(self, cursor: Cursor, head: Cursor) -> list[bytes] | None:
        """Return the frames from `cursor` to `head`; [] if nothing of it is seen."""
        changes = self._changes_since(cursor)
        return None if changes is None else self._change_frames(changes, head)

    async def _own_frames_since(self, cursor: Cursor, head: Cursor) -> list[bytes] | None:
        """As `_frames_since`, of a view that has to be prepared."""
        changes = self._changes_since(cursor)
        if changes is None:
            return None
        await self._view.prepare(change.box for change in changes)
        return self._change_frames(changes, head)

    def _changes_since(self, cursor: Cursor) -> Sequence[Change] | None:
        return self._hub.log.since(self._tenant, cursor.revision, for_nodes=self._view.for_nodes)

    async def _send_changes(self, changes: Sequence[Change], at: Cursor) -> None:
        await self._view.prepare(change.box for change in changes)
        frames = self._change_frames(changes, at) or [bookmark_frame(self._token(at))]
        for frame in frames:
            await self._stream.send(frame)

    def _change_frames(self, changes: Iterable[Change], at: Cursor) -> list[bytes]:
        elements = (self._view.change(change) for change in changes)
        chunks = list(chunked(element for element in elements if element is not None))
        return [
            changes_frame(self._token(at) if chunk is chunks[-1] else "", chunk) for chunk in chunks
        ]

    async def _reset(self) -> Cursor:
        """Send the whole state as it is at one cursor."""
        async with self._store.scan(self._tenant) as scan:
            waiting: list[bytes] = []
            async for page in scan.pages():
                await self._view.prepare(page)
                elements = (self._view.box(box) for box in page)
                chunks = list(chunked([*waiting, *(e for e in elements if e is not None)]))
                for chunk in chunks[:-1]:
                    await self._stream.send(reset_frame("", chunk, last=False))
                waiting = chunks[-1] if chunks else []
            await self._stream.send(reset_frame(self._token(scan.cursor), waiting, last=True))
            return scan.cursor

    def _token(self, cursor: Cursor) -> str:
        return cursor_to_token(cursor, self._tenant)


def chunked(elements: Iterable[bytes]) -> Iterable[list[bytes]]:
    """Yield the elements in lists that fit into a frame each."""
    chunk: list[bytes] = []
    room = MAX_FRAME_BYTES
    for element in elements:
        if chunk and len(element) > room:
            yield chunk
            chunk, room = [], MAX_FRAME_BYTES
        chunk.append(element)
        room -= len(element)
    if chunk:
        yield chunk
