"""What nodes refused, on its way to those who watch. Bounded everywhere: the oldest is dropped."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from boxwall.v1 import box_service_pb2, policy_pb2, stream_pb2
from boxwall.wire.errors import ApiError, ErrorReason
from boxwall_server.clock import Clock
from boxwall_server.enforcement import EnforcementLedger, NodeKey
from boxwall_server.metrics import Metrics
from boxwall_server.service.call import Call
from boxwall_server.service.decode import Problems
from boxwall_server.service.hub import Hub
from boxwall_server.service.registry import Handler
from boxwall_server.service.stream import Stream
from boxwall_server.store.base import Reader
from boxwall_server.store.errors import BoxNotFound

REMEMBERED: Final = 1_000
"""Refusals kept of a tenant for those who ask what was refused lately."""

QUEUED: Final = 1_000
"""Refusals that may wait for one watcher."""

MAX_REPORT: Final = 1_000

MAX_REFUSAL_BYTES: Final = 2_048
"""So that all that may wait for a watcher fits into one message."""


class RefusalBoard:
    """Where nodes report and watchers look."""

    def __init__(self, ledger: EnforcementLedger, reader: Reader, metrics: Metrics) -> None:
        self._ledger = ledger
        self._reader = reader
        self._metrics = metrics
        self._recent: dict[str, deque[policy_pb2.Refusal]] = {}
        self._watchers: dict[str, dict[Watcher, None]] = {}
        self.on_report: Callable[[str, stream_pb2.Refusals], None] = lambda *_: None
        """Is told of what nodes of a tenant have refused."""

    async def report(self, node: NodeKey, report: stream_pb2.Refusals) -> None:
        """Take in what a node refused. Raises ApiError for a report that is too large.

        What is of a box that the node does not host (any more) is dropped, and counted as dropped:
        reports are gathered, so a detach may overtake them.
        """
        self._check(report)
        report = self._of_hosted_boxes(node, report)
        for refusal in report.refusals:
            known = refusal.reason in policy_pb2.Reason.values()
            name = policy_pb2.Reason.Name(refusal.reason) if known else "REASON_UNSPECIFIED"
            self._metrics.refusals.labels(name.removeprefix("REASON_")).inc(refusal.count)
        self.on_report(node.tenant, report)
        await self.show(node.tenant, report)

    async def show(self, tenant: str, report: stream_pb2.Refusals) -> None:
        """Show what nodes of a tenant have refused, here or at another server."""
        recent = self._recent.setdefault(tenant, deque(maxlen=REMEMBERED))
        recent.extend(report.refusals)
        for watcher in tuple(self._watchers.get(tenant, ())):
            wanted = [r for r in report.refusals if await self._wants(watcher, r)]
            if wanted or report.dropped:
                self._metrics.refusals_dropped.inc(watcher.offer(wanted, report.dropped))

    async def recent(self, watcher: "Watcher", most: int) -> list[policy_pb2.Refusal]:
        """Return up to `most` remembered refusals that concern a watcher, oldest first."""
        remembered = tuple(self._recent.get(watcher.call.tenant, ()))
        wanted = [refusal for refusal in remembered if await self._wants(watcher, refusal)]
        return wanted[len(wanted) - min(most, len(wanted)) :]

    def add(self, watcher: "Watcher") -> None:
        """Offer what is reported to a watcher."""
        self._watchers.setdefault(watcher.call.tenant, {})[watcher] = None

    def remove(self, watcher: "Watcher") -> None:
        """Offer it no more."""
        watchers = self._watchers.get(watcher.call.tenant, {})
        watchers.pop(watcher, None)
        if not watchers:
            self._watchers.pop(watcher.call.tenant, None)

    def _of_hosted_boxes(self, node: NodeKey, report: stream_pb2.Refusals) -> stream_pb2.Refusals:
        hosted = {
            box_id: node.id in self._ledger.hosts(node.tenant, box_id)
            for box_id in {refusal.box for refusal in report.refusals}
        }
        kept = [refusal for refusal in report.refusals if hosted[refusal.box]]
        gone = sum(refusal.count for refusal in report.refusals if not hosted[refusal.box])
        self._metrics.refusals_dropped.inc(gone)
        return stream_pb2.Refusals(refusals=kept, dropped=report.dropped + gone)

    def _check(self, report: stream_pb2.Refusals) -> None:
        if len(report.refusals) > MAX_REPORT:
            raise ApiError(
                ErrorReason.STREAM_MISUSED, f"more than {MAX_REPORT} refusals in one report"
            )
        if any(refusal.ByteSize() > MAX_REFUSAL_BYTES for refusal in report.refusals):
            raise ApiError(
                ErrorReason.STREAM_MISUSED, f"a refusal has more than {MAX_REFUSAL_BYTES} bytes"
            )

    async def _wants(self, watcher: "Watcher", refusal: policy_pb2.Refusal) -> bool:
        if watcher.box_id:
            return refusal.box == watcher.box_id
        if not watcher.labels:
            return True
        try:
            hosted = await self._reader.box(watcher.call.tenant, refusal.box)
        except BoxNotFound:
            return False
        return watcher.labels <= set(hosted.box.labels)


class Watcher(Stream):
    """Somebody who watches refusals."""

    def __init__(
        self, call: Call, clock: Clock, box_id: str, labels: Iterable[tuple[str, str]]
    ) -> None:
        super().__init__(call, clock)
        self.box_id = box_id
        self.labels = frozenset(labels)
        self._queue: deque[policy_pb2.Refusal] = deque()
        self._dropped = 0

    def offer(self, refusals: Sequence[policy_pb2.Refusal], dropped: int) -> int:
        """Queue refusals; return how many old ones had to go for them."""
        self._queue.extend(refusals)
        gone = max(0, len(self._queue) - QUEUED)
        for _ in range(gone):
            self._queue.popleft()
        self._dropped += gone + dropped
        self.wake()
        return gone

    def take(self) -> box_service_pb2.WatchRefusalsResponse | None:
        """Return what waits. None: nothing does."""
        if not self._queue and not self._dropped:
            return None
        message = box_service_pb2.WatchRefusalsResponse(refusals=self._queue, dropped=self._dropped)
        self._queue.clear()
        self._dropped = 0
        return message


class RefusalWatches:
    """Serves WatchRefusals."""

    def __init__(self, board: RefusalBoard, reader: Reader, hub: Hub, clock: Clock) -> None:
        self._board = board
        self._reader = reader
        self._hub = hub
        self._clock = clock

    def handlers(self) -> Mapping[str, Handler]:
        """Return the handlers by method name."""
        return {"watch_refusals": self.watch_refusals}

    async def watch_refusals(
        self, request: box_service_pb2.WatchRefusalsRequest, call: Call
    ) -> None:
        """Stream what nodes refuse."""
        problems = Problems()
        box_id = problems.optional_id(request.box_id, "box_id")
        labels = problems.labels(request.labels, "labels")
        if box_id and labels:
            problems.add("labels", "give a box_id or labels, not both")
        if request.recent > REMEMBERED:
            problems.add("recent", f"must be at most {REMEMBERED}")
        problems.raise_if_any()
        if box_id:
            await self._reader.box(call.tenant, box_id)
        watcher = Watcher(call, self._clock, box_id, labels)
        self._hub.opened(watcher)
        self._board.add(watcher)
        try:
            async with watcher:
                await self._serve(watcher, request.recent)
        finally:
            self._board.remove(watcher)
            self._hub.closed(watcher)

    async def _serve(self, watcher: Watcher, recent: int) -> None:
        if recent:
            # Of what was there when the watcher was added; what is reported meanwhile is queued.
            remembered = await self._board.recent(watcher, recent)
            await self._send(watcher, box_service_pb2.WatchRefusalsResponse(refusals=remembered))
        while watcher.go_away_after is None:
            message = watcher.take()
            if message is not None:
                await self._send(watcher, message)
            elif watcher.bookmark_due(self._clock.steady()):
                await self._send(watcher, box_service_pb2.WatchRefusalsResponse())
            else:
                await watcher.woken()

    async def _send(self, watcher: Watcher, message: box_service_pb2.WatchRefusalsResponse) -> None:
        await watcher.send(message.SerializeToString())
