"""What must the kernel hold for a box? A policy and an interface in, elements out. Pure.

For the interface with index 7, the policy

    allowed_cidrs: [104.16.0.0/12]    denied_cidrs: [104.16.120.0/24]

is, with grant 5 for its one allowed entry,

    has_allow4 {7}   has_deny4 {7}   allow4_12 {7 . 104.16.0.0 : 5}   deny4_24 {7 . 104.16.120.0}
    live {7 . 5}

and `deny_all` is no element at all, like no policy: what is not found is refused.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias, assert_never

from boxwall.policy import (
    Address,
    AllowAll,
    Custom,
    DenyAll,
    Network,
    NetworkTable,
    Policy,
    Unlisted,
)
from boxwall_agent.grants import GrantPool
from boxwall_agent.leases import LeasePlan
from boxwall_agent.marks import UNREAD, Grant
from boxwall_agent.nft.expressions import host32
from boxwall_agent.nft.family import IPV4, IPV6, Family
from boxwall_agent.nft.layout import allow_set, deny_set
from boxwall_agent.nft.objects import Element

Reason: TypeAlias = Network | None
"""Why traffic may pass: an entry of allowed_cidrs, or None for "whatever is not denied"."""

Slot: TypeAlias = tuple[str, bytes]
"""A place in the kernel for one element: its set, and its key there."""

_FAMILY: Final = {4: IPV4, 6: IPV6}
_ALLOW: Final = {f: {n: allow_set(f, n) for n in f.key_lengths} for f in (IPV4, IPV6)}
_DENY: Final = {f: {n: deny_set(f, n) for n in f.key_lengths} for f in (IPV4, IPV6)}
_BY_INDEX: Final = (
    "hosted",
    "refused",
    "spoofed",
    "refused_in",
    "limited",
    "dropped",
    "records",
    "too_fast",
    "too_much",
    "asks_too_much",
)
"""Sets that hold every box: that it is one, its counters and its share of what all use."""

_INTERFACE_NAME: Final = struct.Struct("16s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """The host's side of a box's link."""

    name: str
    index: int
    """0: it is gone, and its name stays policed."""
    addresses: tuple[Address, ...]
    """What the box may send from."""
    masquerade: bool = False
    """Whether the box leaves the node by the node's address."""

    @property
    def is_gone(self) -> bool:
        """Whether there is no such interface any more."""
        return not self.index


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxRules:
    """What the kernel holds for one box."""

    elements: frozenset[Element]
    grants: Mapping[Reason, Grant] = field(default_factory=dict)
    denied: frozenset[Network] = frozenset()
    lengths: frozenset[tuple[int, int]] = frozenset()
    """IP version and prefix length of the sets that are needed."""


def closed(interface: Interface) -> BoxRules:
    """Nothing passes. From anything else to this only takes elements away."""
    return BoxRules(elements=frozenset(_identity(interface)))


def absent(interface: Interface) -> BoxRules:
    """The interface is gone; one that is made anew under its name reaches nothing."""
    return BoxRules(elements=frozenset((_named(interface),)))


def boxes_key(interface: Interface) -> bytes:
    """The key under which the set `boxes` has the interface."""
    return _INTERFACE_NAME.pack(interface.name.encode())


def sealed(rules: BoxRules, interface: Interface, seal: bytes) -> BoxRules:
    """The rules, and what says whose they are."""
    return replace(
        rules, elements=rules.elements | {Element("seals", host32(interface.index), seal)}
    )


def first_key(interface: Interface, reason: Reason) -> tuple[str, bytes]:
    """The map, and the key in it, under which the grant of an allowed entry is found."""
    index = host32(interface.index)
    if reason is None:
        return "all", index
    family = _FAMILY[reason.version]
    length, key = next(_keys(family, reason))
    return _ALLOW[family][length], index + key


