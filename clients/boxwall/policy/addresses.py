"""IPv4 and IPv6 addresses and networks as values, and the ranges that are always blocked.

The only module that knows netaddr: it reads what is not plainly canonical, and works out what the
author of a refused text most likely meant.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self

import netaddr

from boxwall.policy.address_text import format_ipv4, read_ipv4, read_ipv6
from boxwall.policy.errors import EntryError, entry_error
from boxwall.policy.network_table import NetworkTable
from boxwall.policy.reserved import RESERVED

__all__ = ["ALWAYS_BLOCKED", "WIDTH", "Address", "Network", "NetworkTable", "ip_literal"]

WIDTH: Final = {4: 32, 6: 128}
"""Bits of an address, by IP version."""

_LENGTHS: Final = {
    version: {str(length): length for length in range(width + 1)}
    for version, width in WIDTH.items()
}
"""Prefix lengths as they are written, by version."""

_MAX_TEXT: Final = 100
"""No spelling of a network is longer; longer text is not examined."""

_HOST_MASKS: Final = {
    version: tuple((1 << (width - length)) - 1 for length in range(width + 1))
    for version, width in WIDTH.items()
}
"""The host bits of a network, by version and prefix length."""

_UNREADABLE: Final = (netaddr.AddrFormatError, ValueError)  # the latter for a NUL in the text
_MAPPED_PREFIX: Final = 0xFFFF
_ATON_PARTS: Final = re.compile(
    r"(?:0[xX][0-9a-fA-F]+|[0-9]+)(?:\.(?:0[xX][0-9a-fA-F]+|[0-9]+)){0,3}"
)


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """One address. Sorts by version, then by value."""

    version: int
    value: int

    def __post_init__(self) -> None:
        if not 0 <= self.value <= _HOST_MASKS[self.version][0]:
            raise ValueError(f"{self.value} is not an IPv{self.version} address")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read one address in standard notation; raise EntryError, with a fix if there is one."""
        found = _read_address(text)
        if found is None:
            raise _address_refusal(text)
        return cls(*found)

    @property
    def as_sent(self) -> "Address":
        """The address that a socket would send to: of an IPv4-mapped address its IPv4 address.

        For addresses somebody asks about. An IPv6 packet that carries a mapped address is another
        thing, and blocked (RFC 4291 section 2.5.5.2: such addresses are not for the wire).
        """
        if self.version == 6 and self.value >> 32 == _MAPPED_PREFIX:
            return Address(4, self.value & 0xFFFFFFFF)
        return self

    def __str__(self) -> str:
        if self.version == 4:
            return format_ipv4(self.value)
        # RFC 5952: lower case, the longest run of zeros compressed.
        return str(netaddr.IPAddress(self.value, 6))


