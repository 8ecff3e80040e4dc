"""The part of the table for what is allowed by name: DNS, leases, first bytes. Pure.

A box's DNS goes to the agent, whatever server it was meant for:

    from_box: port 53 -> dns: accept, unstamped; then to_agent (nat) sends it to the agent's port
    input: what was sent to the agent by that rule, and nothing else, is accepted

An address that was leased for a name is an element of `lease4` or `lease6`. What is not TCP is let
in by it as it is, except QUIC, which hides the name. TCP passes without payload; what carries
payload is read by the agent, through a queue, until the server has acknowledged what was read:

    from_box -> named: live lease -> unproven: bare SYN, or payload -> inspect: to the queue
        the agent answers "judge it again" with a mark on the packet -> named stamps the connection
    to_box -> answers -> named_answer: connection was read -> inspect_answer: to the queue
        ... and again, when the server has acknowledged what was read: the connection is granted

The mark that a verdict carries counts only while its grant is in `live`, so a late verdict stamps
nothing. Without a listener the queue drops.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from boxwall_agent.marks import (
    CLASS_BITS,
    GRANT_BITS,
    READ,
    REFUSED,
    RELAYED,
    UNREAD,
    VERDICT_ACKNOWLEDGED,
    VERDICT_READ,
)
from boxwall_agent.nft.expressions import (
    CONFIRMED,
    DESTINATION_NAT,
    ORIGINAL,
    R1,
    Base,
    Ct,
    Meta,
    State,
    Verdict,
    above,
    ct,
    destination_nat,
    differs,
    equals,
    host32,
    immediate,
    lookup,
    masked,
    meta,
    payload,
    set_ct,
    set_meta,
    small_register,
    strip_tcp_option,
    verdict,
)
from boxwall_agent.nft.family import FAMILIES
from boxwall_agent.nft.objects import Chain, Field, Hook, HookPoint, Rule, Set

QUEUE: Final = 0x4257
"""NFQUEUE number of what the agent reads."""

_MULTIPATH: Final = 30
"""TCP option (RFC 8684): with it, the order of octets in the stream is not that of the segments."""

_FAST_OPEN: Final = 34
"""TCP option (RFC 7413): with it a server gives a client what it needs to send data with its next
opening, and that would be refused.
"""

_LONGEST_DATAGRAM: Final = 8 + 2 * 1200 - 1
"""Octets with the header of UDP. A box may send several datagrams as one packet (UDP_SEGMENT), all
but the last of one length, and only the first can be looked at. QUIC begins with 1,200 octets at
least (RFC 9000 section 14.1), so none is behind the first in what is no longer than this.
"""

_OLD: Final = "older than the attachment"
_R2: Final = 2
_ACCEPT: Final = verdict(Verdict.ACCEPT)
_DROP: Final = verdict(Verdict.DROP)
_TCP: Final = (meta(Meta.L4PROTO), equals(b"\x06"))
_UDP: Final = (meta(Meta.L4PROTO), equals(b"\x11"))
_PORT: Final = payload(Base.TRANSPORT, 2, 2)
_FLAGS: Final = payload(Base.TRANSPORT, 13, 1)
_BARE_SYN: Final = (_FLAGS, masked(b"\x17"), equals(b"\x02"))  # of FIN, SYN, RST and ACK
_ANY_SYN: Final = (_FLAGS, masked(b"\x02"), equals(b"\x02"))
_FROM_BOX: Final = (meta(Meta.IIF), lookup("hosted"))
_NOT_FROM_BOX: Final = (meta(Meta.IIF), lookup("hosted", absent=True))
_ALL_BITS: Final = host32(0xFFFFFFFF)


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """Where the agent does its part, in this network namespace."""

    dns_port: int
    relay_port: int
    http_ports: tuple[int, ...]
    """Ports on which clear HTTP is relayed."""
    queue: bytes
    """The expression that hands a packet to QUEUE: kernels know one of two."""


def sets() -> Iterator[Set]:
    """Leases, and the address at which the agent is reached."""
    for family in FAMILIES:
        v = family.suffix
        key = (Field.INTERFACE_INDEX, family.field)
        yield Set(name=f"lease{v}", key=key, value=Field.MARK)
        yield Set(name=f"agent{v}", key=(Field.PROTOCOL_FAMILY,), value=family.field)


def inner_chains() -> Iterator[Chain]:
    """Chains that are jumped to."""
    for name in (
        *("dns", "quic", "inspect", "unproven", "verdict", "named"),
        *("inspect_answer", "named_answer"),
    ):
        yield Chain(name=name)


def base_chain() -> Chain:
    """Directly after a box's packets were judged, before anybody else's NAT."""
    hook = Hook(point=HookPoint.PREROUTING, priority=-189, kind="nat")
    return Chain(name="to_agent", hook=hook)


def rules(naming: Naming | None) -> Iterator[Rule]:
    """All rules but those that lead here. None: names are not enforced, and nothing passes."""
    yield from _dns()
    yield from _to_agent(naming)
    yield from _quic()
    yield from _inspect(naming)
    yield from _unproven(naming)
    yield from _verdict()
    yield from _named()
    yield from _named_answer()


def dns_rules(chain: str) -> Iterator[Rule]:
    """What leads a box's DNS to `dns`."""
    for protocol in (_UDP, _TCP):
        yield Rule(chain, (*protocol, _PORT, equals(_port(53)), _goto("dns")), "DNS")


