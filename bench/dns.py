"""What does a box pay for asking by way of the agent, and how much does that answer?"""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from bench import resolvers
from bench.answers import Answer, Growth, Plot, Row, Target
from bench.cells import Cell, cells
from bench.dns_site import (
    AGENT,
    CACHED,
    DIRECT,
    FLOODS,
    FORGOTTEN,
    NAMES,
    NEW,
    REFUSED,
    TEXTS,
    Site,
)
from bench.figures import Spread, ratios
from bench.harness import Bench, Question
from bench.namespace import why_not
from bench.resolvers import DNSMASQ, PORTS, UNBOUND
from bench.svg import Series, growth_plot
from bench.two_ways import BARE, BARE_NODE, BY_NAME, Ways, two_ways

ADDED = {CACHED: Target(of="figure", at_most=0.5), NEW: Target(of="figure", at_most=1.0)}
PER_CORE = Target(of="ratio", at_least=0.07)


@dataclass(slots=True)
class Rounds:
    """What was measured of one resolver, by kind of question."""

    p50: dict[str, list[float]] = field(default_factory=dict)
    p99: dict[str, list[float]] = field(default_factory=dict)
    per_core: dict[str, list[float]] = field(default_factory=dict)


@dataclass(slots=True)
class Measured:
    """Of one cell: every resolver in turn; unbound only in the middle one."""

    cell: Cell
    rounds: dict[str, Rounds]
    upstream: list[float] = field(default_factory=list)
    """Questions a second that the upstream answers when it is asked directly."""
    asking: list[float] = field(default_factory=list)
    """Questions for each second of processor time of the program that asks."""


async def ask(bench: Bench) -> list[Answer]:
    """Measure every cell; the resolvers in turn."""
    added, rate = _answers()
    reason = why_not() or resolvers.missing()
    if reason:
        for answer in (added, rate):
            answer.left_out = reason
        return [added, rate]
    found: list[Measured] = []
    for boxes, of_these in cells(bench).items():
        async with two_ways(bench, boxes, "bench.asker:Asker") as ways:
            found += [await _measure(bench, ways, cell) for cell in of_these]
    for measured in found:
        for other in (DNSMASQ, UNBOUND):
            if other in measured.rounds:
                _add_rows(added, rate, measured, other)
    _add_growth(added, found, "p50", "ms until an answer", 1.0)
    _add_growth(rate, found, "per_core", "microseconds of processor time for an answer", 1e3)
    rate.remarks += _remarks(found)
    return [added, rate]


def _answers() -> tuple[Answer, Answer]:
    how = (
        "A box asks for A records through its node, where the agent answers; three network "
        "namespaces joined by veth pairs, IPv4. The policy of the box has so many wildcard "
        "entries, the other boxes have five entries each; limits are lifted."
    )
    who = (
        "dnsmasq, told to forward the same domains to the same upstream and to refuse the rest, on "
        "a node that only forwards; where a row says so, unbound, told the same."
    )
    added = Answer(
        title="DNS: time added",
        what=f"{how} Questions one after the other over one socket; the time from sending to the "
        "answer, less that of asking the upstream directly through a node that only forwards, in "
        "the same round. A name that was never asked for is also leased: in the kernel and in the "
        "agent's state file before the answer.",
        beside=f"{who} The same difference.",
    )
    rate = Answer(
        title="DNS: answers per core",
        what=f"{how} dnsperf keeps 50 questions under way over four sockets; answers for each "
        f"second of processor time of the resolver's process. {NAMES} names come round and round; "
        "the agent knows a query that comes again within a second by its octets, so there is also "
        "a row in which the case of letters is another each time. Not in the cache: the upstream "
        "says that its answers may not be remembered (TTL 0); those names are leased already.",
        beside=who,
    )
    return added, rate


async def _measure(bench: Bench, ways: Ways, cell: Cell) -> Measured:
    await ways.allow([f"*.{domain}" for domain in cell.domains])
    servers = {AGENT: (BY_NAME, 53), DIRECT: (BARE, 53)}
    children = {AGENT: ways.agent, DIRECT: ways.outside.child}
    questions, seconds = bench.pick(100, 300), bench.pick(0.1, 0.3)
    others = (DNSMASQ, UNBOUND) if cell.is_middle else (DNSMASQ,)
    measured = Measured(cell, {who: Rounds() for who in (AGENT, DIRECT, *others)})
    async with AsyncExitStack() as stack:
        for name in others:
            child = await resolvers.start(bench, ways.bare, name, BARE_NODE, BARE, cell.domains)
            stack.push_async_callback(child.stop)
            servers[name], children[name] = (BARE_NODE, PORTS[name]), child
        site = Site(ways, cell, servers, children)
        for who, (server, port) in servers.items():
            first = site.names(CACHED, 1)[0]
            call = ways.box.call("ready_to_ask", server=server, port=port, name=first)
            await children[who].outlives(call)
            for kind in (CACHED, FORGOTTEN):
                await site.ask(who, kind, NAMES)
        for _ in range(bench.rounds):
            await _round(site, measured, questions, seconds)
    return measured


