"""How fast does one change reach everybody who watches everything?"""

from typing import Any

from bench.answers import Answer, Growth, Plot, Row, Target
from bench.figures import Spread, ratios, thinned
from bench.harness import Bench, Question, Server, can_answer, in_turn
from bench.messages import STREAMS_PER_CONNECTION, UPDATE, change_frame
from bench.processes import Actor
from bench.svg import Series, distribution_plot, growth_plot

BOXES = 10
WANTED = 0.8
PROMISED = (1_000, 5_000)


async def ask(bench: Bench) -> list[Answer]:
    """Measure every number of watchers in turn."""
    answer = Answer(
        title="Fan-out of one change to all_boxes watchers",
        what="From the call of UpdateNetworkPolicy to the moment the last watcher has the change. "
        f"Watchers share connections, {STREAMS_PER_CONNECTION} streams each, in one client "
        "process. The ratio is that of speeds (1: as fast as raw writes).",
        beside="A grpc.aio server that on the same call writes one ready frame of the same length "
        "to the same number of streams, one task each. It keeps nothing; Boxwall commits first.",
    )
    samples: dict[str, list[float]] = {}
    for count in bench.pick((100, 1_000), (100, 1_000, 5_000)):
        await _size(bench, count, answer, samples)
    _add_plots(answer, samples)
    return [answer]


async def _size(bench: Bench, count: int, answer: Answer, samples: dict[str, list[float]]) -> None:
    async with (
        bench.boxwall() as ours,
        bench.baseline() as raw,
        bench.callers(ours) as callers,
        bench.callers(raw) as beside,
        bench.actor("bench.fleet:Watchers") as watchers,
        bench.actor("bench.fleet:Watchers") as raw_watchers,
    ):
        await callers.call("create", boxes=BOXES)
        await can_answer(callers, beside, UPDATE, BOXES)
        await beside.call("can", name="frame", response=change_frame(1, 1).hex())
        await watchers.call("open", path=ours.path, count=count)
        await raw_watchers.call("open", path=raw.path, count=count)
        await _change(ours, callers, watchers)  # warm
        await _change(raw, beside, raw_watchers)
        a, b = await in_turn(
            bench.pick(4, 15),
            lambda: _change(ours, callers, watchers),
            lambda: _change(raw, beside, raw_watchers),
        )
    answer.rows.append(_row(count, a, b))
    cost, empty = (Spread.of([r["cpu"] / count * 1e6 for r in side]).middle for side in (a, b))
    answer.remarks.append(
        f"{count:,} watchers: {cost:.1f} us of server CPU per watcher, {empty:.1f} us with raw "
        f"writes: {empty / cost:.2f} of the speed, whatever the client costs."
    )
    samples[f"{count:,} watchers"] = thinned([s * 1e3 for r in a for s in r["sample"]])
    samples[f"raw, {count:,}"] = thinned([s * 1e3 for r in b for s in r["sample"]])


async def _change(server: Server, callers: Actor, watchers: Actor) -> dict[str, Any]:
    """Change one box once; return the seconds until the last watcher has it, and all of them."""
    await watchers.call("expect")
    before = server.cpu
    change = await callers.call("once", method=UPDATE, box=0)
    told = await watchers.call("told")
    begin = change["begin"]
    return {
        "last": told["last"] - begin,
        "sample": [at - begin for at in told["sample"]],
        "cpu": server.cpu - before,
    }


def _row(count: int, ours: list[dict[str, Any]], raw: list[dict[str, Any]]) -> Row:
    mine, beside = ([r["last"] * 1e3 for r in side] for side in (ours, raw))
    return Row(
        key=f"fanout_{count}_watchers",
        size=count,
        size_text=f"{count:,} watchers",
        figure=Spread.of(mine),
        unit="ms",
        beside=Spread.of(beside),
        ratio=ratios(beside, mine),
        target=Target(of="ratio", at_least=WANTED) if count in PROMISED else None,
    )


def _add_plots(answer: Answer, samples: dict[str, list[float]]) -> None:
    sizes = [row.size for row in answer.rows]
    ours = [row.figure.middle for row in answer.rows]
    raw = [row.beside.middle for row in answer.rows if row.beside]
    answer.growth = [
        Growth(what="time to the last watcher", sizes=sizes, costs=ours),
        Growth(what="the same with raw writes", sizes=sizes, costs=raw),
    ]
    lines = [
        Series("Boxwall", list(zip(sizes, ours, strict=True))),
        Series("raw stream writes", list(zip(sizes, raw, strict=True)), dashed=True),
    ]
    cost = growth_plot("One change to all watchers", "watchers", "ms to the last one", lines)
    spread = distribution_plot("When watchers have the change", "ms after the call", dict(samples))
    answer.plots += [
        Plot(file="fanout.svg", svg=cost, caption="Time to the last watcher"),
        Plot(file="fanout-latency.svg", svg=spread, caption="When watchers have the change"),
    ]


QUESTION = Question(name="fanout", seconds_quick=4, seconds_full=50, ask=ask)
