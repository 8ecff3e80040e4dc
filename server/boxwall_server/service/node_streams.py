"""EnforcementService: the streams of nodes."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Final, Protocol

import structlog

from boxwall.v1 import enforcement_service_pb2, stream_pb2
from boxwall.wire.errors import ApiError, ErrorReason
from boxwall.wire.frames import fenced_frame, go_away_frame
from boxwall_server.changes.revision import Cursor, cursor_to_token
from boxwall_server.clock import Clock
from boxwall_server.enforcement import EnforcementLedger, NodeKey
from boxwall_server.identity.access import Denied, check_subscriber
from boxwall_server.metrics import Metrics
from boxwall_server.service.admission import Admission
from boxwall_server.service.call import Call
from boxwall_server.service.decode import Problems
from boxwall_server.service.hub import Hub, item_of
from boxwall_server.service.inbox import MAX_AT_ONCE, Inbox, box_ids_of, holds, misused, start_of
from boxwall_server.service.interceptors.auth import denied
from boxwall_server.service.interceptors.errors import api_error_of
from boxwall_server.service.interceptors.load import Load
from boxwall_server.service.observing import NodeView, observe
from boxwall_server.service.peers import Peers
from boxwall_server.service.refusals import RefusalBoard
from boxwall_server.service.registry import Handler
from boxwall_server.service.stream import Stream
from boxwall_server.service.subscriber import Subscriber
from boxwall_server.service.waits import Waits
from boxwall_server.store.base import Feed, NodeReader, Sessions, Writer
from boxwall_server.store.errors import StoreError
from boxwall_server.store.mutations import AttachBoxes, Attached, DetachBoxes, RecordNodes
from boxwall_server.store.records import NodeRecord, SessionId
from boxwall_server.upkeep import record_nodes

SUBSCRIBE_TIMEOUT: Final = 20.0
"""Seconds a client may take for its first message."""

_log = structlog.get_logger()


class NodeStore(Feed, NodeReader, Sessions, Writer, Protocol):
    """The part of a store that node streams need."""


class NodeStreams:
    """Serves StreamPolicies, and knows which nodes are connected."""

    def __init__(
        self,
        store: NodeStore,
        hub: Hub,
        ledger: EnforcementLedger,
        waits: Waits,
        peers: Peers,
        refusals: RefusalBoard,
        admission: Admission,
        load: Load,
        clock: Clock,
        metrics: Metrics,
        *,
        only_placed: bool = False,
    ) -> None:
        self._store = store
        self._hub = hub
        self._ledger = ledger
        self._waits = waits
        self._peers = peers
        self._refusals = refusals
        self._admission = admission
        self._load = load
        self._clock = clock
        self._metrics = metrics
        self._only_placed = only_placed
        self._connected: dict[NodeKey, Subscriber] = {}

    def handlers(self) -> Mapping[str, Handler]:
        """Return the handlers by method name."""
        return {"stream_policies": self.stream_policies}

    def connected(self, node: NodeKey) -> Subscriber | None:
        """Return the living stream of a node."""
        return self._connected.get(node)

    def all_connected(self) -> list[Subscriber]:
        """Return every living stream."""
        return list(self._connected.values())

    def fence(self, node: NodeKey) -> None:
        """Tell a connected node to deny everything, and end its stream. The store knows already."""
        subscriber = self._connected.get(node)
        if subscriber is not None:
            subscriber.fence()

    def forgotten(self, node: NodeKey, box_ids: Iterable[str]) -> None:
        """Wake those who wait for the boxes of a node that an operator has given up."""
        self._waits.notify(node.tenant, box_ids)

    async def stream_policies(
        self,
        requests: AsyncIterator[enforcement_service_pb2.StreamPoliciesRequest],
        call: Call,
    ) -> None:
        """Serve one stream, from its Subscribe to its end."""
        inbox = Inbox(requests)
        async with Stream(call, self._clock) as opening:
            timer = asyncio.get_running_loop().call_later(
                SUBSCRIBE_TIMEOUT, opening.end, _no_subscribe()
            )
            try:
                subscribe = await inbox.subscribe()
            finally:
                timer.cancel()
        try:
            check_subscriber(call.caller, subscribe.node_id, is_observer=subscribe.all_boxes)
        except Denied as exc:
            raise denied(exc) from exc
        if subscribe.all_boxes:
            self._load.admit_observer(call.caller)
            await self._serve_observer(subscribe, call)
        else:
            self._admit()
            await self._serve_node(subscribe, inbox, call)

    def _admit(self) -> None:
        if self._hub.stopping:
            raise ApiError(
                ErrorReason.SHUTTING_DOWN, "the server is about to stop", retry_after=1.0
            )
        delay = self._admission.ask(self._clock.steady())
        if delay:
            self._metrics.streams_deferred.inc()
            raise ApiError(
                ErrorReason.OVERLOADED,
                f"too many streams begin at once; come back after {delay:.1f} s",
                retry_after=delay,
            )

    async def _serve_observer(self, subscribe: stream_pb2.Subscribe, call: Call) -> None:
        problems = Problems()
        problems.node_id(subscribe.node_id, "subscribe.node_id", required=False)
        if subscribe.boxes:
            problems.add("subscribe.boxes", "an observer (all_boxes) hosts nothing; leave it empty")
        start = start_of(subscribe.cursor, call.tenant, problems, "subscribe.cursor")
        problems.raise_if_any()
        await observe(NodeView(), start, call, self._hub, self._store, self._clock, self._metrics)

    async def _serve_node(self, subscribe: stream_pb2.Subscribe, inbox: Inbox, call: Call) -> None:
        problems = Problems()
        node = NodeKey(call.tenant, problems.node_id(subscribe.node_id, "subscribe.node_id"))
        problems.text(subscribe.agent_version, "subscribe.agent_version")
        start = start_of(subscribe.cursor, call.tenant, problems, "subscribe.cursor")
        if len(subscribe.boxes) > MAX_AT_ONCE:
            problems.add("subscribe.boxes", f"more than {MAX_AT_ONCE}; attach the others after")
        for index, held in enumerate(subscribe.boxes):
            problems.required_id(held.box_id, f"subscribe.boxes[{index}].box_id")
        problems.raise_if_any()
        subscriber = Subscriber(
            call,
            self._clock,
            node,
            subscribe.agent_version,
            self._ledger,
            self._waits,
            self._metrics.acknowledge_seconds.observe,
            only_placed=self._only_placed,
        )
        async with subscriber, self._registered(subscriber):
            await self._begin(subscriber, subscribe, start)
            async with asyncio.TaskGroup() as tasks:
                reader = tasks.create_task(self._read(subscriber, inbox))
                await self._write(subscriber)
                reader.cancel()

    @asynccontextmanager
    async def _registered(self, subscriber: Subscriber) -> AsyncIterator[None]:
        """Make this the one stream of its node for as long as it lasts."""
        node = subscriber.node
        older = self._connected.get(node)
        if older is not None:
            older.is_newest = False
            older.end(ApiError(ErrorReason.STREAM_REPLACED, f"node {node.id} has subscribed anew"))
        self._connected[node] = subscriber
        self._ledger.connect(node)
        self._hub.opened(subscriber)
        subscriber.on_answers = self._peers.answered
        self._metrics.streams.labels("node").inc()
        _log.info("node_connected", node=node.id, tenant=node.tenant)
        try:
            yield
        finally:
            self._hub.closed(subscriber)
            self._hub.routes.unhost(subscriber, node.tenant, subscriber.feed.scope)
            if self._connected.get(node) is subscriber:
                del self._connected[node]
                subscriber.lose_contact()
                subscriber.is_newest = False
                self._metrics.forget_node(node.tenant, node.id)
            self._metrics.streams.labels("node").dec()
            await record_nodes(self._store, [subscriber.record()])
            await self._peers.closed(subscriber)
            _log.info("node_disconnected", node=node.id, tenant=node.tenant)

    async def _begin(
        self, subscriber: Subscriber, subscribe: stream_pb2.Subscribe, start: Cursor | None
    ) -> None:
        """Record what the node hosts, and load its feed with what it does not hold yet."""
        node = subscriber.node
        record = await self._record(subscriber)
        if record.fenced:
            await subscriber.send(fenced_frame(""))
            raise _fenced(node.id)
        await self._peers.opened(subscriber)
        held = {hosted.box_id: hosted for hosted in subscribe.boxes}
        attached = await self._attach(subscriber, tuple(held))
        continues = start is not None and await self._store.verify(start)
        at = await self._store.entries(node.tenant, attached.attached)
        missing = []
        for entry in self._hub.sift(subscriber, at.entries):
            claim = held[entry.box_id]
            if continues and holds(claim, entry):
                subscriber.feed.held(entry.box_id, entry.revision)
                self._ledger.applied(node, entry.box_id, entry.revision, None)
            else:
                missing.append(item_of(entry))
        if continues and start is not None:
            subscriber.applied_revision = start.revision
        subscriber.feed.load(missing, at.cursor, reset=not continues)
        self._waits.notify(node.tenant, attached.attached)
        self._peers.answered(subscriber, attached.attached)
        subscriber.wake()

    async def _record(self, subscriber: Subscriber) -> NodeRecord:
        """Remember that the node is here; return what is known of it."""
        node = subscriber.node
        await self._store.apply(RecordNodes(nodes=(subscriber.record(),)))
        return await self._store.node(node.tenant, node.id)

    async def _attach(self, subscriber: Subscriber, box_ids: tuple[str, ...]) -> Attached:
        """Record attachments and route their changes here. From now on none is missed.

        A box may be made anew elsewhere before what it is now has been read: sift what you read.
        """
        node = subscriber.node
        outcome = await self._store.apply(
            AttachBoxes(
                tenant=node.tenant,
                node_id=node.id,
                box_ids=box_ids,
                only_placed=self._only_placed,
                session=self._session(subscriber),
            )
        )
        assert isinstance(outcome, Attached), outcome
        if self._connected.get(node) is subscriber:
            self._ledger.attach(node, outcome.attached)
        subscriber.feed.widen(outcome.attached)
        self._hub.routes.host(subscriber, node.tenant, outcome.attached)
        self._hub.routes.unhost(subscriber, node.tenant, outcome.refused)
        for box_id, placed_on in outcome.refused.items():
            subscriber.refuse(box_id, placed_on)
        return outcome

    async def _write(self, subscriber: Subscriber) -> None:
        """Send what there is whenever there is something, until the stream is to end."""
        tenant = subscriber.node.tenant
        while True:
            await subscriber.woken()
            while (frame := subscriber.next_frame(self._hub.log.head)) is not None:
                await subscriber.send(frame)
            cursor = subscriber.feed.cursor
            token = "" if cursor is None else cursor_to_token(cursor, tenant)
            if subscriber.fenced:
                await subscriber.send(fenced_frame(token))
                raise _fenced(subscriber.node.id)
            if subscriber.go_away_after is not None:
                await subscriber.send(go_away_frame(token, subscriber.go_away_after))
                return

    async def _read(self, subscriber: Subscriber, inbox: Inbox) -> None:
        """Take in what the node says, until it closes its side."""
        try:
            async for request in inbox:
                if subscriber.ended_by is not None:
                    return  # replaced: what it still says must not count for the newer stream
                subscriber.heard()
                await self._take_in(subscriber, request)
        except (ApiError, StoreError) as exc:
            subscriber.end(api_error_of(exc) or misused(str(exc)))
        else:
            subscriber.half_closed()
            await self._peers.closed(subscriber)

    async def _take_in(
        self, subscriber: Subscriber, request: enforcement_service_pb2.StreamPoliciesRequest
    ) -> None:
        match request.WhichOneof("message"):
            case "ack":
                subscriber.acknowledged(request.ack)
            case "attach":
                await self._attach_more(subscriber, box_ids_of(request.attach.box_ids, "attach"))
            case "detach":
                await self._detach(subscriber, box_ids_of(request.detach.box_ids, "detach"))
            case "refusals":
                await self._refusals.report(subscriber.node, request.refusals)
            case "subscribe":
                raise misused("subscribe comes once, first")
            case _:
                raise misused("the message is empty, or of a newer version")

    async def _attach_more(self, subscriber: Subscriber, box_ids: tuple[str, ...]) -> None:
        attached = await self._attach(subscriber, box_ids)
        at = await self._store.entries(subscriber.node.tenant, attached.attached)
        subscriber.feed.answer(map(item_of, self._hub.sift(subscriber, at.entries)))
        self._waits.notify(subscriber.node.tenant, attached.attached)
        subscriber.wake()

    async def _detach(self, subscriber: Subscriber, box_ids: tuple[str, ...]) -> None:
        node = subscriber.node
        subscriber.feed.narrow(box_ids)
        self._hub.routes.unhost(subscriber, node.tenant, box_ids)
        self._ledger.detach(node, box_ids)
        await self._store.apply(
            DetachBoxes(
                tenant=node.tenant,
                node_id=node.id,
                box_ids=box_ids,
                session=self._session(subscriber),
            )
        )
        self._waits.notify(node.tenant, box_ids)

    def _session(self, subscriber: Subscriber) -> SessionId | None:
        """Return what the store knows a stream by, if other servers may have newer ones."""
        return subscriber.session if self._store.is_shared else None


def _no_subscribe() -> ApiError:
    return misused(f"no subscribe came within {SUBSCRIBE_TIMEOUT:.0f} s")


def _fenced(node_id: str) -> ApiError:
    return ApiError(
        ErrorReason.NODE_FENCED,
        f"node {node_id} is fenced; an operator can let it in again (boxwall node unfence)",
    )
