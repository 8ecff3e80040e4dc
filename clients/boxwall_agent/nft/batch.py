"""One transaction of nf_tables: what to do, in order, and its bytes. Pure.

    NEWTABLE, NEWSET, NEWCHAIN, NEWRULE, NEWSETELEM and their DELs between BATCH_BEGIN and BATCH_END

All of a batch takes effect at one instant, or nothing of it does. Only the last message asks for
an acknowledgement: failures are told anyway, and a thousand acknowledgements would overrun the
socket.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from itertools import groupby
from operator import attrgetter
from typing import Final

from boxwall_agent.netlink import (
    Flags,
    attribute,
    be32,
    message,
    nested,
    text,
)
from boxwall_agent.nft.objects import TABLE, Chain, Element, Field, Hook, RangeEnd, Rule, Set

SUBSYSTEM: Final = 10
"""NFNL_SUBSYS_NFTABLES."""

INET: Final = 1
"""NFPROTO_INET."""

BRIDGE: Final = 7
"""NFPROTO_BRIDGE."""

_BATCH_BEGIN: Final = 16
_BATCH_END: Final = 17
_LARGEST_LIST: Final = 48_000
"""Octets of elements in one message: the length of a netlink attribute has 16 bits."""

_RANGE_END: Final = be32(3, 1)
"""NFTA_SET_ELEM_FLAGS: NFT_SET_ELEM_INTERVAL_END."""

_COMMENT: Final = 0
_LONGEST_COMMENT: Final = 120
"""NFTNL_UDATA_RULE_COMMENT, and how much of a comment nft shows."""

_KEY_BYTE_ORDER: Final = 0
_VALUE_BYTE_ORDER: Final = 1
_HOST_ORDER: Final = 1
_BIG_ENDIAN: Final = 2
"""NFTNL_UDATA_SET_*, and nft's names of byte orders: without them a listing shows nothing."""


_TABLE_COMMENT: Final = b"Boxwall; made and kept by its agent\0"
OUR_MARK: Final = bytes((0, len(_TABLE_COMMENT))) + _TABLE_COMMENT
"""User data of a table that Boxwall made: NFTNL_UDATA_TABLE_COMMENT, which nft shows."""


NEVER: Final = "the end of a rehearsal"
"""How `Batch.fail` is described."""


class Type(IntEnum):
    """NFT_MSG_*."""

    NEWTABLE = 0
    GETTABLE = 1
    DELTABLE = 2
    NEWCHAIN = 3
    DELCHAIN = 5
    NEWRULE = 6
    GETRULE = 7
    DELRULE = 8
    NEWSET = 9
    GETSET = 10
    NEWSETELEM = 12
    GETSETELEM = 13
    DELSETELEM = 14
    NEWGEN = 15
    GETGEN = 16


class TableFlags(IntFlag):
    """NFT_TABLE_F_*."""

    NONE = 0
    OWNER = 2
    """Nobody but the owning socket changes the table."""
    PERSIST = 4
    """The table outlives its owner, who may be followed by another."""


class _SetFlags(IntFlag):
    CONSTANT = 0x2
    INTERVAL = 0x4
    MAP = 0x8
    CONCATENATION = 0x80


@dataclass(frozen=True, slots=True)
class Encoded:
    """A batch as bytes."""

    data: bytes
    first: int
    """Sequence number of BATCH_BEGIN; an error with it is about the whole batch."""
    last: int
    """Sequence number of the message that is acknowledged."""


