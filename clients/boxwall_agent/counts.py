"""How many packets of a box were refused: exact, counted by the kernel."""

from collections.abc import Iterable, Sequence
from threading import Lock
from typing import Final

from boxwall_agent.errors import KernelError
from boxwall_agent.hosted import Hosted
from boxwall_agent.nft.expressions import host32
from boxwall_agent.nft.kernel import Nftables

COUNTERS: Final = ("refused", "spoofed", "limited", "dropped", "refused_in")

_FEW: Final = 4
"""Boxes that are asked for one by one: a whole set has an element for each box of the node."""


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
