"""How long does the kernel's table take for a change of one box, beside other ways to write it?"""

import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TypeAlias

from bench.answers import Answer, Growth, Plot, Row, Target
from bench.figures import Spread, quantile, ratios
from bench.harness import Bench, Question
from bench.namespace import leave, why_not
from bench.nft_text import LIBRARY, Libnftables, NftProgram, Script, changes_of
from bench.processes import Actor
from bench.svg import Series, growth_plot
from bench.twenty import interface_of, twenty
from boxwall.policy import DenyAll, Policy
from boxwall_agent.grants import GrantPool
from boxwall_agent.nft.batch import TableFlags
from boxwall_agent.nft.kernel import open_nftables
from boxwall_agent.ruleset import BoxRules, Interface, closed, rules_of
from boxwall_agent.table import Plan, Shared, Table

Write: TypeAlias = Callable[[bytes], None]
"""Runs a script."""

P50 = Target(of="figure", at_most=0.5)
FASTER = Target(of="ratio", at_least=70)
GROWTH = Target(of="figure", at_most=1.5)
PROMISED, LARGEST = 1_000, 10_000
KINDS = {
    "update": "update, half of 20 entries differ",
    "one": "one entry changed",
    "deny": "to deny-all",
    "back": "back from deny-all",
    "create": "a new box with its policy",
}
LIBNFTABLES, NFT, PER_BOX = "libnftables", "nft", "libnftables_per_box"
PER_BOX_LARGEST = 1_000
"""Half a second for each update there."""

AT_ONCE = 500
"""Boxes installed in one transaction."""

FIRST_INDEX = 1_000
CHECKED = 1_000
"""Up to so many boxes, the whole table is read back at the end."""


class Applier:
    """Runs in a process and a network namespace of its own, so with a table of its own."""

    def __init__(self) -> None:
        leave()
        self._nft = open_nftables()
        self._table = Table(Shared())
        self._grants = GrantPool()
        self._script = Script()
        self._others: dict[str, Libnftables | NftProgram] = {}
        self._boxes = 0
        self._count = 0
        self._versions: dict[int, tuple[int, int]] = {}

    async def install(self, boxes: int) -> list[str]:
        """Make the table with boxes; return the other ways that can be compared."""
        # Nobody owns the table: else nobody else could change it.
        plan = self._table.plan_install(replace=False, flags=TableFlags.NONE)
        self._commit(plan)
        for first in range(0, boxes, AT_ONCE):
            some = range(first, min(first + AT_ONCE, boxes))
            rules = {f"box{box}": self._rules(box, twenty(box, 0)) for box in some}
            self._commit(self._table.plan_changes(rules))
        self._boxes = boxes
        for name, make in ((LIBNFTABLES, Libnftables), (NFT, NftProgram)):
            try:
                self._others[name] = make()
            except OSError:
                continue
        return list(self._others)

    async def change(self, kind: str, count: int, other: str = "") -> list[float]:
        """Make changes of a kind, our way or another; return the seconds of each."""
        write = self._others[other].run if other else None
        return [self._one(kind, write) for _ in range(count)]

    async def as_meant(self) -> bool:
        """Whether the kernel holds what it should, after all that."""
        held = {one for name in self._table.box_sets for one in self._nft.elements(name)}
        return held == self._table.box_elements

    def _one(self, kind: str, write: Write | None) -> float:
        self._count += 1
        box = self._count * 7919 % self._boxes
        before, one = self._versions.get(box, (0, 0))
        if kind == "create":
            box = self._boxes + self._count
            policy: Policy = twenty(box, self._count)
        elif kind == "update":
            before = self._count
            policy = twenty(box, before, one=one)
        elif kind == "one":
            one += 1
            policy = twenty(box, before, one=one)
        elif kind == "deny":
            policy = DenyAll()
        else:
            policy = twenty(box, before, one=one)
            self._put(box, DenyAll())
        seconds = self._timed(box, policy, write)
        if kind == "create":
            self._commit(self._table.plan_changes({f"box{box}": None}))
            return seconds
        if kind == "deny":
            self._put(box, twenty(box, before, one=one))
        self._versions[box] = before, one
        return seconds

    def _timed(self, box: int, policy: Policy, write: Write | None) -> float:
        """Our way: from a policy to the kernel's answer. Another: its script is ready."""
        interface = _interface(box)
        held = self._table.boxes.get(interface.name, closed(interface))
        begin = time.perf_counter()
        rules = rules_of(interface, policy, held, self._grants)
        plan = self._table.plan_changes({interface.name: rules})
        if write is None:
            self._commit(plan)
            return time.perf_counter() - begin
        script = self._script.of(*changes_of(self._table, plan))
        begin = time.perf_counter()
        write(script)
        seconds = time.perf_counter() - begin
        self._table.adopt(plan)
        return seconds

    def _put(self, box: int, policy: Policy) -> None:
        self._timed(box, policy, None)

    def _rules(self, box: int, policy: Policy) -> BoxRules:
        interface = _interface(box)
        held = self._table.boxes.get(interface.name, closed(interface))
        return rules_of(interface, policy, held, self._grants)

    def _commit(self, plan: Plan) -> None:
        self._nft.commit(plan.batch)
        self._table.adopt(plan)


