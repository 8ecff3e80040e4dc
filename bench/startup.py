"""How long from exec to the first answer, when there is a lot in the store?"""

import time
from pathlib import Path

from bench.answers import Answer, Growth, Plot, Row, Target
from bench.figures import Spread, ratios
from bench.harness import Bench, Question
from bench.processes import Actor
from bench.svg import Series, growth_plot

TARGET = Target(of="figure", at_most=2.0)
PROMISED = 100_000


async def ask(bench: Bench) -> list[Answer]:
    """Start with each store and with nothing, in turn."""
    answer = Answer(
        title="Start of the server",
        what="From exec to the answer of the first GetBox, on a store that holds so many boxes "
        "(five entries each) and was closed in good order.",
        beside="The start of a grpc.aio server that does nothing: the interpreter, its imports and "
        "the socket.",
    )
    sizes = bench.pick((1_000, 10_000), (1_000, 10_000, 100_000, 1_000_000))
    stores = {boxes: await bench.copy_of_filled(boxes) for boxes in sizes}
    seconds: dict[int, list[float]] = {boxes: [] for boxes in sizes}
    empty: list[float] = []
    async with bench.actor("bench.callers:Callers") as callers:
        for _ in range(bench.rounds):
            for boxes, database in stores.items():
                seconds[boxes].append(await _start(bench, callers, database))
            empty.append(await _start(bench, callers, None))
    answer.rows = [
        _row(boxes, seconds[boxes], empty, promised=boxes in (PROMISED, bench.pick(sizes[-1], 0)))
        for boxes in sizes
    ]
    ours = [row.figure.middle for row in answer.rows]
    answer.growth.append(Growth(what="seconds with boxes", sizes=sizes, costs=ours))
    lines = [Series("exec to first answer", list(zip(sizes, ours, strict=True)))]
    svg = growth_plot("Start of the server", "boxes in the store", "seconds", lines)
    answer.plots.append(Plot(file="startup.svg", svg=svg, caption="Start of the server"))
    return [answer]


async def _start(bench: Bench, callers: Actor, database: Path | None) -> float:
    """Return the seconds from exec to the first answer; without a database, of the baseline."""
    begin = time.monotonic()
    server = await (bench.start_boxwall(database) if database else bench.start_baseline())
    try:
        answered = callers.call("first_answer", path=server.path)
        return float(await server.child.outlives(answered)) - begin
    finally:
        await server.child.stop()


def _row(boxes: int, ours: list[float], empty: list[float], *, promised: bool) -> Row:
    return Row(
        key=f"start_with_{boxes}_boxes",
        size=boxes,
        size_text=f"{boxes:,} boxes",
        figure=Spread.of(ours),
        unit="s",
        beside=Spread.of(empty),
        ratio=ratios(ours, empty),
        target=TARGET.shown_at(boxes, PROMISED, "boxes") if promised else None,
    )


QUESTION = Question(name="startup", seconds_quick=2, seconds_full=35, ask=ask)
