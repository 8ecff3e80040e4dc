"""Queries as they come from boxes. Pure, and total: any bytes have an answer.

By hand rather than by a library: every query of every box comes through here, a refused one must
cost little, and what is not exactly a question is not passed on.
"""

import struct
from dataclasses import dataclass
from typing import Final, TypeAlias

from boxwall.policy import EntryError, Name

HEADER: Final = 12
IN: Final = 1
A, NS, CNAME, SOA, TXT, AAAA, OPT, SVCB, HTTPS = 1, 2, 5, 6, 16, 28, 41, 64, 65
IXFR, AXFR, ANY = 251, 252, 255

FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, BADVERS = 1, 2, 3, 4, 5, 16

_HEAD: Final = struct.Struct(">HHHHHH")
_TAIL: Final = struct.Struct(">HH")
_OPT_RECORD: Final = struct.Struct(">BHHBBHH")
_RESPONSE: Final = 0x8000
_OPCODE: Final = 0x7800
_TRUNCATED: Final = 0x0200
_RECURSION: Final = 0x0100
_CHECKING_OFF: Final = 0x0010
_LONGEST_NAME: Final = 255
_ECHOED: Final = _OPCODE | _RECURSION
_DNSSEC_OK: Final = 0x8000
_SMALLEST_PAYLOAD: Final = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question of one query."""

    id: int
    raw: bytes
    """Name, type and class as they were asked, to be repeated in the answer."""
    text: str
    """The name in lower case, as text; what is not printable is escaped."""
    name: Name | None
    """None: it is no name that a policy could allow, such as one of a single label."""
    type: int
    recursion: bool
    checking_off: bool
    payload: int | None
    """What the asker takes by UDP, in octets; None: its query carries no EDNS."""
    dnssec_ok: bool = False
    """RFC 3225: said back, though no signatures are passed on."""


@dataclass(frozen=True, slots=True)
class Malformed:
    """Not a query that is answered. `code`: how to say so; None: by silence."""

    id: int
    code: int | None
    flags: int = 0
    """Those that the answer repeats."""
    has_edns: bool = False


Asked: TypeAlias = Question | Malformed


class _Bad(Exception):
    """The bytes are no query."""


def read_query(data: bytes) -> Asked:
    """Read one message from a box."""
    if len(data) < HEADER:
        return Malformed(0, None)
    number, flags, questions, answers, authorities, additional = _HEAD.unpack_from(data)
    if flags & _RESPONSE:
        return Malformed(number, None)
    if flags & _OPCODE:
        return Malformed(number, NOTIMP, flags & _ECHOED)
    if (questions, answers, authorities) != (1, 0, 0) or additional > 1 or flags & _TRUNCATED:
        return Malformed(number, FORMERR, flags & _ECHOED)
    try:
        return _question(data, number, flags, has_more=additional == 1)
    except _Bad:
        return Malformed(number, FORMERR, flags & _ECHOED)


def _question(data: bytes, number: int, flags: int, *, has_more: bool) -> Asked:
    labels, at = _labels(data)
    if at + 4 > len(data):
        raise _Bad
    kind, of_class = _TAIL.unpack_from(data, at)
    payload, version, more = _edns(data[at + 4 :]) if has_more else (None, 0, 0)
    if not has_more and at + 4 != len(data):
        raise _Bad
    if version:
        return Malformed(number, BADVERS, flags & _ECHOED, has_edns=True)
    if of_class != IN:
        return Malformed(number, REFUSED, flags & _ECHOED, has_edns=payload is not None)
    name = _name(labels)
    return Question(
        id=number,
        raw=data[HEADER : at + 4],
        text=name.text if name is not None else ".".join(map(_shown, labels)) or ".",
        name=name,
        type=kind,
        recursion=bool(flags & _RECURSION),
        checking_off=bool(flags & _CHECKING_OFF),
        payload=payload,
        dnssec_ok=bool(more & _DNSSEC_OK),
    )


def _labels(data: bytes) -> tuple[list[bytes], int]:
    """The labels of the question's name, and where its type is. No pointers: there is nothing yet
    to point to.
    """
    labels: list[bytes] = []
    at = HEADER
    while True:
        if at >= len(data) or at - HEADER >= _LONGEST_NAME:
            raise _Bad
        size = data[at]
        at += 1
        if size == 0:
            return labels, at
        if size > 63 or at + size > len(data):
            raise _Bad
        labels.append(data[at : at + size])
        at += size


def _edns(data: bytes) -> tuple[int, int, int]:
    """The asker's payload, version and flags (RFC 6891 section 6.1.2); its options are not looked
    at.
    """
    if len(data) < _OPT_RECORD.size:
        raise _Bad
    root, kind, payload, _, version, flags, size = _OPT_RECORD.unpack_from(data)
    if root != 0 or kind != OPT or _OPT_RECORD.size + size != len(data):
        raise _Bad
    return max(payload, _SMALLEST_PAYLOAD), version, flags


def _name(labels: list[bytes]) -> Name | None:
    """A dot or a NUL inside a label is not the end of a label: such a name is no Name."""
    if any(b"." in label for label in labels):
        return None
    try:
        return Name.parse(b".".join(labels).decode("ascii"))
    except (UnicodeDecodeError, EntryError):
        return None


def _shown(label: bytes) -> str:
    """RFC 1035 section 5.1: a dot in a label, and what cannot be seen, is escaped."""
    return "".join(
        chr(one).lower() if 0x21 <= one <= 0x7E and one not in b'."\\' else f"\\{one:03d}"
        for one in label
    )
