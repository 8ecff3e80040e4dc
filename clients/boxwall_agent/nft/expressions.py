"""nf_tables expressions as netlink attributes: what a rule is made of. Pure.

Each function returns one encoded expression. Source: linux/netfilter/nf_tables.h; the attribute
numbers are its NFTA_* enums in order. The order of attributes means nothing to the kernel; it is
that of the `nft` binary, so that tests can compare bytes.
"""

import struct
from enum import IntEnum
from typing import Final

from boxwall_agent.netlink import attribute, be16, be32, be64, nested, text, u8

R1: Final = 1
"""NFT_REG_1: 16 bytes, overlapping the first four of the small registers."""

_VERDICT_REGISTER: Final = 0
_REG32_00: Final = 8


def small_register(number: int) -> int:
    """The 4-byte register `number`; 0 is where R1 begins. Concatenations are laid out in these."""
    return _REG32_00 + number


class Meta(IntEnum):
    """NFT_META_*: what is known of a packet besides its bytes."""

    MARK = 3
    IIF = 4
    OIF = 5
    IIFNAME = 6
    OIFNAME = 7
    NFPROTO = 15
    L4PROTO = 16


class Ct(IntEnum):
    """NFT_CT_*: what is known of a packet's connection."""

    STATE = 0
    DIRECTION = 1
    STATUS = 2
    """IPS_*."""
    MARK = 3
    DST_IP = 20
    DST_IP6 = 22


class Base(IntEnum):
    """NFT_PAYLOAD_*: where an offset counts from."""

    NETWORK = 1
    TRANSPORT = 2


class Verdict(IntEnum):
    """NF_* and NFT_*."""

    DROP = 0
    ACCEPT = 1
    JUMP = -3
    GOTO = -4
    RETURN = -5


class State:
    """Bits of `Ct.STATE`."""

    INVALID: Final = 1
    ESTABLISHED: Final = 2
    RELATED: Final = 4
    NEW: Final = 8
    UNTRACKED: Final = 64


CONFIRMED: Final = 0x08
DESTINATION_NAT: Final = 0x20
"""IPS_CONFIRMED, which all packets of a connection have but its first, and IPS_DST_NAT: bits of
`Ct.STATUS`.
"""

ORIGINAL: Final = 0
REPLY: Final = 1
"""IP_CT_DIR_*."""

_PORT_GIVEN: Final = 2
"""NF_NAT_RANGE_PROTO_SPECIFIED."""
_TCP_OPTION: Final = 1
"""NFT_EXTHDR_OP_TCPOPT."""

_EQUAL: Final = 0
_NOT_EQUAL: Final = 1
_GREATER: Final = 4


def host32(value: int) -> bytes:
    """Marks and state bits are in the byte order of the machine."""
    return struct.pack("=I", value)


def meta(key: Meta, into: int = R1) -> bytes:
    """Load metadata."""
    return _expression("meta", be32(2, key), be32(1, into))


def set_meta(key: Meta, register: int = R1) -> bytes:
    """Set metadata."""
    return _expression("meta", be32(2, key), be32(3, register))


def ct(key: Ct, into: int = R1, *, direction: int | None = None) -> bytes:
    """Load what is known of the connection; addresses need a direction."""
    of_direction = () if direction is None else (u8(3, direction),)
    return _expression("ct", be32(2, key), be32(1, into), *of_direction)


def set_ct(key: Ct, register: int = R1) -> bytes:
    """Set the connection's mark."""
    return _expression("ct", be32(2, key), be32(4, register))


def payload(base: Base, offset: int, size: int, into: int = R1) -> bytes:
    """Load bytes of the packet. A load past its end does not match."""
    return _expression("payload", be32(1, into), be32(2, base), be32(3, offset), be32(4, size))


def equals(value: bytes, register: int = R1) -> bytes:
    """Go on if the register holds `value`."""
    return _compare(_EQUAL, value, register)


def above(value: bytes, register: int = R1) -> bytes:
    """Go on if the register is above this, octet by octet."""
    return _compare(_GREATER, value, register)


def differs(value: bytes, register: int = R1) -> bytes:
    """Go on if the register does not hold `value`."""
    return _compare(_NOT_EQUAL, value, register)


