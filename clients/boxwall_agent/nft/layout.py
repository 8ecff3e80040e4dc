"""The table, as it is before any box: sets, chains and rules. Pure.

A box is no object here. It is elements, keyed by its interface's index, in sets that all boxes
share, so the cost of a change does not grow with the number of boxes. An interface is a box's by
its index or by its name: one that is renamed stays policed, and one made anew under a name that is
known matches no other element, and reaches nothing.

What a packet goes through:

    prerouting, after conntrack, before any DNAT: what a box sends, to wherever
        live grant, no SYN, and no error -> accept
        from a box -> from_box: judge, stamp the connection with the grant
    input: what a box sends to the node itself; answers and neighbour discovery only
    forward: what comes to a box
        live grant -> accept; to a box -> to_box: an answer is judged by where the box had opened to
    output: what the node opens towards a box is marked, so that its answers pass

Each rule judges and stamps by one look-up: a map's value is the grant. Judging first and stamping
from another look-up after would stamp a refused connection if a change came in between.

What is allowed by name only is in `naming`.

Longer than other modules because it is one table, which has to be read as one.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from boxwall.policy.addresses import Network
from boxwall_agent.marks import OPENED_INBOUND, POKE
from boxwall_agent.nft import naming as names
from boxwall_agent.nft.expressions import (
    ORIGINAL,
    R1,
    REPLY,
    Base,
    Ct,
    Meta,
    State,
    Verdict,
    above_limit,
    counter,
    ct,
    differs,
    equals,
    host32,
    immediate,
    limit,
    log,
    lookup,
    masked,
    masquerade,
    meta,
    notrack,
    payload,
    reject_as_prohibited,
    reject_with_reset,
    set_ct,
    small_register,
    verdict,
)
from boxwall_agent.nft.family import FAMILIES, IPV6, Family
from boxwall_agent.nft.naming import Naming
from boxwall_agent.nft.objects import (
    Chain,
    Element,
    Field,
    Hook,
    HookPoint,
    RangeEnd,
    Rule,
    Set,
)

LOG_GROUP: Final = 7
"""NFLOG group of refused packets."""

COPIED_BYTES: Final = 96
"""Of a refused packet: IPv6 header, an extension header, ports."""

_ACCEPT: Final = verdict(Verdict.ACCEPT)
_DROP: Final = verdict(Verdict.DROP)
_FROM_BOX: Final = (
    (meta(Meta.IIF), lookup("hosted")),
    (meta(Meta.IIFNAME), lookup("boxes")),
)
_TO_BOX: Final = (
    (meta(Meta.OIF), lookup("hosted")),
    (meta(Meta.OIFNAME), lookup("boxes")),
)
_TCP: Final = (meta(Meta.L4PROTO), equals(b"\x06"))
_NOT_TCP: Final = (meta(Meta.L4PROTO), differs(b"\x06"))
_ICMP: Final = (meta(Meta.L4PROTO), equals(b"\x01"))
_ICMPV6: Final = (meta(Meta.L4PROTO), equals(b"\x3a"))
_INBOUND: Final = (ct(Ct.MARK), equals(host32(OPENED_INBOUND)))
_MARK_INBOUND: Final = (immediate(host32(OPENED_INBOUND)), set_ct(Ct.MARK))
_FIRST: Final = (ct(Ct.DIRECTION), equals(bytes((ORIGINAL,))))
_ANSWER: Final = (ct(Ct.DIRECTION), equals(bytes((REPLY,))))
_BARE_SYN: Final = (
    *_TCP,
    payload(Base.TRANSPORT, 13, 1),
    masked(b"\x17"),  # FIN, SYN, RST and ACK
    equals(b"\x02"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PerBox:
    """What one box may use of what all share, so that it cannot starve another."""

    new_connections: int = 2_000
    """A second, with a burst of as many."""
    connections: int | None = None
    """Tracked at one time; the agent counts them. None: a share of what the kernel tracks."""
    records: int = 20
    """Refusals recorded a second; all are counted."""
    read_packets: int = 5_000
    """Packets a second that the agent reads, with a burst of half as many."""
    queries: int = 400
    """Datagrams to port 53 a second that the agent gets, with a burst of as many: twice what a box
    may ask, so that there is somebody to tell it that it asks too much.
    """


def sets(limits: PerBox) -> tuple[Set, ...]:
    """The sets that are always there; those of prefix lengths come with their first use."""
    index = (Field.INTERFACE_INDEX,)
    common = (
        Set(name="boxes", key=(Field.INTERFACE_NAME,)),
        Set(name="hosted", key=index),
        Set(name="masqueraded", key=(Field.INTERFACE_NAME,)),
        Set(name="live", key=(Field.INTERFACE_INDEX, Field.MARK)),
        Set(name="all", key=index, value=Field.MARK),
        Set(name="seals", key=index, value=Field.MARK),
        Set(name="refused", key=index, per_element=(counter(),)),
        Set(name="spoofed", key=index, per_element=(counter(),)),
        Set(name="refused_in", key=index, per_element=(counter(),)),
        Set(name="limited", key=index, per_element=(counter(),)),
        Set(name="dropped", key=index, per_element=(counter(),)),
        Set(name="full", key=index),
        Set(name="records", key=index, per_element=(limit(limits.records, limits.records),)),
        Set(
            name="too_fast",
            key=index,
            per_element=(above_limit(limits.new_connections, limits.new_connections),),
        ),
        Set(
            name="too_much",
            key=index,
            per_element=(above_limit(limits.read_packets, limits.read_packets // 2),),
        ),
        Set(
            name="asks_too_much",
            key=index,
            per_element=(above_limit(limits.queries, limits.queries),),
        ),
        *names.sets(),
    )
    return (*common, *(made for family in FAMILIES for made in _family_sets(family)))


def _family_sets(family: Family) -> Iterator[Set]:
    v, address = family.suffix, family.field
    yield Set(name=f"own{v}", key=(Field.INTERFACE_INDEX, address))
    yield Set(name=f"box{v}", key=(address,))
    yield Set(name=f"node{v}", key=(address,))
    yield Set(name=f"blocked{v}", key=(address,), is_interval=True)
    yield Set(name=f"inbound{v}", key=(address,), is_interval=True)
    yield Set(name=f"has_allow{v}", key=(Field.INTERFACE_INDEX,))
    yield Set(name=f"has_deny{v}", key=(Field.INTERFACE_INDEX,))


def chains() -> Iterator[Chain]:
    """All chains; those that are jumped to come first."""
    for name in (
        *("refuse", "refuse_spoofed", "refuse_limited", "refuse_quic", "refuse_named", "refuse_in"),
        *("discard", "discard_in", "link_message", "link"),
    ):
        yield Chain(name=name)
    yield from names.inner_chains()
    for family in FAMILIES:
        for name in ("deny", "allow", "deny_answer", "allow_answer"):
            yield Chain(name=f"{name}{family.suffix}")
    for name in ("from_box", "to_node", "to_box", "answers", "node_to_box"):
        yield Chain(name=name)
    yield Chain(name="untracked", hook=Hook(point=HookPoint.OUTPUT, priority=-300))
    yield Chain(name="prerouting", hook=Hook(point=HookPoint.PREROUTING, priority=-190))
    yield names.base_chain()
    yield Chain(name="input", hook=Hook(point=HookPoint.INPUT, priority=-10))
    yield Chain(name="forward", hook=Hook(point=HookPoint.FORWARD, priority=-10))
    yield Chain(name="output", hook=Hook(point=HookPoint.OUTPUT, priority=-190))
    yield Chain(
        name="postrouting", hook=Hook(point=HookPoint.POSTROUTING, priority=100, kind="nat")
    )


def rules(naming: Naming | None, displaced: bytes | None = None) -> Iterator[Rule]:
    """The rules of all chains, in order.

    `displaced`: finds packets of which something else will be written where the rules look; None:
    the kernel cannot tell.
    """
    if displaced is not None:
        yield Rule("prerouting", (displaced, *_FROM_BOX[0], _goto("discard")), "would be another")
    yield from _hook_rules(naming)
    yield from names.rules(naming)
    yield from _link()
    yield from _from_box()
    yield from _to_node(naming)
    yield from _to_box()
    yield from _answers()
    yield from _node_to_box()
    yield from _refusals()


def _hook_rules(naming: Naming | None) -> Iterator[Rule]:
    yield Rule("untracked", (meta(Meta.MARK), equals(host32(POKE)), notrack()), "pokes")
    live_in = (meta(Meta.IIF), ct(Ct.MARK, small_register(1)), lookup("live"), _ACCEPT)
    live_out = (meta(Meta.OIF), ct(Ct.MARK, small_register(1)), lookup("live"), _ACCEPT)
    # A server may have forgotten what is tracked here as open. The opening of another connection
    # from the same port would go on by the grant of the first, whose name was read.
    opening = (*_TCP, payload(Base.TRANSPORT, 13, 1), masked(b"\x02"), equals(b"\x02"))
    hosted = _FROM_BOX[0]
    yield Rule("prerouting", (*opening, *hosted, _goto("from_box")), "judged, whatever it has")
    # A grant says where a connection goes, and an error about it may say any source; so may the
    # first packet of a connection that a helper expects, which inherits the mark.
    related = (*_state(State.RELATED), *hosted)
    yield Rule("prerouting", (*related, _goto("from_box")), "judged, whatever it has")
    yield Rule("prerouting", live_in)
    for from_box in _FROM_BOX:
        yield Rule("prerouting", (*from_box, _goto("from_box")))
    yield from names.input_rules(naming)
    for from_box in _FROM_BOX:
        yield Rule("input", (*from_box, _goto("to_node")))
    # Only answers can carry a grant to a box: for what it sends, the look-up is spared.
    yield Rule("forward", (*_ANSWER, *live_out))
    for to_box in _TO_BOX:
        yield Rule("forward", (*to_box, _goto("to_box")))
    for to_box in _TO_BOX:
        yield Rule("output", (*to_box, _goto("node_to_box")))
    yield Rule("postrouting", (meta(Meta.IIFNAME), lookup("masqueraded"), masquerade()))


def _from_box() -> Iterator[Rule]:
    """Semantics section 2, in order. Deny beats allow: `deny` is asked before `all` and `allow`."""
    chain = "from_box"
    yield Rule(chain, (*_state(State.INVALID), _goto("discard")), "not of any connection")
    yield Rule(chain, (*IPV6.match, *_ICMPV6, _jump("link")))
    for family in FAMILIES:
        own = (*family.match, meta(Meta.IIF), family.load(family.source_at, 1))
        spoofed = lookup(f"own{family.suffix}", absent=True)
        yield Rule(chain, (*own, spoofed, _goto("refuse_spoofed")))
    yield Rule(chain, (*_ANSWER, *_INBOUND, _ACCEPT), "answers to who may open towards the box")
    for icmp in (_ICMP, _ICMPV6):
        granted = (meta(Meta.IIF), ct(Ct.MARK, small_register(1)), lookup("live"))
        error = (*icmp, *_state(State.RELATED), *granted)
        yield Rule(chain, (*error, _ACCEPT), "an error about what is granted")
    yield from names.dns_rules(chain)
    for family in FAMILIES:
        destination = family.load(family.destination_at, 0)
        for name in ("blocked", "node", "box"):
            in_set = lookup(f"{name}{family.suffix}")
            yield Rule(chain, (*family.match, destination, in_set, _goto("refuse")))
        denied = lookup(f"has_deny{family.suffix}")
        yield Rule(chain, (*family.match, meta(Meta.IIF), denied, _jump(f"deny{family.suffix}")))
    new = _state(State.NEW)
    for limited in ("full", "too_fast"):
        yield Rule(chain, (*new, meta(Meta.IIF), lookup(limited), _goto("refuse_limited")))
    yield Rule(chain, (meta(Meta.IIF), lookup("all", into=R1), set_ct(Ct.MARK), _ACCEPT))
    for family in FAMILIES:
        allows = lookup(f"has_allow{family.suffix}")
        yield Rule(chain, (*family.match, meta(Meta.IIF), allows, _jump(f"allow{family.suffix}")))
    yield Rule(chain, (_goto("named"),))


def _to_node(naming: Naming | None) -> Iterator[Rule]:
    """The node's own addresses are refused before; this also holds what was redirected here."""
    yield Rule("to_node", (*IPV6.match, *_ICMPV6, _jump("link")))
    yield Rule("to_node", (*_ANSWER, *_INBOUND, _ACCEPT), "answers to the node")
    yield from names.to_node_rules(naming)
    yield Rule("to_node", (_goto("refuse"),))


