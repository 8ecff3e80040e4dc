"""What do packets pay for passing Boxwall's table?"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from bench.answers import Answer, Growth, Plot, Row, Target
from bench.figures import Spread, ratios
from bench.harness import Bench, Question
from bench.namespace import why_not
from bench.paths import BARE, BOX, CHAINS, GATEWAY, NOBODY, NODE, OUTSIDE, rate
from bench.processes import Actor
from bench.svg import Series, growth_plot

SIZES = (1, 100, 1_000)
SIZES_QUICK = (1, 100)
PROMISED = (1, 1_000)
ESTABLISHED = Target(of="ratio", at_least=0.97)
NEW = Target(of="ratio", at_least=0.6)
TRACKED_SHARE = 4
"""New flows of one measurement take at most this part of what the kernel tracks."""

SETTLE_QUICK, SETTLE_FULL = 0.15, 0.5
"""Seconds after a table was exchanged: the kernel frees the old one, and grows hash tables."""

LOST = 0.02
"""Packets that may get lost in a measurement before the report speaks of it."""


@dataclass(slots=True)
class Site:
    """A box, its node and what is outside."""

    box: Actor
    node: Actor
    outside: Actor
    flows: int = 0
    lost: float = 0.0

    async def packets(self, kind: str, **arguments: float) -> float:
        """Send packets of a kind; return how many arrived, a second."""
        before = await self.outside.call("received")
        found = await self.box.call(kind, **arguments)
        arrived = await self.outside.call("received") - before
        self.lost = max(self.lost, 1 - arrived / found["sent"])
        return rate(found, arrived)


@dataclass(slots=True)
class Rounds:
    """What was measured with one table."""

    tcp: list[float] = field(default_factory=list)
    udp: list[float] = field(default_factory=list)
    new: list[float] = field(default_factory=list)


async def ask(bench: Bench) -> list[Answer]:
    """Measure every number of boxes; the tables in turn."""
    answer = Answer(
        title="Packets through the table",
        what="From a box through its node to what is outside, three network namespaces joined by "
        "veth pairs, IPv4 with masquerading. One TCP connection sends as fast as it can; one "
        "established UDP flow sends datagrams of 18 bytes; and new UDP flows, one datagram for "
        "each. Packets are counted where they arrive. The box has a policy of 20 entries (6 "
        "prefix lengths in IPv4), or allow-all where that is said; the others have 20 entries "
        "each. The limit of new connections is lifted.",
        beside="The same path with connection tracking and the same masquerading rule, without "
        "Boxwall's table. Tables are exchanged in turn, and connections forgotten in between. "
        '"Chains without rules": that path with the chains of our table that see every packet, and '
        "no rule in them. It is what being asked costs, whatever is asked.",
    )
    reason = why_not()
    if reason:
        answer.left_out = reason
        return [answer]
    found: dict[int, dict[str, Rounds]] = {}
    async with _site(bench) as site:
        for boxes in bench.pick(SIZES_QUICK, SIZES):
            found[boxes] = await _measure(bench, site, boxes)
    _fill(answer, found, site)
    return [answer]


@asynccontextmanager
async def _site(bench: Bench) -> AsyncIterator[Site]:
    async with (
        bench.actor("bench.paths:Box") as box,
        bench.actor("bench.paths:Outside") as outside,
        bench.actor("bench.paths:Node") as node,
    ):
        for actor in (box, outside):  # until each is in its own namespace
            await actor.call("ready")
        await node.call("plug", box=box.child.pid, outside=outside.child.pid)
        await box.call(
            "configure", interface="eth0", address=f"{BOX}/30", routes=[["0.0.0.0/0", GATEWAY]]
        )
        await outside.call("configure", interface="eth0", address=f"{OUTSIDE}/29", routes=[])
        await node.call("configure", interface="box0", address=f"{GATEWAY}/30", routes=[])
        await node.call(
            "configure",
            interface="uplink",
            address=f"{NODE}/29",
            routes=[["45.1.0.0/16", NOBODY]],
            alone=True,
        )
        await outside.call("listen")
        yield Site(box, node, outside)


async def _measure(bench: Bench, site: Site, boxes: int) -> dict[str, Rounds]:
    tracked = await site.node.call("prepare", boxes=boxes)
    site.flows = min(bench.pick(10_000, 50_000), tracked // TRACKED_SHARE)
    seconds, settle = bench.pick((0.1, SETTLE_QUICK), (0.8, SETTLE_FULL))
    names = ("twenty", BARE, "allow-all", *((CHAINS,) if boxes == SIZES[0] else ()))
    found = {name: Rounds() for name in names}
    for number in range(bench.rounds + 1):
        for name, rounds in found.items():
            await site.node.call("use", table=name)
            await asyncio.sleep(settle)
            if not await site.box.call("reaches"):
                raise AssertionError(f"the box reaches nothing with the table {name}")
            measured = Rounds()
            if name != "allow-all":
                measured.tcp.append(await site.box.call("tcp", seconds=seconds))
                await site.outside.call("answer_one")
                measured.udp.append(await site.packets("udp", seconds=seconds))
            await site.node.call("forget")
            measured.new.append(await site.packets("new_flows", count=site.flows))
            if number:  # the first round only warms
                rounds.tcp += measured.tcp
                rounds.udp += measured.udp
                rounds.new += measured.new
    await site.node.call("use", table="")
    return found


def _fill(answer: Answer, found: dict[int, dict[str, Rounds]], site: Site) -> None:
    kinds = (
        ("tcp", "one TCP connection", 8e-9, "Gbit/s", ESTABLISHED),
        ("udp", "one established UDP flow", 1e-3, "thousand packets/s", ESTABLISHED),
        ("new", "new UDP flows", 1e-3, "thousand/s", NEW),
    )
    for kind, text, scale, unit, target in kinds:
        for boxes, tables in found.items():
            wanted = target if boxes in PROMISED else None
            ours, bare = (
                [scale * one for one in getattr(tables[t], kind)] for t in ("twenty", BARE)
            )
            answer.rows.append(
                _row(f"forwarding_{kind}_{boxes}_boxes", boxes, text, unit, ours, bare, wanted)
            )
    boxes, tables = next(iter(found.items()))
    chains, bare = ([1e-3 * one for one in tables[t].udp] for t in (CHAINS, BARE))
    text, unit = "one established UDP flow, chains without rules", "thousand packets/s"
    answer.rows.append(
        _row("forwarding_udp_chains_without_rules", boxes, text, unit, chains, bare, None)
    )
    for boxes, tables in found.items():
        ours, bare = ([1e-3 * one for one in tables[t].new] for t in ("allow-all", BARE))
        key = f"forwarding_new_allow_all_{boxes}_boxes"
        text = "new UDP flows, allow-all"
        answer.rows.append(_row(key, boxes, text, "thousand/s", ours, bare, None))
    _add_growth(answer, found)
    answer.remarks.append(
        f"New flows: {site.flows:,} in each measurement, from none. At most {site.lost:.1%} of "
        "the packets of any measurement were lost on the way"
        + ("." if site.lost <= LOST else ": the path was full, which hides a part of the cost.")
    )


def _row(
    key: str,
    boxes: int,
    text: str,
    unit: str,
    ours: list[float],
    bare: list[float],
    target: Target | None,
) -> Row:
    plural = "" if boxes == 1 else "es"
    return Row(
        key=key,
        size=boxes,
        size_text=f"{boxes:,} box{plural}, {text}",
        figure=Spread.of(ours),
        unit=unit,
        beside=Spread.of(bare),
        ratio=ratios(ours, bare),
        target=target,
    )


def _add_growth(answer: Answer, found: dict[int, dict[str, Rounds]]) -> None:
    sizes = list(found)
    lines = []
    for table, name in (("twenty", "20 entries"), ("allow-all", "allow-all"), (BARE, "no table")):
        costs = [1e6 / Spread.of(found[boxes][table].new).middle for boxes in sizes]
        answer.growth.append(
            Growth(what=f"microseconds per new flow, {name}", sizes=sizes, costs=costs)
        )
        points = list(zip(map(float, sizes), costs, strict=True))
        lines.append(Series(name, points, dashed=table == BARE))
    svg = growth_plot("Time per new flow", "boxes in the table", "microseconds", lines)
    answer.plots.append(Plot(file="forwarding.svg", svg=svg, caption="Time per new flow"))


QUESTION = Question(name="forwarding", seconds_quick=9, seconds_full=130, ask=ask)