class Batch:
    """Collects what to do. Order matters: a thing is made before it is named."""

    def __init__(self, table: str = TABLE, *, family: int = INET) -> None:
        self._table = text(1, table)
        self._family = family
        self._steps: list[tuple[Type, Flags, bytes, str]] = []
        self._next_set_id = 1

    def __len__(self) -> int:
        return len(self._steps)

    def add_table(self, flags: TableFlags = TableFlags.NONE) -> None:
        """Make the table, or take it over."""
        body = self._table + be32(2, flags) + attribute(6, OUR_MARK)
        self._add(Type.NEWTABLE, Flags.CREATE, body, "table")

    def delete_table(self) -> None:
        """Delete the table with all it holds. It must exist."""
        self._add(Type.DELTABLE, Flags(0), self._table, "old table")

    def add_chain(self, chain: Chain) -> None:
        """Make a chain."""
        hook = b"" if chain.hook is None else _hook(chain.hook)
        body = self._table + text(3, chain.name) + hook
        self._add(Type.NEWCHAIN, Flags.CREATE, body, f"chain {chain.name}")

    def add_rule(self, rule: Rule) -> None:
        """Append a rule to its chain."""
        expressions = nested(4, *(nested(1, expression) for expression in rule.expressions))
        body = self._table + text(2, rule.chain) + expressions + _comment(rule.comment)
        flags = Flags.CREATE | Flags.APPEND
        self._add(Type.NEWRULE, flags, body, f"rule of {rule.chain}: {rule.comment}")

    def add_set(self, made: Set) -> None:
        """Make a set."""
        self._add(
            Type.NEWSET,
            Flags.CREATE,
            self._table + _set(made, self._next_set_id),
            f"set {made.name}",
        )
        self._next_set_id += 1

    def add_elements(self, elements: Iterable[Element | RangeEnd]) -> None:
        """Add elements that must not exist with another value. Of one set at a time is cheapest."""
        self._elements(Type.NEWSETELEM, Flags.CREATE, elements)

    def fail(self) -> None:
        """Make the kernel refuse the batch, when it has looked at everything before."""
        self._add(Type.DELCHAIN, Flags(0), self._table + text(3, "not-there"), NEVER)

    def delete_elements(self, elements: Iterable[Element]) -> None:
        """Delete elements that must exist."""
        self._elements(Type.DELSETELEM, Flags(0), elements)

    def describe(self, sequence: int, encoded: Encoded) -> str:
        """Say which step a sequence number of `encoded` belongs to."""
        step = sequence - encoded.first - 1
        return self._steps[step][3] if 0 <= step < len(self._steps) else "transaction"

    def encode(self, sequence: int, *, generation: int | None = None) -> Encoded:
        """Return the bytes; `sequence` is the first number to use, of `len(self) + 2`.

        With a `generation` the kernel refuses (ERESTART) if the rules have changed since.
        """
        expected = b"" if generation is None else be32(1, generation)
        parts = [message(_BATCH_BEGIN, 0, sequence, expected, resource=SUBSYSTEM)]
        last = sequence + len(self._steps)
        for number, (kind, flags, body, _) in enumerate(self._steps, sequence + 1):
            wanted = flags | Flags.ACK if number == last else flags
            parts.append(message(SUBSYSTEM << 8 | kind, wanted, number, body, family=self._family))
        parts.append(message(_BATCH_END, 0, last + 1, b"", resource=SUBSYSTEM))
        return Encoded(b"".join(parts), sequence, last)

    def _add(self, kind: Type, flags: Flags, body: bytes, what: str) -> None:
        self._steps.append((kind, flags, body, what))

    def _elements(self, kind: Type, flags: Flags, elements: Iterable[Element | RangeEnd]) -> None:
        for name, of_set in groupby(elements, attrgetter("set")):
            head = self._table + text(2, name)
            chunk: list[bytes] = []
            size = 0
            for element in of_set:
                encoded = _element(element)
                if size + len(encoded) > _LARGEST_LIST:
                    self._add(kind, flags, head + nested(3, *chunk), f"elements of {name}")
                    chunk, size = [], 0
                chunk.append(encoded)
                size += len(encoded)
            self._add(kind, flags, head + nested(3, *chunk), f"elements of {name}")


def _element(element: Element | RangeEnd) -> bytes:
    key = nested(1, attribute(1, element.key))
    if isinstance(element, RangeEnd):
        return nested(1, _RANGE_END, key)
    if not element.value:
        return nested(1, key)
    return nested(1, key, nested(2, attribute(1, element.value)))


def _hook(hook: Hook) -> bytes:
    accept, drop = 1, 0
    default = drop if hook.drops_by_default else accept
    where = nested(4, be32(1, hook.point), be32(2, hook.priority))
    return text(7, hook.kind) + be32(5, default) + where


def _comment(comment: str) -> bytes:
    if not comment:
        return b""
    shown = comment.encode("ascii", "replace")[:_LONGEST_COMMENT] + b"\0"
    return attribute(7, bytes((_COMMENT, len(shown))) + shown)


def _set(made: Set, set_id: int) -> bytes:
    flags = _SetFlags(0)
    kind = 0
    for field in made.key:
        kind = kind << 6 | field.number
    parts = [text(2, made.name)]
    if made.is_interval:
        flags |= _SetFlags.INTERVAL
    if len(made.key) > 1:
        flags |= _SetFlags.CONCATENATION
    if made.value is not None:
        flags |= _SetFlags.MAP
    parts += [be32(3, flags), be32(4, kind), be32(5, made.key_octets)]
    if made.value is not None:
        parts += [be32(6, made.value.number), be32(7, made.value.octets)]
    parts.append(be32(10, set_id))
    if len(made.key) > 1:
        lengths = (nested(1, be32(1, field.octets)) for field in made.key)
        parts.append(nested(9, nested(2, *lengths)))
    parts.append(attribute(13, _byte_orders(made)))
    if len(made.per_element) == 1:
        parts.append(nested(17, made.per_element[0]))
    elif made.per_element:
        parts.append(nested(18, *(nested(1, expression) for expression in made.per_element)))
    return b"".join(parts)


def _byte_orders(made: Set) -> bytes:
    """What nft reads to print the elements: for a key and for a value, tag, length, number."""
    orders = bytearray()
    fields: tuple[tuple[int, Field | None], ...] = (
        (_KEY_BYTE_ORDER, made.key[0] if len(made.key) == 1 else Field.IPV4),
        (_VALUE_BYTE_ORDER, made.value),
    )
    for tag, field in fields:
        if field is not None:
            order = _HOST_ORDER if field.is_host_order else _BIG_ENDIAN
            orders += bytes((tag, 4)) + order.to_bytes(4, "little")
    return bytes(orders)
