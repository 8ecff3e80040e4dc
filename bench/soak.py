"""Does anything grow, slow down or fail under mixed load that lasts?

In a whole run the load lasts for a minute and a half; alone (`--only soak`), for twenty minutes.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from bench import procfs
from bench.answers import Answer, Plot, Row, Target
from bench.figures import Spread, quantile
from bench.harness import Bench, Question
from bench.namespace import why_not
from bench.processes import Actor
from bench.svg import Series, time_plot
from bench.two_ways import BY_NAME, Ways, two_ways

LONG = 1_200.0
DOMAINS = [f"d{number}.soak.example" for number in range(20)]
NAMES = [f"{letter}{n}.{domain}" for letter in "hz" for n, domain in enumerate(DOMAINS)]
"""Of each domain one name that may be remembered, and one that may not (see bench/upstream.py)."""

BOXES_PER_NODE = 4
CHURNED = 10_000_000
"""The number of the first box that is made to be deleted."""

LOAD = 50_000_000
"""Where the numbers of a second process of callers begin: no two policies are equal."""

MEGABYTES = 4
UNIT = {"memory": "MB", "p50": "ms", "p99": "ms"}


@dataclass(slots=True)
class Site:
    """Everything that runs, and what was sampled of it."""

    ways: Ways
    fleet: Actor
    load: Actor
    attacher: Actor
    hosted: int
    """Boxes in the store: of the node with the agent first, then those of the others."""
    nodes: int
    begin: float
    samples: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    """By what was sampled: seconds since the beginning, and value."""
    errors: Counter[str] = field(default_factory=Counter)
    ticks: int = 0

    @property
    def still(self) -> int:
        """The first of the boxes that are attached anew: an update of those before must be in force
        in time, and what is attached nowhere is in force nowhere.
        """
        return self.ways.boxes // 2

    def note(self, name: str, value: float) -> None:
        """Take in a sample."""
        at = time.monotonic() - self.begin
        self.samples.setdefault(name, []).append((at, value))

    async def tick(self) -> None:
        """Do some of everything at once, then take samples."""
        self.ticks += 1
        async with asyncio.TaskGroup() as work:
            work.create_task(self._updates())
            work.create_task(self._churn())
            work.create_task(self._attach())
            work.create_task(self.fleet.call("cut", count=max(1, self.nodes // 20)))
            work.create_task(self._traffic())
        await self._sample()

    async def _updates(self) -> None:
        ways = self.ways
        call = ways.callers.call("waits", boxes=self.still - 1, first=1, count=40)
        found = await ways.agent.outlives(call)
        self.errors["updates that came too late"] += found["late"]
        self.note("update in force, p50", found["p50"] * 1e3)
        self.note("update in force, p99", found["p99"] * 1e3)

    async def _churn(self) -> None:
        await self.load.call("churn", first=CHURNED + self.ticks * 10, count=10)

    async def _attach(self) -> None:
        box = self.still + self.ticks % (self.ways.boxes - self.still)
        call = self.attacher.call("anew", socket=str(self.ways.files.socket), boxes=[box])
        self.errors["boxes that were not enforced when attached"] += 1 - (
            await self.ways.agent.outlives(call)
        )

    async def _traffic(self) -> None:
        ways, name = self.ways, f"www.{DOMAINS[self.ticks % len(DOMAINS)]}"
        for asked in (NAMES, [name]):
            found = await ways.box.call("ask", server=BY_NAME, port=53, names=asked)
            self.errors["names that were not answered"] += found["codes"] != ["NOERROR"]
        self.note("DNS, p99", found["p99"] * 1e3)
        await ways.box.call("first_bytes", address=BY_NAME, name=name, count=5)
        octets = MEGABYTES << 20
        await ways.box.call("download", address=BY_NAME, name=name, octets=octets)

    async def _sample(self) -> None:
        for name, pid in (("server", self.ways.server.child.pid), ("agent", self.ways.agent.pid)):
            self.note(f"memory of the {name}", procfs.memory_bytes(pid) / 1e6)
            self.note(f"open files of the {name}", procfs.open_files(pid))
            self.note(f"threads of the {name}", procfs.threads(pid))
        held = await self.ways.guarded.call("holds")
        for name, count in held.items():
            self.note(f"{name} in the kernel", count)


FLAT = {
    "memory of the server": 1.05,
    "memory of the agent": 1.05,
    "open files of the server": 1.05,
    "open files of the agent": 1.05,
    "threads of the server": 1.0,
    "threads of the agent": 1.0,
    "elements in the kernel": 1.05,
    "rules in the kernel": 1.05,
    "update in force, p99": 1.5,
    "DNS, p99": 1.5,
}
"""How many times the median of the second quarter the one of the last quarter may be."""

PLOTTED = tuple(name for name in FLAT if "threads" not in name and "p99" not in name)


async def ask(bench: Bench) -> list[Answer]:
    """Load everything at once until the time is over."""
    seconds = LONG if bench.alone and not bench.quick else bench.pick(4.0, 90.0)
    rate = bench.pick(50, 200)
    answer = Answer(
        title=f"Mixed load for {seconds:,.0f} seconds",
        what=f"All at once: {rate} updates/s of all boxes; updates one after the other, each until "
        "it is in force in the kernel; boxes made and deleted; boxes detached from the node and "
        "attached again; streams of nodes cut off, which come back; names asked for, TLS "
        f"connections, downloads of {MEGABYTES} MiB. After each turn memory, open files, threads "
        "and what the kernel holds are read. The figure is the median of the last quarter of the "
        "time, beside it the median of the second; the ratio is the one over the other.",
        beside="The same, half of the time earlier.",
    )
    reason = why_not()
    if reason:
        answer.left_out = reason
        return [answer]
    async with _site(bench, bench.pick(8, 50), bench.pick(10, 200)) as site:
        await site.load.call("pace", rate=rate, boxes=site.hosted - 1, first=1)
        while time.monotonic() - site.begin < seconds or site.ticks < 4:
            await site.tick()
        paced = await site.load.call("unpace")
    site.errors["updates that failed"] += paced["failures"]
    _fill(answer, site, paced, seconds)
    return [answer]


@asynccontextmanager
async def _site(bench: Bench, boxes: int, nodes: int) -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        ways = await enter(two_ways(bench, boxes, "bench.surfer:Surfer"))
        fleet = await enter(bench.actor("bench.fleet:Nodes"))
        load = await enter(bench.callers(ways.server, first=LOAD))
        attacher = await enter(bench.actor("bench.attacher:Attacher"))
        elsewhere = nodes * BOXES_PER_NODE
        await ways.callers.call("create", boxes=elsewhere, first=boxes)
        await fleet.call(
            "open",
            path=ways.server.path,
            nodes=nodes,
            boxes_per_node=BOXES_PER_NODE,
            first=boxes,
        )
        await ways.allow([f"*.{domain}" for domain in DOMAINS])
        await ways.box.call("trust", authority=ways.authority)
        yield Site(ways, fleet, load, attacher, boxes + elsewhere, nodes, time.monotonic())


def _fill(answer: Answer, site: Site, paced: dict[str, Any], seconds: float) -> None:
    errors = site.errors.total()
    answer.remarks.append(
        "Counted as errors: "
        + ", ".join(f"{name} ({count})" for name, count in sorted(site.errors.items()))
        + ". Anything else that fails ends the run."
    )
    answer.rows.append(
        Row(
            key="soak_errors",
            size=seconds,
            size_text="errors",
            figure=Spread(errors, errors, errors),
            unit="errors",
            target=Target(of="figure", at_most=0).shown_at(seconds, LONG, "seconds"),
            note=f"{paced['changes']:,} updates in the background, {site.ticks:,} turns",
        )
    )
    for name, points in site.samples.items():
        answer.rows.append(_row(name, points, seconds))
    lines = [Series(name, _relative(site.samples[name])) for name in PLOTTED]
    svg = time_plot("Mixed load", "minutes", "times its median", lines)
    answer.plots.append(Plot(file="soak.svg", svg=svg, caption="What grows under mixed load"))
    lines = [
        Series(name, [(at / 60, value) for at, value in points])
        for name, points in site.samples.items()
        if name.endswith(("p50", "p99"))
    ]
    svg = time_plot("Latency under mixed load", "minutes", "ms", lines)
    answer.plots.append(Plot(file="soak-latency.svg", svg=svg, caption="Latency under mixed load"))


def _row(name: str, points: Sequence[tuple[float, float]], seconds: float) -> Row:
    values = [value for _, value in points]
    quarter = max(1, len(values) // 4)
    second, last = values[quarter : 2 * quarter], values[-quarter:]
    ratio = quantile(last, 0.5) / max(quantile(second, 0.5), 1e-9)
    limit = FLAT.get(name)
    target = Target(of="ratio", at_most=limit) if limit is not None else None
    return Row(
        key=f"soak_{name.replace(', ', '_').replace(' ', '_')}",
        size=seconds,
        size_text=name,
        figure=Spread.of(last),
        unit=next((unit for word, unit in UNIT.items() if word in name), ""),
        beside=Spread.of(second),
        ratio=Spread(ratio, ratio, ratio),
        target=target.shown_at(seconds, LONG, "seconds") if target else None,
        note=f"{_slope(points) * 3600:+.3g} an hour in the second half" if seconds >= LONG else "",
    )


def _slope(points: Sequence[tuple[float, float]]) -> float:
    """Fit a line through the second half; return its slope for each second."""
    half = points[len(points) // 2 :]
    mean_x = sum(x for x, _ in half) / len(half)
    mean_y = sum(y for _, y in half) / len(half)
    across = sum((x - mean_x) ** 2 for x, _ in half)
    return sum((x - mean_x) * (y - mean_y) for x, y in half) / across if across else 0.0


def _relative(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    middle = max(quantile([value for _, value in points], 0.5), 1e-9)
    return [(at / 60, value / middle) for at, value in points]


QUESTION = Question(
    name="soak", seconds_quick=7, seconds_full=105, seconds_alone=LONG + 20, ask=ask
)
