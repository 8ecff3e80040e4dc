"""Which addresses a sandbox's link can have: private ones that the host does not route. Pure."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final, TypeAlias

from boxwall_agent.sandbox.errors import CannotSandbox

Net: TypeAlias = IPv4Network | IPv6Network
Draw: TypeAlias = Callable[[int], int]
"""Return a random number below the argument."""

_POOLS4: Final = (IPv4Network("100.64.0.0/10"), IPv4Network("10.0.0.0/8"))
"""RFC 6598 first: few hosts use it. No box can reach any of it, whatever its policy."""

_POOL6: Final = IPv6Network("fd00::/8")
"""RFC 4193: 40 random bits follow."""

_RANDOM4: Final = 30
_RANDOM6: Final = 48
"""Up to this bit the network is random; what follows is zero."""

_PLEN4: Final = 30
_PLEN6: Final = 126
_ATTEMPTS: Final = 256


@dataclass(frozen=True, slots=True)
class LinkNetwork:
    """The network of one link."""

    network: Net

    @property
    def host(self) -> str:
        """The host's address on it, where the box sends everything."""
        return str(self.network[1])

    @property
    def box(self) -> str:
        """The box's address."""
        return str(self.network[2])

    @property
    def plen(self) -> int:
        """Its prefix length."""
        return self.network.prefixlen

    @property
    def everything(self) -> str:
        """The destination of a default route."""
        return "0.0.0.0/0" if self.network.version == 4 else "::/0"


def choose(routed: Iterable[Net], *, with_ipv6: bool, draw: Draw) -> tuple[LinkNetwork, ...]:
    """Return a network for each family that overlaps none of `routed` (default routes aside).

    Raises CannotSandbox if none can be found.
    """
    taken = [network for network in routed if network.prefixlen]
    chosen = [_free(_POOLS4, _RANDOM4, _PLEN4, taken, draw)]
    if with_ipv6:
        chosen.append(_free((_POOL6,), _RANDOM6, _PLEN6, taken, draw))
    return tuple(map(LinkNetwork, chosen))


def _free(
    pools: tuple[Net, ...], random_up_to: int, plen: int, taken: list[Net], draw: Draw
) -> Net:
    for pool in pools:
        width = pool.max_prefixlen
        for _ in range(_ATTEMPTS):
            number = draw(1 << (random_up_to - pool.prefixlen))
            base = int(pool.network_address) + (number << (width - random_up_to))
            found = _network(pool.version, base, plen)
            if not any(one.version == found.version and _overlap(one, found) for one in taken):
                return found
    names = " and ".join(map(str, pools))
    raise CannotSandbox(f"the host has routes to all of {names}: no address is left for a sandbox")


def _network(version: int, base: int, plen: int) -> Net:
    return IPv4Network((base, plen)) if version == 4 else IPv6Network((base, plen))


def _overlap(one: Net, other: Net) -> bool:
    """Of the same family."""
    shorter = min(one.prefixlen, other.prefixlen)
    shift = one.max_prefixlen - shorter
    return int(one.network_address) >> shift == int(other.network_address) >> shift


def route_network(destination: str, plen: int) -> Net:
    """Return the destination of a route as a network."""
    return ip_network(f"{destination}/{plen}", strict=False)
