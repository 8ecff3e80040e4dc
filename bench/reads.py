"""How many reads a second, and does a fuller store make them dearer? No target: for information."""

from typing import Any

from bench.answers import Answer, Growth, Plot, Row
from bench.figures import Spread, ratios
from bench.harness import Bench, Question, can_answer, in_turn
from bench.messages import GET, LIST, PAGE_SIZE
from bench.processes import Actor
from bench.svg import Series, growth_plot

CALLERS = 64
NAMES = {GET: "get_box", LIST: "list_boxes"}


async def ask(bench: Bench) -> list[Answer]:
    """Measure every store in turn."""
    answer = Answer(
        title="Reads",
        what=f"GetBox of boxes all over the store, and ListBoxes (the first page of {PAGE_SIZE}), "
        f"from {CALLERS} callers in one client process.",
        beside="An empty grpc.aio handler that answers the same message.",
    )
    for boxes in bench.pick((1_000, 10_000), (1_000, 10_000, 100_000, 1_000_000)):
        database = await bench.copy_of_filled(boxes)
        async with (
            bench.boxwall(database) as ours,
            bench.baseline() as empty,
            bench.callers(ours) as callers,
            bench.callers(empty) as beside,
        ):
            for method in NAMES:
                await can_answer(callers, beside, method, boxes)
                answer.rows.append(await _measure(bench, callers, beside, method, boxes))
    _add_growth(answer)
    return [answer]


async def _measure(bench: Bench, callers: Actor, beside: Actor, method: str, boxes: int) -> Row:
    seconds = bench.pick(0.1, 1.0)

    async def rate(side: Actor) -> float:
        found: dict[str, Any] = await side.call(
            "run", method=method, boxes=boxes, callers=CALLERS, seconds=seconds, warm=0.05
        )
        return float(found["rate"])

    a, b = await in_turn(bench.rounds, lambda: rate(callers), lambda: rate(beside))
    return Row(
        key=f"{NAMES[method]}_of_{boxes}",
        size=boxes,
        size_text=f"{NAMES[method]} of {boxes:,} boxes",
        figure=Spread.of(a),
        unit="calls/s",
        beside=Spread.of(b),
        ratio=ratios(a, b),
    )


def _add_growth(answer: Answer) -> None:
    lines = []
    for name in NAMES.values():
        rows = [row for row in answer.rows if row.key.startswith(name)]
        sizes = [row.size for row in rows]
        costs = [1e6 / row.figure.middle for row in rows]
        answer.growth.append(Growth(what=f"time per {name}", sizes=sizes, costs=costs))
        lines.append(Series(name, list(zip(sizes, costs, strict=True))))
    svg = growth_plot("Reads", "boxes in the store", "microseconds per call", lines)
    answer.plots.append(Plot(file="reads.svg", svg=svg, caption="Time per read"))


QUESTION = Question(name="reads", seconds_quick=5, seconds_full=100, ask=ask)