def input_rules(naming: Naming | None) -> Iterator[Rule]:
    """For the hook: the agent's ports are for boxes only."""
    for expressions in _agent_ports(naming):
        yield Rule("input", (*expressions, *_NOT_FROM_BOX, _DROP), "the agent's ports")


def to_node_rules(naming: Naming | None) -> Iterator[Rule]:
    """What was sent to the agent by `to_agent`, and not by the box itself."""
    translated = _bits(ct(Ct.STATUS), DESTINATION_NAT)
    for expressions in _agent_ports(naming):
        yield Rule("to_node", (*expressions, *translated, _ACCEPT), "to the agent")


def _agent_ports(naming: Naming | None) -> Iterator[tuple[bytes, ...]]:
    if naming is not None:
        for protocol in (_UDP, _TCP):
            yield (*protocol, _PORT, equals(_port(naming.dns_port)))
        yield (*_TCP, _PORT, equals(_port(naming.relay_port)))


def _dns() -> Iterator[Rule]:
    """Only the first packet of a connection is translated. One from before the attachment, answered
    or not, never was, and would leave the node.
    """
    too_much = (*_UDP, meta(Meta.IIF), lookup("asks_too_much"))
    yield Rule("dns", (*too_much, _goto("discard")), "all boxes share the agent's socket")
    yield Rule("dns", (*_bits(ct(Ct.STATUS), DESTINATION_NAT), _ACCEPT))
    yield Rule("dns", (*_bits(ct(Ct.STATUS), CONFIRMED), _goto("refuse")), _OLD)
    for limited in ("full", "too_fast"):
        yield Rule("dns", (meta(Meta.IIF), lookup(limited), _goto("refuse_limited")))
    yield Rule("dns", (_ACCEPT,))


def _to_agent(naming: Naming | None) -> Iterator[Rule]:
    dns = [(*protocol, _PORT, equals(_port(53))) for protocol in (_UDP, _TCP)]
    relayed = (*_TCP, ct(Ct.MARK), equals(host32(RELAYED)))
    for which, port in ((dns, "dns_port"), ([relayed], "relay_port")):
        for one in which:
            if naming is not None:
                yield from _translated((*_FROM_BOX, *one), getattr(naming, port))
            yield Rule("to_agent", (*_FROM_BOX, *one, _goto("discard")), "no way to the agent")


def _translated(which: tuple[bytes, ...], port: int) -> Iterator[Rule]:
    for family in FAMILIES:
        address = (meta(Meta.NFPROTO), lookup(f"agent{family.suffix}", into=R1))
        to = destination_nat(family.version, address=R1, port=_R2)
        yield Rule("to_agent", (*family.match, *which, *address, immediate(_port(port), _R2), to))


def _quic() -> Iterator[Rule]:
    """RFC 9000 section 17.2: a long header has its first bit set, then its version. The second bit
    is set too, unless client and server know each other (RFC 9287).

    Versions: 1, 2 (RFC 9369), drafts, those that force negotiation, and Google's before the RFC.
    """
    yield Rule("quic", (_PORT, equals(_port(443)), _goto("refuse_quic")), "QUIC")
    for family, length_at, header in zip(FAMILIES, (2, 4), (20, 0), strict=True):
        length = payload(Base.NETWORK, length_at, 2)
        joined = above((header + _LONGEST_DATAGRAM).to_bytes(2, "big"))
        rule = (*family.match, length, joined, _goto("refuse_quic"))
        yield Rule("quic", rule, "datagrams joined")
    long_header = (payload(Base.TRANSPORT, 8, 1), masked(b"\x80"), equals(b"\x80"))
    version = payload(Base.TRANSPORT, 9, 4)
    for mask, value in (
        ("ffffffff", "00000000"),
        ("ffffffff", "00000001"),
        ("ffffffff", "6b3343cf"),
        ("ffffff00", "ff000000"),
        ("0f0f0f0f", "0a0a0a0a"),
        ("fff0f0f0", "51303030"),
        ("fff0f0f0", "54303030"),
    ):
        known = (version, masked(bytes.fromhex(mask)), equals(bytes.fromhex(value)))
        yield Rule("quic", (*long_header, *known, _goto("refuse_quic")), "QUIC")