def _to_box() -> Iterator[Rule]:
    """A TCP connection is opened by a bare SYN: a server's later packet, seen without its
    connection, must not make one that the box would then be free to answer.
    """
    chain = "to_box"
    for from_box in _FROM_BOX:
        yield Rule(chain, (*from_box, _goto("refuse")), "box to box")
    yield Rule(chain, (*_state(State.INVALID), _goto("discard_in")), "not of any connection")
    yield Rule(chain, (*_INBOUND, _ACCEPT))
    yield Rule(chain, (*_ANSWER, _goto("answers")))
    for family in FAMILIES:
        source = family.load(family.source_at, 0)
        named = (*_state(State.NEW), *family.match, source, lookup(f"inbound{family.suffix}"))
        yield Rule(chain, (*named, *_BARE_SYN, *_MARK_INBOUND, _ACCEPT), "operator's sources")
        yield Rule(chain, (*named, *_NOT_TCP, *_MARK_INBOUND, _ACCEPT), "operator's sources")
    yield Rule(chain, (_goto("refuse_in"),))


def _answers() -> Iterator[Rule]:
    """Judged by the address that the box had sent to, which a DNAT may have changed since."""
    chain = "answers"
    for family in FAMILIES:
        opened_to = ct(family.ct_destination, direction=ORIGINAL)
        for name in ("blocked", "node", "box"):
            in_set = lookup(f"{name}{family.suffix}")
            yield Rule(chain, (*family.match, opened_to, in_set, _goto("refuse_in")))
        denied = lookup(f"has_deny{family.suffix}")
        target = _jump(f"deny_answer{family.suffix}")
        yield Rule(chain, (*family.match, meta(Meta.OIF), denied, target))
    yield Rule(chain, (meta(Meta.OIF), lookup("all", into=R1), set_ct(Ct.MARK), _ACCEPT))
    for family in FAMILIES:
        allows = lookup(f"has_allow{family.suffix}")
        target = _jump(f"allow_answer{family.suffix}")
        yield Rule(chain, (*family.match, meta(Meta.OIF), allows, target))
    yield Rule(chain, (_goto("named_answer"),))


