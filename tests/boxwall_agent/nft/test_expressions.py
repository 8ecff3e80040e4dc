"""Expressions are, byte for byte, what the `nft` binary sends for the same rule.

`captured.txt` says what it sent. Left out of that is what the kernel does not need: the id of a set
beside its name (NFTA_LOOKUP_SET_ID), and the operation of a bitwise expression where it is the
default, AND and XOR (NFTA_BITWISE_OP).
"""

import struct

import pytest

from boxwall_agent.netlink import attribute, nested
from boxwall_agent.nft.expressions import (
    DESTINATION_NAT,
    ORIGINAL,
    R1,
    REPLY,
    Base,
    Ct,
    Meta,
    State,
    Verdict,
    counter,
    ct,
    destination_nat,
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
    queue,
    queue_by_target,
    reject_as_prohibited,
    reject_with_reset,
    set_ct,
    set_meta,
    small_register,
    verdict,
)
from boxwall_agent.nft.family import IPV4, IPV6
from fakes.captured_netlink import captured

NAMES = ("message", 1), ("message", 2)
SET_ID, OPERATION = ("lookup", 4), ("bitwise", 6)
ACCEPT, DROP = verdict(Verdict.ACCEPT), verdict(Verdict.DROP)
NAME = b"bwv1".ljust(16, b"\0")
TCP = (meta(Meta.L4PROTO), equals(b"\x06"))
SECOND = small_register(1)
STAMP = set_ct(Ct.MARK)


def bits(load: bytes, wanted: int) -> tuple[bytes, ...]:
    """One of these bits is set."""
    return load, masked(host32(wanted)), differs(host32(0))


RULES: dict[str, tuple[bytes, ...]] = {
    "drop": (DROP,),
    "jump other": (verdict(Verdict.JUMP, "other"),),
    "goto other": (verdict(Verdict.GOTO, "other"),),
    "return": (verdict(Verdict.RETURN),),
    "iif 7 accept": (meta(Meta.IIF), equals(host32(7)), ACCEPT),
    "oif != 7 accept": (meta(Meta.OIF), differs(host32(7)), ACCEPT),
    'iifname "bwv1" accept': (meta(Meta.IIFNAME), equals(NAME), ACCEPT),
    'oifname "bwv1" accept': (meta(Meta.OIFNAME), equals(NAME), ACCEPT),
    "meta nfproto ipv6 accept": (*IPV6.match, ACCEPT),
    "meta l4proto tcp accept": (*TCP, ACCEPT),
    "meta l4proto != udp accept": (meta(Meta.L4PROTO), differs(b"\x11"), ACCEPT),
    "meta mark 0x42570001 accept": (meta(Meta.MARK), equals(host32(0x42570001)), ACCEPT),
    "ct state invalid drop": (*bits(ct(Ct.STATE), State.INVALID), DROP),
    "ct state new accept": (*bits(ct(Ct.STATE), State.NEW), ACCEPT),
    "ct state established accept": (*bits(ct(Ct.STATE), State.ESTABLISHED), ACCEPT),
    "ct state related accept": (*bits(ct(Ct.STATE), State.RELATED), ACCEPT),
    "ct state untracked accept": (*bits(ct(Ct.STATE), State.UNTRACKED), ACCEPT),
    "ct status dnat accept": (*bits(ct(Ct.STATUS), DESTINATION_NAT), ACCEPT),
    "ct direction original accept": (ct(Ct.DIRECTION), equals(bytes((ORIGINAL,))), ACCEPT),
    "ct direction reply accept": (ct(Ct.DIRECTION), equals(bytes((REPLY,))), ACCEPT),
    "ct mark 0x80000000 accept": (ct(Ct.MARK), equals(host32(0x80000000)), ACCEPT),
    "ct mark and 0xff000000 == 0x40000000 accept": (
        *(ct(Ct.MARK), masked(host32(0xFF000000)), equals(host32(0x40000000))),
        ACCEPT,
    ),
    "ct mark set 0x10000000": (immediate(host32(0x10000000)), STAMP),
    "meta mark set 0x0": (immediate(host32(0)), set_meta(Meta.MARK)),
    "meta mark set ct mark and 0xffffff": (
        *(ct(Ct.MARK), masked(host32(0xFFFFFF)), set_meta(Meta.MARK)),
    ),
    "meta mark set meta mark xor 0x40000000": (
        meta(Meta.MARK),
        masked(host32(0xFFFFFFFF), flipped=host32(0x40000000)),
        set_meta(Meta.MARK),
    ),
    "iifname @names accept": (meta(Meta.IIFNAME), lookup("names"), ACCEPT),
    "iifname != @names accept": (meta(Meta.IIFNAME), lookup("names", absent=True), ACCEPT),
    "iif . ct mark @live accept": (*(meta(Meta.IIF), ct(Ct.MARK, SECOND), lookup("live"), ACCEPT),),
    "iif @refused accept": (meta(Meta.IIF), lookup("refused"), ACCEPT),
    "ip6 daddr @box6 accept": (
        *IPV6.match,
        payload(Base.NETWORK, IPV6.destination_at, 16),
        *(lookup("box6"), ACCEPT),
    ),
    "ct mark set iif map @grants accept": (
        *(meta(Meta.IIF), lookup("grants", into=R1), STAMP, ACCEPT),
    ),
    "ct mark set iif . ip daddr map @allow4 accept": (
        *(*IPV4.match, meta(Meta.IIF), IPV4.load(IPV4.destination_at, 1)),
        *(lookup("allow4", into=R1), STAMP, ACCEPT),
    ),
    "ct mark set iif . ip6 daddr map @allow6 accept": (
        *(*IPV6.match, meta(Meta.IIF), IPV6.load(IPV6.destination_at, 1)),
        *(lookup("allow6", into=R1), STAMP, ACCEPT),
    ),
    "ct mark set oif . ct original ip daddr map @allow4 accept": (
        *(meta(Meta.OIF), ct(IPV4.ct_destination, SECOND, direction=ORIGINAL)),
        *(lookup("allow4", into=R1), STAMP, ACCEPT),
    ),
    "ct mark set oif . ct original ip6 daddr map @allow6 accept": (
        *(meta(Meta.OIF), ct(IPV6.ct_destination, SECOND, direction=ORIGINAL)),
        *(lookup("allow6", into=R1), STAMP, ACCEPT),
    ),
    "ip daddr & 255.240.0.0 == 104.16.0.0 accept": (
        *(*IPV4.match, payload(Base.NETWORK, IPV4.destination_at, 4), masked(IPV4.mask(12))),
        *(equals(bytes((104, 16, 0, 0))), ACCEPT),
    ),
    "ip saddr 10.77.1.2 accept": (
        *(*IPV4.match, payload(Base.NETWORK, IPV4.source_at, 4)),
        *(equals(bytes((10, 77, 1, 2))), ACCEPT),
    ),
    "th dport 53 accept": (payload(Base.TRANSPORT, 2, 2), equals(b"\x00\x35"), ACCEPT),
    "tcp flags & (fin|syn|rst|ack) == syn accept": (
        *(*TCP, payload(Base.TRANSPORT, 13, 1), masked(b"\x17"), equals(b"\x02"), ACCEPT),
    ),
    "@th,64,32 & 0xff0000ff == 0xff000000 accept": (
        *(payload(Base.TRANSPORT, 8, 4), masked(b"\xff\0\0\xff"), equals(b"\xff\0\0\0"), ACCEPT),
    ),
    "counter drop": (counter(), DROP),
    "limit rate 1000/second burst 200 packets accept": (limit(1000, 200), ACCEPT),
    'log prefix "policy" group 7 snaplen 96': (log(7, "policy", copied_bytes=96),),
    "meta l4proto tcp reject with tcp reset": (*TCP, reject_with_reset()),
    "reject with icmpx admin-prohibited": (reject_as_prohibited(),),
    "queue num 16983": (queue(16983),),
}
NAT_RULES: dict[str, tuple[bytes, ...]] = {
    "leaving masquerade": (masquerade(),),
    "to_agent meta l4proto tcp dnat ip to 10.0.0.1:8053": (
        *(*TCP, immediate(bytes((10, 0, 0, 1)), 1), immediate(struct.pack(">H", 8053), 2)),
        destination_nat(4, address=1, port=2),
    ),
    "to_agent meta l4proto tcp dnat ip6 to [2600::1]:8053": (
        *TCP,
        *(immediate(b"\x26" + bytes(14) + b"\x01", 1), immediate(struct.pack(">H", 8053), 2)),
        destination_nat(6, address=1, port=2),
    ),
}


