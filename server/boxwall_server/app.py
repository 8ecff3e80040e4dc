"""The composition root: the only place that knows which concrete parts make a server."""

import asyncio
import stat
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import grpc
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc

from boxwall.monitoring import CannotListen, serve_monitoring
from boxwall.policy import AllowAll, DenyAll, Mode, warm_public_suffixes
from boxwall.unix_sockets import for_owner_alone
from boxwall.wire.policies import policy_to_bytes
from boxwall_server import upkeep
from boxwall_server.changes.change import PolicyBytes
from boxwall_server.changes.log import ChangeLog
from boxwall_server.clock import Clock, SystemClock
from boxwall_server.config import Address, BadConfig, ServerConfig, TcpAddress, UnixAddress
from boxwall_server.enforcement import EnforcementLedger
from boxwall_server.guard import Guard
from boxwall_server.metrics import Metrics
from boxwall_server.service.admission import Admission
from boxwall_server.service.boxes import Boxes, Defaults
from boxwall_server.service.health import Health
from boxwall_server.service.hub import Hub
from boxwall_server.service.interceptors.access import access_layer
from boxwall_server.service.interceptors.auth import auth_layer
from boxwall_server.service.interceptors.errors import errors_layer
from boxwall_server.service.interceptors.load import Load, load_layer
from boxwall_server.service.node_streams import NodeStreams
from boxwall_server.service.nodes import Nodes
from boxwall_server.service.peers import Peers
from boxwall_server.service.policies import Policies
from boxwall_server.service.quotas import PacedWriter
from boxwall_server.service.reflection import add_reflection
from boxwall_server.service.refusal_exchange import RefusalExchange
from boxwall_server.service.refusals import RefusalBoard, RefusalWatches
from boxwall_server.service.registry import SERVICES, generic_handler
from boxwall_server.service.snapshots import Snapshots
from boxwall_server.service.standings import Standings
from boxwall_server.service.waits import Waits
from boxwall_server.service.watches import Watches
from boxwall_server.store.base import Store
from boxwall_server.store.postgres import open_postgres
from boxwall_server.store.postgres_url import PostgresUrl
from boxwall_server.store.records import NodeRecord
from boxwall_server.store.sqlite import open_sqlite

MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024
"""Of streams, where nodes name thousands of boxes at once. The configuration limits requests."""

MAX_CONNECTIONS: Final = 20_000

HEALTH_INTERVAL: Final = 0.25
"""Seconds between looks whether the store answers."""

_log = structlog.get_logger()


