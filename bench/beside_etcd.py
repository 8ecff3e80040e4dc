"""How does one durable change to everybody who watches compare with etcd's put and watch?"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from bench import etcd, procfs
from bench.answers import Answer, Growth, Plot, Row
from bench.figures import Spread, quantile, ratios, thinned
from bench.harness import Bench, Question, free_port, in_turn
from bench.messages import UPDATE
from bench.processes import Actor, Child
from bench.svg import Series, distribution_plot, growth_plot

BOXES = 100
CALLERS = (1, 8, 64)
WATCHERS, WATCHERS_QUICK = (1, 100, 1_000), (1, 100, 300)
HOW = (
    "etcd, one member, its data on the same file system, the value of a put as long as the policy "
    "of an update. Both listen on the loopback interface and are called by the same clients. "
    "Durable alike: each answers when its log is synced (etcd by its default, SQLite with "
    "synchronous=FULL). Boxwall also validates the policy, keeps the history, and answers with "
    "the whole box. The ratio is that of speeds (1: as fast as etcd)."
)


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two: its process, who calls it and how, and who watches."""

    child: Child
    target: str
    callers: Actor
    watchers: Actor
    method: str


async def ask(bench: Bench) -> list[Answer]:
    """Measure writes, then changes to watchers."""
    writes = Answer(
        title="Durable writes, beside etcd",
        what=f"UpdateNetworkPolicy on {BOXES} boxes, each request with another policy of five "
        "entries, beside a put of the same policy; from 1, 8 and 64 callers in one client process "
        "over up to 4 connections. Nobody watches.",
        beside=HOW,
    )
    changes = Answer(
        title="One change to all watchers, beside etcd",
        what="From the call of an update, or a put, to the moment the last watcher has the "
        "change. Watchers share connections, 100 streams each, in one client process; each "
        "watches everything.",
        beside=HOW,
    )
    reason = etcd.missing()
    if reason:
        for answer in (writes, changes):
            answer.left_out = reason
        return [writes, changes]
    async with _sides(bench) as (ours, other):
        await ours.callers.call("create", boxes=BOXES)
        for count in CALLERS:
            await _writes(bench, writes, ours, other, count)
        samples: dict[str, list[float]] = {}
        for count in bench.pick(WATCHERS_QUICK, WATCHERS):
            await _changes(bench, changes, ours, other, count, samples)
    _add_growth(writes, "updates/s with callers", "puts/s with callers")
    _add_growth(changes, "time to the last watcher", "the same with etcd")
    _add_plots(changes, samples)
    return [writes, changes]


@asynccontextmanager
async def _sides(bench: Bench) -> AsyncIterator[tuple[Side, Side]]:
    other = await etcd.start(bench)
    async with (
        bench.boxwall(target=f"127.0.0.1:{free_port()}") as ours,
        bench.actor("bench.callers:Callers") as callers,
        bench.actor("bench.etcd:EtcdCallers") as others,
        bench.actor("bench.fleet:Watchers") as watchers,
        bench.actor("bench.etcd:EtcdWatchers") as other_watchers,
    ):
        sides = (
            Side(ours.child, ours.path, callers, watchers, UPDATE),
            Side(other.child, other.target, others, other_watchers, etcd.PUT),
        )
        for side in sides:
            joined = side.callers.call("connect_as", target=side.target, ca="", token="")
            await side.child.outlives(joined)
        yield sides
    await other.child.stop()


