"""What somebody wants to reach: a name, an address, or an address that a name led to."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final, Self, TypeVar

from boxwall.policy.addresses import Address, ip_literal
from boxwall.policy.errors import EntryError, InvalidDestination, Violation, shown
from boxwall.policy.names import Name

MAX_PORT: Final = 65535

T = TypeVar("T")


class Protocol(Enum):
    """A transport protocol, as far as a policy cares."""

    UNSPECIFIED = "unspecified"
    """Not said, or any."""
    TCP = "tcp"
    UDP = "udp"
    ICMP = "icmp"
    """ICMP and ICMPv6."""
    SCTP = "sctp"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """At least one of `domain` and `address` is there; `port` None means any or not said.

    Whoever builds one from a packet passes the packet's address as it is. Whoever builds one from
    text uses `parse` or `destination`, which replace an IPv4-mapped address by its IPv4 address.
    """

    domain: Name | None = None
    address: Address | None = None
    port: int | None = None
    protocol: Protocol = Protocol.UNSPECIFIED

    def __post_init__(self) -> None:
        if self.domain is None and self.address is None:
            raise InvalidDestination([_NOTHING_GIVEN])
        if self.port is not None and not 1 <= self.port <= MAX_PORT:
            raise InvalidDestination([_port_violation(str(self.port))])

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `host`, `host:port` or `[IPv6]:port`, each with `/tcp`, `/udp` ... if wanted.

        Raise InvalidDestination with everything that is wrong.
        """
        violations: list[Violation] = []
        rest, protocol = _split_protocol(text, violations)
        host, port_text = _split_port(rest)
        port = _read_port(port_text, violations)
        domain: Name | None = None
        address: Address | None = None
        if ip_literal(host) is None:
            domain = _read("domain", Name.parse, host, violations)
        else:
            address = _read("address", Address.parse, host, violations)
        if violations:
            raise InvalidDestination(violations)
        return cls(domain=domain, address=address and address.as_sent, port=port, protocol=protocol)

    def __str__(self) -> str:
        """As `parse` reads it; where both are known, the address in parentheses after the name."""
        address = "" if self.address is None else str(self.address)
        if self.domain is not None:
            host = f"{self.domain} ({address})" if address else self.domain.text
        else:
            host = f"[{address}]" if ":" in address and self.port else address
        port = f":{self.port}" if self.port else ""
        known = self.protocol is not Protocol.UNSPECIFIED
        return f"{host}{port}/{self.protocol.value}" if known else f"{host}{port}"


def destination(domain: str, address: str, port: int, protocol: Protocol) -> Destination:
    """Make a Destination of untrusted parts, where "" and 0 mean not said.

    Raise InvalidDestination with every violation, under the fields `domain`, `address` and `port`.
    """
    violations: list[Violation] = []
    if not domain and not address:
        violations.append(_NOTHING_GIVEN)
    name = _read("domain", Name.parse, domain, violations) if domain else None
    known = _read("address", Address.parse, address, violations) if address else None
    if not 0 <= port <= MAX_PORT:
        violations.append(_port_violation(str(port)))
    if violations:
        raise InvalidDestination(violations)
    return Destination(
        domain=name,
        address=None if known is None else known.as_sent,
        port=port or None,
        protocol=protocol,
    )


_NOTHING_GIVEN: Final = Violation(
    "domain", "neither domain nor address is given; give one, or both"
)
_PROTOCOLS: Final = {
    f"/{protocol.value}": protocol for protocol in Protocol if protocol is not Protocol.UNSPECIFIED
}


def _read(
    field: str, parse: Callable[[str], T], text: str, violations: list[Violation]
) -> T | None:
    try:
        return parse(text)
    except EntryError as error:
        violations.append(Violation(field, error.message, error.suggestion))
        return None


def _split_protocol(text: str, violations: list[Violation]) -> tuple[str, Protocol]:
    rest, slash, suffix = text.rpartition("/")
    # A URL is left whole: the reader of names says best what is wrong with it.
    if not slash or "/" in rest or "://" in text:
        return text, Protocol.UNSPECIFIED
    protocol = _PROTOCOLS.get("/" + suffix.lower())
    if protocol is None:
        known = ", ".join(_PROTOCOLS)
        problem = f"{shown('/' + suffix)} is not a protocol; use one of {known}"
        violations.append(Violation("protocol", problem))
    return rest, protocol or Protocol.UNSPECIFIED


def _split_port(text: str) -> tuple[str, str | None]:
    """Host and the text of the port. Colons without brackets are IPv6 if there are several."""
    if text.startswith("["):
        found = re.fullmatch(r"\[([^\]]*)\](?::(.*))?", text)
        return (found.group(1), found.group(2)) if found else (text, None)
    host, colon, port = text.partition(":")
    if not colon or ":" in port or "://" in text:
        return text, None
    return host, port


def _read_port(text: str | None, violations: list[Violation]) -> int | None:
    if text is None:
        return None
    if re.fullmatch(r"[0-9]{1,5}", text, re.ASCII) and 1 <= int(text) <= MAX_PORT:
        return int(text)
    violations.append(_port_violation(text))
    return None


def _port_violation(text: str) -> Violation:
    return Violation("port", f"{shown(text)} is not a port; use a number from 1 to {MAX_PORT}")