def _interface(box: int) -> Interface:
    return interface_of(box, FIRST_INDEX + box)


@dataclass(slots=True)
class Size:
    """One table, and what was measured with it: milliseconds, a figure for each round."""

    boxes: int
    applier: Actor
    others: list[str]
    """Other ways to make the same change of the same table."""
    per_box: Actor | None = None
    """The usual layout, beside the same entries."""
    p50: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    """By kind and way; ours is called ""."""
    p99: list[float] = field(default_factory=list)
    """Of our updates."""

    def ways(self, kind: str) -> list[str]:
        """What is beside a kind of change."""
        if kind != "update":
            return self.others[:1]
        return [*self.others, PER_BOX] if self.per_box else self.others

    async def measure(self, bench: Bench, kind: str, way: str) -> None:
        """Measure one round."""
        count = _count(bench, self.boxes, kind, way)
        if way == PER_BOX and self.per_box:
            seconds = await self.per_box.call("update", count=count)
        else:
            seconds = await self.applier.call("change", kind=kind, count=count, other=way)
        taken = [one * 1e3 for one in seconds]
        self.p50.setdefault((kind, way), []).append(quantile(taken, 0.5))
        if (kind, way) == ("update", ""):
            self.p99.append(quantile(taken, 0.99))


async def ask(bench: Bench) -> list[Answer]:
    """Install every size, then measure them all in every round."""
    answer = Answer(
        title="Kernel apply: one change of one box",
        what="From a policy as a value to the kernel's answer: rules, differences, netlink bytes, "
        "one transaction. Policies have 20 entries (8 allowed and 8 denied in IPv4, 4 in IPv6). "
        "One process and one network namespace for each number of boxes installed; all of them "
        "are measured in each round.",
        beside=f"The same change of the same table through {LIBRARY} (in process, its context "
        "kept) and through the `nft` program (started for each change). Their script is written "
        "before the time begins. `libnftables per box` is the usual layout instead of ours: each "
        "box has a chain and four interval sets of its own, and libnftables changes the same "
        "entries in them. The ratio says how many times longer they take.",
    )
    reason = why_not()
    if reason:
        answer.left_out = reason
        return [answer]
    async with AsyncExitStack() as stack:
        sizes = []
        for boxes in bench.pick((10, 100, 1_000), (10, 100, 1_000, 10_000)):
            applier = await stack.enter_async_context(bench.actor("bench.kernel_apply:Applier"))
            others = await applier.call("install", boxes=boxes, timeout=300.0)
            per_box = None
            if LIBNFTABLES in others and boxes <= PER_BOX_LARGEST:
                per_box = await stack.enter_async_context(bench.actor("bench.per_box:PerBox"))
                await per_box.call("install", boxes=boxes, timeout=300.0)
            sizes.append(Size(boxes, applier, others, per_box))
        for _ in range(bench.rounds):
            for kind in KINDS:
                for size in sizes:
                    await size.measure(bench, kind, "")
                    for way in size.ways(kind):
                        await size.measure(bench, kind, way)
        for size in sizes:
            if size.boxes <= CHECKED and not await size.applier.call("as_meant"):
                raise AssertionError(f"with {size.boxes} boxes the kernel holds something else")
    _fill(answer, sizes)
    return [answer]