async def _round(site: Site, measured: Measured, questions: int, seconds: float) -> None:
    for kind in (CACHED, NEW, REFUSED):
        for who, rounds in measured.rounds.items():
            found = await site.ask(who, kind, questions)
            rounds.p50.setdefault(kind, []).append(found["p50"] * 1e3)
            rounds.p99.setdefault(kind, []).append(found["p99"] * 1e3)
    for kind in FLOODS:
        for who, rounds in measured.rounds.items():
            if who == DIRECT:
                continue
            found = await site.flood(who, kind, seconds)
            per_core = found["answered"] / found["server"] / 1e3
            rounds.per_core.setdefault(kind, []).append(per_core)
            measured.asking.append(found["answered"] / found["used"])
    found = await site.flood(DIRECT, CACHED, seconds)
    measured.upstream.append(found["answered"] / found["seconds"])


def _add_rows(added: Answer, rate: Answer, measured: Measured, other: str) -> None:
    for kind in (CACHED, NEW, REFUSED):
        for share in ("p50", "p99"):
            added.rows.append(_added_row(measured, kind, share, other))
    for kind in FLOODS:
        rate.rows.append(_rate_row(measured, kind, other))


def _added_row(measured: Measured, kind: str, share: str, other: str) -> Row:
    bare, ours, theirs = (
        getattr(measured.rounds[who], share)[kind] for who in (DIRECT, AGENT, other)
    )
    promised = share == "p50" and other == DNSMASQ
    return Row(
        key=_key("dns_added", measured.cell, f"{kind}_{share}", other),
        size=measured.cell.boxes,
        size_text=_text(measured.cell, f"{TEXTS[kind]}, {share}", other),
        figure=Spread.of(_less(ours, bare)),
        unit="ms",
        beside=Spread.of(_less(theirs, bare)),
        target=ADDED.get(kind) if promised else None,
    )


def _rate_row(measured: Measured, kind: str, other: str) -> Row:
    ours, theirs = (measured.rounds[who].per_core[kind] for who in (AGENT, other))
    return Row(
        key=_key("dns_per_core", measured.cell, kind, other),
        size=measured.cell.boxes,
        size_text=_text(measured.cell, TEXTS[kind], other),
        figure=Spread.of(ours),
        unit="thousand/s",
        beside=Spread.of(theirs),
        ratio=ratios(ours, theirs),
        target=PER_CORE if other == DNSMASQ else None,
    )


def _key(name: str, cell: Cell, what: str, other: str) -> str:
    beside = "" if other == DNSMASQ else f"_beside_{other}"
    return f"{name}_{what.replace(' ', '_')}_{cell.key}{beside}"


def _text(cell: Cell, what: str, other: str) -> str:
    return f"{cell.text}, {what}" + ("" if other == DNSMASQ else f", beside {other}")


def _less(values: Sequence[float], others: Sequence[float]) -> list[float]:
    return [value - other for value, other in zip(values, others, strict=True)]


def _add_growth(
    answer: Answer, found: Sequence[Measured], which: str, unit: str, scale: float
) -> None:
    """`which` is a time, or a rate in thousands of which the inverse is one."""
    kinds = (CACHED, NEW) if which == "p50" else FLOODS
    for axis in ("boxes", "domains"):
        on_axis = [one for one in found if one.cell.is_on(axis)]
        if len(on_axis) < 2:
            continue  # a quick run
        sizes = [float(one.cell.size(axis)) for one in on_axis]
        lines = []
        for kind in kinds:
            middles = [Spread.of(getattr(one.rounds[AGENT], which)[kind]).middle for one in on_axis]
            costs = middles if which == "p50" else [scale / middle for middle in middles]
            what = f"{unit}, {TEXTS[kind]}, with {axis}"
            answer.growth.append(Growth(what=what, sizes=sizes, costs=costs))
            lines.append(Series(TEXTS[kind], list(zip(sizes, costs, strict=True))))
        title = f"{answer.title}, {axis}"
        file = f"dns-{which.replace('_', '-')}-{axis}.svg"
        svg = growth_plot(title, axis, unit, lines)
        answer.plots.append(Plot(file=file, svg=svg, caption=title))


def _remarks(found: Sequence[Measured]) -> list[str]:
    alone = Spread.of([one for measured in found for one in measured.upstream])
    asking = Spread.of([one for measured in found for one in measured.asking])
    return [
        f"The upstream alone, asked directly by the same dnsperf: {alone.middle:,.0f} answers/s "
        f"({alone.low:,.0f} to {alone.high:,.0f}).",
        f"dnsperf asks up to {asking.high:,.0f} questions for each second of its own processor "
        "time; as answers are counted for each second of the resolver's, neither it nor the "
        "upstream limits the figures.",
        "Whether answers came from the cache or from the upstream was counted at the upstream.",
    ]


QUESTION = Question(name="dns", seconds_quick=9, seconds_full=170, ask=ask)
