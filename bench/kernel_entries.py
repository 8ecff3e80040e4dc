"""How does a change in the kernel grow with the entries of the policy?"""

from typing import Any

from bench.answers import Answer, Growth, Plot, Row
from bench.figures import Spread, quantile, ratios
from bench.harness import Bench, Question
from bench.kernel_apply import LIBNFTABLES, Applier
from bench.namespace import why_not
from bench.processes import Actor
from bench.svg import Series, growth_plot
from boxwall.policy import Custom, policy_from_document

BOXES = 100
KINDS = {"all": "every entry changed", "one": "one entry changed"}


class EntriesApplier(Applier):
    """Gives its boxes policies of as many entries as are wanted."""

    async def change_entries(
        self, entries: int, kind: str, count: int, other: str = ""
    ) -> list[float]:
        """Change a policy of so many entries; return the seconds of each change."""
        write = self._others[other].run if other else None
        return [self._next(entries, kind, write) for _ in range(count)]

    def _next(self, entries: int, kind: str, write: Any) -> float:
        self._count += 1
        before = _networks(entries, all_of=self._count, one=0)
        after = (
            _networks(entries, all_of=self._count + 1, one=0)
            if kind == "all"
            else _networks(entries, all_of=self._count, one=1)
        )
        box = entries % BOXES
        self._put(box, before)
        return self._timed(box, after, write)


def _networks(entries: int, *, all_of: int, one: int) -> Custom:
    """Of every two entries one allows a network and one denies a part of it.

    `all_of` makes every entry another, `one` the first.
    """
    lists: dict[str, list[str]] = {"allowed_cidrs": [], "denied_cidrs": []}
    for entry in range(entries):
        pair, kind = divmod(entry, 2)
        first = 16 + all_of % 4 + (8 if entry == 0 and one else 0)
        name, part = ("denied_cidrs", "240/28") if kind else ("allowed_cidrs", "0/24")
        lists[name].append(f"{first}.{pair // 256}.{pair % 256}.{part}")
    policy = policy_from_document({"mode": "custom", **lists}).policy
    assert isinstance(policy, Custom)
    return policy


async def ask(bench: Bench) -> list[Answer]:
    """Measure every size in every round."""
    answer = Answer(
        title="Kernel apply: policies of 1 to 1,000 entries",
        what="From a policy as a value to the kernel's answer, of one of "
        f"{BOXES} boxes. Entries are IPv4 networks of two lengths, allowed and denied in turn. "
        "Either every entry of the policy becomes another, or one does; the median of a round.",
        beside="The same change of the same table through libnftables, its script written before "
        "the time begins. The ratio says how many times longer it takes.",
    )
    reason = why_not()
    if reason:
        answer.left_out = reason
        return [answer]
    sizes = bench.pick((1, 10, 100), (1, 10, 100, 1_000))
    found: dict[tuple[str, int, str], list[float]] = {}
    async with bench.actor("bench.kernel_entries:EntriesApplier") as applier:
        others = await applier.call("install", boxes=BOXES, timeout=300.0)
        ways = ("", LIBNFTABLES) if LIBNFTABLES in others else ("",)
        for _ in range(bench.rounds):
            for kind in KINDS:
                for entries in sizes:
                    for way in ways:
                        p50 = await _median(bench, applier, kind, entries, way)
                        found.setdefault((kind, entries, way), []).append(p50)
        if not await applier.call("as_meant"):
            raise AssertionError("the kernel holds something else")
    _fill(answer, found, sizes, ways)
    return [answer]


async def _median(bench: Bench, applier: Actor, kind: str, entries: int, way: str) -> float:
    count = bench.pick(5, 15) if way else bench.pick(10, 60)
    call = applier.call("change_entries", entries=entries, kind=kind, count=count, other=way)
    return quantile([one * 1e3 for one in await call], 0.5)


def _fill(
    answer: Answer,
    found: dict[tuple[str, int, str], list[float]],
    sizes: tuple[int, ...],
    ways: tuple[str, ...],
) -> None:
    lines = []
    for kind, text in KINDS.items():
        for entries in sizes:
            ours, theirs = found[kind, entries, ""], found.get((kind, entries, LIBNFTABLES))
            answer.rows.append(
                Row(
                    key=f"kernel_apply_{kind}_of_{entries}_entries",
                    size=entries,
                    size_text=f"{entries:,} entr{'y' if entries == 1 else 'ies'}, {text}",
                    figure=Spread.of(ours),
                    unit="ms",
                    beside=Spread.of(theirs) if theirs else None,
                    ratio=ratios(theirs, ours) if theirs else None,
                )
            )
        for way in ways:
            costs = [Spread.of(found[kind, entries, way]).middle for entries in sizes]
            name = f"{text}, {way or 'Boxwall'}"
            what = f"a change of a policy in the kernel with its entries, {name}"
            answer.growth.append(Growth(what=what, sizes=sizes, costs=costs))
            points = list(zip(map(float, sizes), costs, strict=True))
            lines.append(Series(name, points, dashed=bool(way)))
    svg = growth_plot("Kernel apply, by entries", "entries of the policy", "ms (p50)", lines)
    answer.plots.append(
        Plot(file="kernel-entries.svg", svg=svg, caption="Kernel apply, by entries")
    )
    answer.remarks.append(
        "After the last round the table was read back: the kernel held every element that it "
        "should, and no other."
    )


QUESTION = Question(name="kernel_entries", seconds_quick=1, seconds_full=25, ask=ask)