@dataclass(frozen=True, slots=True, order=True)
class Network:
    """One network without host bits. Sorts by version and first address, wider before narrower."""

    version: int
    first: int
    prefix_length: int

    def __post_init__(self) -> None:
        width = WIDTH[self.version]
        if not 0 <= self.prefix_length <= width or self.first >> width:
            raise ValueError(f"not an IPv{self.version} network: {self.first}/{self.prefix_length}")
        if self.first & _HOST_MASKS[self.version][self.prefix_length]:
            raise ValueError(f"host bits set: {self.first}/{self.prefix_length}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an entry of a CIDR list; a bare address is a network of one.

        Raise EntryError for anything that needs guessing: host bits, netmasks, leading zeros
        (octal to some programs), short forms, zones, IPv4-mapped IPv6. The fix is in the error.
        """
        base, slash, length_text = text.partition("/")
        found = _read_address(base)
        if found is None:
            raise _network_refusal(text)
        version, value = found
        length = _LENGTHS[version].get(length_text) if slash else WIDTH[version]
        if length is None or (version == 6 and value >> 32 == _MAPPED_PREFIX and length >= 96):
            raise _network_refusal(text)
        host_bits = value & _HOST_MASKS[version][length]
        if host_bits:
            fix = cls(version, value ^ host_bits, length)
            raise entry_error(text, "has host bits set", str(fix))
        return cls(version, value, length)

    @property
    def last(self) -> int:
        """Value of the last address."""
        return self.first | _HOST_MASKS[self.version][self.prefix_length]

    def __contains__(self, item: "Address | Network") -> bool:
        if item.version != self.version:
            return False
        if isinstance(item, Network):
            return self.first <= item.first and item.last <= self.last
        return self.first <= item.value <= self.last

    def __str__(self) -> str:
        if self.version == 4:
            return f"{format_ipv4(self.first)}/{self.prefix_length}"
        return f"{Address(6, self.first)}/{self.prefix_length}"


def ip_literal(text: str) -> Address | None:
    """The address a resolver would take `text` for, without asking anybody, or None.

    Resolvers read far more than standard notation as IPv4: `1.1`, `0x7f.1`, `017700000001` and
    `2130706433` are all addresses to inet_aton.
    """
    if len(text) > _MAX_TEXT:
        return None
    inner = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    inner = inner.partition("%")[0]
    strict = _read_address(inner)
    if strict is not None:
        return Address(*strict)
    return _read_aton(inner)


def _read_address(text: str) -> tuple[int, int] | None:
    """Version and value of standard notation: dotted decimal, or RFC 4291 in any case."""
    value = read_ipv4(text)
    if value is not None:
        return 4, value
    if ":" not in text or len(text) > _MAX_TEXT:
        return None
    value = read_ipv6(text)
    if value is not None:
        return 6, value
    try:
        return 6, int(netaddr.IPAddress(text, 6, flags=netaddr.INET_PTON))
    except _UNREADABLE:
        return None


def _read_aton(text: str) -> Address | None:
    if _ATON_PARTS.fullmatch(text) is None:
        return None
    try:
        return Address(4, int(netaddr.IPAddress(text, 4, flags=netaddr.INET_ATON)))
    except _UNREADABLE:
        return None


def _reserved_network(text: str) -> Network:
    """Not `Network.parse`: it refuses the IPv4-mapped range."""
    base, _, length = text.partition("/")
    found = _read_address(base)
    assert found is not None, text
    return Network(*found, int(length))


ALWAYS_BLOCKED: Final = tuple((_reserved_network(text), what) for text, what in RESERVED)
"""What no policy opens, each with what it is."""


# Refusals. Everything below runs only for text that was not accepted.


def _address_refusal(text: str) -> EntryError:
    fixed = None if "/" in text else _meant(text)
    return entry_error(text, _problem(text, "an IP address"), None if fixed is None else fixed[0])


def _network_refusal(text: str) -> EntryError:
    fixed = _meant(text)
    problem = _problem(text, "an IP network such as 198.51.100.0/24 or 2001:db8::/32")
    return entry_error(text, problem, None if fixed is None else "/".join(fixed))


def _problem(text: str, wanted: str) -> str:
    base, _, length = text.partition("/")
    for applies, problem in _PROBLEMS:
        if applies(base, length):
            return problem
    return f"is not {wanted}"


_PROBLEMS: Final[tuple[tuple[Callable[[str, str], bool], str], ...]] = (
    (lambda base, length: not (base + length), "is empty"),
    (lambda base, length: len(base + length) > _MAX_TEXT, "is too long for an address"),
    (lambda base, length: any(map(str.isspace, base + length)), "contains white space"),
    (lambda base, length: not (base + length).isprintable(), "contains control characters"),
    (lambda base, length: base.startswith("["), "is in brackets"),
    (lambda base, length: "%" in base, "has a zone id, which means something on one host only"),
    (lambda base, length: _is_mapped(base), "is IPv4-mapped IPv6, which is never on the wire"),
    (lambda base, length: "." in length or ":" in length, "has a netmask, not a prefix length"),
    (lambda base, length: _has_port(base), "has a port; ports cannot be chosen"),
    (
        lambda base, length: _zero_filled(base) is not None,
        "has leading zeros, which some programs read as octal",
    ),
    (
        lambda base, length: _read_address(base) is not None,
        "has a prefix length that is not a plain number from 0 to 32 (IPv4) or 128 (IPv6)",
    ),
    (lambda base, length: _read_aton(base) is not None, "is not in dotted decimal with four parts"),
)
"""What to call the first thing that is wrong, most telling first."""


def _meant(text: str) -> tuple[str, str] | tuple[str] | None:
    """What `text` most likely means, in standard notation: address, and prefix length if any.

    A fix must not be a trap: it is offered only if it is accepted when sent back.
    """
    if len(text) > _MAX_TEXT:
        return None
    base, slash, length_text = text.strip().partition("/")
    address = _meant_address(base.strip(), short_network=bool(slash))
    if address is None:
        return None
    if not slash:
        return (str(address),)
    length = _meant_length(length_text.strip(), address.version)
    if length is None:
        return None
    first = address.value & ~_HOST_MASKS[address.version][length]
    return str(Address(address.version, first)), str(length)


def _meant_address(text: str, *, short_network: bool) -> Address | None:
    """`10.1` is 10.1.0.0 to those who write networks (`10.1/16`), 10.0.0.1 to resolvers."""
    if _has_port(text):
        text = text.rpartition(":")[0]
    # Leading zeros first: as octal, 010.0.0.1 would be 8.0.0.1, which nobody means.
    zero_filled = _zero_filled(text)
    if zero_filled is not None:
        return zero_filled
    if short_network and re.fullmatch(r"[1-9][0-9]{0,2}(?:\.[0-9]{1,3}){0,2}", text, re.ASCII):
        padded = read_ipv4(text + ".0" * (3 - text.count(".")))
        return None if padded is None else Address(4, padded)
    literal = ip_literal(text)
    # A mapped address with a prefix length has no IPv4 network that says the same for sure.
    return None if literal is None or (short_network and _is_mapped(text)) else literal.as_sent


def _meant_length(text: str, version: int) -> int | None:
    plain = _LENGTHS[version].get(text.lstrip("0") or text[-1:])
    if plain is not None:
        return plain
    try:
        mask = netaddr.IPAddress(text, flags=netaddr.INET_PTON)
    except _UNREADABLE:
        return None
    return mask.netmask_bits() if mask.version == version and mask.is_netmask() else None


def _zero_filled(text: str) -> Address | None:
    """Dotted decimal whose only fault is leading zeros."""
    if re.fullmatch(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}", text, re.ASCII) is None:
        return None
    if read_ipv4(text) is not None:
        return None
    value = read_ipv4(".".join(str(int(octet)) for octet in text.split(".")))
    return None if value is None else Address(4, value)


def _is_mapped(text: str) -> bool:
    found = _read_address(text)
    return found is not None and found[0] == 6 and found[1] >> 32 == _MAPPED_PREFIX


def _has_port(text: str) -> bool:
    """`198.51.100.1:443` or `[2001:db8::1]:443`."""
    base, colon, port = text.rpartition(":")
    return bool(colon) and port.isdigit() and (base.endswith("]") or read_ipv4(base) is not None)