def _inspect(naming: Naming | None) -> Iterator[Rule]:
    """One box's packets must not fill the queue that all share."""
    for chain, index, drop in (
        ("inspect", Meta.IIF, _goto("discard")),
        ("inspect_answer", Meta.OIF, _goto("discard_in")),
    ):
        yield Rule(chain, (meta(index), lookup("too_much"), drop), "more than its share")
        if naming is not None:
            yield Rule(chain, (naming.queue,), "the agent reads")
        yield Rule(chain, (drop,))


def _unproven(naming: Naming | None) -> Iterator[Rule]:
    """The address is leased, and nothing of the connection has been read yet."""
    chain = "unproven"
    new = _bits(ct(Ct.STATE), State.NEW)
    if naming is not None:
        for port in naming.http_ports:
            relay = (immediate(host32(RELAYED)), set_ct(Ct.MARK), _ACCEPT)
            http = (*new, *_BARE_SYN, _PORT, equals(_port(port)))
            old = (*http, *_bits(ct(Ct.STATUS), CONFIRMED))
            yield Rule(chain, (*old, _goto("refuse")), _OLD)
            yield Rule(chain, (*http, *relay), "clear HTTP")
    plain = (strip_tcp_option(_MULTIPATH), strip_tcp_option(_FAST_OPEN))
    yield Rule(chain, (*new, *_BARE_SYN, *plain), "one path, in order, and no data yet")
    yield Rule(chain, (*new, *_BARE_SYN, _goto("inspect")))
    yield Rule(chain, (*_ANY_SYN, _goto("discard")), "an opening of what is open")
    yield Rule(chain, (*new, _goto("refuse")), "its opening was not seen")
    # There is no arithmetic: for each length that the header can have, is there an octet after it?
    for words in (8, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15):
        length = (payload(Base.TRANSPORT, 12, 1), masked(b"\xf0"), equals(bytes((words << 4,))))
        yield Rule(chain, (*length, payload(Base.TRANSPORT, words * 4, 1), _goto("inspect")))
    yield Rule(chain, (_ACCEPT,), "no payload")


def _verdict() -> Iterator[Rule]:
    """What the agent has read comes back with its verdict; whatever else it is, it is refused."""
    for mark, stamped in ((VERDICT_READ, READ), (VERDICT_ACKNOWLEDGED, 0)):
        stamp = masked(_ALL_BITS, small_register(1), flipped=host32(stamped))
        grant = _live_grant(Meta.IIF, meta(Meta.MARK, small_register(1)))
        expressions = (*_class(meta(Meta.MARK), mark), *grant, stamp)
        done = (set_ct(Ct.MARK, small_register(1)), *_clear_packet_mark(), _ACCEPT)
        yield Rule("verdict", (*expressions, *done))
    refused = (meta(Meta.MARK), equals(host32(REFUSED)), set_ct(Ct.MARK), *_clear_packet_mark())
    yield Rule("verdict", (*refused, _goto("refuse_named")))
    yield Rule("verdict", (*_clear_packet_mark(), _goto("refuse_named")), "withdrawn meanwhile")


