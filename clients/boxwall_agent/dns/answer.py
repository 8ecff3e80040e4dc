"""What an upstream answered, as far as a box may hear of it. Pure.

Kept: the CNAMEs that lead from the question's name to another, and the records of the type asked
for that the last name owns. Everything else an upstream may say about other names is dropped, so
that it cannot slip in an address for one.
"""

from dataclasses import dataclass, field
from typing import Final

import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.CNAME
import dns.rdtypes.ANY.SOA
import dns.rrset

from boxwall.policy import Address
from boxwall_agent.dns.question import AAAA, ANY, CNAME, A

MOST_ALIASES: Final = 16
MOST_RECORDS: Final = 256
LONGEST_TTL: Final = 86_400
NEGATIVE_TTL: Final = 30
"""Seconds for which the lack of an answer is remembered, unless its zone says less."""

_NOERROR, _NXDOMAIN, _SERVFAIL = 0, 3, 2


@dataclass(frozen=True, slots=True)
class Record:
    """One record. `address` is there for A and AAAA."""

    owner: bytes
    """As on the wire, without compression."""
    type: int
    ttl: int
    data: bytes
    address: Address | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is kept of it."""

    code: int
    records: tuple[Record, ...] = ()
    ttl: int = 0
    """Seconds for which all of it holds."""
    addresses: tuple[Address, ...] = field(init=False)

    def __post_init__(self) -> None:
        found = tuple(one.address for one in self.records if one.address is not None)
        object.__setattr__(self, "addresses", found)


FAILED: Final = Answer(code=_SERVFAIL)
"""No upstream has answered."""


def answer_of(message: dns.message.Message, name: dns.name.Name, kind: int) -> Answer:
    """Return what a box may hear of an answer to (name, kind)."""
    code = int(message.rcode())
    if code not in (_NOERROR, _NXDOMAIN):
        return FAILED
    if kind == ANY:
        of_name = [one for one in message.answer if one.name == name]
        every = tuple(record for one in of_name for record in _records(one))[:MOST_RECORDS]
        return Answer(code=code, records=every, ttl=min((one.ttl for one in every), default=0))
    records: list[Record] = []
    owner, found = name, None
    for _ in range(MOST_ALIASES):
        found = _set_of(message, owner, kind)
        alias = _set_of(message, owner, CNAME)
        if found is not None or alias is None:
            break
        records.append(_records(alias)[0])
        target = alias[0]
        assert isinstance(target, dns.rdtypes.ANY.CNAME.CNAME)
        owner = target.target
    if found is None:
        return Answer(code=code, records=tuple(records), ttl=_negative_ttl(message))
    records += _records(found)[:MOST_RECORDS]
    return Answer(code=_NOERROR, records=tuple(records), ttl=min(one.ttl for one in records))


def _set_of(
    message: dns.message.Message, owner: dns.name.Name, kind: int
) -> dns.rrset.RRset | None:
    for found in message.answer:
        if found.name == owner and found.rdtype == kind and found.rdclass == dns.rdataclass.IN:
            return found if len(found) else None
    return None


def _records(found: dns.rrset.RRset) -> list[Record]:
    owner, kind = found.name.canonicalize().to_wire(), int(found.rdtype)
    assert owner is not None
    records = []
    for one in found:
        data = one.to_wire()
        assert data is not None
        address = _address(kind, data)
        records.append(Record(owner, kind, _ttl(found.ttl), data, address))
    return records


def _address(kind: int, data: bytes) -> Address | None:
    if kind == A:
        return Address(4, int.from_bytes(data, "big"))
    if kind == AAAA:
        return Address(6, int.from_bytes(data, "big"))
    return None


def _ttl(seconds: int) -> int:
    """RFC 2181 section 8: one with the highest bit set counts as 0."""
    return 0 if seconds >= 1 << 31 else min(seconds, LONGEST_TTL)


def _negative_ttl(message: dns.message.Message) -> int:
    """RFC 2308 section 5."""
    for found in message.authority:
        soa = found[0] if found.rdtype == dns.rdatatype.SOA and len(found) else None
        if isinstance(soa, dns.rdtypes.ANY.SOA.SOA):
            return min(_ttl(found.ttl), _ttl(soa.minimum), NEGATIVE_TTL)
    return 0
