"""How long from the call to the acknowledgement of the node, and back to the caller?"""

from typing import Any

from bench.answers import Answer, Growth, Plot, Row, Target
from bench.figures import Spread, quantile, ratios, thinned
from bench.harness import Bench, Question, can_answer, in_turn
from bench.messages import UPDATE, change_frame
from bench.processes import Actor
from bench.svg import Series, distribution_plot, growth_plot

SIZES = ((10, 5), (100, 10), (1_000, 20))
"""Attached boxes, and the nodes they are spread over."""

IDLE_P50, IDLE_P99, LOADED_P99 = 5.0, 15.0, 50.0
BESIDE = 50_000_000
"""Where the numbers of a second process of callers begin: no two policies are equal."""


async def ask(bench: Bench) -> list[Answer]:
    """Measure every number of boxes, idle and under load."""
    rate = bench.pick(200, 500)
    idle = _answer("idle", "Nothing else happens.")
    loaded = _answer(f"under {rate} updates/s", f"Another process makes {rate} updates/s.")
    samples: dict[str, list[float]] = {}
    for boxes, nodes in bench.pick(SIZES[:2], SIZES):
        await _size(bench, boxes, nodes, (idle, loaded), samples)
    for answer, name in ((idle, "propagation"), (loaded, "propagation-loaded")):
        _add_growth(answer, name)
    svg = distribution_plot("Update to acknowledgement to answer", "milliseconds", dict(samples))
    caption = "Update to acknowledgement to answer"
    idle.plots.append(Plot(file="propagation-latency.svg", svg=svg, caption=caption))
    return [idle, loaded]


def _answer(title: str, load: str) -> Answer:
    return Answer(
        title=f"Update to acknowledgement, {title}",
        what="UpdateNetworkPolicy with wait_timeout, one after the other: commit, the change to "
        "the node that hosts the box, its acknowledgement, the answer to the caller. Caller, "
        "server and nodes are processes of their own; a node acknowledges at once, since there "
        f"is no kernel to wait for yet. {load}",
        beside="A grpc.aio server that relays the call to the same node's stream and answers when "
        "the node has. It keeps and checks nothing.",
    )


async def _size(
    bench: Bench,
    boxes: int,
    nodes: int,
    answers: tuple[Answer, Answer],
    samples: dict[str, list[float]],
) -> None:
    async with (
        bench.boxwall() as ours,
        bench.baseline() as relay,
        bench.callers(ours) as callers,
        bench.callers(relay) as beside,
        bench.callers(ours, first=BESIDE) as load,
        bench.callers(relay, first=BESIDE) as relay_load,
        bench.actor("bench.fleet:Nodes") as fleet,
        bench.actor("bench.fleet:Nodes") as relay_fleet,
    ):
        await callers.call("create", boxes=boxes)
        await can_answer(callers, beside, UPDATE, boxes)
        await beside.call("can", name="frame", response=change_frame(1, 1).hex())
        for server, its_fleet in ((ours, fleet), (relay, relay_fleet)):
            per_node = boxes // nodes
            await its_fleet.call("open", path=server.path, nodes=nodes, boxes_per_node=per_node)
        pairs = (callers, load), (beside, relay_load)
        for answer, rate in zip(answers, (0, bench.pick(200, 500)), strict=True):
            a, b = await _measure(bench, pairs, boxes, rate)
            name = "loaded" if rate else "idle"
            answer.rows += _rows(boxes, rate, a, b)
            answer.remarks += _remarks(boxes, rate, a)
            samples[f"{boxes:,} boxes, {name}"] = _milliseconds(a)


async def _measure(
    bench: Bench, pairs: tuple[tuple[Actor, Actor], tuple[Actor, Actor]], boxes: int, rate: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    count = bench.pick(40, 300)

    async def one(pair: tuple[Actor, Actor]) -> dict[str, Any]:
        callers, load = pair
        if rate:
            await load.call("pace", rate=rate, boxes=boxes)
        found: dict[str, Any] = await callers.call("waits", boxes=boxes, count=count)
        if rate:
            found["paced"] = await load.call("unpace")
            found["paced"]["wanted"] = rate * sum(found["all"])
        return found

    await one(pairs[0]), await one(pairs[1])  # warm
    return await in_turn(bench.rounds, lambda: one(pairs[0]), lambda: one(pairs[1]))


def _rows(
    boxes: int, rate: int, ours: list[dict[str, Any]], beside: list[dict[str, Any]]
) -> list[Row]:
    name = "loaded" if rate else "idle"
    targets = {
        ("idle", "p50"): IDLE_P50,
        ("idle", "p99"): IDLE_P99,
        ("loaded", "p99"): LOADED_P99,
    }
    rows = []
    for share in ("p50", "p99"):
        mine, theirs = ([r[share] * 1e3 for r in side] for side in (ours, beside))
        limit = targets.get((name, share))
        wanted = boxes == SIZES[-1][0] and limit is not None
        rows.append(
            Row(
                key=f"propagation_{name}_{share}_{boxes}_boxes",
                size=boxes,
                size_text=f"{boxes:,} boxes, {share}",
                figure=Spread.of(mine),
                unit="ms",
                beside=Spread.of(theirs),
                ratio=ratios(mine, theirs),
                target=Target(of="figure", at_most=limit) if limit and wanted else None,
            )
        )
    return rows


def _remarks(boxes: int, rate: int, rounds: list[dict[str, Any]]) -> list[str]:
    every = [latency * 1e3 for found in rounds for latency in found["all"]]
    late = sum(found["late"] for found in rounds)
    text = (
        f"{boxes:,} boxes: p99 over all {len(every):,} calls {quantile(every, 0.99):.2f} ms, "
        f"the slowest {max(every):.2f} ms; {late} were not acknowledged within 10 s."
    )
    if rate:
        made = sum(found["paced"]["changes"] for found in rounds)
        share = made / sum(found["paced"]["wanted"] for found in rounds)
        text += f" The load came to {share:.0%} of {rate}/s."
    return [text]


def _milliseconds(rounds: list[dict[str, Any]]) -> list[float]:
    return thinned([latency * 1e3 for found in rounds for latency in found["all"]])


def _add_growth(answer: Answer, name: str) -> None:
    rows = [row for row in answer.rows if row.size_text.endswith("p50")]
    sizes = [row.size for row in rows]
    ours = [row.figure.middle for row in rows]
    relay = [row.beside.middle for row in rows if row.beside]
    answer.growth.append(Growth(what="p50 with attached boxes", sizes=sizes, costs=ours))
    lines = [
        Series("Boxwall", list(zip(sizes, ours, strict=True))),
        Series("bare relay", list(zip(sizes, relay, strict=True)), dashed=True),
    ]
    svg = growth_plot(answer.title, "attached boxes", "ms (p50)", lines)
    answer.plots.append(Plot(file=f"{name}.svg", svg=svg, caption=answer.title))


QUESTION = Question(name="propagation", seconds_quick=4, seconds_full=70, ask=ask)
