"""The node's interfaces: which one is a box's, what may be sent from it, and what can be policed.

By netlink through pyroute2, which has its own event loops: every function here blocks, and is
called in a thread.
"""

import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from boxwall.policy import Address, EntryError
from boxwall_agent.errors import CannotAttach
from boxwall_agent.netns import inside, opened
from boxwall_agent.rtnetlink import links
from boxwall_agent.ruleset import Interface

_LOOPBACK: Final = 0x8
"""IFF_LOOPBACK."""

_UNENFORCEABLE: Final = {
    "macvlan": "its frames reach the network below without passing the node's rules",
    "macvtap": "its frames reach the network below without passing the node's rules",
    "ipvlan": "its packets reach the network below without passing the node's rules",
    "ipvtap": "its packets reach the network below without passing the node's rules",
    "bridge": "attach the boxes' own links, not the bridge",
}
_TUNNELS: Final = ("sit", "ipip", "ip6tnl", "vti", "vti6", "gre", "gretap", "ip6gre", "ip6gretap")
_WITHIN: Final = frozenset(("veth", "dummy", "ifb", "bridge", "vlan", *_TUNNELS))
"""Kinds whose other end, if they have one, is in their own namespace unless they say another. Some
are in every new namespace, once a module is loaded. Not so tun: its other end is a program."""

_MOST_FOUND: Final = 64
"""Addresses of one link that are taken for the box's, at most."""

_WIDEST_LINK: Final = 8
"""Addresses of a network on the link that are taken for the box's, at most."""

_OWN_NAMESPACE: Final = "/proc/thread-self/ns/net"
_NO_NUMBER: Final = 0xFFFFFFFF
"""NETNSA_NSID_NOT_ASSIGNED: no link leads from the one namespace to the other."""

_UNICAST: Final = 1
"""RTN_UNICAST."""

_GLOBAL_SCOPE: Final = 0
_LINK_SCOPE: Final = 253
_LONGEST_NAME: Final = 15
_FAMILIES: Final = {socket.AF_INET: 4, socket.AF_INET6: 6}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a box is plugged in, as the caller said it: an interface, or a namespace."""

    interface: str = ""
    netns: str = ""
    addresses: tuple[Address, ...] = ()
    masquerade: bool = False


def find(place: Place) -> tuple[Interface, ...]:
    """Return the interfaces of a box. Raises CannotAttach with the reason and what to do, and
    KernelError.
    """
    try:
        return _find_by_netns(place) if place.netns else (_find_by_name(place),)
    except (NetlinkError, OSError) as exc:
        raise CannotAttach(f"it cannot be looked at: {exc}; try again") from exc


def _find_by_name(place: Place) -> Interface:
    with IPRoute() as link:
        found = _link_named(link, place.interface)
        _check_enforceable(link, found)
        routed = dict.fromkeys(_addresses_routed_to(link, found))
        addresses = place.addresses or tuple(routed)
    if not addresses:
        raise CannotAttach(
            f"the node has no route that says which addresses are behind {place.interface}; "
            "name them with --address"
        )
    return _interface(found, addresses, place)


def _find_by_netns(place: Place) -> tuple[Interface, ...]:
    path = place.netns if "/" in place.netns else f"/var/run/netns/{place.netns}"
    if not Path(path).exists():
        raise CannotAttach(f"there is no network namespace {place.netns}")
    if Path(path).samefile("/proc/self/ns/net"):
        raise CannotAttach(f"{place.netns} is the node's own network namespace")
    with opened(_OWN_NAMESPACE) as node, opened(path) as there:
        ends = inside(path, lambda: list(_ends_inside(path, node)))
        if not ends:
            raise CannotAttach(f"{place.netns} has no link to the node's network namespace")
        with IPRoute() as link:
            number = _number_of(link, there)
            return tuple(_found_at(link, end, number, place) for end in ends)


@dataclass(frozen=True, slots=True)
class _End:
    """A link's end in a box's namespace."""

    index: int
    peer: int | None
    """Index of the other end, if that is in the node's namespace."""
    addresses: tuple[Address, ...]


def _found_at(link: IPRoute, end: _End, namespace: int | None, place: Place) -> Interface:
    """Return the node's end. `namespace`: by which number the node knows the box's."""
    here = next(iter(link.get_links(end.peer)), None) if end.peer else None
    # Both ends must say so, of the other's index and of its namespace: indexes repeat.
    is_peer = (
        here is not None
        and namespace is not None
        and (here.get("link"), here.get("link_netnsid")) == (end.index, namespace)
    )
    if here is None or not is_peer:
        raise CannotAttach(
            f"a link of {place.netns} does not end in the node's network namespace, so "
            "what it carries cannot be policed; remove it"
        )
    _check_enforceable(link, here)
    if not place.addresses:
        _check_routed(link, here, end.addresses)
    addresses = place.addresses or end.addresses
    if not addresses:
        raise CannotAttach(
            f"the link of {place.netns} to {here.get('ifname')} has no address; give it "
            "one first, or name those it will have with --address"
        )
    return _interface(here, addresses, place)


