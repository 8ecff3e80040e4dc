"""Answers that bring something in: the name is allowed, its name server is the attacker's.

The box asks, and then goes to an address that the answer should not have opened. The zone is the
world's: see `world.crafted`.
"""

import contextlib
import socket
import time

from attempts.catalogue import Bar, Place, attempt
from attempts.connection import say
from attempts.dnswire import ask, dns_query, labels
from attempts.hello import client_hello
from attempts.wire import UDP, ip, send, tell, udp


def _asked(place: Place, name: str) -> None:
    for kind in (1, 28, 65):
        with contextlib.suppress(OSError):
            ask(place.elsewhere, dns_query(labels(f"{name}.{place.zone}"), kind), patience=1)


def _datagram(place: Place, target: str, mark: str) -> None:
    send(place, ip(place.own, target, UDP, udp(place.own, target, 4242, mark.encode())))


@attempt(
    "answers",
    "rebinding to {}",
    Bar.ALWAYS,
    over=("metadata", "a private address", "the node", "another box"),
)
def _(place: Place, mark: str, where: str) -> None:
    _asked(place, "rebinding")
    private = "fd12::1" if place.version == 6 else "10.1.2.3"
    metadata = "fd00:ec2::254" if place.version == 6 else "169.254.169.254"
    target = {
        "metadata": metadata,
        "a private address": private,
        "the node": place.node,
        "another box": place.neighbour,
    }[where]
    _datagram(place, target, mark)


@attempt(
    "answers",
    "an address of {}",
    Bar.UNLISTED,
    over=(
        ("another name, beside the answer", "foreign"),
        ("another name, in place of the answer", "instead"),
        ("another name, in the additional section", "additional"),
        ("another class", "chaos"),
        ("an HTTPS record's hint", "hint"),
        ("the last of two thousand", "thousands"),
        ("an alias that loops", "loop"),
    ),
)
def _(place: Place, mark: str, where: tuple[str, str]) -> None:
    _asked(place, where[1])
    _datagram(place, place.elsewhere, mark)


@attempt(
    "answers",
    "an address in a denied network, {}",
    Bar.UNLISTED,
    over=(("answered", "denied"), ("by an alias", "alias")),
)
def _(place: Place, mark: str, how: tuple[str, str]) -> None:
    _asked(place, how[1])
    _datagram(place, place.denied, mark)


@attempt("answers", "a name that was not allowed, by an alias from one that is", Bar.NAMED)
def _(place: Place, mark: str) -> None:
    _asked(place, "cname")
    say(place.allowed_at, 443, client_hello(f"evil.{mark}"))


@attempt(
    "answers",
    "an address after its lease has ended, {} connection to it",
    Bar.NAMED,
    over=("without a", "beside a live"),
)
def _(place: Place, mark: str, kept: str) -> None:
    _asked(place, "brief")
    target = "2600:b::1" if place.version == 6 else "11.12.13.14"
    with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
        if kept == "beside a live":
            living = stack.enter_context(socket.create_connection((target, 2222), timeout=1))
            living.sendall(b"harmless")
        time.sleep(place.lease_ends_after)
        tell(target, 4242, mark.encode())
        say(target, 2222, mark.encode())


@attempt("answers", "an address of an allowed name, by the TLS name of another that is", Bar.NAMED)
def _(place: Place, mark: str) -> None:
    # Both are allowed; the one has never been asked for.
    say(place.allowed_at, 443, client_hello(f"{mark}.{place.zone}"))


@attempt("answers", "a literal address in place of a name", Bar.UNLISTED)
def _(place: Place, mark: str) -> None:
    with contextlib.suppress(socket.gaierror):
        socket.getaddrinfo(f"{place.elsewhere}.", 443)
    tell(place.elsewhere, 4242, mark.encode())
