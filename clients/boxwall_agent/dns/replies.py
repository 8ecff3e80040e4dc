"""What is sent to a box, as bytes. Pure.

The question comes back octet for octet: clients mix its case against forged answers.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from boxwall_agent.dns.answer import Record
from boxwall_agent.dns.question import BADVERS, CNAME, IN, OPT, Malformed, Question

OUR_PAYLOAD: Final = 1232
"""Octets by UDP that pass every network unbroken."""

BLOCKED, FILTERED = 15, 17
"""Extended DNS errors: RFC 8914 sections 4.16 and 4.18."""

_HEAD: Final = struct.Struct(">HHHHHH")
_RECORD: Final = struct.Struct(">HHIH")
_OPT: Final = struct.Struct(">BHHIH")
_ERROR: Final = struct.Struct(">HHH")
_EXTENDED_ERROR: Final = 15
_ANSWER: Final = 0x8080
"""QR and RA."""

_TRUNCATED: Final = 0x0200
_RECURSION: Final = 0x0100
_CHECKING_OFF: Final = 0x0010
_DNSSEC_OK: Final = 0x8000
_POINTER: Final = 0xC000
_FARTHEST: Final = 0x3FFF
"""What a pointer can point to."""

_LONGEST_TEXT: Final = 400
_WITHOUT_EDNS: Final = 512
_MOST: Final = 65535


@dataclass(frozen=True, slots=True)
class ExtendedError:
    """Why an answer is as it is; told to whoever asks with EDNS."""

    code: int
    text: str


def reply(
    question: Question,
    code: int,
    records: Iterable[Record] = (),
    *,
    age: int = 0,
    longest_ttl: int = _MOST,
    error: ExtendedError | None = None,
    over_tcp: bool = False,
) -> bytes:
    """Answer a question. `age`: seconds since the records came; no TTL is above `longest_ttl`."""
    room = (_MOST if over_tcp else _datagram(question)) - _HEAD.size - len(question.raw)
    parts = _parts(question, records, age, longest_ttl)
    opt = _opt(question, error, room)
    flags = _ANSWER | code | (_RECURSION if question.recursion else 0)
    flags |= _CHECKING_OFF if question.checking_off else 0
    if sum(map(len, parts)) + len(opt) > room:
        flags |= _TRUNCATED
        parts = []
    head = _HEAD.pack(question.id, flags, 1, len(parts), 0, 1 if opt else 0)
    return b"".join((head, question.raw, *parts, opt))


def reply_to_malformed(bad: Malformed) -> bytes | None:
    """Say that a query was none; None: by silence."""
    if bad.code is None:
        return None
    opt = _OPT.pack(0, OPT, OUR_PAYLOAD, bad.code >> 4 << 24, 0) if bad.has_edns else b""
    code = bad.code if bad.code < BADVERS else bad.code & 0xF
    return _HEAD.pack(bad.id, _ANSWER | bad.flags | code, 0, 0, 0, 1 if opt else 0) + opt


def _parts(
    question: Question, records: Iterable[Record], age: int, longest_ttl: int
) -> list[bytes]:
    """The records, one after the other. An owner that was named before is a pointer to there
    (RFC 1035 section 4.1.4): chains of aliases are long, and datagrams are not.
    """
    at = _HEAD.size + len(question.raw)
    named = {question.raw[:-4].lower(): _HEAD.size}
    parts = []
    for one in records:
        before = named.setdefault(one.owner, at)
        owner = one.owner
        if before < at and before <= _FARTHEST:
            owner = (_POINTER | before).to_bytes(2, "big")
        if one.type == CNAME:
            named.setdefault(one.data.lower(), at + len(owner) + _RECORD.size)
        ttl = min(max(0, one.ttl - age), longest_ttl)
        part = owner + _RECORD.pack(one.type, IN, ttl, len(one.data)) + one.data
        parts.append(part)
        at += len(part)
    return parts


def _opt(question: Question, error: ExtendedError | None, room: int) -> bytes:
    """What is too long of an error's text is left out: nobody comes again by TCP for that."""
    if question.payload is None:
        return b""
    option = b""
    if error is not None:
        most = min(_LONGEST_TEXT, room - _OPT.size - _ERROR.size)
        text = error.text.encode()[:most].decode(errors="ignore").encode()
        option = _ERROR.pack(_EXTENDED_ERROR, 2 + len(text), error.code) + text
    flags = _DNSSEC_OK if question.dnssec_ok else 0
    return _OPT.pack(0, OPT, OUR_PAYLOAD, flags, len(option)) + option


def _datagram(question: Question) -> int:
    return _WITHOUT_EDNS if question.payload is None else min(question.payload, OUR_PAYLOAD)