async def _writes(bench: Bench, answer: Answer, ours: Side, other: Side, count: int) -> None:
    seconds = bench.pick(0.15, 2.0)

    async def one(side: Side) -> dict[str, Any]:
        before = procfs.cpu_seconds(side.child.pid)
        call = side.callers.call(
            "run", method=side.method, boxes=BOXES, callers=count, seconds=seconds, warm=0.0
        )
        found: dict[str, Any] = await side.child.outlives(call)
        used = procfs.cpu_seconds(side.child.pid) - before
        return {**found, "cpu": used / found["count"] * 1e6}

    await one(ours), await one(other)  # warm
    a, b = await in_turn(bench.rounds, lambda: one(ours), lambda: one(other))
    mine, theirs = ([found["rate"] for found in side] for side in (a, b))
    answer.rows.append(
        Row(
            key=f"etcd_writes_{count}_callers",
            size=count,
            size_text=f"{count} caller{'' if count == 1 else 's'}",
            figure=Spread.of(mine),
            unit="updates/s",
            beside=Spread.of(theirs),
            ratio=ratios(mine, theirs),
        )
    )
    cost, beside = (Spread.of([found["cpu"] for found in side]).middle for side in (a, b))
    answer.remarks.append(
        f"{count} callers: {cost:.0f} us of server CPU per update, {beside:.0f} us of etcd's per "
        "put (all threads of either)."
    )


async def _changes(
    bench: Bench,
    answer: Answer,
    ours: Side,
    other: Side,
    count: int,
    samples: dict[str, list[float]],
) -> None:
    many = bench.pick(8, 60) if count == 1 else bench.pick(2, 5)

    async def one(side: Side) -> list[dict[str, Any]]:
        return [await _change(side) for _ in range(many)]

    for side in (ours, other):
        await side.child.outlives(side.watchers.call("open", path=side.target, count=count))
        await _change(side)  # warm
    a, b = await in_turn(bench.rounds, lambda: one(ours), lambda: one(other))
    for side in (ours, other):
        await side.watchers.call("close")
    last_of = [[[change["last"] for change in found] for found in side] for side in (a, b)]
    answer.rows.append(_row("p50", 0.5, count, *last_of))
    if count == 1:
        answer.rows.append(_row("p99", 0.99, count, *last_of))
    for name, side_rounds in (("Boxwall", a), ("etcd", b)):
        every = [at for found in side_rounds for change in found for at in change["sample"]]
        samples[f"{name}, {count:,}"] = thinned(every)


async def _change(side: Side) -> dict[str, Any]:
    """Change one box once; return the milliseconds until the last watcher has it, and of all."""
    await side.watchers.call("expect")
    change = await side.callers.call("once", method=side.method, box=0)
    told = await side.child.outlives(side.watchers.call("told"))
    begin = change["begin"]
    return {
        "last": (told["last"] - begin) * 1e3,
        "sample": [(at - begin) * 1e3 for at in told["sample"]],
    }


def _row(
    name: str, share: float, count: int, ours: list[list[float]], other: list[list[float]]
) -> Row:
    mine, theirs = ([quantile(found, share) for found in side] for side in (ours, other))
    return Row(
        key=f"etcd_change_{name}_{count}_watchers",
        size=count,
        size_text=f"{count:,} watcher{'' if count == 1 else 's'}, {name}",
        figure=Spread.of(mine),
        unit="ms",
        beside=Spread.of(theirs),
        ratio=ratios(theirs, mine),
    )


def _add_growth(answer: Answer, ours: str, theirs: str) -> None:
    rows = [row for row in answer.rows if not row.size_text.endswith("p99")]
    sizes = [row.size for row in rows]
    mine = [row.figure.middle for row in rows]
    other = [row.beside.middle for row in rows if row.beside]
    answer.growth = [
        Growth(what=ours, sizes=sizes, costs=mine),
        Growth(what=theirs, sizes=sizes, costs=other),
    ]


def _add_plots(answer: Answer, samples: dict[str, list[float]]) -> None:
    ours, theirs = answer.growth
    lines = [
        Series("Boxwall", list(zip(ours.sizes, ours.costs, strict=True))),
        Series("etcd", list(zip(theirs.sizes, theirs.costs, strict=True)), dashed=True),
    ]
    cost = growth_plot("One change to all watchers", "watchers", "ms to the last one", lines)
    spread = distribution_plot("When watchers have the change", "ms after the call", dict(samples))
    answer.plots += [
        Plot(file="etcd.svg", svg=cost, caption="One change to all watchers, beside etcd"),
        Plot(file="etcd-latency.svg", svg=spread, caption="When watchers have the change"),
    ]


QUESTION = Question(name="etcd", seconds_quick=5, seconds_full=45, ask=ask)
