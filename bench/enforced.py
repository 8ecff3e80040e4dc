"""How long from the update call until the kernel enforces it and the call has returned?"""

import time
from contextlib import AsyncExitStack
from typing import Any

from bench.answers import Answer, Growth, Plot, Row, Target
from bench.figures import Spread, quantile, ratios, thinned
from bench.harness import Bench, Question, in_turn
from bench.messages import GET
from bench.namespace import why_not
from bench.node import FIRST_INDEX, agent_files, all_enforced, start_agent
from bench.processes import Actor
from bench.svg import Series, distribution_plot, growth_plot
from boxwall.policy import Network
from boxwall.v1 import box_pb2

PROMISED = 1_000
TARGETS = {
    ("idle", "p50"): Target(of="figure", at_most=5.0),
    ("idle", "p99"): Target(of="figure", at_most=15.0),
    ("loaded", "p99"): Target(of="figure", at_most=50.0),
}
BESIDE = 50_000_000
"""Where the numbers of a second process of callers begin: no two policies are equal."""

LOOKED_AT = 10
"""Boxes whose networks are read back from the kernel."""


async def ask(bench: Bench) -> list[Answer]:
    """Measure every number of boxes, idle and under load."""
    rate = bench.pick(200, 500)
    answers = {
        "idle": _answer("idle", "Nothing else happens."),
        "loaded": _answer(
            f"under {rate} updates/s",
            f"Another process makes {rate} updates/s of the same boxes, whether or not the ones "
            "before were answered.",
        ),
    }
    reason = why_not()
    if reason:
        for answer in answers.values():
            answer.left_out = reason
        return list(answers.values())
    samples: dict[str, list[float]] = {}
    for boxes in bench.pick((10, 100), (10, 100, 1_000, 10_000)):
        await _size(bench, boxes, answers, {"idle": 0, "loaded": rate}, samples)
    for name, answer in answers.items():
        _add_growth(answer, f"enforced-{name}")
    svg = distribution_plot("Update to kernel to answer", "milliseconds", dict(samples))
    caption = "Update to kernel to answer"
    answers["idle"].plots.append(Plot(file="enforced-latency.svg", svg=svg, caption=caption))
    return list(answers.values())


def _answer(title: str, load: str) -> Answer:
    return Answer(
        title=f"Update to the kernel and back, {title}",
        what="UpdateNetworkPolicy with wait_timeout, one after the other: commit, the change to "
        "the node's agent, its transaction in the kernel and its state file, its acknowledgement, "
        "the answer to the caller. Policies have five entries, two of them networks. Caller, "
        "server and agent are processes of their own with their defaults; all boxes are attached "
        f"to one node, a network namespace with an interface for each. {load}",
        beside="The same server with the same boxes on a node that acknowledges at once and has "
        "no kernel: the ratio says what the agent and the kernel add.",
    )


async def _size(
    bench: Bench,
    boxes: int,
    answers: dict[str, Answer],
    rates: dict[str, int],
    samples: dict[str, list[float]],
) -> None:
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        ours, relay = await enter(bench.boxwall()), await enter(bench.boxwall())
        callers, beside = await enter(bench.callers(ours)), await enter(bench.callers(relay))
        load = await enter(bench.callers(ours, first=BESIDE))
        relay_load = await enter(bench.callers(relay, first=BESIDE))
        node = await enter(bench.actor("bench.node:Node"))
        fleet = await enter(bench.actor("bench.fleet:Nodes"))
        files = agent_files(bench)
        await node.call("open", state_dir=str(files.state_dir), boxes=boxes)
        await fleet.call("tries")  # nothing is starting any more
        for one in (callers, beside):
            await one.call("create", boxes=boxes)
        await fleet.call("open", path=relay.path, nodes=1, boxes_per_node=boxes)
        begin = time.monotonic()
        agent, seconds = await start_agent(bench, node, files, ours.path)
        stack.push_async_callback(agent.stop)
        await agent.outlives(all_enforced(callers, boxes))
        answers["idle"].remarks.append(
            f"{boxes:,} boxes: the agent enforced {seconds:.2f} s after its start, with every box "
            f"closed, and had all their policies in force by {time.monotonic() - begin:.2f} s."
        )
        for name, rate in rates.items():
            pairs = (callers, load), (beside, relay_load)
            a, b = await agent.outlives(_measure(bench, pairs, boxes, rate))
            answers[name].rows += _rows(boxes, name, a, b)
            answers[name].remarks.append(_remark(boxes, rate, a))
            samples[f"{boxes:,} boxes, {name}"] = thinned(_milliseconds(a))
        await _check(callers, node, boxes)


