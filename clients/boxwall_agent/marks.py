"""The 32 bits of a conntrack mark, as Boxwall uses them. Pure.

    0x00000000   not judged
    0x00gggggg   let in by grant g
    0x80000000   opened towards the box, by the node or by a source the operator named

A grant is a number for one reason to let traffic pass: the mode allow-all, one allowed CIDR. The
set `live` holds the grants in force, so withdrawing an entry withdraws its connections. What the
box sends never carries a mark from inside: the mark belongs to the node's connection tracking.
"""

from typing import Final, NewType

Grant = NewType("Grant", int)
"""1 to LAST_GRANT; unique on a node, so a connection of one box never matches another's."""

LAST_GRANT: Final = 0x00FFFFFF
OPENED_INBOUND: Final = 0x80000000
POKE: Final = 0x42570001
"""Packet mark, not a connection's, of the agent's own stray acknowledgements."""
