"""WatchBoxes: changes of boxes for observers and user interfaces."""

from collections.abc import Mapping
from typing import Protocol

from boxwall.v1 import box_service_pb2
from boxwall_server.changes.revision import BadCursor, cursor_from_token
from boxwall_server.clock import Clock
from boxwall_server.metrics import Metrics
from boxwall_server.service.call import Call
from boxwall_server.service.decode import Problems
from boxwall_server.service.hub import Hub
from boxwall_server.service.observing import BoxView, Hosts, observe
from boxwall_server.service.registry import Handler
from boxwall_server.store.base import Feed


class WatchedStore(Feed, Hosts, Protocol):
    """The part of a store that watches need."""


class Watches:
    """Serves WatchBoxes."""

    def __init__(self, store: WatchedStore, hub: Hub, clock: Clock, metrics: Metrics) -> None:
        self._store = store
        self._hub = hub
        self._clock = clock
        self._metrics = metrics

    def handlers(self) -> Mapping[str, Handler]:
        """Return the handlers by method name."""
        return {"watch_boxes": self.watch_boxes}

    async def watch_boxes(self, request: box_service_pb2.WatchBoxesRequest, call: Call) -> None:
        """Stream changes of boxes."""
        problems = Problems()
        where = problems.box_filter(request.filter, "filter")
        start = None
        if request.cursor:
            try:
                start = cursor_from_token(request.cursor, call.tenant)
            except BadCursor as exc:
                problems.add("cursor", str(exc))
        problems.raise_if_any()
        view = BoxView(where, self._store)
        await observe(view, start, call, self._hub, self._store, self._clock, self._metrics)
