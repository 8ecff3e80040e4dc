"""How many packets of a box were refused: exact, counted by the kernel."""

from typing import Final

from boxwall_agent.errors import KernelError
from boxwall_agent.hosted import Hosted
from boxwall_agent.nft.expressions import host32
from boxwall_agent.nft.kernel import Nftables

COUNTERS: Final = ("refused", "spoofed", "limited", "refused_in")


class KernelCounts:
    """Reads the counters of the table."""

    def __init__(self, nft: Nftables) -> None:
        self._nft = nft

    def refused(self, hosted: Hosted) -> int:
        """Packets of the box that were refused since the table was made. 0 if nobody knows."""
        keys = {host32(interface.index) for interface in hosted.interfaces}
        try:
            return sum(
                counted.packets
                for name in COUNTERS
                for key, counted in self._nft.counters(name).items()
                if key in keys
            )
        except KernelError:
            return 0
