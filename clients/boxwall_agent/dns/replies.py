"""What is sent to a box, as bytes. Pure.

The question comes back octet for octet: clients mix its case against forged answers.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from boxwall_agent.dns.answer import Record
from boxwall_agent.dns.question import BADVERS, IN, OPT, Malformed, Question

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
_TO_QUESTION: Final = b"\xc0\x0c"
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
    own_name = question.raw[:-4].lower()
    parts = [_record(one, own_name, age, longest_ttl) for one in records]
    opt = _opt(question, error)
    flags = _ANSWER | code | (_RECURSION if question.recursion else 0)
    flags |= _CHECKING_OFF if question.checking_off else 0
    size = len(question.raw) + sum(map(len, parts)) + len(opt) + _HEAD.size
    if size > _room(question, over_tcp=over_tcp):
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
    return _HEAD.pack(bad.id, _ANSWER | code, 0, 0, 0, 1 if opt else 0) + opt


def _record(record: Record, own_name: bytes, age: int, longest_ttl: int) -> bytes:
    owner = _TO_QUESTION if record.owner == own_name else record.owner
    ttl = min(max(0, record.ttl - age), longest_ttl)
    return owner + _RECORD.pack(record.type, IN, ttl, len(record.data)) + record.data


def _opt(question: Question, error: ExtendedError | None) -> bytes:
    if question.payload is None:
        return b""
    option = b""
    if error is not None:
        text = error.text.encode()[:_LONGEST_TEXT]
        option = _ERROR.pack(_EXTENDED_ERROR, 2 + len(text), error.code) + text
    return _OPT.pack(0, OPT, OUR_PAYLOAD, 0, len(option)) + option


def _room(question: Question, *, over_tcp: bool) -> int:
    if over_tcp:
        return _MOST
    return _WITHOUT_EDNS if question.payload is None else min(question.payload, OUR_PAYLOAD)
