"""Questions of every kind, to every resolver, and a look at what became of them."""

from dataclasses import dataclass, field
from itertools import count, islice
from typing import Any

from bench import procfs
from bench.cells import Cell
from bench.processes import Child
from bench.two_ways import Ways

AGENT, DIRECT = "agent", "direct"
CACHED, RESPELT, NEW, FORGOTTEN, REFUSED = "cached", "respelt", "new", "not cached", "refused"
FLOODS = (CACHED, RESPELT, FORGOTTEN, REFUSED)
TEXTS = {
    CACHED: "in the cache",
    RESPELT: "in the cache, in another case each time",
    NEW: "never asked for before",
    FORGOTTEN: "not in the cache",
    REFUSED: "refused",
}
NAMES = 100
"""That are asked for round and round: fewer than any cache holds."""

SPELLINGS = 50
"""Of each of them, where the case is another each time: more than the agent knows
by their octets."""

NOT_CACHED = 0.9
"""At least this share of the questions that no cache may answer must come to the upstream."""


@dataclass(slots=True)
class Site:
    """Where it is measured: the ways, and who answers where."""

    ways: Ways
    cell: Cell
    servers: dict[str, tuple[str, int]]
    children: dict[str, Child]
    _new: "count[int]" = field(default_factory=count)

    def names(self, kind: str, number: int) -> list[str]:
        """Return so many names of a kind, spread over the domains of the policy."""
        if kind == REFUSED:
            return [f"h{one}.elsewhere.example" for one in range(number)]
        if kind == RESPELT:
            names = self.names(CACHED, number)
            return [_spelt(name, which) for which in range(1, SPELLINGS + 1) for name in names]
        domains = self.cell.domains
        letter = {CACHED: "h", NEW: "n", FORGOTTEN: "z"}[kind]
        numbers = self._new if kind == NEW else range(number)
        return [f"{letter}{one}.{domains[one % len(domains)]}" for one in islice(numbers, number)]

    async def ask(self, who: str, kind: str, number: int) -> dict[str, Any]:
        """Ask one of them so many questions, one after the other."""
        server, port = self.servers[who]
        names = self.names(kind, number if kind == NEW else NAMES)
        names = (names * -(-number // len(names)))[:number]
        call = self.ways.box.call("ask", server=server, port=port, names=names)
        found: dict[str, Any] = await self.ways.agent.outlives(call)
        self._check(who, kind, found)
        return found

    async def flood(self, who: str, kind: str, seconds: float) -> dict[str, Any]:
        """Ask as much as is answered. What no cache may answer must come to the upstream."""
        server, port = self.servers[who]
        child = self.children[who]
        asked, used = await self.ways.outside.call("asked"), procfs.cpu_seconds(child.pid)
        call = self.ways.box.call(
            "flood",
            server=server,
            port=port,
            names=self.names(kind, NAMES),
            seconds=seconds,
            folder=str(self.ways.folder),
        )
        found: dict[str, Any] = await self.ways.agent.outlives(call)
        found["server"] = procfs.cpu_seconds(child.pid) - used
        passed_on = (await self.ways.outside.call("asked") - asked) / found["answered"]
        if who != DIRECT and not (
            passed_on >= NOT_CACHED if kind == FORGOTTEN else passed_on < 1 - NOT_CACHED
        ):
            raise AssertionError(f"{who}, {kind}: the upstream heard {passed_on:.0%} of it")
        self._check(who, kind, found)
        return found

    def _check(self, who: str, kind: str, found: dict[str, Any]) -> None:
        """Nobody is fast by refusing what is allowed, or by answering what is not."""
        codes = found["codes"]
        good = "NOERROR" not in codes if kind == REFUSED else codes == ["NOERROR"]
        if who != DIRECT and not good:
            raise AssertionError(f"{who}, {kind}: answered with {codes}")


def _spelt(name: str, which: int) -> str:
    """Write the name so that its letters' case is this number in binary."""
    bits = iter(f"{which:b}"[::-1])
    return "".join(c.upper() if c.isalpha() and next(bits, "0") == "1" else c for c in name)
