"""What does TLS to an allowed name pay for the name being proven?"""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from bench.answers import Answer, Growth, Plot, Row, Target
from bench.cells import Cell, cells
from bench.figures import Spread, ratios
from bench.harness import Bench, Question
from bench.namespace import said, spawn_inside, why_not
from bench.processes import python
from bench.svg import Series, growth_plot
from bench.two_ways import BARE, BARE_NODE, BY_NAME, BY_NETWORK, Ways, two_ways

NAME, NETWORK, PROXY, BARELY = "by name", "by network", "proxy", "bare"
WHERE = {NAME: BY_NAME, NETWORK: BY_NETWORK, PROXY: BARE_NODE, BARELY: BARE}
FIRST_BYTE = Target(of="figure", at_most=1.0)
DOWNLOAD = Target(of="ratio", at_least=0.9)
ELSEWHERE = "www.elsewhere.example"


@dataclass(slots=True)
class Rounds:
    """What was measured of one way."""

    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    download: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Measured:
    """Of one cell: every way in turn."""

    cell: Cell
    rounds: dict[str, Rounds]


async def ask(bench: Bench) -> list[Answer]:
    """Measure every cell; the ways in turn."""
    first, download = _answers(bench)
    reason = why_not()
    if reason:
        for answer in (first, download):
            answer.left_out = reason
        return [first, download]
    found: list[Measured] = []
    for boxes, of_these in cells(bench).items():
        async with two_ways(bench, boxes, "bench.surfer:Surfer") as ways:
            await ways.box.call("trust", authority=ways.authority)
            found += [await _measure(bench, ways, cell) for cell in of_these]
    for measured in found:
        _add_rows(first, download, measured)
    _add_growth(first, found, "p50", "ms until the first byte, by name")
    _add_growth(download, found, "download", "ms for a megabyte, by name")
    first.remarks.append(
        "At every size a name that is not allowed was refused by the node and by the proxy."
    )
    return [first, download]


def _answers(bench: Bench) -> tuple[Answer, Answer]:
    how = (
        "A box opens TLS 1.3 connections to a server outside, with a name that a wildcard entry of "
        "its policy allows and whose address it was told before; three network namespaces joined "
        "by veth pairs, IPv4 with masquerading. The policy of the box has so many wildcard "
        "entries, the other boxes have five each."
    )
    ways = (
        "An address that is allowed by network goes through the same node, and no name is looked "
        "at. The proxy is a user-space SNI proxy on asyncio (bench/sni_proxy.py), with the same "
        "entries, on the bare node; the box connects to it as if it were the server."
    )
    first = Answer(
        title="TLS: time added until the first byte",
        what=f"{how} From connecting, by the handshake, to the first octet of an answer; each "
        "connection is new. What is shown is the time more than through a node that only forwards, "
        f"in the same round. {ways}",
        beside="The time itself through the node that only forwards, with connection tracking and "
        "the same masquerading.",
    )
    size = _octets(bench) >> 20
    download = Answer(
        title="TLS: download",
        what=f"{how} One connection, {size} MiB, one sender and one receiver in Python on this "
        f"machine. {ways}",
        beside="The same through a node that only forwards.",
    )
    return first, download


async def _measure(bench: Bench, ways: Ways, cell: Cell) -> Measured:
    entries = [f"*.{domain}" for domain in cell.domains]
    await ways.allow(entries)
    names = [f"www.{domain}" for domain in cell.domains[-3:]]
    asked = await ways.box.call("ask", server=BY_NAME, port=53, names=names)
    if asked["codes"] != ["NOERROR"]:
        raise AssertionError(f"the names are answered with {asked['codes']}")
    rounds = {way: Rounds() for way in WHERE}
    async with AsyncExitStack() as stack:
        await _start_proxy(bench, ways, stack, entries)
        for way in (NAME, PROXY):
            if not await ways.box.call("is_refused", address=WHERE[way], name=ELSEWHERE):
                raise AssertionError(f"{way}: a name that is not allowed is let through")
        for number in range(bench.rounds + 1):
            name = names[number % len(names)]
            for way, found in rounds.items():
                await _one(bench, ways, way, name, found if number else Rounds())
    return Measured(cell, rounds)


