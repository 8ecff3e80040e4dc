"""The 32 bits of a conntrack mark, and of a packet's mark, as Boxwall uses them. Pure.

Of a connection:

    0x00000000   not judged, or nothing of it read yet
    0x00gggggg   let in by grant g
    0x08gggggg   let in by lease g without reading (not TCP); asked with each packet
    0x40gggggg   its first bytes were read and are good; the server has not acknowledged them
    0x04000000   clear HTTP, which the agent relays
    0x10000000   refused by the name that it carries
    0x80000000   opened towards the box, by the node or by a source the operator named

Of a packet, when the agent has read it and the kernel judges it once more:

    0x20gggggg   its connection becomes 0x40gggggg
    0x30gggggg   its connection becomes 0x00gggggg
    0x10000000   its connection becomes 0x10000000

A grant is a number for one reason to let traffic pass: the mode allow-all, one allowed CIDR, one
address that was leased for a name. The set `live` holds the grants in force, so withdrawing a
reason withdraws its connections, and a mark alone lets nothing pass. What the box sends never
carries a mark from inside: marks belong to the node.
"""

from typing import Final, NewType

Grant = NewType("Grant", int)
"""1 to LAST_GRANT; unique on a node, so a connection of one box never matches another's."""

LAST_GRANT: Final = 0x00FFFFFF
GRANT_BITS: Final = 0x00FFFFFF
CLASS_BITS: Final = 0xFF000000

UNREAD: Final = 0x08000000
READ: Final = 0x40000000
RELAYED: Final = 0x04000000
REFUSED: Final = 0x10000000
OPENED_INBOUND: Final = 0x80000000

VERDICT_READ: Final = 0x20000000
VERDICT_ACKNOWLEDGED: Final = 0x30000000

POKE: Final = 0x42570001
"""Packet mark of the agent's own stray acknowledgements."""


def grant_in(mark: int) -> int:
    """The grant that a connection's mark names, in force or not; 0: none."""
    return mark & GRANT_BITS if mark & CLASS_BITS in (0, UNREAD, READ) else 0