def _node_to_box() -> Iterator[Rule]:
    new = (*_state(State.NEW), *_FIRST)
    yield Rule("node_to_box", (*new, *_BARE_SYN, *_MARK_INBOUND, _ACCEPT), "opened by the node")
    yield Rule("node_to_box", (*new, *_NOT_TCP, *_MARK_INBOUND, _ACCEPT), "opened by the node")


def _refusals() -> Iterator[Rule]:
    """Count exactly, record at a bounded rate, and answer so that programs fail at once.

    Only the box is answered. What its far end were told of a refused packet would carry what the
    box has put into it, out of a box that may not send: see `poking`.
    """
    for chain, count, prefix in (
        ("refuse", "refused", "policy"),
        ("refuse_limited", "limited", "limited"),
        ("refuse_quic", "refused", "quic"),
        ("refuse_named", "refused", None),  # the agent knows more, and records it
    ):
        yield Rule(chain, (meta(Meta.IIF), lookup(count)), "count")
        if prefix is not None:
            yield Rule(chain, (meta(Meta.IIF), lookup("records"), _record(prefix)))
        yield Rule(chain, (*_TCP, reject_with_reset()))
        yield Rule(chain, (reject_as_prohibited(),))
    yield Rule("refuse_spoofed", (meta(Meta.IIF), lookup("spoofed")), "count")
    yield Rule("refuse_spoofed", (meta(Meta.IIF), lookup("records"), _record("spoofed")))
    yield Rule("refuse_spoofed", (_DROP,), "whoever has that address sent nothing")
    yield Rule("refuse_in", (meta(Meta.OIF), lookup("refused_in")), "count")
    yield Rule("refuse_in", (*_TCP, reject_with_reset()))
    yield Rule("refuse_in", (_DROP,))
    yield Rule("discard", (meta(Meta.IIF), lookup("dropped")), "count")
    yield Rule("discard", (_DROP,))
    yield Rule("discard_in", (meta(Meta.OIF), lookup("refused_in")), "count")
    yield Rule("discard_in", (_DROP,))


