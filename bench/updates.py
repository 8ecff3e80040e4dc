"""How many durable policy updates a second, beside a handler that does nothing?"""

from collections.abc import Sequence
from typing import Any

from bench.answers import Answer, Growth, Plot, Row, Target
from bench.figures import Spread, ratios, thinned
from bench.harness import Bench, Question, Server, can_answer
from bench.messages import UPDATE
from bench.processes import Actor
from bench.svg import Series, distribution_plot, growth_plot

CALLERS = (1, 8, 64)
BOXES = 1_000
WANTED = 0.7


async def ask(bench: Bench) -> list[Answer]:
    """Measure every number of callers in turn."""
    answer = Answer(
        title="Durable policy updates per second",
        what=f"UpdateNetworkPolicy on {BOXES:,} boxes, each request with another policy of five "
        "entries, from 1, 8 and 64 callers in one client process that sends ready bytes over up "
        "to 4 connections. An update is answered when SQLite has synced it (WAL, "
        "synchronous=FULL).",
        beside="An empty grpc.aio handler that parses the same requests and encodes the same "
        "answers. It keeps nothing: the ratio includes what durability costs. The row of what is "
        "only synced is that handler, when it appends each request to a file and answers once a "
        "thread has synced it (bench/floor.py): what durability alone costs.",
    )
    async with (
        bench.boxwall() as ours,
        bench.baseline() as empty,
        bench.baseline(durable=True) as floor,
        bench.callers(ours) as callers,
        bench.callers(empty) as beside,
        bench.callers(floor) as below,
    ):
        await callers.call("create", boxes=BOXES)
        await can_answer(callers, beside, UPDATE, BOXES)
        await can_answer(callers, below, UPDATE, BOXES)
        samples = {}
        sides = ((callers, ours), (beside, empty), (below, floor))
        for count in CALLERS:
            is_last = count == CALLERS[-1]
            a, b, *rest = await _measure(bench, sides if is_last else sides[:2], count)
            answer.rows += [_row(count, a, b), *(_floor_row(count, c, b) for c in rest)]
            answer.remarks.append(_cpu_remark(count, a, b, *rest))
            samples[f"{count} callers" if count > 1 else "1 caller"] = _milliseconds(a)
        samples[f"empty, {CALLERS[-1]} callers"] = _milliseconds(b)
    _add_plots(answer, samples)
    return [answer]


async def _measure(
    bench: Bench, sides: Sequence[tuple[Actor, Server]], count: int
) -> list[list[dict[str, Any]]]:
    """Measure each side in turn, round by round."""
    seconds = bench.pick(0.15, 2.0)

    async def one(side: tuple[Actor, Server]) -> dict[str, Any]:
        callers, server = side
        before = server.cpu
        found: dict[str, Any] = await callers.call(
            "run", method=UPDATE, boxes=BOXES, callers=count, seconds=seconds, warm=0.0
        )
        return {**found, "cpu": (server.cpu - before) / found["count"]}

    for side in sides:
        await one(side)  # warm
    rounds = [[await one(side) for side in sides] for _ in range(bench.rounds)]
    return [list(found) for found in zip(*rounds, strict=True)]


def _row(count: int, ours: list[dict[str, Any]], beside: list[dict[str, Any]]) -> Row:
    rates, empty = [r["rate"] for r in ours], [r["rate"] for r in beside]
    p50, p99 = (Spread.of([r[p] * 1e3 for r in ours]).middle for p in ("p50", "p99"))
    return Row(
        key=f"updates_{count}_callers",
        size=count,
        size_text=f"{count} callers" if count > 1 else "1 caller",
        figure=Spread.of(rates),
        unit="updates/s",
        beside=Spread.of(empty),
        ratio=ratios(rates, empty),
        target=Target(of="ratio", at_least=WANTED) if count == CALLERS[-1] else None,
        note=f"p50 {p50:.2f} ms, p99 {p99:.2f} ms",
    )


def _floor_row(count: int, floor: list[dict[str, Any]], beside: list[dict[str, Any]]) -> Row:
    rates, empty = [r["rate"] for r in floor], [r["rate"] for r in beside]
    callers = f"{count} callers" if count > 1 else "1 caller"
    return Row(
        key=f"updates_floor_{count}_callers",
        size=count,
        size_text=f"{callers}: only synced, not Boxwall",
        figure=Spread.of(rates),
        unit="calls/s",
        beside=Spread.of(empty),
        ratio=ratios(rates, empty),
    )


def _cpu_remark(count: int, *sides: list[dict[str, Any]]) -> str:
    costs = [f"{Spread.of([r['cpu'] * 1e6 for r in side]).middle:.0f}" for side in sides]
    what = ("per update (all threads)", "per empty call", "per request that is only synced")
    each = ", ".join(f"{cost} us {of}" for cost, of in zip(costs, what, strict=False))
    return f"{count} callers: server CPU {each}."


def _milliseconds(rounds: list[dict[str, Any]]) -> list[float]:
    return thinned([latency * 1e3 for found in rounds for latency in found["sample"]])


def _add_plots(answer: Answer, samples: dict[str, list[float]]) -> None:
    rows = [row for row in answer.rows if not row.key.startswith("updates_floor")]
    sizes = [row.size for row in rows]
    rates = [row.figure.middle for row in rows]
    empty = [row.beside.middle for row in rows if row.beside]
    answer.growth.append(Growth(what="updates/s with callers", sizes=sizes, costs=rates))
    answer.growth.append(Growth(what="empty calls/s with callers", sizes=sizes, costs=empty))
    lines = [
        Series("Boxwall", list(zip(sizes, rates, strict=True))),
        Series("empty handler", list(zip(sizes, empty, strict=True)), dashed=True),
    ]
    rate_plot = growth_plot("Durable updates", "callers", "per second", lines)
    spread_plot = distribution_plot("Time per durable update", "milliseconds", dict(samples))
    answer.plots += [
        Plot(file="updates.svg", svg=rate_plot, caption="Durable updates per second"),
        Plot(file="updates-latency.svg", svg=spread_plot, caption="Time per durable update"),
    ]


QUESTION = Question(name="updates", seconds_quick=5, seconds_full=100, ask=ask)
