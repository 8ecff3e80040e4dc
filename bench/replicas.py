"""How many updates, and how soon in force, with several control planes on one PostgreSQL?"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from bench.answers import Answer, Growth, Plot, Row
from bench.figures import Spread, ratios
from bench.harness import Bench, Question, Server, can_answer
from bench.messages import UPDATE, change_frame
from bench.postgres import Postgres, missing, start_postgres, start_replica
from bench.processes import Actor
from bench.svg import Series, growth_plot

REPLICAS = (1, 2, 3)
CALLERS = 64
BOXES = 1_000
CONNECTIONS = 4
"""To each server."""

NODES = 10
BOXES_PER_NODE = 10
EMPTY = 0
"""Stands for the server that keeps nothing, where rounds are listed by their replicas."""

Rounds = Mapping[int, Sequence[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Group:
    """Some control planes on one database, or the empty server; and those who load them."""

    servers: Sequence[Server]
    callers: Actor
    """Spread over all of the servers."""
    to_first: Actor
    """Talks to the first alone."""
    fleet: Actor
    """Nodes at the last of the servers."""


async def ask(bench: Bench) -> list[Answer]:
    """Measure every number of replicas in turn."""
    updates, follow, propagation = _answers()
    if reason := missing():
        updates.remarks.append(f"Not measured here: {reason}.")
        return [updates]
    async with AsyncExitStack() as stack:
        postgres = await start_postgres(bench)
        stack.push_async_callback(postgres.child.stop)
        groups = {EMPTY: await _empty(bench, stack)}
        for count in bench.pick(REPLICAS[:2], REPLICAS):
            groups[count] = await _group(bench, stack, postgres, count)
        await can_answer(groups[1].callers, groups[EMPTY].callers, UPDATE, BOXES)
        await _updates(bench, postgres, groups, updates)
        await _follow(bench, groups[2], follow)
        await _propagation(bench, groups, propagation)
        updates.remarks.append(f"PostgreSQL {await postgres.version()}, with its defaults.")
    return [updates, follow, propagation]


def _answers() -> tuple[Answer, Answer, Answer]:
    empty = "An empty grpc.aio handler"
    updates = Answer(
        title="Durable policy updates per second, replicas on one PostgreSQL",
        what=f"UpdateNetworkPolicy on {BOXES:,} boxes, each request with another policy of five "
        f"entries, from {CALLERS} callers in one client process, {CONNECTIONS} connections to each "
        "replica. An update is answered when PostgreSQL has synced it. Client, replicas and "
        "PostgreSQL share the cores of this machine, which more replicas do not make more: what "
        "would, is the time of processor that each update takes.",
        beside=f"{empty} that parses the same requests and encodes the same answers; and one "
        "replica, in the same rounds.",
    )
    follow = Answer(
        title="What it costs a replica to follow what others write",
        what="Two replicas, and all callers at one of them: processor time that the other takes "
        "for each update, of which it tells its nodes if it has any.",
        beside="What each update takes at the replica that serves it.",
    )
    propagation = Answer(
        title="Update to acknowledgement, replicas on one PostgreSQL",
        what="UpdateNetworkPolicy with wait_timeout, one after the other. With several replicas "
        f"the caller is at the first and the nodes ({NODES}, with {BOXES_PER_NODE} boxes each) "
        "are at the last: the change goes by way of the database, and so does the "
        "acknowledgement.",
        beside=f"{empty} that relays the call to the node's stream; and one replica.",
    )
    return updates, follow, propagation


async def _empty(bench: Bench, stack: AsyncExitStack) -> Group:
    server = await stack.enter_async_context(bench.baseline())
    group = await _loaded(bench, stack, [server])
    await group.callers.call("can", name="frame", response=change_frame(1, 1).hex())
    return group


async def _group(bench: Bench, stack: AsyncExitStack, postgres: Postgres, count: int) -> Group:
    database = f"replicas_{count}"
    await postgres.make(database)
    servers = []
    for _ in range(count):
        servers.append(await start_replica(bench, postgres, database))
        stack.push_async_callback(servers[-1].child.stop)
    group = await _loaded(bench, stack, servers)
    await group.callers.call("create", boxes=BOXES)
    return group


async def _loaded(bench: Bench, stack: AsyncExitStack, servers: Sequence[Server]) -> Group:
    callers, to_first = [
        await stack.enter_async_context(bench.actor("bench.callers:Callers")) for _ in range(2)
    ]
    fleet = await stack.enter_async_context(bench.actor("bench.fleet:Nodes"))
    for actor, some in ((callers, servers), (to_first, servers[:1])):
        paths = [server.path for server in some]
        joined = actor.call("connect_to", paths=paths, each=CONNECTIONS)
        await servers[0].child.outlives(joined)
    return Group(servers, callers, to_first, fleet)


async def _updates(
    bench: Bench, postgres: Postgres, groups: Mapping[int, Group], answer: Answer
) -> None:
    async def one(group: Group) -> dict[str, Any]:
        before = [_cpu(group.servers), postgres.cpu]
        found = await _run(bench, group.callers)
        spent = [_cpu(group.servers) - before[0], postgres.cpu - before[1]]
        servers, database = (seconds / found["count"] * 1e6 for seconds in spent)
        return {**found, "servers": servers, "database": database}

    found = await _in_turn(bench, groups, one)
    sizes = [*filter(None, groups)]
    for count in sizes:
        answer.rows += _update_rows(count, found)
    rates = [_of(found, count, "rate").middle for count in sizes]
    answer.growth.append(Growth(what="updates/s with replicas", sizes=sizes, costs=rates))
    kinds = (("replicas", "servers"), ("PostgreSQL", "database"))
    lines = [
        Series(name, [(count, _of(found, count, kind).middle) for count in sizes])
        for name, kind in kinds
    ]
    svg = growth_plot("Processor time of an update", "replicas", "microseconds", lines)
    answer.plots.append(Plot(file="replicas.svg", svg=svg, caption="Processor time of an update"))


def _update_rows(count: int, found: Rounds) -> list[Row]:
    name = "1 replica" if count == 1 else f"{count} replicas"
    p50, p99 = (_of(found, count, share).middle * 1e3 for share in ("p50", "p99"))
    rates = [r["rate"] for r in found[count]]
    cpu = [_of(found, count, kind).middle for kind in ("servers", "database")]
    rows = [
        Row(
            key=f"replicas_{count}_updates" + ("" if beside == EMPTY else "_beside_one"),
            size=count,
            size_text=name + ("" if beside == EMPTY else ", beside one"),
            figure=Spread.of(rates),
            unit="updates/s",
            beside=_of(found, beside, "rate"),
            ratio=ratios(rates, [r["rate"] for r in found[beside]]),
            note=f"p50 {p50:.1f} ms, p99 {p99:.1f} ms",
        )
        for beside in ((EMPTY,) if count == 1 else (EMPTY, 1))
    ]
    rows.append(
        Row(
            key=f"replicas_{count}_cpu",
            size=count,
            size_text=f"{name}, processor time",
            figure=_of(found, count, "servers"),
            unit="us of the replicas per update",
            note=f"and {cpu[1]:.0f} us of PostgreSQL: {cpu[0] + cpu[1]:.0f} us in all",
        )
    )
    return rows


async def _follow(bench: Bench, group: Group, answer: Answer) -> None:
    serving, following = group.servers
    served, followed = [], []
    for _ in range(bench.rounds):
        before = serving.cpu, following.cpu
        found = await _run(bench, group.to_first)
        served.append((serving.cpu - before[0]) / found["count"] * 1e6)
        followed.append((following.cpu - before[1]) / found["count"] * 1e6)
    answer.rows.append(
        Row(
            key="replicas_follow",
            size=2,
            size_text="an update of another replica",
            figure=Spread.of(followed),
            unit="us of processor time",
            beside=Spread.of(served),
            ratio=ratios(followed, served),
        )
    )


async def _propagation(bench: Bench, groups: Mapping[int, Group], answer: Answer) -> None:
    for group in groups.values():
        path = group.servers[-1].path
        await group.fleet.call("open", path=path, nodes=NODES, boxes_per_node=BOXES_PER_NODE)

    async def one(group: Group) -> dict[str, Any]:
        boxes, count = NODES * BOXES_PER_NODE, bench.pick(40, 200)
        found: dict[str, Any] = await group.to_first.call("waits", boxes=boxes, count=count)
        return found

    found = await _in_turn(bench, groups, one)
    for count in filter(None, groups):
        for share in ("p50", "p99"):
            for beside in (EMPTY,) if count == 1 else (EMPTY, 1):
                answer.rows.append(_propagation_row(count, share, beside, found))
        late = sum(r["late"] for r in found[count])
        answer.remarks.append(f"{count} replicas: {late} were not acknowledged within 10 s.")


def _propagation_row(count: int, share: str, beside: int, found: Rounds) -> Row:
    ours, theirs = ([r[share] * 1e3 for r in found[which]] for which in (count, beside))
    return Row(
        key=f"replicas_{count}_propagation_{share}" + ("" if beside == EMPTY else "_beside_one"),
        size=count,
        size_text=f"{'1 replica' if count == 1 else f'{count} replicas'}, {share}"
        + ("" if beside == EMPTY else ", beside one"),
        figure=Spread.of(ours),
        unit="ms",
        beside=Spread.of(theirs),
        ratio=ratios(ours, theirs),
    )


async def _run(bench: Bench, callers: Actor) -> dict[str, Any]:
    found: dict[str, Any] = await callers.call(
        "run",
        method=UPDATE,
        boxes=BOXES,
        callers=CALLERS,
        seconds=bench.pick(0.4, 2.5),
        warm=0.0,
    )
    return found


async def _in_turn(
    bench: Bench,
    groups: Mapping[int, Group],
    one: Callable[[Group], Awaitable[dict[str, Any]]],
) -> Rounds:
    """Measure all groups once to warm them, then round by round."""
    found: dict[int, list[dict[str, Any]]] = {count: [] for count in groups}
    for number in range(bench.rounds + 1):
        for count, group in groups.items():
            measured = await one(group)
            if number:
                found[count].append(measured)
    return found


def _cpu(servers: Sequence[Server]) -> float:
    return sum(server.cpu for server in servers)


def _of(found: Rounds, count: int, what: str) -> Spread:
    return Spread.of([one[what] for one in found[count]])


QUESTION = Question(name="replicas", seconds_quick=12, seconds_full=165, ask=ask)