def _link() -> Iterator[Rule]:
    """What keeps the link itself working, towards the node only: such a message to any other
    address would be forwarded, with whatever it carries. A box is no router (134), and sends nobody
    elsewhere (137), wherever they are.

    RFC 4861: hop limit 255 proves that no router has passed the message on; RFC 2710 and 3810: 1.
    """
    for first, prefix_length in ((0xFE80 << 112, 10), (0xFF02 << 112, 16)):
        mask, network = IPV6.mask(prefix_length), IPV6.packed(first)
        scope = (IPV6.load(IPV6.destination_at, 0), masked(mask), equals(network))
        yield Rule("link", (*IPV6.match, *scope, _goto("link_message")))
    for kind in (134, 137):
        routing = (*_ICMPV6, payload(Base.TRANSPORT, 0, 1), equals(bytes((kind,))))
        yield Rule("link", (*IPV6.match, *routing, _goto("discard")), "a router's message")
    to_node = (IPV6.load(IPV6.destination_at, 0), lookup("node6"))
    yield Rule("link", (*IPV6.match, *to_node, _goto("link_message")))
    for kinds, hop_limit, comment in (
        ((133, 135, 136), 255, "neighbour discovery"),
        ((131, 132, 143), 1, "multicast listener discovery"),
    ):
        hops = (payload(Base.NETWORK, 7, 1), equals(bytes((hop_limit,))))
        for kind in kinds:
            icmp = (*_ICMPV6, payload(Base.TRANSPORT, 0, 1), equals(bytes((kind,))))
            yield Rule("link_message", (*IPV6.match, *icmp, *hops, _ACCEPT), comment)


