"""Who is where on a node: which interfaces a box may have, and what is around it. Pure."""

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Final

from boxwall.policy import Address, Network, NetworkTable, Surroundings
from boxwall.policy.addresses import WIDTH
from boxwall_agent.errors import CannotAttach
from boxwall_agent.hosted import Hosted
from boxwall_agent.ruleset import Interface
from boxwall_agent.table import Shared

_NO_HOSTS: Final[NetworkTable[str]] = NetworkTable(
    (Network.parse(text), what)
    for text, what in (
        ("0.0.0.0/8", "no host's address"),
        ("127.0.0.0/8", "a loopback address"),
        ("224.0.0.0/4", "a multicast address"),
        ("240.0.0.0/4", "no host's address"),
        ("::/128", "no host's address"),
        ("::1/128", "a loopback address"),
        ("ff00::/8", "a multicast address"),
    )
)


def check_place(hosted: Mapping[str, Hosted], box_id: str, interfaces: Sequence[Interface]) -> None:
    """Raise CannotAttach if the box cannot have these interfaces."""
    before = hosted.get(box_id)
    if before is not None:
        _check_none_is_left(before, interfaces)
    for other in hosted.values():
        if other.box_id != box_id and not other.is_forgotten:
            _check_apart(other, interfaces)


def check_addresses(interfaces: Sequence[Interface], node: Set[Address]) -> None:
    """Raise CannotAttach if one of the addresses can be no box's. `node`: the node's own.

    Whose the node's address were, could send as the node.
    """
    for address in (address for one in interfaces for address in one.addresses):
        if address in node:
            raise CannotAttach(f"{address} is the node's own; name the box's own with --address")
        found = _NO_HOSTS.find(address)
        if found is not None:
            raise CannotAttach(f"{address} is {found[1]}; name the box's own with --address")


def surroundings_of(shared: Shared, boxes: Iterable[Hosted]) -> Surroundings:
    """What is blocked besides what always is: the operator's ranges, the node, other boxes."""
    blocked = [(network, "the operator's") for network in shared.blocked]
    blocked += [(_alone(address), "the node's own") for address in shared.node_addresses]
    blocked += [
        (_alone(address), "another box's")
        for hosted in boxes
        for interface in hosted.interfaces
        for address in interface.addresses
    ]
    return Surroundings(blocked=NetworkTable(blocked))


def _check_none_is_left(before: Hosted, interfaces: Sequence[Interface]) -> None:
    """A box that moves would leave its old interface unpoliced, with itself perhaps still on it."""
    taken = {one.name for one in interfaces} | {one.index for one in interfaces}
    there = [one for one in before.interfaces if not one.is_gone]
    left = [one.name for one in there if not {one.name, one.index} & taken]
    if left:
        raise CannotAttach(
            f"box {before.box_id} is attached at {', '.join(sorted(left))}; detach it first"
        )


def _check_apart(other: Hosted, interfaces: Sequence[Interface]) -> None:
    names = {interface.name for interface in interfaces}
    indexes = {interface.index for interface in interfaces}
    addresses = {address for interface in interfaces for address in interface.addresses}
    for theirs in other.interfaces:
        if theirs.name in names:
            raise CannotAttach(f"{theirs.name} belongs to box {other.box_id}; detach that first")
        if theirs.is_gone:
            continue
        if theirs.index in indexes:
            raise CannotAttach(f"this was {theirs.name} of box {other.box_id}; detach that first")
        for address in addresses.intersection(theirs.addresses):
            raise CannotAttach(
                f"{address} belongs to box {other.box_id}; boxes need addresses of their own"
            )


def _alone(address: Address) -> Network:
    return Network(address.version, address.value, WIDTH[address.version])
