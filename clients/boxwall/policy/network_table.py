"""Finds the most specific network around an address, in a time that hardly grows with the table."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:  # for the signatures only: addresses builds on this module
    from boxwall.policy.addresses import Address, Network

V = TypeVar("V")


class NetworkTable(Generic[V]):
    """An immutable map from networks to values, asked by address.

    The networks of each IP version are flattened once into disjoint intervals, so that a look-up is
    one binary search. For 10.0.0.0/8 -> A and 10.1.0.0/16 -> B:

        starts   0      10.0.0.0   10.1.0.0   10.2.0.0   11.0.0.0
        hits     None   A          B          A          None

    Of a network that is given twice the first value counts.
    """

    __slots__ = ("_size", "_v4", "_v6")

    def __init__(self, entries: "Iterable[tuple[Network, V]]" = ()) -> None:
        unique: dict[Network, V] = {}
        for network, value in entries:
            unique.setdefault(network, value)
        # Sorted, a network comes before those inside it, which is what _flatten needs.
        hits = sorted(unique.items(), key=_network_of)
        self._size = len(hits)
        self._v4 = _flatten([hit for hit in hits if hit[0].version == 4])
        self._v6 = _flatten([hit for hit in hits if hit[0].version == 6])

    def __len__(self) -> int:
        return self._size

    def find(self, address: "Address") -> "tuple[Network, V] | None":
        """The most specific network that contains `address`, with its value."""
        starts, hits = self._v4 if address.version == 4 else self._v6
        return hits[bisect_right(starts, address.value) - 1]

    def within(self, network: "Network") -> "Sequence[tuple[Network, V] | None]":
        """What `find` gives for the addresses of `network`, in order, without repetitions in a row.

        `any` of it: something overlaps. `all` of it: the network is covered altogether.
        """
        starts, hits = self._v4 if network.version == 4 else self._v6
        low = bisect_right(starts, network.first) - 1
        return hits[low : bisect_right(starts, network.last)]


def _network_of(hit: "tuple[Network, V]") -> "Network":
    return hit[0]


def _flatten(
    hits: "list[tuple[Network, V]]",
) -> "tuple[list[int], list[tuple[Network, V] | None]]":
    """Starts and hits of the intervals, the first of which starts at 0.

    Networks overlap only by nesting, so those around the current point form a stack, innermost on
    top; the interval after the end of one belongs to what is below it.
    """
    starts: list[int] = [0]
    found: list[tuple[Network, V] | None] = [None]
    around: list[tuple[Network, V]] = []

    def begin(start: int, hit: "tuple[Network, V] | None") -> None:
        if starts[-1] == start:
            found[-1] = hit
        else:
            starts.append(start)
            found.append(hit)

    def leave() -> None:
        ended = around.pop()[0]
        begin(ended.last + 1, around[-1] if around else None)

    for hit in hits:
        while around and around[-1][0].last < hit[0].first:
            leave()
        begin(hit[0].first, hit)
        around.append(hit)
    while around:
        leave()
    return starts, found