def _named() -> Iterator[Rule]:
    chain = "named"
    for mark in (VERDICT_READ, VERDICT_ACKNOWLEDGED, REFUSED):
        yield Rule(chain, (*_class(meta(Meta.MARK), mark), _goto("verdict")))
    yield Rule(chain, (*_TCP, ct(Ct.MARK), equals(host32(RELAYED)), _ACCEPT), "to the agent")
    read = (*_TCP, *_class(ct(Ct.MARK), READ))
    yield Rule(chain, (*read, *_ANY_SYN, _goto("discard")), "an opening of what is open")
    yield Rule(chain, (*read, *_live_grant(Meta.IIF), _goto("inspect")), "not acknowledged yet")
    yield Rule(chain, (*_TCP, ct(Ct.MARK), equals(host32(REFUSED)), _goto("refuse_named")))
    yield Rule(chain, (*_TCP, ct(Ct.MARK), differs(host32(0)), _goto("refuse")), "withdrawn")
    for family in FAMILIES:
        address = (*family.match, meta(Meta.IIF), family.load(family.destination_at, 1))
        lease = lookup(f"lease{family.suffix}", into=R1)
        related = _bits(ct(Ct.STATE), State.RELATED)
        yield Rule(chain, (*_TCP, *address, lease, _goto("unproven")), "leased, TCP")
        yield Rule(
            chain, (*related, *address, lease, _ACCEPT), "leased: an error about a connection"
        )
        yield Rule(chain, (*_UDP, *address, lease, _jump("quic")), "leased, UDP")
    unread = _class(ct(Ct.MARK), UNREAD)
    yield Rule(chain, (*unread, *_UDP, _jump("quic")))
    yield Rule(chain, (*unread, *_live_grant(Meta.IIF), _ACCEPT))
    for family in FAMILIES:
        address = (*family.match, meta(Meta.IIF), family.load(family.destination_at, 1))
        lease = lookup(f"lease{family.suffix}", into=R1)
        yield Rule(chain, (*address, lease, set_ct(Ct.MARK), _ACCEPT), "leased, not TCP")
    yield Rule(chain, (_goto("refuse"),))


def _named_answer() -> Iterator[Rule]:
    chain = "named_answer"
    mark = meta(Meta.MARK, small_register(1))
    acknowledged = (
        *_class(meta(Meta.MARK), VERDICT_ACKNOWLEDGED),
        *_live_grant(Meta.OIF, mark),
        set_ct(Ct.MARK, small_register(1)),
    )
    yield Rule(chain, (*acknowledged, *_clear_packet_mark(), _ACCEPT), "acknowledged")
    refused = (meta(Meta.MARK), equals(host32(REFUSED)), set_ct(Ct.MARK))
    yield Rule(chain, (*refused, *_clear_packet_mark(), _goto("refuse_in")))
    yield Rule(chain, (*_class(meta(Meta.MARK), VERDICT_ACKNOWLEDGED), _goto("refuse_in")))
    read = (*_class(ct(Ct.MARK), READ), *_live_grant(Meta.OIF))
    yield Rule(chain, (*read, *_TCP, _goto("inspect_answer")))
    yield Rule(chain, (*read, *_bits(ct(Ct.STATE), State.RELATED), _ACCEPT))
    unread = (*_class(ct(Ct.MARK), UNREAD), *_live_grant(Meta.OIF))
    yield Rule(chain, (*unread, _ACCEPT))
    for family in FAMILIES:
        opened_to = ct(family.ct_destination, small_register(1), direction=ORIGINAL)
        leased = (meta(Meta.OIF), opened_to, lookup(f"lease{family.suffix}", into=R1))
        nothing_read = (ct(Ct.MARK), equals(host32(0)))
        opening = (*nothing_read, *_TCP, *_ANY_SYN, *family.match, *leased)
        yield Rule(chain, (*opening, _goto("inspect_answer")), "leased: where the stream begins")
        yield Rule(
            chain, (*nothing_read, *family.match, *leased, _ACCEPT), "leased, nothing read yet"
        )
    yield Rule(chain, (_goto("refuse_in"),))


def _live_grant(index: Meta, mark: bytes | None = None) -> tuple[bytes, ...]:
    """Go on if the grant in the mark is in force; its number stays in the second register."""
    register = small_register(1)
    load = ct(Ct.MARK, register) if mark is None else mark
    return meta(index), load, masked(host32(GRANT_BITS), register), lookup("live")


def _class(load: bytes, mark: int) -> tuple[bytes, ...]:
    return load, masked(host32(CLASS_BITS)), equals(host32(mark))


def _clear_packet_mark() -> tuple[bytes, ...]:
    return immediate(host32(0)), set_meta(Meta.MARK)


def _bits(load: bytes, bits: int) -> tuple[bytes, ...]:
    return load, masked(host32(bits)), differs(host32(0))


def _port(number: int) -> bytes:
    return number.to_bytes(2, "big")


def _goto(chain: str) -> bytes:
    return verdict(Verdict.GOTO, chain)


def _jump(chain: str) -> bytes:
    return verdict(Verdict.JUMP, chain)
