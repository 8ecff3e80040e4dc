"""What root may change inside the box. Each of these puts back what it has changed."""

import contextlib
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from attempts.catalogue import Bar, Place, attempt
from attempts.wire import family_of, tell


def _run(*command: str) -> None:
    subprocess.run(command, capture_output=True, timeout=5)


@contextlib.contextmanager
def _address(place: Place, address: str) -> Iterator[None]:
    length = 128 if place.version == 6 else 32
    where = (f"{address}/{length}", "dev", place.interface)
    _run("ip", "address", "add", *where, *(("nodad",) if place.version == 6 else ()))
    try:
        yield
    finally:
        _run("ip", "address", "del", *where)


@attempt("inside", "every table flushed", Bar.UNLISTED, is_alone=True)
def _(place: Place, mark: str) -> None:
    _run("nft", "flush", "ruleset")
    for flag in ("-F", "-X"):
        _run("iptables", flag)
    tell(place.elsewhere, 4242, mark.encode())


@attempt("inside", "another resolver in resolv.conf", Bar.ASKED, is_alone=True)
def _(place: Place, mark: str) -> None:
    known = Path("/etc/resolv.conf")
    before = known.read_text()
    try:
        known.write_text(f"nameserver {place.elsewhere}\noptions timeout:1 attempts:1\n")
        _run("getent", "ahosts", f"x.{mark}.example")
    finally:
        known.write_text(before)


@attempt(
    "inside",
    "one more address, {}",
    Bar.UNLISTED,
    is_alone=True,
    over=("another box's", "a public one"),
)
@attempt(
    "inside",
    "one more address, {}",
    Bar.UNLISTED,
    is_alone=True,
    over=("the node's",),
    versions=(6,),
)
@attempt(
    "inside",
    "one more address, {}",
    Bar.UNLISTED,
    is_alone=True,
    over=("the node's",),
    versions=(4,),
    not_carried="Linux drops IPv4 packets that come from its own address",
)
def _(place: Place, mark: str, whose: str) -> None:
    public = "2600:8::8" if place.version == 6 else "8.8.4.4"
    source = {"another box's": place.neighbour, "the node's": place.node, "a public one": public}
    with _address(place, source[whose]):
        for target in (place.elsewhere, place.allowed_at, place.listed):
            with socket.socket(family_of(target), socket.SOCK_DGRAM) as made:
                made.bind((source[whose], 0))
                made.sendto(mark.encode(), (target, 4242))


@attempt("inside", "other routes", Bar.UNLISTED, is_alone=True)
def _(place: Place, mark: str) -> None:
    family = f"-{place.version}"
    route = ("route", "replace", place.elsewhere, "via", place.router, "dev", place.interface)
    _run("ip", family, *route, "onlink", "table", "99")
    _run("ip", family, "rule", "add", "lookup", "99", "priority", "5")
    try:
        tell(place.elsewhere, 4242, mark.encode())
    finally:
        _run("ip", family, "rule", "del", "priority", "5")


@attempt("inside", "the box as a router for a network of its own", Bar.UNLISTED, is_alone=True)
def _(place: Place, mark: str) -> None:
    """From behind a link that the box has made itself, with and without its own NAT."""
    inner = "fd99::9" if place.version == 6 else "10.99.0.9"
    with _address(place, inner), socket.socket(family_of(inner), socket.SOCK_DGRAM) as made:
        made.bind((inner, 0))
        made.sendto(mark.encode(), (place.elsewhere, 4242))


@attempt("inside", "another hop limit and traffic class", Bar.UNLISTED, is_alone=True)
def _(place: Place, mark: str) -> None:
    with socket.socket(family_of(place.own), socket.SOCK_DGRAM) as made:
        if place.version == 6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 255)
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, 0xC0)
        else:
            made.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 255)
            made.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 0xC0)
        made.sendto(mark.encode(), (place.elsewhere, 4242))
