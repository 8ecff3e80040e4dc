"""How long from exec until an agent enforces again, and until it acknowledges an update?"""

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from bench.answers import Answer, Growth, Plot, Row
from bench.figures import Spread, ratios
from bench.harness import Bench, Question, Server
from bench.namespace import executed_at, why_not
from bench.node import AgentFiles, agent_files, all_enforced, start_agent
from bench.processes import Actor, Child
from bench.svg import Series, growth_plot

PATIENCE = 60.0


@dataclass(slots=True)
class Site:
    """A node with so many boxes, and the control plane's callers."""

    boxes: int
    node: Actor
    files: AgentFiles
    callers: Actor
    server: Server
    enforces: list[float] = field(default_factory=list)
    acknowledges: list[float] = field(default_factory=list)

    async def restart(self, bench: Bench) -> None:
        """Start the agent, with the table that the last one left in the kernel; end it again."""
        self.files.log = bench.fresh("agent.log")
        agent, seconds = await start_agent(bench, self.node, self.files, self.server.path)
        try:
            self.enforces.append(seconds)
            if self.boxes:
                self.acknowledges.append(await self._first_update(agent))
        finally:
            await agent.stop()

    async def begin(self, bench: Bench) -> None:
        """Start the agent for the first time: every box gets its policy."""
        self.files.log = bench.fresh("agent.log")
        agent, _ = await start_agent(bench, self.node, self.files, self.server.path)
        await agent.outlives(all_enforced(self.callers, self.boxes))
        await agent.stop()

    async def _first_update(self, agent: Child) -> float:
        """Return the seconds from exec until the first update call has returned, in force."""
        executed = executed_at(self.files.log)
        while True:
            call = self.callers.call("waits", boxes=self.boxes, count=1)
            found = await agent.outlives(call)
            seconds = time.monotonic() - executed
            if not found["late"]:
                return seconds
            if seconds > PATIENCE:
                raise TimeoutError("no update is acknowledged")
            await asyncio.sleep(0.005)


async def ask(bench: Bench) -> list[Answer]:
    """Restart with every number of boxes, and with none, in turn."""
    answer = Answer(
        title="Restart of the agent",
        what="The agent was ended (SIGTERM) with so many boxes attached and enforced; what it put "
        "in the kernel stays. From exec to `boxwall enforces` (the whole table is replaced at one "
        "instant, connections keep their grants), and to the return of the first update call that "
        "waits until it is in force; that call begins when the agent enforces.",
        beside="The start of an agent to which nothing is attached: the interpreter, its imports, "
        "its sockets.",
    )
    reason = why_not()
    if reason:
        answer.left_out = reason
        return [answer]
    async with AsyncExitStack() as stack:
        sizes = (0, *bench.pick((10, 50), (10, 100, 1_000)))
        none, *sites = [await _site(bench, stack, boxes) for boxes in sizes]
        for site in (none, *sites):
            await site.begin(bench)
        for _ in range(bench.pick(1, bench.rounds)):
            for site in (*sites, none):
                await site.restart(bench)
    for site in sites:
        answer.rows.append(_row("enforces", site, site.enforces, none.enforces))
    for site in sites:
        answer.rows.append(_row("acknowledges", site, site.acknowledges, None))
    _add_growth(answer, sites)
    return [answer]


async def _site(bench: Bench, stack: AsyncExitStack, boxes: int) -> Site:
    server = await stack.enter_async_context(bench.boxwall())
    callers = await stack.enter_async_context(bench.callers(server))
    node = await stack.enter_async_context(bench.actor("bench.node:Node"))
    files = agent_files(bench)
    await node.call("open", state_dir=str(files.state_dir), boxes=boxes)
    if boxes:
        await callers.call("create", boxes=boxes)
    return Site(boxes, node, files, callers, server)


def _row(name: str, site: Site, ours: list[float], beside: list[float] | None) -> Row:
    text = {"enforces": "until it enforces", "acknowledges": "until an update has returned"}[name]
    return Row(
        key=f"agent_restart_{name}_{site.boxes}_boxes",
        size=site.boxes,
        size_text=f"{site.boxes:,} boxes, {text}",
        figure=Spread.of(ours),
        unit="s",
        beside=Spread.of(beside) if beside else None,
        ratio=ratios(ours, beside) if beside else None,
    )


def _add_growth(answer: Answer, sites: list[Site]) -> None:
    sizes = [site.boxes for site in sites]
    series = {
        "until it enforces": [Spread.of(site.enforces).middle for site in sites],
        "until an update has returned": [Spread.of(site.acknowledges).middle for site in sites],
    }
    lines = []
    for name, costs in series.items():
        answer.growth.append(Growth(what=f"seconds {name}", sizes=sizes, costs=costs))
        points = list(zip(map(float, sizes), costs, strict=True))
        lines.append(Series(name, points))
    svg = growth_plot("Restart of the agent", "attached boxes", "seconds", lines)
    answer.plots.append(Plot(file="agent-restart.svg", svg=svg, caption="Restart of the agent"))


QUESTION = Question(name="agent_restart", seconds_quick=6, seconds_full=60, ask=ask)