def masked(mask: bytes, register: int = R1, *, flipped: bytes | None = None) -> bytes:
    """AND the register with `mask`, then XOR it with `flipped`."""
    return _expression(
        "bitwise",
        be32(1, register),
        be32(2, register),
        be32(3, len(mask)),
        _data(4, mask),
        _data(5, bytes(len(mask)) if flipped is None else flipped),
    )


def immediate(value: bytes, into: int = R1) -> bytes:
    """Load a constant."""
    return _expression("immediate", be32(1, into), _data(2, value))


def verdict(code: Verdict, chain: str | None = None) -> bytes:
    """End the rule: accept, drop, or go on in `chain`."""
    target = () if chain is None else (text(2, chain),)
    data = nested(2, nested(2, be32(1, code), *target))
    return _expression("immediate", be32(1, _VERDICT_REGISTER), data)


def lookup(
    name: str, register: int = R1, *, into: int | None = None, absent: bool = False
) -> bytes:
    """Go on if the set holds the register's value, or with `absent` if it does not.

    `into`: a map's value goes there.
    """
    result = () if into is None else (be32(3, into),)
    inverted = (be32(5, 1),) if absent else ()
    return _expression("lookup", be32(2, register), *result, text(1, name), *inverted)


def counter() -> bytes:
    """Count packets and bytes."""
    return _expression("counter")


def limit(per_second: int, burst: int) -> bytes:
    """Go on at most so often."""
    return _expression(
        "limit", be64(1, per_second), be64(2, 1), be32(3, burst), be32(4, 0), be32(5, 0)
    )


def above_limit(per_second: int, burst: int) -> bytes:
    """Go on only when it is more often than that."""
    return _expression(
        "limit", be64(1, per_second), be64(2, 1), be32(3, burst), be32(4, 0), be32(5, 1)
    )


def log(group: int, prefix: str, *, copied_bytes: int) -> bytes:
    """Copy the packet's beginning to the listeners of an NFLOG group."""
    return _expression("log", text(2, prefix), be16(1, group), be32(3, copied_bytes))


def reject_with_reset() -> bytes:
    """Drop, and answer TCP with a reset."""
    return _expression("reject", be32(1, 1), u8(2, 0))


def reject_as_prohibited() -> bytes:
    """Drop, and answer ICMP administratively prohibited."""
    return _expression("reject", be32(1, 2), u8(2, 3))


def strip_tcp_option(kind: int) -> bytes:
    """Write no-operations over a TCP option, if the packet has it."""
    return _expression("exthdr", u8(2, kind), be32(6, _TCP_OPTION))


def notrack() -> bytes:
    """Keep the packet out of connection tracking."""
    return text(1, "notrack")


def masquerade() -> bytes:
    """Translate the source to the address of the interface it leaves by."""
    return _expression("masq")


def destination_nat(version: int, *, address: int, port: int) -> bytes:
    """Send the connection to the address and the port in these registers instead."""
    nfproto = {4: 2, 6: 10}[version]
    registers = be32(3, address), be32(5, port)
    return _expression("nat", be32(1, 1), be32(2, nfproto), *registers, be32(7, _PORT_GIVEN))


def queue(number: int) -> bytes:
    """Ask the listener of an NFQUEUE; without one, drop."""
    return _expression("queue", be16(1, number), be16(2, 1))


def queue_by_target(number: int) -> bytes:
    """The same by the target of iptables, for kernels without nf_tables' own expression.

    Its data are numbers in the machine's byte order, padded to eight octets: xt_NFQ_info_v3.
    """
    info = struct.pack("=HHHxx", number, 1, 0)
    return _expression("target", text(1, "NFQUEUE"), be32(2, 3), attribute(3, info))


def matches_program(descriptor: int) -> bytes:
    """Go on if the BPF program says so, by the match of iptables: nf_tables has none of its own.
    The rule keeps the program.

    Its data, xt_bpf_info_v1: mode (2: by descriptor), length, descriptor, space, the kernel's own.
    """
    info = struct.pack("=HHi512x8x", 2, 0, descriptor)
    return _expression("match", text(1, "bpf"), be32(2, 1), attribute(3, info))


def _compare(operator: int, value: bytes, register: int) -> bytes:
    return _expression("cmp", be32(1, register), be32(2, operator), _data(3, value))


def _expression(name: str, *attributes: bytes) -> bytes:
    return text(1, name) + nested(2, *attributes)


def _data(kind: int, value: bytes) -> bytes:
    return nested(kind, attribute(1, value))
