"""The composition root: the only place that knows which concrete parts make an agent."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, closing
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, TypeAlias

import grpc
import structlog

from boxwall.monitoring import CannotListen, serve_monitoring
from boxwall.sdk.connection import Connection
from boxwall.unix_sockets import for_owner_alone
from boxwall.wire.entries import Result
from boxwall_agent import conntrack
from boxwall_agent.agent import Agent
from boxwall_agent.auditor import Auditor
from boxwall_agent.bpf.load import ProgramRefused
from boxwall_agent.config import STATE_FILE, AgentConfig
from boxwall_agent.counts import KernelCounts
from boxwall_agent.crowding import Crowding
from boxwall_agent.dns.upstream import Resolvers, ResolversOfHost
from boxwall_agent.enforcer import Enforcer
from boxwall_agent.errors import KernelError, StateUnusable
from boxwall_agent.explainer import Explainer
from boxwall_agent.features import displaced_checksum
from boxwall_agent.lease_keeper import LeaseKeeper
from boxwall_agent.local_api import LocalApi, make_server
from boxwall_agent.mending import Mender
from boxwall_agent.metrics import Metrics, NodeCollector
from boxwall_agent.naming import NameService, open_name_service
from boxwall_agent.nflog import LogGroup
from boxwall_agent.nfqueue import dropped
from boxwall_agent.nft.batch import BRIDGE, INET, Batch
from boxwall_agent.nft.kernel import Nftables, open_nftables
from boxwall_agent.nft.layout import LOG_GROUP
from boxwall_agent.nft.naming import QUEUE
from boxwall_agent.poking import Poker, RawSender
from boxwall_agent.recorder import Recorder
from boxwall_agent.refusals import Refusals
from boxwall_agent.state import State
from boxwall_agent.switch import LinkSwitch
from boxwall_agent.sync import Sync
from boxwall_agent.takeover import found_table, take_over
from boxwall_agent.watching import NodeWatch, TableWatch

Chore: TypeAlias = Callable[[], Coroutine[Any, Any, None]]
"""Runs until it is cancelled."""

_GRACE: Final = 1.0
"""Seconds for local calls to end."""

_log = structlog.get_logger()


class App:
    """A running agent, for those who started it."""

    def __init__(self, config: AgentConfig, agent: Agent, sync: Sync) -> None:
        self.config = config
        self.agent = agent
        self.sync = sync


@asynccontextmanager
async def running(config: AgentConfig) -> AsyncIterator[App]:
    """Run an agent for as long as the context lasts. What is in force stays in force after it.

    Raises KernelUnusable or StateUnusable, with what to do, if it cannot start.
    """
    async with AsyncExitStack() as stack:
        state = State(config.state_dir / STATE_FILE)
        stack.callback(state.close)
        nft = stack.enter_context(open_nftables())
        switch = LinkSwitch()
        stack.callback(switch.close)
        found = found_table(nft)
        # Only one program can listen, so this also keeps a second agent from the table, on kernels
        # that know no owners of tables.
        refused = stack.enter_context(closing(LogGroup(LOG_GROUP)))
        names = _names(stack, config, state, nft)
        naming = None if names is None else names.naming
        displaced = _displaced(stack, nft)
        enforcer = await take_over(config, state, nft, switch, found, naming, displaced)
        stack.callback(_tidy, nft, enforcer)
        metrics = Metrics()
        agent = Agent(enforcer, state, metrics.apply_seconds.observe)
        sync = _sync(stack, config, agent, state)
        refusals = Refusals(
            sync.send, lambda reason: metrics.refusals.labels(reason).inc(), config.per_box.records
        )
        poker = Poker(stack.enter_context(closing(RawSender())))
        chores = [
            sync.run,
            refusals.run,
            *_watches(stack, config, agent, nft, metrics),
            Recorder(refused, enforcer, refusals).run,
            *_observers(enforcer, agent, sync, poker, metrics),
            *_serve_names(names, agent, enforcer, refusals, poker),
        ]
        _monitor(stack, config, agent, sync, metrics)
        api = LocalApi(
            agent,
            KernelCounts(stack.enter_context(open_nftables())),
            Explainer(enforcer, nft, conntrack.opened_by, config.http_ports),
            config.node_id,
            lambda: sync.in_contact,
            grace=config.dns.grace,
        )
        await _serve(stack, api, config.agent_socket)
        async with asyncio.TaskGroup() as tasks:
            running_chores = [tasks.create_task(chore()) for chore in chores]
            try:
                yield App(config, agent, sync)
            finally:
                for chore in running_chores:
                    chore.cancel()


def _displaced(stack: AsyncExitStack, nft: Nftables) -> bytes | None:
    """What finds packets that would be others when they leave the node."""
    try:
        return stack.enter_context(displaced_checksum(nft))
    except ProgramRefused as exc:
        _log.warning("checksums_not_watched", reason=str(exc), advice="see SECURITY.md")
        return None


def _tidy(nft: Nftables, enforcer: Enforcer) -> None:
    """A node without boxes needs no tables. With boxes, the tables are what holds."""
    if not enforcer.hosted:
        for family in (BRIDGE, INET):
            batch = Batch(family=family)
            batch.delete_table()
            with contextlib.suppress(KernelError):
                nft.commit(batch)


def _sync(stack: AsyncExitStack, config: AgentConfig, agent: Agent, state: State) -> Sync:
    connection = Connection(config.endpoint, timeout=10, retries=0)
    stack.push_async_callback(connection.close)
    return Sync(
        connection,
        agent,
        node_id=config.node_id,
        agent_version=_version(),
        cursor=state.cursor(),
        max_stale=config.max_stale,
        last_contact=state.last_contact(),
    )


def _watches(
    stack: AsyncExitStack, config: AgentConfig, agent: Agent, nft: Nftables, metrics: Metrics
) -> list[Chore]:
    """What looks at the node."""
    node = NodeWatch(agent, config.node_addresses)
    stack.callback(node.close)
    table = TableWatch(agent.repair, nft, metrics.repairs.inc)
    stack.callback(table.close)
    return [node.run, table.run, Mender(agent, metrics.repairs.inc).run]


def _monitor(
    stack: AsyncExitStack, config: AgentConfig, agent: Agent, sync: Sync, metrics: Metrics
) -> None:
    """Serve metrics. An agent that cannot enforces all the same."""
    if config.metrics_listen is None:
        return
    metrics.in_contact.set_function(lambda: sync.in_contact)
    metrics.registry.register(
        NodeCollector(
            stack.enter_context(open_nftables()), lambda: agent.hosted, lambda: dropped(QUEUE)
        )
    )
    host, port = config.metrics_listen
    try:
        stack.enter_context(serve_monitoring(host, port, metrics.registry, lambda: sync.in_contact))
    except CannotListen as exc:
        _log.warning("metrics_not_served", error=str(exc))


def _names(
    stack: AsyncExitStack, config: AgentConfig, state: State, nft: Nftables
) -> NameService | None:
    """What enforces names; its ports are those of the agent before, where they are free."""
    named = config.resolvers
    resolvers: Resolvers = ResolversOfHost()
    if named is not None:
        resolvers = partial(tuple, named)
    if not resolvers():
        _log.warning("no_resolvers", advice="name one with --dns-upstream")
    opened = stack.enter_context(ExitStack())
    names = open_name_service(opened, nft, resolvers, config.http_ports, config.dns, state.ports())
    if names is not None:
        state.save_ports(names.naming.dns_port, names.naming.relay_port)
    return names


def _serve_names(
    names: NameService | None, agent: Agent, enforcer: Enforcer, refusals: Refusals, poker: Poker
) -> list[Chore]:
    if names is None:
        return []
    names.boxes.connect(agent, enforcer, refusals, poker)
    agent.on_changed.append(lambda changed: names.policy_changed(changed.box_id))
    agent.on_detached = names.box_gone
    return names.chores


def _observers(
    enforcer: Enforcer, agent: Agent, sync: Sync, poker: Poker, metrics: Metrics
) -> list[Chore]:
    """What looks at connections, and reports."""

    def report(results: Sequence[Result]) -> None:
        metrics.connections.labels("kept").inc(sum(one.connections_kept for one in results))
        metrics.connections.labels("cut").inc(sum(one.connections_cut for one in results))
        sync.report(results)

    auditor = Auditor(enforcer, poker.poke, report)
    agent.on_changed.append(auditor.note)
    crowding = Crowding(enforcer, enforcer.per_box.connections)
    return [auditor.run, crowding.run, LeaseKeeper(agent).run]


async def _serve(stack: AsyncExitStack, api: LocalApi, path: Path) -> None:
    server = make_server(api)
    _listen(server, path)
    await server.start()
    stack.push_async_callback(server.stop, _GRACE)


def _listen(server: grpc.aio.Server, path: Path) -> None:
    """Bind the socket; only this user may use it. Raises StateUnusable."""
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        if path.is_socket():
            path.unlink()  # the state file is ours alone, so nobody serves there
        with for_owner_alone():
            server.add_insecure_port(f"unix:{path}")
    except (OSError, RuntimeError) as exc:
        raise StateUnusable(f"the agent cannot listen on {path}: {exc}") from exc


def _version() -> str:
    try:
        return f"boxwall/{version('boxwall')}"
    except PackageNotFoundError:
        return "boxwall/unknown"
