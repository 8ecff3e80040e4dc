"""What rtnetlink says of links and addresses, as bytes."""

import struct
from typing import Final

NEWLINK, DELLINK, NEWADDR = 16, 17, 20
NAME, LINK, MASTER, INFO, LINK_NAMESPACE = 3, 5, 10, 18, 37
"""IFLA_*"""

ADDRESS, LOCAL = 1, 2
"""IFA_*"""

UP: Final = 1


def told(kind: int, body: bytes) -> bytes:
    """Of a list, or of a change."""
    return struct.pack("=IHHII", 16 + len(body), kind, 2, 1, 0) + body


def link(kind: int, index: int, *attributes: bytes, family: int = 0, flags: int = 0) -> bytes:
    """Of an interface."""
    return told(kind, struct.pack("=BxHiII", family, 1, index, flags, 0) + b"".join(attributes))


def address(*attributes: bytes, family: int = 2) -> bytes:
    """Of an address of interface 3."""
    return told(NEWADDR, struct.pack("=BBBBI", family, 24, 0, 0, 3) + b"".join(attributes))
