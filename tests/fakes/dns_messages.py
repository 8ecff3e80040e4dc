"""Queries as boxes send them, and answers as they are kept."""

import dns.flags
import dns.message
import dns.rdatatype

from boxwall.policy import Address, AllowAll, Custom, DomainPattern, Network, Policy, Unlisted
from boxwall_agent.dns.answer import Answer, Record
from boxwall_agent.dns.question import AAAA, CNAME, A

ALLOW_ALL = AllowAll()


def query_for(
    name: str, kind: str = "A", *, edns: bool = True, payload: int = 1232, of_class: str = "IN"
) -> bytes:
    """A query as dnspython makes it."""
    use_edns = 0 if edns else -1
    return dns.message.make_query(
        name, kind, of_class, use_edns=use_edns, payload=payload if edns else None
    ).to_wire()


def allow_list(*domains: str, denied: tuple[str, ...] = ()) -> Policy:
    """Only these names."""
    return Custom(
        allowed_domains=tuple(map(DomainPattern.parse, domains)),
        allowed_cidrs=(),
        denied_cidrs=tuple(map(Network.parse, denied)),
        unlisted=Unlisted.DENY,
    )


def deny_list(*networks: str) -> Policy:
    """Everything but these networks."""
    return Custom(
        allowed_domains=(),
        allowed_cidrs=(),
        denied_cidrs=tuple(map(Network.parse, networks)),
        unlisted=Unlisted.ALLOW,
    )


def on_wire(name: str) -> bytes:
    """A name without compression."""
    labels = [label.encode() for label in name.split(".") if label]
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\0"


def address_record(name: str, address: str, ttl: int = 60) -> Record:
    """A or AAAA."""
    found = Address.parse(address)
    octets = 4 if found.version == 4 else 16
    kind = A if found.version == 4 else AAAA
    return Record(on_wire(name), kind, ttl, found.value.to_bytes(octets, "big"), found)


def alias_record(name: str, target: str, ttl: int = 60) -> Record:
    """CNAME."""
    return Record(on_wire(name), CNAME, ttl, on_wire(target))


def answer_with(*records: Record, code: int = 0, ttl: int | None = None) -> Answer:
    """An answer, which holds as long as its records."""
    shortest = min((one.ttl for one in records), default=0)
    return Answer(code=code, records=records, ttl=shortest if ttl is None else ttl)


def read(reply: bytes) -> dns.message.Message:
    """A reply as dnspython reads it."""
    return dns.message.from_wire(reply)


def addresses_in(reply: bytes) -> list[str]:
    """The addresses that a box would hear."""
    return [
        one.to_text()
        for found in read(reply).answer
        if found.rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA)
        for one in found
    ]


def is_truncated(reply: bytes) -> bool:
    """Whether the box is to come again by TCP."""
    return bool(reply[2] & 0x02)


def extended_errors(reply: bytes) -> list[tuple[int, str]]:
    """RFC 8914: codes and texts."""
    return [(int(one.code), one.text or "") for one in read(reply).options if one.otype == 15]