def _ends_inside(path: str, node: int) -> Iterator[_End]:
    """The ends of links that lead out of the namespace where this runs."""
    # Not IPRoute(netns=...): it forks, which a process that uses gRPC must not.
    with IPRoute() as link:
        number = _number_of(link, node)
        for one in link.get_links():
            kind = _kind(one)
            if one["flags"] & _LOOPBACK or _stays_inside(one, kind):
                continue
            if kind not in ("veth", ""):
                raise CannotAttach(f"{one.get('ifname')} in {path} is a {kind}: {_why(kind)}")
            addresses = tuple(
                _own(address)
                for address in link.get_addr(index=one["index"])
                if address["scope"] == _GLOBAL_SCOPE
            )
            ends_here = number is not None and one.get("link_netnsid") == number
            yield _End(one["index"], one.get("link") if ends_here else None, addresses)


def _stays_inside(found: Any, kind: str) -> bool:
    """Whether all that the link carries comes and goes by other links of its namespace."""
    return kind in _WITHIN and found.get("link_netnsid") is None


def _number_of(link: IPRoute, namespace: int) -> int | None:
    """By which number the namespace of `link` knows another, given as a file descriptor."""
    number = link.get_netnsid(fd=namespace)["nsid"]
    return None if number == _NO_NUMBER else int(number)


def _link_named(link: IPRoute, name: str) -> Any:
    if not name or len(name) > _LONGEST_NAME or "/" in name or name.split() != [name]:
        raise CannotAttach(f"{name[:40]!a} is not the name of an interface")
    try:
        return next(iter(link.get_links(ifname=name)))
    except (NetlinkError, StopIteration):
        raise CannotAttach(f"there is no interface {name}; `ip link` lists them") from None


def _check_enforceable(link: IPRoute, found: Any) -> None:
    name, kind = found.get("ifname"), _kind(found)
    if found["flags"] & _LOOPBACK:
        raise CannotAttach(f"{name} is the loopback interface")
    if kind in _UNENFORCEABLE:
        raise CannotAttach(f"{name} is a {kind}: {_UNENFORCEABLE[kind]}")
    master = found.get("master")
    if master:
        above = next(iter(link.get_links(master)))
        raise CannotAttach(
            f"{name} is a port of {above.get('ifname')}, which passes frames on before the node's "
            "rules see them; give the box a link of its own"
        )
    for upper in links().values():
        if upper.lower == found["index"]:
            raise CannotAttach(
                f"{upper.name} lies upon {name}, and takes frames that the node's rules do not see "
                f"as the box's; remove {upper.name}"
            )
    for family in _FAMILIES:
        for route in link.get_default_routes(family):
            if route.get("oif") == found["index"]:
                raise CannotAttach(f"{name} is where the node's own default route goes")


def _check_routed(link: IPRoute, here: Any, addresses: Sequence[Address]) -> None:
    """Addresses that were found inside are the box's word, if it runs already. It may not send
    from one that the node would send elsewhere, nor keep other boxes from it.
    """
    if len(addresses) > _MOST_FOUND:
        raise CannotAttach(
            f"{len(addresses)} addresses were found at the other end of {here.get('ifname')}; "
            "name those that count with --address"
        )
    for address in addresses:
        if not _is_routed_to(link, here["index"], address):
            raise CannotAttach(
                f"{address} was found at the other end of {here.get('ifname')}, and the node does "
                "not send there what is for it; give the node a route, or name the box's addresses "
                "with --address"
            )


def _is_routed_to(link: IPRoute, index: int, address: Address) -> bool:
    try:
        (route,) = link.route("get", dst=str(address))
    except NetlinkError:
        return False
    return bool(route["type"] == _UNICAST and route.get("oif") == index)


def _own(found: Any) -> Address:
    """Of an address that has a peer, "address" is the peer."""
    return Address.parse(found.get("local") or found.get("address"))


def _addresses_routed_to(link: IPRoute, found: Any) -> Iterator[Address]:
    """The addresses that the node sends to the interface, where they are few enough to be a box's.

    Routes to single addresses, and the other addresses of a small network on the link.
    """
    index = found["index"]
    own = {_own(one) for one in link.get_addr(index=index)}
    for family, version in _FAMILIES.items():
        width = 32 if version == 4 else 128
        for route in link.get_routes(family=family, oif=index, type=1):
            text = route.get("dst")
            if text is None or route.get("gateway") is not None:
                continue
            first = Address.parse(text)
            size = 1 << (width - route["dst_len"])
            is_link_local = version == 6 and first.value >> 118 == _LINK_LOCAL
            if size > _WIDEST_LINK or is_link_local:
                continue
            for value in _hosts(first.value, size, version):
                address = Address(version, value)
                if address not in own:
                    yield address


_LINK_LOCAL: Final = 0xFE80 >> 6
"""The first ten bits of fe80::/10."""


def _hosts(first: int, size: int, version: int) -> range:
    """Without the network's and the broadcast address of IPv4, and IPv6's anycast address."""
    if size <= 2:
        return range(first, first + size)
    return range(first + 1, first + size - (1 if version == 4 else 0))


def _interface(found: Any, addresses: tuple[Address, ...], place: Place) -> Interface:
    return Interface(
        name=found.get("ifname"),
        index=found["index"],
        addresses=addresses,
        masquerade=place.masquerade,
    )


def _kind(found: Any) -> str:
    info = found.get("linkinfo")
    return "" if info is None else str(info.get("kind") or "")


def _why(kind: str) -> str:
    return _UNENFORCEABLE.get(kind, "what it carries cannot be seen on the node")


def address_of(text: str) -> Address:
    """Read an address of a box. Raises CannotAttach."""
    try:
        return Address.parse(text)
    except EntryError as exc:
        raise CannotAttach(str(exc)) from exc