class App:
    """A server's parts, wired to a store. `start` serves; `stop` ends in an order that loses
    nothing.
    """

    serving = False
    """Whether the process does what it is there for, with or without its store."""
    ready = False
    """Whether calls can be expected to work: the store answers."""

    def __init__(self, store: Store, config: ServerConfig, clock: Clock, metrics: Metrics) -> None:
        self.metrics = metrics
        self._config = config
        self._clock = clock
        self._store = store
        self.guard = Guard(config.security, clock, metrics)
        log = ChangeLog(store.head)
        self.hub = Hub(log, clock, metrics)
        store.listen(self.hub.publish)
        ledger = EnforcementLedger()
        standings = Standings(ledger, store)
        self.waits = waits = Waits(standings)
        self.peers = Peers(store, ledger, waits)
        board = RefusalBoard(ledger, store, metrics)
        self.exchange = RefusalExchange(store, self.peers, board)
        admission = Admission(rate=config.stream_rate, burst=config.stream_burst)
        self.load = Load(
            config.bounds,
            clock,
            metrics,
            tells_callers_apart=config.security.needs_identity,
        )
        self.node_streams = NodeStreams(
            store,
            self.hub,
            ledger,
            waits,
            self.peers,
            board,
            admission,
            self.load,
            clock,
            metrics,
            only_placed=config.places_every_box,
        )
        defaults = _defaults(config)
        writer = PacedWriter(store, clock, rate=config.max_writes)
        box_handlers = {
            **Boxes(store, writer, standings, waits, clock, defaults).handlers(),
            **Policies(store, writer, waits, clock, defaults).handlers(),
            **Snapshots(store, writer, clock).handlers(),
            **Watches(store, self.hub, clock, metrics).handlers(),
            **RefusalWatches(board, store, self.hub, clock).handlers(),
        }
        node_handlers = Nodes(store, self.node_streams, ledger, log).handlers()
        layers = (
            access_layer(metrics, clock),
            errors_layer,
            auth_layer(self.guard.gate),
            load_layer(self.load),
        )
        size = config.max_request_bytes
        boxes, enforcement, nodes = SERVICES
        self._handlers = (
            generic_handler(boxes, box_handlers, layers, max_request_bytes=size),
            generic_handler(
                enforcement, self.node_streams.handlers(), layers, max_request_bytes=size
            ),
            generic_handler(nodes, node_handlers, layers, max_request_bytes=size),
        )
        self._health = Health()
        self._server = grpc.aio.server(options=_options())
        self.address: Address = config.listen

    async def start(self) -> None:
        """Listen and serve. Raises BadConfig if the address cannot be had."""
        self._server.add_generic_rpc_handlers(self._handlers)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = [service.full_name for service in SERVICES]
        add_reflection(self._server, names, self.guard.gate)
        self.address = _bind(self._server, self._config.listen, self.guard.credentials())
        await self._server.start()
        self.serving = self.ready = True
        await self._set_health()

    async def stop(self) -> None:
        """Stop serving: health first, then ask streams to go, then wait for calls."""
        self.serving = self.ready = False
        await self._set_health()
        self.hub.go_away()
        await self._server.stop(self._config.grace)
        await upkeep.record_nodes(self._store, self.node_records())

    def node_records(self) -> Sequence[NodeRecord]:
        """Return what is known of the connected nodes, and update their lag."""
        head = self.hub.log.head.revision
        records = []
        for stream in self.node_streams.all_connected():
            node = stream.node
            # A node may have applied what another server has written and this one not read yet.
            lag = max(0, head - stream.applied_revision)
            self.metrics.node_lag.labels(node.tenant, node.id).set(lag)
            records.append(stream.record())
        return records

    async def run_upkeep(self) -> None:
        """Do what must be done now and then, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.hub.keep_ticking())
            tasks.create_task(self._keep_watching_the_store())
            tasks.create_task(self.guard.keep_watch(self.hub))
            tasks.create_task(self.peers.run())
            tasks.create_task(self.exchange.run())
            tasks.create_task(upkeep.Sweeper(self._store, self._clock, self.metrics).run())
            tasks.create_task(upkeep.keep_compacting(self._store, self._clock, self._config.retain))
            tasks.create_task(upkeep.keep_recording(self._store, self.node_records))

    async def _keep_watching_the_store(self) -> None:
        while True:
            await asyncio.sleep(HEALTH_INTERVAL)
            if self.ready != self._store.is_answering:
                self.ready = self._store.is_answering
                self.metrics.store_away.set(not self.ready)
                _log.warning("ready" if self.ready else "not_ready")
                await self._set_health()

    async def _set_health(self) -> None:
        """Tell of the process under "", which is no reason to end it while only the store is away,
        and under the names of the services whether calls to them can be expected to work.
        """
        answer = health_pb2.HealthCheckResponse
        status = {False: answer.NOT_SERVING, True: answer.SERVING}
        await self._health.set("", status[self.serving])
        for service in SERVICES:
            await self._health.set(service.full_name, status[self.ready])


@asynccontextmanager
async def running(config: ServerConfig, clock: Clock | None = None) -> AsyncIterator[App]:
    """Run a server for as long as the context lasts.

    Raises BadConfig or StoreUnusable, having left nothing behind, if it cannot start.
    """
    clock = clock or SystemClock()
    metrics = Metrics()
    async with AsyncExitStack() as stack:
        store = await _open_store(config.database, metrics)
        stack.push_async_callback(store.close)
        app = App(store, config, clock, metrics)
        if config.metrics_listen is not None:
            where = config.metrics_listen
            serve = serve_monitoring(
                where.host,
                where.port,
                metrics.registry,
                lambda: app.serving,
                is_ready=lambda: app.ready,
            )
            try:
                stack.enter_context(serve)
            except CannotListen as exc:
                raise BadConfig(str(exc)) from exc
        await app.start()
        stack.push_async_callback(app.stop)
        try:
            async with asyncio.TaskGroup() as tasks:
                chores = tasks.create_task(app.run_upkeep())
                tasks.create_task(asyncio.to_thread(warm_public_suffixes))
                try:
                    yield app
                finally:
                    chores.cancel()
        except BaseExceptionGroup as group:
            if len(group.exceptions) == 1:
                raise group.exceptions[0] from None
            raise


async def _open_store(database: Path | PostgresUrl, metrics: Metrics) -> Store:
    observe = metrics.commit_seconds.observe
    match database:
        case Path():
            return await open_sqlite(database, observe_commit=observe)
        case PostgresUrl():
            return await open_postgres(database, observe_commit=observe)


def _defaults(config: ServerConfig) -> Defaults:
    policy = AllowAll() if config.default_mode is Mode.ALLOW_ALL else DenyAll()
    return Defaults(
        policy=PolicyBytes(policy_to_bytes(policy)),
        mode=config.default_mode,
        limits=config.limits,
        max_labels=config.max_labels,
        max_boxes=config.max_boxes,
        only_placed=config.places_every_box,
    )


def _options() -> list[tuple[str, int]]:
    return [
        ("grpc.so_reuseport", 0),  # a second server on the port must fail, not share it
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_metadata_size", 16 * 1024),
        ("grpc.server_handshake_timeout_ms", 10_000),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
        # Of calls that nobody has looked at yet: many nodes come at once.
        ("grpc.server.max_pending_requests", 10_000),
        ("grpc.server.max_pending_requests_hard_limit", 20_000),
        ("grpc.max_allowed_incoming_connections", MAX_CONNECTIONS),
    ]


def _bind(
    server: grpc.aio.Server, address: Address, credentials: grpc.ServerCredentials | None
) -> Address:
    """Bind, and return where: with the port that was chosen, if any would do."""
    try:
        match address:
            case TcpAddress() if credentials is not None:
                return TcpAddress(address.host, server.add_secure_port(str(address), credentials))
            case TcpAddress():
                return TcpAddress(address.host, server.add_insecure_port(str(address)))
            case UnixAddress():
                _clear_stale_socket(address)
                with for_owner_alone():
                    server.add_insecure_port(str(address))
                return address
    except RuntimeError as exc:
        raise BadConfig(
            f"cannot listen on {address}: is another server running? "
            "Stop it, or choose another address with --listen"
        ) from exc


def _clear_stale_socket(address: UnixAddress) -> None:
    """Remove a socket that a killed server left behind. Anything else is not ours to remove."""
    path = address.path
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        return
    if not stat.S_ISSOCK(path.stat().st_mode):
        raise BadConfig(f"{path} exists and is not a socket; choose another path for --listen")
    path.unlink()
