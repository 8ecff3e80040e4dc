"""What an upstream answered, as far as a box may hear of it. Pure.

Kept: the CNAMEs that lead from the question's name to another, and the records of the type asked
for that the last name owns. Everything else an upstream may say about other names is dropped, so
that it cannot slip in an address for one.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.CNAME
import dns.rdtypes.ANY.SOA
import dns.rrset

from boxwall.policy import Address, Destination, Name, Policy, Reason, Rule, Surroundings, decide
from boxwall_agent.dns.question import AAAA, ANY, CNAME, A

MOST_ALIASES: Final = 16
MOST_RECORDS: Final = 256
MOST_READ: Final = 288
"""Records of one message that are looked at: each costs time that other boxes wait."""

LONGEST_TTL: Final = 86_400
NEGATIVE_TTL: Final = 30
"""Seconds for which the lack of an answer is remembered, unless its zone says less."""

_REMOVED: Final = (Reason.RESERVED_ADDRESS, Reason.DENIED_CIDR)
_NOERROR, _NXDOMAIN, _SERVFAIL = 0, 3, 2
_HEAD: Final = struct.Struct(">HHHHHH")
_OF_A_RECORD: Final = struct.Struct(">HHIH")


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
        of_name = (one for one in message.answer if one.name == name and _is_internet(one))
        every = tuple(islice((it for one in of_name for it in _records(one)), MOST_RECORDS))
        return Answer(code=code, records=every, ttl=min((one.ttl for one in every), default=0))
    chain = _chain(message, name, kind)
    if chain is None:
        return FAILED
    owner, aliases = chain
    found = _set_of(message, owner, kind)
    if found is None:
        ttl = min((_negative_ttl(message), *(one.ttl for one in aliases)))
        return Answer(code=code, records=tuple(aliases), ttl=ttl)
    records = (*aliases, *_records(found))
    return Answer(code=_NOERROR, records=records, ttl=min(one.ttl for one in records))


def without_blocked(
    records: Iterable[Record], name: Name | None, policy: Policy | None, surroundings: Surroundings
) -> tuple[list[Record], Rule | None]:
    """What remains of an answer, and the rule that took the last of what does not."""
    kept: list[Record] = []
    rule: Rule | None = None
    for record in records:
        if record.address is not None and policy is not None:
            where = Destination(domain=name, address=record.address)
            verdict = decide(policy, where, surroundings=surroundings)
            if verdict.reason in _REMOVED:
                rule = verdict.rule
                continue
        kept.append(record)
    return kept, rule


def shortened(data: bytes) -> bytes:
    """Return a message without what comes after its first MOST_READ records.

    One that cannot be read that far stays as it is.
    """
    if len(data) < _HEAD.size:
        return data
    number, flags, questions, answers, *others = _HEAD.unpack_from(data)
    if answers + sum(others) <= MOST_READ:
        return data
    kept, at = min(answers, MOST_READ), _HEAD.size
    try:
        for _ in range(questions):
            at = _after_name(data, at) + 4
        for _ in range(kept):
            at = _after_name(data, at)
            at += _OF_A_RECORD.size + _OF_A_RECORD.unpack_from(data, at)[-1]
    except (IndexError, struct.error):
        return data
    return _HEAD.pack(number, flags, questions, kept, 0, 0) + data[_HEAD.size : at]


def _after_name(data: bytes, at: int) -> int:
    while 0 < data[at] < 64:
        at += 1 + data[at]
    return at + (1 if data[at] == 0 else 2)


def _chain(
    message: dns.message.Message, name: dns.name.Name, kind: int
) -> tuple[dns.name.Name, list[Record]] | None:
    """The name that the aliases lead to, and they. None: they lead nowhere."""
    owner, aliases, seen = name, list[Record](), {name}
    while len(aliases) <= MOST_ALIASES:
        alias = _set_of(message, owner, CNAME)
        if alias is None or _set_of(message, owner, kind) is not None:
            return owner, aliases
        aliases += _records(alias)[:1]
        target = alias[0]
        assert isinstance(target, dns.rdtypes.ANY.CNAME.CNAME)
        owner = target.target
        if owner in seen:
            return None
        seen.add(owner)
    return None


def _set_of(
    message: dns.message.Message, owner: dns.name.Name, kind: int
) -> dns.rrset.RRset | None:
    for found in message.answer:
        if found.rdtype == kind and found.name == owner and _is_internet(found):
            return found
    return None


def _is_internet(found: dns.rrset.RRset) -> bool:
    return found.rdclass == dns.rdataclass.IN and len(found) > 0


def _records(found: dns.rrset.RRset) -> list[Record]:
    owner, kind = found.name.canonicalize().to_wire(), int(found.rdtype)
    assert owner is not None
    records = []
    for one in islice(found, MOST_RECORDS):
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
