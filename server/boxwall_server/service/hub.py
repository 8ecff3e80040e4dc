"""From a commit to the streams that it concerns.

The store calls `publish` on the event loop, in order. An entry is encoded once, and only if a node
hosts its box; observers share whole frames.
"""

import asyncio
import random
from collections.abc import Callable, Iterable
from typing import Final

from boxwall.wire.errors import ApiError, ErrorReason
from boxwall.wire.frames import entry_to_bytes
from boxwall_server.changes.change import Change, Entry, entry_of
from boxwall_server.changes.feed import Item
from boxwall_server.changes.log import ChangeLog
from boxwall_server.changes.routing import Routes
from boxwall_server.clock import Clock
from boxwall_server.metrics import Metrics
from boxwall_server.service.stream import Stream
from boxwall_server.service.subscriber import Subscriber
from boxwall_server.store.records import Commit, NewHistory

TICK: Final = 1.0
"""Seconds between looks at the streams."""

GO_AWAY_SPREAD: Final = 5.0
"""Seconds over which streams are asked to come back."""

_SHARED_FRAMES: Final = 64


class Hub:
    """Every open stream. One for each server."""

    def __init__(self, log: ChangeLog, clock: Clock, metrics: Metrics) -> None:
        self.log = log
        self.routes: Routes[Subscriber] = Routes()
        self._observers: Routes[Stream] = Routes()
        self._clock = clock
        self._metrics = metrics
        self._streams: set[Stream] = set()
        self._shared: dict[object, list[bytes] | None] = {}
        self.stopping = False

    def publish(self, news: Commit | NewHistory) -> None:
        """Take in what the store tells. The listener of the store."""
        match news:
            case Commit():
                self.log.append(news.epoch, news.changes)
                self._route(news)
            case NewHistory():
                self.log.begin_anew(news.head)
                self._end_all()
        self._metrics.revision.set(self.log.head.revision)

    def _route(self, commit: Commit) -> None:
        """Wake whom a commit concerns."""
        tenants = set()
        for change in commit.changes:
            tenants.add(change.box.tenant)
            if change.concerns_nodes:
                self._tell_hosts(change)
        for tenant in tenants:
            for stream in self._observers.observers(tenant):
                stream.wake()

    def _end_all(self) -> None:
        """End every stream: what it has sent may not be so any more, and its cursor, which does not
        verify, gets a reset when the client comes back. What nodes have said counts no more: it was
        about revisions that may be others now.
        """
        self._shared.clear()
        for stream in tuple(self._streams):
            if isinstance(stream, Subscriber):
                stream.lose_contact()
            stream.end(
                ApiError(
                    ErrorReason.STORE_UNAVAILABLE,
                    "the store has lost the end of its history; connect again",
                )
            )

    def sift(self, subscriber: Subscriber, entries: Iterable[Entry]) -> list[Entry]:
        """Return the entries that a node may have; the boxes of the others are refused to it."""
        kept = []
        for entry in entries:
            if subscriber.may_have(entry):
                kept.append(entry)
            else:
                self.routes.unhost(subscriber, subscriber.node.tenant, [entry.box_id])
                subscriber.refuse(entry.box_id, entry.placed_on)
        return kept

    def _tell_hosts(self, change: Change) -> None:
        hosts = self.routes.hosts(change.box.tenant, change.box.id)
        if not hosts:
            return
        entry, item = entry_of(change), None
        for subscriber in hosts:
            if self.sift(subscriber, [entry]):
                item = item or item_of(entry)
                subscriber.changed(item)

    def opened(self, stream: Stream) -> None:
        """Look after a stream until `closed`."""
        self._streams.add(stream)

    def closed(self, stream: Stream) -> None:
        """Look after a stream no more."""
        self._streams.discard(stream)
        if stream.ended_by is not None:
            self._metrics.streams_ended.labels(stream.ended_by.reason.value).inc()

    def observe(self, stream: Stream) -> None:
        """Wake the stream at every commit of its tenant."""
        self._observers.observe(stream, stream.call.tenant)

    def unobserve(self, stream: Stream) -> None:
        """Wake it no more."""
        self._observers.unobserve(stream, stream.call.tenant)

    def shared_frames(
        self, key: object, make: Callable[[], list[bytes] | None]
    ) -> list[bytes] | None:
        """Return frames that many observers send, made once."""
        if key not in self._shared:
            self._shared[key] = make()
            if len(self._shared) > _SHARED_FRAMES:
                del self._shared[next(iter(self._shared))]
        return self._shared[key]

    def go_away(self) -> None:
        """Ask every stream to come back a little later, each at another time, and to end."""
        self.stopping = True
        for stream in self._streams:
            # Only spreads load: nobody gains by guessing it.
            stream.go_away_after = random.uniform(0, GO_AWAY_SPREAD)  # noqa: S311
            stream.wake()

    def streams(self) -> tuple[Stream, ...]:
        """Return every open stream."""
        return tuple(self._streams)

    @property
    def open_streams(self) -> int:
        """How many streams are open."""
        return len(self._streams)

    def tick(self) -> None:
        """Do for every stream what time demands."""
        now = self._clock.steady()
        for stream in tuple(self._streams):
            stream.check(now)

    async def keep_ticking(self) -> None:
        """Tick until cancelled."""
        while True:
            await asyncio.sleep(TICK)
            self.tick()


def item_of(entry: Entry) -> Item:
    """Return an entry ready to be sent to any number of nodes."""
    return Item(
        box_id=entry.box_id,
        revision=entry.revision,
        payload=entry_to_bytes(entry.box_id, entry.uid, entry.revision, policy=entry.policy),
    )


def items_of(entries: Iterable[Entry]) -> list[Item]:
    """Return entries ready to be sent."""
    return [item_of(entry) for entry in entries]
