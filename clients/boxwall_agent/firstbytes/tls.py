"""What follows a ClientHello, as far as it can change whom the client wants. Pure, and total.

A server may ask for another ClientHello (HelloRetryRequest, RFC 8446 section 4.1.4), and some take
another name from it. So a connection is not done with its first one until the server has answered.
"""

from enum import Enum
from typing import Final

_CHANGE_CIPHER, _ALERT, _HANDSHAKE, _DATA = 20, 21, 22, 23
_SERVER_HELLO: Final = 2
_WARNING: Final = b"\x00\x02\x01"
"""Of an alert, its length and its level: the handshake goes on behind it (RFC 5246 section 7.2)."""

_RANDOM_AT: Final = 5 + 4 + 2
_RANDOM_END: Final = _RANDOM_AT + 32
_RETRY: Final = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
"""What a HelloRetryRequest has for its random: SHA-256 of that word."""


class Answer(Enum):
    """How a server answers a ClientHello."""

    INCOMPLETE = "incomplete"
    FINAL = "final"
    """It goes on with what it has, or ends the connection."""
    RETRY = "retry"
    """It wants another one."""
    STRANGE = "strange"
    """It is no answer to one."""


def read_answer(data: bytes) -> Answer:
    """Read what a server has sent so far since it got a ClientHello."""
    while data[:1] == bytes((_ALERT,)) and data[3:6] == _WARNING:
        data = data[7:]
    if not data:
        return Answer.INCOMPLETE
    if data[0] == _ALERT:
        return _read_alert(data)
    if data[0] != _HANDSHAKE or data[1:2] not in (b"", b"\x03"):
        return Answer.STRANGE
    if len(data) < _RANDOM_END:
        return Answer.INCOMPLETE
    if data[5] != _SERVER_HELLO or int.from_bytes(data[3:5], "big") < _RANDOM_END - 5:
        return Answer.STRANGE
    return Answer.RETRY if data[_RANDOM_AT:_RANDOM_END] == _RETRY else Answer.FINAL


def _read_alert(data: bytes) -> Answer:
    if len(data) < 6:
        return Answer.INCOMPLETE if data[1:2] in (b"", b"\x03") else Answer.STRANGE
    return Answer.FINAL if data[3:5] == _WARNING[:2] else Answer.STRANGE


def next_handshake(data: bytes) -> int | None:
    """Where the next handshake record begins, or will begin, in what a client sends after its
    ClientHello: early data and what it sends for old middleboxes' sake may come before it. None:
    something that is no TLS comes before it.
    """
    at = 0
    while at < len(data):
        if data[at] == _HANDSHAKE:
            return at
        if data[at] not in (_CHANGE_CIPHER, _ALERT, _DATA):
            return None
        at += 5 + int.from_bytes(data[at + 3 : at + 5], "big")
    return at
