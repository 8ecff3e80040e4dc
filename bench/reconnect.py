"""After a crash of the server, when are all nodes in sync again, and is anything lost?"""

import asyncio
import time
from dataclasses import dataclass

from bench.answers import Answer, Growth, Plot, Row, Target
from bench.figures import Spread
from bench.harness import Bench, Question, Server
from bench.processes import Actor, ChildFailed
from bench.svg import Series, growth_plot

TARGET = Target(of="figure", at_most=30.0)
PROMISED = 5_000
SETTLE_TIMEOUT = 60.0
CHANGED_MEANWHILE = 10
"""One box in so many is changed while the nodes come back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Storm:
    """What one crash came to."""

    seconds: float
    peak_memory: int
    tries: int


async def ask(bench: Bench) -> list[Answer]:
    """Measure every fleet in turn."""
    answer = Answer(
        title="All nodes come back at once after a crash",
        what="The server is killed (SIGKILL) and started again; every node, each with one box, "
        "comes back at once and waits only when it is told to (RetryInfo), else up to 0.3 s. "
        "Measured from the kill until every node has had its first message, every box is reported "
        f"ENFORCED, and every node holds the revision that the server lists. One box in "
        f"{CHANGED_MEANWHILE} is changed while they come back. Anything lost fails the question.",
    )
    peaks: list[Spread] = []
    fleets = bench.pick((50, 300), (500, 1_500, 5_000))
    for nodes in fleets:
        storms = await _size(bench, nodes)
        peaks.append(Spread.of([storm.peak_memory / 1e6 for storm in storms]))
        answer.rows += _rows(nodes, storms, peaks[-1], largest=nodes == fleets[-1])
    _add_growth(answer)
    return [answer]


def _rows(nodes: int, storms: list[Storm], peak: Spread, *, largest: bool) -> list[Row]:
    seconds = Spread.of([storm.seconds for storm in storms])
    tries = Spread.of([storm.tries / nodes for storm in storms]).middle
    return [
        Row(
            key=f"reconnect_{nodes}_nodes",
            size=nodes,
            size_text=f"{nodes:,} nodes",
            figure=seconds,
            unit="s",
            target=TARGET.shown_at(nodes, PROMISED, "nodes") if largest else None,
            note=f"nothing lost in {len(storms)} crashes; {tries:.1f} refusals per node",
        ),
        Row(
            key=f"reconnect_{nodes}_nodes_peak_memory",
            size=nodes,
            size_text=f"{nodes:,} nodes: most memory the server had",
            figure=peak,
            unit="MB",
        ),
    ]


def _add_growth(answer: Answer) -> None:
    times, peaks = answer.rows[0::2], answer.rows[1::2]
    sizes = [row.size for row in times]
    seconds = [row.figure.middle for row in times]
    answer.growth = [
        Growth(what="seconds with nodes", sizes=sizes, costs=seconds),
        Growth(what="peak memory with nodes", sizes=sizes, costs=[r.figure.middle for r in peaks]),
    ]
    lines = [Series("until all are in sync", list(zip(sizes, seconds, strict=True)))]
    svg = growth_plot("All nodes come back", "nodes", "seconds", lines)
    answer.plots.append(Plot(file="reconnect.svg", svg=svg, caption="All nodes come back"))


async def _size(bench: Bench, nodes: int) -> list[Storm]:
    server = await bench.start_boxwall()
    async with bench.callers(server) as callers, bench.actor("bench.fleet:Nodes") as fleet:
        await callers.call("create", boxes=nodes)
        await fleet.call("open", path=server.path, nodes=nodes, boxes_per_node=1)
        storms = []
        for number in range(bench.rounds):
            server, storm = await _storm(bench, server, callers, fleet, (nodes, number + 2))
            storms.append(storm)
    await server.child.stop()
    return storms


async def _storm(
    bench: Bench, server: Server, callers: Actor, fleet: Actor, storm: tuple[int, int]
) -> tuple[Server, Storm]:
    """Crash and start again; `storm` is the number of nodes, and which stream each begins."""
    nodes, times = storm
    tries = await fleet.call("tries")
    begin = time.monotonic()
    server.child.kill()
    await server.child.ended()
    server = await bench.start_boxwall(server.database, server.socket)
    back = asyncio.create_task(fleet.call("connected", times=times))
    first = times * 1_000_000
    await callers.call("connect", path=server.path, first=first)
    await callers.call("change_each", boxes=nodes // CHANGED_MEANWHILE, callers=16)
    await back
    await _in_sync(callers, fleet, nodes)
    return server, Storm(
        seconds=time.monotonic() - begin,
        peak_memory=server.peak_memory,
        tries=await fleet.call("tries") - tries,
    )


async def _in_sync(callers: Actor, fleet: Actor, nodes: int) -> None:
    """Wait until every box is enforced as listed. Raises ChildFailed when something is lost."""
    until = time.monotonic() + SETTLE_TIMEOUT
    while True:
        states = await callers.call("states")
        held = await fleet.call("held")
        behind = [
            box
            for box, (revision, enforced) in states.items()
            if not enforced or held.get(box) != revision
        ]
        if not behind and len(states) == nodes:
            return
        if time.monotonic() > until:
            raise ChildFailed(f"{len(behind)} of {nodes} boxes never came into sync")
        await asyncio.sleep(0.1)


QUESTION = Question(name="reconnect", seconds_quick=5, seconds_full=90, ask=ask)
