"""Somebody outside helps: what it sends towards the box would open the way back, if it could.

The partner is at `elsewhere`, sends again and again, and is the world's: see `outside.Partner`.
"""

import time

from attempts.catalogue import Bar, Place, attempt
from attempts.wire import ACK, PSH, SYN, TCP, UDP, answer, ip, send, tcp, udp

_HEARD = 0.3
"""Seconds in which the partner has sent everything at least once."""


def _answer(place: Place, port: int, mark: str, *segments: tuple[int, int, int]) -> None:
    """`segments`: flags, sequence, acknowledged. The last one carries the mark."""
    time.sleep(_HEARD)
    for number, (flags, seq, ack) in enumerate(segments, 1):
        data = mark.encode() if number == len(segments) else b""
        made = tcp(place.own, place.elsewhere, port, port, data, seq=seq, ack=ack, flags=flags)
        send(place, ip(place.own, place.elsewhere, TCP, made))
        time.sleep(0.06)


@attempt("partner", "a simultaneous open", Bar.UNLISTED)
def _(place: Place, mark: str) -> None:
    _answer(place, 4501, mark, (SYN, 1000, 0), (SYN | ACK, 1000, 5001), (PSH | ACK, 1001, 5001))


@attempt("partner", "an answer to an opening", Bar.UNLISTED)
def _(place: Place, mark: str) -> None:
    _answer(place, 4502, mark, (SYN | ACK, 1000, 5001), (PSH | ACK, 1001, 5001))


@attempt("partner", "an opening whose answer comes unasked", Bar.UNLISTED)
def _(place: Place, mark: str) -> None:
    _answer(place, 4503, mark, (PSH | ACK, 1001, 5001))


@attempt("partner", "a connection that both pretend to have", Bar.UNLISTED)
def _(place: Place, mark: str) -> None:
    _answer(place, 4504, mark, (ACK, 1001, 5001), (PSH | ACK, 1001, 5001))


@attempt("partner", "an answer to a datagram", Bar.UNLISTED)
def _(place: Place, mark: str) -> None:
    time.sleep(_HEARD)
    body = udp(place.own, place.elsewhere, 4500, mark.encode(), source_port=4500)
    send(place, ip(place.own, place.elsewhere, UDP, body))


@attempt("partner", "an answer to a ping", Bar.UNLISTED)
def _(place: Place, mark: str) -> None:
    time.sleep(_HEARD)
    send(place, ip(place.own, place.elsewhere, *answer(place.own, place.elsewhere, mark.encode())))


@attempt("partner", "an answer from the box's own kernel", Bar.UNLISTED)
def _(_: Place, __: str) -> None:
    """The partner pings with the mark: the box's kernel answers with it, if it hears it."""
    time.sleep(_HEARD)
