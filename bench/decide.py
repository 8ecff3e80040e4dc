"""How many verdicts a second does one core give, and do longer lists make them dearer?"""

import time
from functools import partial
from typing import Any

from bench.answers import Answer, Growth, Plot, Row, Target
from bench.figures import Spread, exponent, ratios
from bench.harness import Bench, Question, in_turn
from bench.linear import decide_by_scan
from bench.svg import Series, growth_plot
from boxwall.policy import Custom, Destination, decide, policy_from_document

SIZES = (10, 100, 1_000)
GROWTH_LIMIT = 0.1
"""An exponent above this is growth; below, it is noise and the depth of binary searches."""


def policy_of(entries: int) -> Custom:
    """Make a policy: of ten entries six are names (one a wildcard), two allow, two deny."""
    tens = range(entries // 10)
    document: dict[str, object] = {
        "mode": "custom",
        "allowed_domains": [
            *(f"api-{ten}-{index}.example.com" for ten in tens for index in range(5)),
            *(f"*.cdn-{ten}.example.net" for ten in tens),
        ],
        "allowed_cidrs": [f"104.{ten}.{index}.0/24" for ten in tens for index in range(2)],
        "denied_cidrs": [f"104.{ten}.{index}.128/26" for ten in tens for index in range(2)],
    }
    policy = policy_from_document(document).policy
    assert isinstance(policy, Custom)
    return policy


def destinations(entries: int) -> list[Destination]:
    """What boxes ask: names and addresses from all over the lists, and some that match nothing."""
    tens = entries // 10
    asked = []
    for index in range(40):
        ten = index * tens // 40
        asked += [
            f"api-{ten}-{index % 5}.example.com:443",
            f"img.cdn-{ten}.example.net:443/tcp",
            f"host-{index}.example.org:443",
            f"104.{ten}.{index % 2}.7:443",
            f"104.{ten}.{index % 2}.130:443",
            f"8.8.{index}.8:53/udp",
        ]
    return [Destination.parse(text) for text in asked]


class Decider:
    """Runs in a process of its own."""

    def __init__(self) -> None:
        self._policies = {size: policy_of(size) for size in SIZES}
        self._asked = {size: destinations(size) for size in SIZES}

    async def agree(self) -> int:
        """Check that both ways say the same; return of how many destinations."""
        for size in SIZES:
            for asked in self._asked[size]:
                verdict = decide(self._policies[size], asked)
                scanned = decide_by_scan(self._policies[size], asked)
                if scanned != (verdict.allowed, verdict.reason.name):
                    raise AssertionError(f"{asked}: {scanned} by scan, {verdict.reason.name}")
        return sum(map(len, self._asked.values()))

    async def rate(self, size: int, seconds: float, scan: bool) -> float:
        """Return verdicts a second."""
        policy = self._policies[size]
        ask: Any = decide_by_scan if scan else decide
        asked = self._asked[size]
        count, begin = 0, time.perf_counter()
        while (spent := time.perf_counter() - begin) < seconds:
            for destination in asked:
                ask(policy, destination)
            count += len(asked)
        return count / spent


async def ask(bench: Bench) -> list[Answer]:
    """Measure every size in turn."""
    answer = Answer(
        title="decide: verdicts per second on one core",
        what="One process judges 240 destinations in turn: names (exact, by wildcard, unknown) and "
        "addresses (allowed, denied, unknown), under policies of 10, 100 and 1,000 entries.",
        beside="A linear scan over the same parsed lists that gives the same verdicts.",
    )
    seconds = bench.pick(0.1, 1.0)
    async with bench.actor("bench.decide:Decider") as decider:
        same = await decider.call("agree")
        for size in SIZES:
            order = partial(decider.call, "rate", size=size, seconds=seconds)
            rates, scans = await in_turn(
                bench.rounds, partial(order, scan=False), partial(order, scan=True)
            )
            answer.rows.append(_row(size, rates, scans))
    answer.remarks.append(f"Both ways agreed on all {same} destinations before anything was timed.")
    _add_growth(answer)
    return [answer]


def _row(size: int, rates: list[float], scans: list[float]) -> Row:
    return Row(
        key=f"decide_{size}_entries",
        size=size,
        size_text=f"{size:,} entries",
        figure=Spread.of(rates),
        unit="verdicts/s",
        beside=Spread.of(scans),
        ratio=ratios(rates, scans),
        target=Target(of="figure", at_least=200_000) if size == 100 else None,
    )


def _add_growth(answer: Answer) -> None:
    rows = list(answer.rows)
    sizes = [row.size for row in rows]
    ours = [1e6 / row.figure.middle for row in rows]
    scans = [1e6 / row.beside.middle for row in rows if row.beside]
    fitted = exponent(sizes, ours)
    answer.rows.append(
        Row(
            key="decide_growth",
            size=max(sizes),
            size_text="10 to 1,000 entries",
            figure=Spread(fitted, fitted, fitted),
            unit="exponent",
            target=Target(of="figure", at_most=GROWTH_LIMIT),
        )
    )
    answer.growth = [
        Growth(what="decide, time per verdict", sizes=sizes, costs=ours),
        Growth(what="linear scan, time per verdict", sizes=sizes, costs=scans),
    ]
    lines = [
        Series("decide", list(zip(sizes, ours, strict=True))),
        Series("linear scan", list(zip(sizes, scans, strict=True)), dashed=True),
    ]
    svg = growth_plot("Time per verdict", "entries in the policy", "microseconds", lines)
    answer.plots.append(Plot(file="decide.svg", svg=svg, caption="Time per verdict"))


QUESTION = Question(name="decide", seconds_quick=1, seconds_full=32, ask=ask)