async def _start_proxy(
    bench: Bench, ways: Ways, stack: AsyncExitStack, entries: Sequence[str]
) -> None:
    allowed, log = bench.fresh("allowed"), bench.fresh("proxy.log")
    allowed.write_text("\n".join(entries))
    argv = python("-m", "bench.sni_proxy", BARE_NODE, BARE, str(allowed))
    child = await spawn_inside(bench, ways.bare, "proxy", argv, log)
    stack.push_async_callback(child.stop)
    await said(child, log, b"the proxy serves")


async def _one(bench: Bench, ways: Ways, way: str, name: str, found: Rounds) -> None:
    """The first round only warms: what it finds is thrown away."""
    count, octets = bench.pick(20, 100), _octets(bench)
    call = ways.box.call("first_bytes", address=WHERE[way], name=name, count=count)
    took = await ways.agent.outlives(call)
    found.p50.append(took["p50"] * 1e3)
    found.p99.append(took["p99"] * 1e3)
    call = ways.box.call("download", address=WHERE[way], name=name, octets=octets)
    rate = await ways.agent.outlives(call)
    found.download.append(rate / 1e6)


def _octets(bench: Bench) -> int:
    return bench.pick(32, 256) << 20


def _add_rows(first: Answer, download: Answer, measured: Measured) -> None:
    cell, bare = measured.cell, measured.rounds[BARELY]
    for way in (NAME, NETWORK, PROXY):
        found, key = measured.rounds[way], f"{way.replace(' ', '_')}_{cell.key}"
        for share in ("p50", "p99"):
            took, barely = getattr(found, share), getattr(bare, share)
            first.rows.append(
                Row(
                    key=f"tls_added_{share}_{key}",
                    size=cell.boxes,
                    size_text=f"{cell.text}, {way}, {share}",
                    figure=Spread.of([a - b for a, b in zip(took, barely, strict=True)]),
                    unit="ms",
                    beside=Spread.of(barely),
                    target=FIRST_BYTE if (way, share) == (NAME, "p50") else None,
                )
            )
        download.rows.append(
            Row(
                key=f"tls_download_{key}",
                size=cell.boxes,
                size_text=f"{cell.text}, {way}",
                figure=Spread.of(found.download),
                unit="MB/s",
                beside=Spread.of(bare.download),
                ratio=ratios(found.download, bare.download),
                target=DOWNLOAD if way == NAME else None,
            )
        )


def _add_growth(answer: Answer, found: Sequence[Measured], which: str, unit: str) -> None:
    for axis in ("boxes", "domains"):
        on_axis = [one for one in found if one.cell.is_on(axis)]
        if len(on_axis) < 2:
            continue  # a quick run
        sizes = [float(one.cell.size(axis)) for one in on_axis]
        lines = []
        for way in WHERE:
            middles = [Spread.of(getattr(one.rounds[way], which)).middle for one in on_axis]
            costs = middles if which == "p50" else [1e3 / middle for middle in middles]
            lines.append(Series(way, list(zip(sizes, costs, strict=True)), dashed=way == BARELY))
            if way == NAME:
                answer.growth.append(Growth(what=f"{unit}, with {axis}", sizes=sizes, costs=costs))
        title = f"{answer.title}, {axis}"
        file = f"tls-{'first-byte' if which == 'p50' else which}-{axis}.svg"
        svg = growth_plot(title, axis, unit.partition(",")[0], lines)
        answer.plots.append(Plot(file=file, svg=svg, caption=title))


QUESTION = Question(name="names", seconds_quick=7, seconds_full=110, ask=ask)