def lease_slots(interface: Interface, plan: LeasePlan) -> dict[Slot, bytes | None]:
    """What changes in the kernel: the value that each slot has then; None: no element."""
    index = host32(interface.index)
    slots: dict[Slot, bytes | None] = {("live", index + host32(one)): b"" for one in plan.live}
    slots.update((("live", index + host32(one)), None) for one in plan.dead)
    for address, grant in plan.addresses.items():
        family = _FAMILY[address.version]
        key = index + family.packed(address.value)
        slots[f"lease{family.suffix}", key] = None if grant is None else host32(UNREAD | grant)
    return slots


def rules_of(interface: Interface, policy: Policy, before: BoxRules, grants: GrantPool) -> BoxRules:
    """Return what puts `policy` in force. Entries that were in force keep their grants.

    An allowed entry that a new denied CIDR overlaps gets another grant, so that its connections
    are judged again.
    """
    match policy:
        case DenyAll():
            return closed(interface)
        case AllowAll():
            return _rules(interface, (None,), (), before, grants)
        case Custom():
            allowed: tuple[Reason, ...] = policy.allowed_cidrs
            if policy.unlisted is Unlisted.ALLOW:
                allowed = (None,)
            return _rules(interface, allowed, policy.denied_cidrs, before, grants)
        case _:
            assert_never(policy)


def _rules(
    interface: Interface,
    allowed: Iterable[Reason],
    denied: Iterable[Network],
    before: BoxRules,
    pool: GrantPool,
) -> BoxRules:
    all_denied = frozenset(denied)
    grants = _grants(allowed, all_denied - before.denied, before.grants, pool)
    index = host32(interface.index)
    # Of two entries that come to the same key (2001::/28, and a part of 2001::/25), the first
    # counts: an element has one value.
    values: dict[tuple[str, bytes], bytes] = {}
    lengths: set[tuple[int, int]] = set()
    for reason, grant in grants.items():
        mark = host32(grant)
        values["live", index + mark] = b""
        if reason is None:
            values["all", index] = mark
            continue
        family = _FAMILY[reason.version]
        values[f"has_allow{family.suffix}", index] = b""
        for length, key in _keys(family, reason):
            lengths.add((family.version, length))
            values.setdefault((_ALLOW[family][length], index + key), mark)
    for network in all_denied:
        family = _FAMILY[network.version]
        values[f"has_deny{family.suffix}", index] = b""
        for length, key in _keys(family, network):
            lengths.add((family.version, length))
            values[_DENY[family][length], index + key] = b""
    made = (Element(name, key, value) for (name, key), value in values.items())
    return BoxRules(
        elements=frozenset((*_identity(interface), *made)),
        grants=grants,
        denied=all_denied,
        lengths=frozenset(lengths),
    )


def _grants(
    allowed: Iterable[Reason],
    newly_denied: frozenset[Network],
    before: Mapping[Reason, Grant],
    pool: GrantPool,
) -> dict[Reason, Grant]:
    overlapping: NetworkTable[None] = NetworkTable((network, None) for network in newly_denied)
    grants: dict[Reason, Grant] = {}
    for reason in allowed:
        kept = before.get(reason)
        if kept is None or (newly_denied and _is_touched(reason, overlapping)):
            kept = pool.take()
        grants[reason] = kept
    return grants


def _is_touched(reason: Reason, denied: NetworkTable[None]) -> bool:
    return reason is None or any(hit is not None for hit in denied.within(reason))


def _keys(family: Family, network: Network) -> Iterator[tuple[int, bytes]]:
    """The prefix length of the set, and the networks in it that make up `network`."""
    length = family.key_length(network.prefix_length)
    step = 1 << (family.width - length)
    for first in range(network.first, network.last + 1, step):
        yield length, family.packed(first)


def _identity(interface: Interface) -> Iterator[Element]:
    """What makes the interface a box's, with or without a policy."""
    index = host32(interface.index)
    named = _named(interface)
    yield named
    if interface.masquerade:
        yield Element("masqueraded", named.key)
    for one in _BY_INDEX:
        yield Element(one, index)
    for address in interface.addresses:
        family = _FAMILY[address.version]
        packed = family.packed(address.value)
        yield Element(f"own{family.suffix}", index + packed)
        yield Element(f"box{family.suffix}", packed)


def _named(interface: Interface) -> Element:
    return Element("boxes", boxes_key(interface))