async def _measure(
    bench: Bench, pairs: tuple[tuple[Actor, Actor], tuple[Actor, Actor]], boxes: int, rate: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    count = bench.pick(25, 300)

    async def one(pair: tuple[Actor, Actor]) -> dict[str, Any]:
        callers, load = pair
        if rate:
            await load.call("pace", rate=rate, boxes=boxes)
        try:
            found: dict[str, Any] = await callers.call("waits", boxes=boxes, count=count)
        finally:
            paced = await load.call("unpace") if rate else {}
        return {**found, "paced": paced, "wanted": rate * sum(found["all"])}

    await one(pairs[0]), await one(pairs[1])  # warm
    return await in_turn(bench.rounds, lambda: one(pairs[0]), lambda: one(pairs[1]))


async def _check(callers: Actor, node: Actor, boxes: int) -> None:
    """Compare what the kernel holds with what the server says."""
    # One node is told everything in order: when this is in force, so is all that was before.
    await callers.call("waits", boxes=boxes, count=1)
    held = await node.call("holds")
    for box in range(min(LOOKED_AT, boxes)):
        answer = await callers.call("once", method=GET, box=box)
        custom = box_pb2.Box.FromString(bytes.fromhex(answer["answer"])).network_policy.custom
        index = (FIRST_INDEX + box).to_bytes(4, "little").hex()
        for kind, networks in (("allow", custom.allowed_cidrs), ("deny", custom.denied_cidrs)):
            wanted = {_element(kind, index, Network.parse(text)) for text in networks}
            found = {
                (name, key)
                for name, keys in held.items()
                for key in keys
                if name.startswith(kind) and key.startswith(index)
            }
            if wanted != found or not wanted:
                raise AssertionError(f"box {box}: the kernel holds {found}, not {wanted}")


def _element(kind: str, index: str, network: Network) -> tuple[str, str]:
    assert network.version == 4
    key = index + network.first.to_bytes(4, "big").hex()
    return f"{kind}4_{network.prefix_length}", key


def _rows(
    boxes: int,
    name: str,
    ours: list[dict[str, Any]],
    beside: list[dict[str, Any]],
) -> list[Row]:
    rows = []
    for share in ("p50", "p99"):
        mine, theirs = ([found[share] * 1e3 for found in side] for side in (ours, beside))
        rows.append(
            Row(
                key=f"enforced_{name}_{share}_{boxes}_boxes",
                size=boxes,
                size_text=f"{boxes:,} boxes, {share}",
                figure=Spread.of(mine),
                unit="ms",
                beside=Spread.of(theirs),
                ratio=ratios(mine, theirs),
                target=_target(boxes, name, share),
            )
        )
    return rows


def _target(boxes: int, name: str, share: str) -> Target | None:
    """Of the size that was promised only: a quick run has none of it."""
    return TARGETS.get((name, share)) if boxes == PROMISED else None


def _remark(boxes: int, rate: int, rounds: list[dict[str, Any]]) -> str:
    every = _milliseconds(rounds)
    late = sum(found["late"] for found in rounds)
    text = (
        f"{boxes:,} boxes: p99 over all {len(every):,} calls {quantile(every, 0.99):.2f} ms, "
        f"the slowest {max(every):.2f} ms; {late} were not in force within 10 s."
    )
    if rate:
        made = sum(found["paced"]["changes"] for found in rounds)
        share = made / sum(found["wanted"] for found in rounds)
        text += f" The load came to {share:.0%} of {rate}/s."
    return text


def _milliseconds(rounds: list[dict[str, Any]]) -> list[float]:
    return [latency * 1e3 for found in rounds for latency in found["all"]]


def _add_growth(answer: Answer, name: str) -> None:
    rows = [row for row in answer.rows if row.size_text.endswith("p50")]
    sizes = [row.size for row in rows]
    ours = [row.figure.middle for row in rows]
    relay = [row.beside.middle for row in rows if row.beside]
    answer.growth.append(Growth(what="p50 with attached boxes", sizes=sizes, costs=ours))
    answer.growth.append(Growth(what="p50 without a kernel", sizes=sizes, costs=relay))
    lines = [
        Series("agent and kernel", list(zip(sizes, ours, strict=True))),
        Series("no kernel", list(zip(sizes, relay, strict=True)), dashed=True),
    ]
    svg = growth_plot(answer.title, "attached boxes", "ms (p50)", lines)
    answer.plots.append(Plot(file=f"{name}.svg", svg=svg, caption=answer.title))
    answer.remarks.append(
        f"At the end of each size the networks of up to {LOOKED_AT} boxes were read back from the "
        "kernel: they were those of the policies that the server holds."
    )


QUESTION = Question(name="enforced", seconds_quick=7, seconds_full=220, ask=ask)
