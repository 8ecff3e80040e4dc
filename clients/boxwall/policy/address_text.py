"""Reads and writes plainly canonical addresses, with nothing but integer arithmetic.

Nearly every address in a policy is written plainly, and every write of a policy reads all of them:
this is the fast path, several times faster than building library objects. What these functions do
not read (they return None) may still be an address; `boxwall.policy.addresses` asks the library.
"""

import re
from typing import Final

_OCTETS: Final = {str(octet): octet for octet in range(256)}
_IPV6: Final = re.compile(r"[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,8}", re.ASCII)
_GROUPS: Final = 8


def read_ipv4(text: str) -> int | None:
    """The value of four decimal octets without leading zeros."""
    try:
        a, b, c, d = text.split(".")
        return _OCTETS[a] << 24 | _OCTETS[b] << 16 | _OCTETS[c] << 8 | _OCTETS[d]
    except (ValueError, KeyError):
        return None


def read_ipv6(text: str) -> int | None:
    """The value of lower-case hexadecimal groups, `::` at most once (RFC 4291 section 2.2)."""
    if _IPV6.fullmatch(text) is None:
        return None
    head, gap, tail = text.partition("::")
    if not gap:
        return _groups_value(head.split(":")) if text.count(":") == _GROUPS - 1 else None
    left = head.split(":") if head else []
    right = tail.split(":") if tail else []
    missing = _GROUPS - len(left) - len(right)
    if missing < 1:
        return None
    high, low = _groups_value(left), _groups_value(right)
    if high is None or low is None:
        return None
    return high << 16 * (missing + len(right)) | low


def format_ipv4(value: int) -> str:
    """Dotted decimal."""
    return f"{value >> 24}.{value >> 16 & 255}.{value >> 8 & 255}.{value & 255}"


def _groups_value(groups: list[str]) -> int | None:
    value = 0
    for group in groups:
        if not group:
            return None
        value = value << 16 | int(group, 16)
    return value