def length_sets(family: Family, length: int) -> tuple[Set, Set]:
    """The map of allowed and the set of denied networks of one prefix length."""
    key = (Field.INTERFACE_INDEX, family.field)
    return (
        Set(name=allow_set(family, length), key=key, value=Field.MARK),
        Set(name=deny_set(family, length), key=key),
    )


def length_rules(family: Family, length: int) -> Iterator[Rule]:
    """The look-ups for one prefix length, in both directions."""
    v = family.suffix
    mask = () if length == family.width else (masked(family.mask(length), small_register(1)),)
    sent_to = (meta(Meta.IIF), family.load(family.destination_at, 1), *mask)
    opened_to = ct(family.ct_destination, small_register(1), direction=ORIGINAL)
    answers = (meta(Meta.OIF), opened_to, *mask)
    denied = lookup(deny_set(family, length))
    allowed = (lookup(allow_set(family, length), into=R1), set_ct(Ct.MARK), _ACCEPT)
    yield Rule(f"deny{v}", (*family.match, *sent_to, denied, _goto("refuse")))
    yield Rule(f"deny_answer{v}", (*family.match, *answers, denied, _goto("refuse_in")))
    yield Rule(f"allow{v}", (*family.match, *sent_to, *allowed))
    yield Rule(f"allow_answer{v}", (*family.match, *answers, *allowed))


def allow_set(family: Family, length: int) -> str:
    """Name of the map of allowed networks of one prefix length."""
    return f"allow{family.suffix}_{length}"


def deny_set(family: Family, length: int) -> str:
    """Name of the set of denied networks of one prefix length."""
    return f"deny{family.suffix}_{length}"


def ranges(name: str, networks: Iterable[Network]) -> Iterator[Element | RangeEnd]:
    """The elements of the interval set `name`: overlapping and adjacent networks are joined."""
    ordered = sorted(networks)
    for family in FAMILIES:
        joined: list[list[int]] = []
        for network in (one for one in ordered if one.version == family.version):
            if joined and network.first <= joined[-1][1]:
                joined[-1][1] = max(joined[-1][1], network.last + 1)
            else:
                joined.append([network.first, network.last + 1])
        for first, end in joined:
            yield Element(f"{name}{family.suffix}", family.packed(first))
            if end >> family.width == 0:
                yield RangeEnd(f"{name}{family.suffix}", family.packed(end))


def _state(bits: int) -> tuple[bytes, ...]:
    return ct(Ct.STATE), masked(host32(bits)), differs(host32(0))


def _record(prefix: str) -> bytes:
    return log(LOG_GROUP, prefix, copied_bytes=COPIED_BYTES)


def _goto(chain: str) -> bytes:
    return verdict(Verdict.GOTO, chain)


def _jump(chain: str) -> bytes:
    return verdict(Verdict.JUMP, chain)
