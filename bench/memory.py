"""What do a connected node and a stored box cost in memory, and a box on disk?"""

import asyncio

from bench.answers import Answer, Growth, Plot, Row, Target
from bench.figures import Spread, ratios
from bench.harness import Bench, Question, Server, accepting, store_bytes
from bench.svg import Series, growth_plot

BOX_TARGET = Target(of="figure", at_most=2)
PROMISED = 1_000_000
WARM_NODES = 20
SETTLE = 0.4
"""Seconds until what a server does after a change is done."""


async def ask(bench: Bench) -> list[Answer]:
    """Measure streams, then boxes."""
    return [await _streams(bench), await _boxes(bench)]


async def _streams(bench: Bench) -> Answer:
    answer = Answer(
        title="Memory per connected node",
        what="Growth of the server's resident memory when so many nodes, with one box each, have "
        "opened their stream and are idle, divided by their number. 100 streams share a "
        "connection. One server for each figure, started on a store that has the boxes.",
        beside="As many idle streams to a grpc.aio server that does nothing.",
    )
    for nodes in bench.pick((100, 300), (1_000, 2_500, 5_000)):
        ours, raw = [], []
        for _ in range(bench.pick(1, 3)):
            ours.append(await _per_stream(bench, nodes, baseline=False))
            raw.append(await _per_stream(bench, nodes, baseline=True))
        answer.rows.append(
            Row(
                key=f"memory_per_node_of_{nodes}",
                size=nodes,
                size_text=f"{nodes:,} nodes",
                figure=Spread.of(ours),
                unit="KB per node",
                beside=Spread.of(raw),
                ratio=ratios(ours, raw),
                target=Target(of="figure", at_most=50),
            )
        )
    _add_growth(answer, "memory-node.svg", "nodes")
    return answer


async def _per_stream(bench: Bench, nodes: int, *, baseline: bool) -> float:
    database = None if baseline else await bench.copy_of_filled(nodes)
    async with (
        bench.baseline() if baseline else bench.boxwall(database) as server,
        bench.actor("bench.fleet:Nodes") as fleet,
    ):
        await accepting(server)
        # What a server needs for its first streams is not what each of them costs.
        await fleet.call("open", path=server.path, nodes=WARM_NODES, boxes_per_node=1)
        await fleet.call("close")
        await asyncio.sleep(SETTLE)
        before = server.memory
        await fleet.call("open", path=server.path, nodes=nodes, boxes_per_node=1)
        await asyncio.sleep(SETTLE)
        return (server.memory - before) / nodes / 1e3


async def _boxes(bench: Bench) -> Answer:
    answer = Answer(
        title="Memory and disk per box in the store",
        what="Resident memory of a server that was started on a store of so many boxes (five "
        "entries each) and has listed every one of them, less that of a server with an empty "
        "store, divided by the boxes; and the bytes of the store on disk, divided likewise "
        "(history and change log included).",
    )
    empty = await _memory_with(bench, 0)
    sizes = bench.pick((1_000, 5_000), (1_000, 10_000, 100_000, 1_000_000))
    for boxes in sizes:
        path = await bench.filled(boxes)
        disk = store_bytes(path) / boxes / 1e3
        grown = (await _memory_with(bench, boxes) - empty) / boxes / 1e3
        answer.rows += _box_rows(boxes, grown, disk, largest=boxes == sizes[-1])
    answer.remarks.append(
        f"A server with an empty store takes {empty / 1e6:.0f} MB. With few boxes what a server "
        "allocates for its first calls weighs most; the growth below is that of the sum."
    )
    _add_growth(answer, "memory-box.svg", "boxes")
    return answer


def _box_rows(boxes: int, memory: float, disk: float, *, largest: bool) -> list[Row]:
    # With few boxes, what a server allocates once weighs more than they do: no target there.
    target = BOX_TARGET.shown_at(boxes, PROMISED, "boxes") if largest else None
    return [
        Row(
            key=f"{kind}_per_box_of_{boxes}",
            size=boxes,
            size_text=f"{boxes:,} boxes, {kind}",
            figure=Spread(figure, figure, figure),
            unit="KB per box",
            target=target if kind == "memory" else None,
            note=f"{figure * boxes / 1e3:.1f} MB in all",
        )
        for kind, figure in (("memory", memory), ("disk", disk))
    ]


async def _memory_with(bench: Bench, boxes: int) -> float:
    """Return the memory of a server that has answered, and listed what there is."""
    database = await bench.copy_of_filled(boxes) if boxes else None
    async with bench.boxwall(database) as server, bench.callers(server) as callers:
        if await callers.call("list_all", timeout=600.0) != boxes:
            raise AssertionError("the server does not list every box")
        await asyncio.sleep(SETTLE)
        return _now(server)


def _now(server: Server) -> float:
    return float(server.memory)


def _add_growth(answer: Answer, file: str, what: str) -> None:
    names = {row.key.partition("_of_")[0] for row in answer.rows}
    lines = []
    for name in sorted(names):
        rows = [row for row in answer.rows if row.key.startswith(f"{name}_of_")]
        sizes = [row.size for row in rows]
        # Not less than nothing: with few boxes the pages of the allocator hide them.
        sums = [max(row.figure.middle, 0.001) * row.size / 1e3 for row in rows]
        answer.growth.append(
            Growth(what=f"{name.replace('_', ' ')}, in all", sizes=sizes, costs=sums)
        )
        lines.append(Series(name.replace("_", " "), list(zip(sizes, sums, strict=True))))
    svg = growth_plot(answer.title, what, "MB in all", lines)
    answer.plots.append(Plot(file=file, svg=svg, caption=answer.title))


QUESTION = Question(name="memory", seconds_quick=7, seconds_full=170, ask=ask)
