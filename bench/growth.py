"""Do durable updates get dearer as the store fills, or as policies grow?"""

from collections.abc import Sequence
from typing import Any

from bench.answers import Answer, Growth, Plot, Row
from bench.figures import Spread, ratios
from bench.harness import Bench, Question, can_answer, in_turn
from bench.messages import UPDATE
from bench.processes import Actor
from bench.svg import Series, growth_plot

CALLERS = 64
BOXES = 1_000
BESIDE = (
    "An empty grpc.aio handler that parses the same requests and encodes the same answers. It "
    "keeps nothing."
)


async def ask(bench: Bench) -> list[Answer]:
    """Measure every store, then every policy."""
    stores = Answer(
        title="Durable updates as the store fills",
        what="UpdateNetworkPolicy from 64 callers, of boxes all over a store that holds so many; "
        "policies of five entries, another for each request.",
        beside=BESIDE,
    )
    policies = Answer(
        title="Durable updates as policies grow",
        what=f"UpdateNetworkPolicy from 64 callers on {BOXES:,} boxes, policies of so many entries "
        "(six of ten are names), another for each request. The whole policy is in the request and "
        "in the answer.",
        beside=BESIDE,
    )
    for boxes in bench.pick((1_000, 4_000), (1_000, 10_000, 100_000, 1_000_000)):
        stores.rows.append(await _store(bench, boxes))
    await _policies(bench, policies)
    _add_growth(stores, "updates-boxes.svg", "boxes in the store")
    _add_growth(policies, "updates-entries.svg", "entries in the policy")
    return [stores, policies]


async def _store(bench: Bench, boxes: int) -> Row:
    async with (
        bench.boxwall(await bench.copy_of_filled(boxes)) as ours,
        bench.baseline() as empty,
        bench.callers(ours) as callers,
        bench.callers(empty) as beside,
    ):
        await can_answer(callers, beside, UPDATE, boxes)
        a, b = await _rates(bench, callers, beside, boxes)
    return _row(f"updates_in_{boxes}_boxes", boxes, f"{boxes:,} boxes", a, b)


async def _policies(bench: Bench, answer: Answer) -> None:
    async with (
        bench.boxwall() as ours,
        bench.baseline() as empty,
        bench.callers(ours) as callers,
        bench.callers(empty) as beside,
    ):
        await callers.call("create", boxes=BOXES)
        for entries in bench.pick((1, 30), (1, 10, 100, 1_000)):
            for side in (callers, beside):
                await side.call("use_entries", count=entries)
            await can_answer(callers, beside, UPDATE, BOXES)
            a, b = await _rates(bench, callers, beside, BOXES)
            plural = "y" if entries == 1 else "ies"
            text = f"{entries:,} entr{plural}"
            answer.rows.append(_row(f"updates_of_{entries}_entries", entries, text, a, b))


async def _rates(
    bench: Bench, callers: Actor, beside: Actor, boxes: int
) -> tuple[list[float], list[float]]:
    seconds = bench.pick(0.1, 1.2)

    async def one(side: Actor) -> float:
        found: dict[str, Any] = await side.call(
            "run", method=UPDATE, boxes=boxes, callers=CALLERS, seconds=seconds, warm=0.0
        )
        return float(found["rate"])

    await one(callers), await one(beside)  # warm
    return await in_turn(bench.rounds, lambda: one(callers), lambda: one(beside))


def _row(key: str, size: int, text: str, ours: Sequence[float], empty: Sequence[float]) -> Row:
    return Row(
        key=key,
        size=size,
        size_text=text,
        figure=Spread.of(ours),
        unit="updates/s",
        beside=Spread.of(empty),
        ratio=ratios(ours, empty),
    )


def _add_growth(answer: Answer, file: str, what: str) -> None:
    sizes = [row.size for row in answer.rows]
    ours = [1e6 / row.figure.middle for row in answer.rows]
    empty = [1e6 / row.beside.middle for row in answer.rows if row.beside]
    answer.growth = [
        Growth(what=f"time per update with {what}", sizes=sizes, costs=ours),
        Growth(what=f"time per empty call with {what}", sizes=sizes, costs=empty),
    ]
    lines = [
        Series("Boxwall", list(zip(sizes, ours, strict=True))),
        Series("empty handler", list(zip(sizes, empty, strict=True)), dashed=True),
    ]
    svg = growth_plot(answer.title, what, "microseconds per update", lines)
    answer.plots.append(Plot(file=file, svg=svg, caption=answer.title))


QUESTION = Question(name="growth", seconds_quick=6, seconds_full=240, ask=ask)
