"""An allowed address, and a TLS name that is not allowed there."""

import contextlib
import socket
import ssl
import struct

from attempts.catalogue import Bar, Place, attempt
from attempts.connection import say
from attempts.controls import resolve
from attempts.hello import client_hello, evil, in_records, tls_client, with_names

RETRY_PORTS = (9443, 8082)
"""Where servers want another key share than clients offer first."""


@attempt("TLS", "another name on port {}", Bar.NAMED, over=(443, 8443, 853, 9443, 80, 8080, 2222))
def _(place: Place, mark: str, port: int) -> None:
    say(place.allowed_at, port, client_hello(evil(mark)))


@attempt("TLS", "no name, port {}", Bar.NAMED, over=(443, 9443, 2222, 8080))
def _(place: Place, mark: str, port: int) -> None:
    say(place.allowed_at, port, client_hello(None, alpn=(mark,)))


@attempt("TLS", "an allowed name at an address that is not its own", Bar.UNLISTED)
def _(place: Place, mark: str) -> None:
    say(place.elsewhere, 443, client_hello(place.name, alpn=(mark,)))


@attempt("TLS", "a name {}", Bar.NAMED, over=("in upper case", "with a dot at its end"))
def _(place: Place, mark: str, how: str) -> None:
    name = evil(mark.upper()) if how == "in upper case" else f"{evil(mark)}."
    old = client_hello("x" * len(name))
    say(place.allowed_at, 443, old.replace(b"x" * len(name), name.encode()))


@attempt(
    "TLS",
    "a name split at {}",
    Bar.NAMED,
    over=("1", "5", "9", "43", "before its end", "every 40 octets", "every octet"),
)
def _(place: Place, mark: str, where: str) -> None:
    hello = client_hello(evil(mark))
    end = hello.index(mark.encode()) + len(mark)
    if where.startswith("every"):
        size = 40 if "40" in where else 1
        pieces = [hello[n : n + size] for n in range(0, len(hello), size)]
    else:
        at = int(where) if where.isdigit() else end - 1
        pieces = [hello[:at], hello[at:]]
    say(place.allowed_at, 443, *pieces, pause=0.0 if len(pieces) > 2 else 0.05)


@attempt("TLS", "a name split over TLS records of {} octets", Bar.NAMED, over=(50, 7, 1))
def _(place: Place, mark: str, size: int) -> None:
    say(place.allowed_at, 443, in_records(client_hello(evil(mark)), size))


@attempt("TLS", "two names in one hello: {}", Bar.NAMED, over=("the wrong one last", "first"))
def _(place: Place, mark: str, order: str) -> None:
    names = (place.name, evil(mark)) if order != "first" else (evil(mark), place.name)
    hello = client_hello(place.name)
    say(place.allowed_at, 443, with_names(hello, place.name, *(one.encode() for one in names)))


@attempt(
    "TLS",
    "a name with {}",
    Bar.NAMED,
    over=(
        ("a NUL in it", b"\0."),
        ("an allowed one before it", b"."),
        ("a space in it", b" "),
        ("a port", b":443."),
        ("a user", b"@"),
    ),
)
def _(place: Place, mark: str, between: tuple[str, bytes]) -> None:
    name = place.name.encode() + between[1] + evil(mark).encode()
    say(place.allowed_at, 443, with_names(client_hello(place.name), place.name, name))


@attempt(
    "TLS",
    "a second hello behind an allowed one: {}",
    Bar.NAMED,
    over=("at once", "in the same record"),
)
def _(place: Place, mark: str, when: str) -> None:
    good, bad = client_hello(place.name), client_hello(evil(mark))
    if when == "in the same record":
        both = good[5:] + bad[5:]
        good, bad = b"\x16\x03\x01" + struct.pack(">H", len(both)) + both, b""
    say(place.allowed_at, 443, good + bad)


@attempt("TLS", "early data before the hello, with another name", Bar.NAMED)
def _(place: Place, mark: str) -> None:
    data = b"\x17\x03\x03\0\x10" + bytes(16)
    say(place.allowed_at, 443, data + client_hello(evil(mark)))


@attempt("TLS", "an alert or a change of cipher before the hello", Bar.NAMED)
def _(place: Place, mark: str) -> None:
    for before in (b"\x15\x03\x01\0\2\1\0", b"\x14\x03\x01\0\1\1"):
        with contextlib.suppress(OSError):
            say(place.allowed_at, 443, before + client_hello(evil(mark)))


@attempt(
    "TLS",
    "another name in the hello that a server asks for again, port {}",
    Bar.NAMED,
    over=RETRY_PORTS,
)
def _(place: Place, mark: str, port: int) -> None:
    wrong = f"ev.{mark}".encode()
    good = place.name.encode()
    assert len(wrong) == len(good), "the names must be of one length"
    resolve(place)
    with socket.create_connection((place.allowed_at, port), timeout=1) as made:
        client, coming, going = tls_client(place.name)
        with contextlib.suppress(ssl.SSLWantReadError):
            client.do_handshake()
        made.sendall(going.read())
        coming.write(made.recv(65536))
        with contextlib.suppress(ssl.SSLWantReadError):
            client.do_handshake()
        made.sendall(going.read().replace(good, wrong))
        made.settimeout(0.2)
        made.recv(100)


@attempt("TLS", "SSL 2's hello, which has no name, port {}", Bar.NAMED, over=(443, 9443, 2222))
def _(place: Place, mark: str, port: int) -> None:
    say(place.allowed_at, port, _version_2(mark))


@attempt("TLS", "SSL 2's hello in two segments, port {}", Bar.NAMED, over=(443, 9443, 2222))
def _(place: Place, mark: str, port: int) -> None:
    hello = _version_2(mark)
    say(place.allowed_at, port, hello[:1], hello[1:], pause=0.05)


def _version_2(mark: str) -> bytes:
    """RFC 6101 appendix E.1, with TLS 1.2 as its version."""
    ciphers = b"\0\0\x9c\0\0\x2f\0\xc0\x2f"
    challenge = mark.encode().rjust(16, b"x")
    body = b"\x01\x03\x03" + struct.pack(">HHH", len(ciphers), 0, len(challenge))
    body += ciphers + challenge
    return struct.pack(">H", 0x8000 | len(body)) + body


@attempt("TLS", "GREASE before the name", Bar.NAMED)
def _(place: Place, mark: str) -> None:
    say(
        place.allowed_at,
        443,
        with_names(
            client_hello(place.name), place.name, evil(mark).encode(), before=b"\x0a\x0a\0\1\0"
        ),
    )


@attempt("TLS", "ECH with an outer name that is not allowed", Bar.NAMED)
def _(place: Place, mark: str) -> None:
    # RFC 9849 section 5: outer, cipher suite, config id, an encapsulated key, a payload.
    ech = b"\0\0\1\0\1\7" + struct.pack(">H", 32) + bytes(32) + struct.pack(">H", 160) + bytes(160)
    before = b"\xfe\x0d" + struct.pack(">H", len(ech)) + ech
    hello = client_hello(place.name)
    say(place.allowed_at, 443, with_names(hello, place.name, evil(mark).encode(), before=before))