@pytest.mark.parametrize(
    ("statement", "expressions"),
    [
        *((f"forward {rule}", made) for rule, made in RULES.items()),
        *NAT_RULES.items(),
    ],
    ids=[*RULES, *NAT_RULES],
)
def test_a_rule_is_what_nft_sends(statement: str, expressions: tuple[bytes, ...]) -> None:
    made = nested(4, *(nested(1, one) for one in expressions))
    sent = captured(f"add rule inet boxwall {statement}", *NAMES, SET_ID, OPERATION)
    assert made.hex(" ", 4) == sent.hex(" ", 4)


def test_notrack_is_what_nft_sends() -> None:
    """Of it nft sends the name alone."""
    sent = captured("add rule inet boxwall untracked notrack")
    assert sent.endswith(nested(4, nested(1, notrack())))


def test_the_target_for_queues_is_what_iptables_sends() -> None:
    """Revision 3 of xt_NFQ_info: number, total, flags. iptables counts before."""
    sent = captured("iptables-nft --append FORWARD --jump NFQUEUE --queue-num 16983")
    assert nested(1, queue_by_target(16983)) in sent


def test_a_number_is_in_the_machines_order_where_the_kernel_has_it_so() -> None:
    assert host32(0x01020304) == struct.pack("=I", 0x01020304)


def test_attributes_are_padded_and_say_their_own_length() -> None:
    """struct nlattr: length of itself and its value without padding, then its kind."""
    assert attribute(7, b"abc") == struct.pack("=HH", 7, 7) + b"abc\0"
    assert nested(7, attribute(1, b"")) == struct.pack("=HHHH", 8, 0x8007, 4, 1)
