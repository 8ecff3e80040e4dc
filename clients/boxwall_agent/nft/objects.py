"""The things a table holds, as values. Pure."""

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Final, NamedTuple


class Field(Enum):
    """What a part of a key, or a map's value, is: nft's number for the type, and octets."""

    PROTOCOL_FAMILY = (2, 1)
    IPV4 = (7, 4)
    IPV6 = (8, 16)
    MARK = (19, 4)
    INTERFACE_INDEX = (20, 4)
    INTERFACE_NAME = (41, 16)

    @property
    def number(self) -> int:
        """The type in nft's datatype table; listings need it, the kernel does not care."""
        return self.value[0]

    @property
    def octets(self) -> int:
        """Size. Of a part of a longer key, a multiple of four."""
        return self.value[1]

    @property
    def is_host_order(self) -> bool:
        """Whether nft prints it as a number in the machine's byte order."""
        return self not in (Field.IPV4, Field.IPV6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Set:
    """A set, or a map if it has a `value`."""

    name: str
    key: tuple[Field, ...]
    value: Field | None = None
    is_interval: bool = False
    """Elements are ranges, each written as its first address and the first one after it."""
    per_element: tuple[bytes, ...] = ()
    """Stateful expressions (see `expressions`) that every element has for itself: a lookup that
    finds the element evaluates them, and does not match if one says no."""

    @property
    def key_octets(self) -> int:
        """Size of a key."""
        return sum(field.octets for field in self.key)


class Element(NamedTuple):
    """An element of the set `set`. A tuple: there are many, and sets of them are compared."""

    set: str
    key: bytes
    value: bytes = b""
    """Of a map; empty in a set."""


class HookPoint(IntEnum):
    """NF_INET_*: where the kernel asks a base chain."""

    PREROUTING = 0
    INPUT = 1
    FORWARD = 2
    OUTPUT = 3
    POSTROUTING = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """What makes a chain a base chain."""

    point: HookPoint
    priority: int
    kind: str = "filter"
    drops_by_default: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A chain. Without a hook it is only jumped to."""

    name: str
    hook: Hook | None = None


class Rule(NamedTuple):
    """A rule of `chain`; `comment` is what `nft list ruleset` shows with it."""

    chain: str
    expressions: tuple[bytes, ...]
    comment: str = ""


class RangeEnd(NamedTuple):
    """An element that ends a range of an interval set: the first address after it."""

    set: str
    key: bytes


TABLE: Final = "boxwall"
"""Of family inet: IPv4 and IPv6 alike."""
