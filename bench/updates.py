"""How many durable policy updates a second, beside a handler that does nothing?"""

from typing import Any

from bench.answers import Answer, Growth, Plot, Row, Target
from bench.figures import Spread, ratios, thinned
from bench.harness import Bench, Question, Server, can_answer, in_turn
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
        "answers. It keeps nothing: the ratio includes what durability costs.",
    )
    async with (
        bench.boxwall() as ours,
        bench.baseline() as empty,
        bench.callers(ours) as callers,
        bench.callers(empty) as beside,
    ):
        await callers.call("create", boxes=BOXES)
        await can_answer(callers, beside, UPDATE, BOXES)
        samples = {}
        for count in CALLERS:
            a, b = await _measure(bench, (callers, ours), (beside, empty), count)
            answer.rows.append(_row(count, a, b))
            answer.remarks.append(_cpu_remark(count, a, b))
            samples[f"{count} callers" if count > 1 else "1 caller"] = _milliseconds(a)
        samples[f"empty, {CALLERS[-1]} callers"] = _milliseconds(b)
    _add_plots(answer, samples)
    return [answer]


async def _measure(
    bench: Bench, ours: tuple[Actor, Server], beside: tuple[Actor, Server], count: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    seconds = bench.pick(0.2, 2.0)

    async def one(side: tuple[Actor, Server]) -> dict[str, Any]:
        callers, server = side
        before = server.cpu
        found: dict[str, Any] = await callers.call(
            "run", method=UPDATE, boxes=BOXES, callers=count, seconds=seconds, warm=0.0
        )
        return {**found, "cpu": (server.cpu - before) / found["count"]}

    await one(ours), await one(beside)  # warm
    return await in_turn(bench.rounds, lambda: one(ours), lambda: one(beside))


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


def _cpu_remark(count: int, ours: list[dict[str, Any]], beside: list[dict[str, Any]]) -> str:
    cost, empty = (Spread.of([r["cpu"] * 1e6 for r in side]).middle for side in (ours, beside))
    return (
        f"{count} callers: {cost:.0f} us of server CPU per update (all threads), "
        f"{empty:.0f} us per empty call."
    )


def _milliseconds(rounds: list[dict[str, Any]]) -> list[float]:
    return thinned([latency * 1e3 for found in rounds for latency in found["sample"]])


def _add_plots(answer: Answer, samples: dict[str, list[float]]) -> None:
    sizes = [row.size for row in answer.rows]
    rates = [row.figure.middle for row in answer.rows]
    empty = [row.beside.middle for row in answer.rows if row.beside]
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


QUESTION = Question(name="updates", seconds_quick=4, seconds_full=85, ask=ask)
