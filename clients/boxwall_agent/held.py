"""What does the kernel hold for an address of a box? Looked up in the order of the rules. Pure.

`nft.layout` says in which order a packet of a box meets the sets; this is that order, for one
address, with the look-ups made by whoever can ask the kernel. What is found first counts, whatever
anybody believes to have put there.
"""

import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

from boxwall.policy import Address
from boxwall_agent.marks import GRANT_BITS
from boxwall_agent.nft.expressions import host32
from boxwall_agent.nft.family import IPV4, IPV6, Family
from boxwall_agent.nft.layout import allow_set, deny_set
from boxwall_agent.ruleset import Interface, boxes_key

Find: TypeAlias = Callable[[str, bytes], bytes | None]
"""Of a set and a key: the value of the element, empty in a set; None: there is none."""

_OF_LENGTH: Final = re.compile(r"(?:allow|deny)([46])_([0-9]{1,3})")


class Kind(Enum):
    """What a new connection meets first. Only ALL, ALLOWED and LEASED let anything pass."""

    NOTHING = "no entry"
    NOT_POLICED = "an interface that is not policed"
    BLOCKED = "an address that is always blocked"
    DENIED = "a denied network"
    ALL = "an entry for all that is not denied"
    ALLOWED = "an allowed network"
    LEASED = "a lease"
    UNKNOWN = "unknown"
    """The kernel could not be asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What was found for one address on one interface."""

    interface: str
    address: Address
    kind: Kind
    set: str = ""
    element: str = ""
    """As nft shows it; of a range, the address that is in it."""
    grant: int = 0
    is_live: bool = False
    """Whether the grant is in force. A connection that carries it passes only while it is."""
    why_unknown: str = ""


def lengths_in(set_names: Iterable[str]) -> frozenset[tuple[int, int]]:
    """The IP versions and prefix lengths for which the table has sets."""
    found = (_OF_LENGTH.fullmatch(name) for name in set_names)
    return frozenset((int(one[1]), int(one[2])) for one in found if one is not None)


def held_for(
    find: Find, interface: Interface, address: Address, lengths: Iterable[tuple[int, int]]
) -> Held:
    """Look up what a new connection from the interface to the address meets first.

    Of several allowed networks the narrowest is named; which of them stamps a connection makes no
    difference to what passes. Raises what `find` raises.
    """
    return _LookUp(find, interface, address, lengths).first()


def is_live(find: Find, interface: Interface, grant: int) -> bool:
    """Whether connections of the interface that carry the grant pass."""
    return find("live", host32(interface.index) + host32(grant)) is not None


class _LookUp:
    def __init__(
        self,
        find: Find,
        interface: Interface,
        address: Address,
        lengths: Iterable[tuple[int, int]],
    ) -> None:
        self._find = find
        self._interface = interface
        self._address = address
        self._family: Family = IPV4 if address.version == 4 else IPV6
        self._index = host32(interface.index)
        self._lengths = sorted((n for v, n in lengths if v == address.version), reverse=True)

    def first(self) -> Held:
        if self._find("boxes", boxes_key(self._interface)) is None:
            return self._held(Kind.NOT_POLICED)
        return self._blocked() or self._denied() or self._allowed() or self._held(Kind.NOTHING)

    def _blocked(self) -> Held | None:
        packed = self._family.packed(self._address.value)
        for name in self._names("blocked", "node", "box"):
            if self._find(name, packed) is not None:
                return self._held(Kind.BLOCKED, name, str(self._address))
        return None

    def _denied(self) -> Held | None:
        (gate,) = self._names("has_deny")
        if self._find(gate, self._index) is None:
            return None
        for length in self._lengths:
            name = deny_set(self._family, length)
            if self._find(name, self._key(length)) is not None:
                return self._held(Kind.DENIED, name, self._shown(length))
        return None

    def _allowed(self) -> Held | None:
        mark = self._find("all", self._index)
        if mark is not None:
            return self._granting(Kind.ALL, "all", f'"{self._interface.name}"', mark)
        gate, lease = self._names("has_allow", "lease")
        for length in self._lengths if self._find(gate, self._index) is not None else ():
            name = allow_set(self._family, length)
            mark = self._find(name, self._key(length))
            if mark is not None:
                return self._granting(Kind.ALLOWED, name, self._shown(length), mark)
        whole = self._family.width
        mark = self._find(lease, self._key(whole))
        if mark is None:
            return None
        return self._granting(Kind.LEASED, lease, self._shown(whole), mark)

    def _granting(self, kind: Kind, name: str, key: str, value: bytes) -> Held:
        mark = int.from_bytes(value, sys.byteorder)
        grant = mark & GRANT_BITS
        live = is_live(self._find, self._interface, grant)
        return self._held(kind, name, f"{key} : {mark:#010x}", grant, is_live=live)

    def _held(
        self,
        kind: Kind,
        name: str = "",
        element: str = "",
        grant: int = 0,
        *,
        is_live: bool = False,
    ) -> Held:
        return Held(
            interface=self._interface.name,
            address=self._address,
            kind=kind,
            set=name,
            element=element,
            grant=grant,
            is_live=is_live,
        )

    def _names(self, *names: str) -> list[str]:
        return [f"{name}{self._family.suffix}" for name in names]

    def _network(self, length: int) -> int:
        return self._address.value & int.from_bytes(self._family.mask(length), "big")

    def _key(self, length: int) -> bytes:
        return self._index + self._family.packed(self._network(length))

    def _shown(self, length: int) -> str:
        return f'"{self._interface.name}" . {Address(self._address.version, self._network(length))}'