def _count(bench: Bench, boxes: int, kind: str, way: str) -> int:
    if not way:
        return bench.pick(60, 300) if kind == "update" else bench.pick(20, 100)
    if way == PER_BOX:
        return 1 if boxes >= PROMISED else bench.pick(3, 5)
    return 3 if boxes >= LARGEST else bench.pick(5, 15)


def _fill(answer: Answer, sizes: list[Size]) -> None:
    for size in sizes:
        _add_update(answer, size)
    for kind, text in KINDS.items():
        if kind != "update":
            answer.rows += [_row(size, kind, text) for size in sizes]
    _add_growth(answer, sizes)
    for name in (LIBNFTABLES, NFT):
        if name not in sizes[0].others:
            answer.remarks.append(f"{name} is not there, so nothing is beside it.")
    answer.remarks.append(
        "What libnftables costs is decided by how many sets, chains and elements of interval sets "
        "it reads before it writes: our table has the same few for any number of boxes."
    )
    answer.remarks.append(
        f"After the last round each table of up to {CHECKED:,} boxes was read back: the kernel "
        "held every element that it should, and no other."
    )


def _add_update(answer: Answer, size: Size) -> None:
    at = f"{size.boxes:,} boxes, {KINDS['update']}"
    promised = size.boxes == PROMISED
    ours = size.p50["update", ""]
    target = P50 if promised else None
    answer.rows.append(_plain(size, "kernel_apply_update_p50", f"{at}, p50", ours, target))
    answer.rows.append(_plain(size, "kernel_apply_update_p99", f"{at}, p99", size.p99))
    for way in size.ways("update"):
        theirs = size.p50["update", way]
        answer.rows.append(
            Row(
                key=f"kernel_apply_update_{way}_{size.boxes}_boxes",
                size=size.boxes,
                size_text=f"{at}, beside {way.replace('_', ' ')}",
                figure=Spread.of(ours),
                unit="ms",
                beside=Spread.of(theirs),
                ratio=ratios(theirs, ours),
                target=FASTER if promised and way == LIBNFTABLES else None,
            )
        )


def _plain(
    size: Size, key: str, text: str, figures: list[float], target: Target | None = None
) -> Row:
    return Row(
        key=f"{key}_{size.boxes}_boxes",
        size=size.boxes,
        size_text=text,
        figure=Spread.of(figures),
        unit="ms",
        target=target,
    )


def _row(size: Size, kind: str, text: str) -> Row:
    ours = size.p50[kind, ""]
    theirs = size.p50[kind, size.others[0]] if size.others else None
    return Row(
        key=f"kernel_apply_{kind}_{size.boxes}_boxes",
        size=size.boxes,
        size_text=f"{size.boxes:,} boxes, {text}, p50",
        figure=Spread.of(ours),
        unit="ms",
        beside=Spread.of(theirs) if theirs else None,
        ratio=ratios(theirs, ours) if theirs else None,
    )


def _add_growth(answer: Answer, sizes: list[Size]) -> None:
    least, most = sizes[0], sizes[-1]
    answer.rows.append(
        Row(
            key="kernel_apply_growth",
            size=most.boxes,
            size_text=f"update, p50 at {most.boxes:,} boxes over p50 at {least.boxes:,}",
            figure=ratios(most.p50["update", ""], least.p50["update", ""]),
            unit="times",
            target=GROWTH.shown_at(most.boxes, LARGEST, "boxes"),
        )
    )
    lines = []
    for way in ("", *least.ways("update")):
        name = way.replace("_", " ") or "Boxwall"
        there = [size for size in sizes if ("update", way) in size.p50]
        numbers = [size.boxes for size in there]
        costs = [Spread.of(size.p50["update", way]).middle for size in there]
        answer.growth.append(Growth(what=f"an update by {name}", sizes=numbers, costs=costs))
        points = list(zip(map(float, numbers), costs, strict=True))
        lines.append(Series(name, points, dashed=bool(way)))
    svg = growth_plot("Update of one box in the kernel", "boxes installed", "ms (p50)", lines)
    caption = "Update of one box in the kernel"
    answer.plots.append(Plot(file="kernel-apply.svg", svg=svg, caption=caption))


QUESTION = Question(name="kernel_apply", seconds_quick=5, seconds_full=50, ask=ask)
