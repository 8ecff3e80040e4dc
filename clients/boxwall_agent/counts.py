"""How many packets of a box were refused: exact, counted by the kernel."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from threading import Lock
from typing import Final

from boxwall_agent.errors import KernelError
from boxwall_agent.hosted import Hosted
from boxwall_agent.nft.expressions import host32
from boxwall_agent.nft.kernel import Nftables

COUNTERS: Final = ("refused", "spoofed", "limited", "dropped", "refused_in")

_FEW: Final = 4
"""Boxes that are asked for one by one: a whole set has an element for each box of the node."""


class Totals:
    """Adds up what counters count, and never goes back: not when a box is detached and its counters
    go, nor when the table is made anew and all begin at 0. Pure.
    """

    def __init__(self) -> None:
        self._seen: dict[str, Mapping[bytes, int]] = {}
        self._totals: Counter[str] = Counter()

    def after(self, name: str, counted: Mapping[bytes, int]) -> int:
        """Return all that the counters of the set `name` have counted, which say this now."""
        before = self._seen.get(name, {})
        for key, packets in counted.items():
            grown = packets - before.get(key, 0)
            self._totals[name] += packets if grown < 0 else grown
        self._seen[name] = counted
        return self._totals[name]


class KernelCounts:
    """Reads the counters of the table, with a socket of its own: it is called in threads."""

    def __init__(self, nft: Nftables) -> None:
        self._nft = nft
        self._lock = Lock()

    def refused(self, boxes: Sequence[Hosted]) -> dict[str, int]:
        """Packets of each box that were refused since the table was made. 0 if nobody knows."""
        keys = {one.box_id: [host32(each.index) for each in one.interfaces] for one in boxes}
        wanted = [key for each in keys.values() for key in each] if len(boxes) <= _FEW else None
        counted: dict[bytes, int] = {}
        with self._lock:
            for name in COUNTERS:
                for key, packets in self._packets(name, wanted):
                    counted[key] = counted.get(key, 0) + packets
        return {box_id: sum(counted.get(key, 0) for key in each) for box_id, each in keys.items()}

    def _packets(self, name: str, wanted: Iterable[bytes] | None) -> list[tuple[bytes, int]]:
        try:
            counters = self._nft.counters(name, wanted)
        except KernelError:
            return []
        return [(key, counted.packets) for key, counted in counters.items()]
