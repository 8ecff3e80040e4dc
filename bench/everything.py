"""When every box of a fleet changes at once, when has every node acknowledged?"""

from typing import Any

from bench.answers import Answer, Growth, Plot, Row, Target
from bench.figures import Spread, human, ratios
from bench.harness import Bench, Question, Server, can_answer, in_turn
from bench.messages import UPDATE, change_frame
from bench.processes import Actor, ChildFailed
from bench.svg import Series, growth_plot

BOXES_PER_NODE = 5
CALLERS = 256
TARGET = Target(of="figure", at_most=5.0)
PROMISED = 5_000


async def ask(bench: Bench) -> list[Answer]:
    """Measure every fleet in turn."""
    answer = Answer(
        title="One change of every box of a fleet",
        what=f"Every box changes once, from {CALLERS} callers; each call waits until the node that "
        f"hosts the box has acknowledged. {BOXES_PER_NODE} boxes on each node. Measured from the "
        "first call to the last answer.",
        beside="A grpc.aio server that relays each call to the same node's stream and answers when "
        "the node has. It keeps and checks nothing.",
    )
    fleets = bench.pick((20, 100), (100, 300, 1_000))
    for nodes in fleets:
        answer.rows.append(await _size(bench, nodes, largest=nodes == fleets[-1]))
    sizes = [row.size for row in answer.rows]
    ours = [row.figure.middle for row in answer.rows]
    relay = [row.beside.middle for row in answer.rows if row.beside]
    answer.growth = [Growth(what="seconds with boxes", sizes=sizes, costs=ours)]
    lines = [
        Series("Boxwall", list(zip(sizes, ours, strict=True))),
        Series("bare relay", list(zip(sizes, relay, strict=True)), dashed=True),
    ]
    svg = growth_plot("Every box changes", "boxes", "seconds until all acknowledged", lines)
    answer.plots.append(Plot(file="everything.svg", svg=svg, caption="Every box changes"))
    return [answer]


async def _size(bench: Bench, nodes: int, *, largest: bool) -> Row:
    boxes = nodes * BOXES_PER_NODE
    async with (
        bench.boxwall() as ours,
        bench.baseline() as relay,
        bench.callers(ours) as callers,
        bench.callers(relay) as beside,
        bench.actor("bench.fleet:Nodes") as fleet,
        bench.actor("bench.fleet:Nodes") as relay_fleet,
    ):
        await callers.call("create", boxes=boxes)
        await can_answer(callers, beside, UPDATE, boxes)
        await beside.call("can", name="frame", response=change_frame(1, 1).hex())
        await _open(fleet, ours, nodes)
        await _open(relay_fleet, relay, nodes)
        a, b = await in_turn(
            bench.rounds,
            lambda: _change_each(callers, boxes, must_be_enforced=True),
            lambda: _change_each(beside, boxes, must_be_enforced=False),
        )
    return _row(nodes, a, b, largest=largest)


def _row(nodes: int, ours: list[float], relay: list[float], *, largest: bool) -> Row:
    boxes = nodes * BOXES_PER_NODE
    return Row(
        key=f"change_all_{boxes}_boxes",
        size=boxes,
        size_text=f"{boxes:,} boxes over {nodes:,} nodes",
        figure=Spread.of(ours),
        unit="s",
        beside=Spread.of(relay),
        ratio=ratios(ours, relay),
        target=TARGET.shown_at(boxes, PROMISED, "boxes") if largest else None,
        note=f"{human(boxes / Spread.of(ours).middle)} changes/s",
    )


async def _open(fleet: Actor, server: Server, nodes: int) -> None:
    await fleet.call("open", path=server.path, nodes=nodes, boxes_per_node=BOXES_PER_NODE)


async def _change_each(callers: Actor, boxes: int, *, must_be_enforced: bool) -> float:
    found: dict[str, Any] = await callers.call(
        "change_each", boxes=boxes, callers=CALLERS, wait=30.0
    )
    if must_be_enforced and found["enforced"] != boxes:
        raise ChildFailed(f"{boxes - found['enforced']} of {boxes} changes were not acknowledged")
    return float(found["seconds"])


QUESTION = Question(name="everything", seconds_quick=4, seconds_full=55, ask=ask)
