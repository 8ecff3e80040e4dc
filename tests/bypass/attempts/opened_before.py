"""What was opened while it was allowed, or while nobody policed the box."""

import contextlib
import itertools
import socket
from collections.abc import Generator

from attempts.catalogue import Bar, Place, attempt
from attempts.wire import TCP, echo, family_of, ip, send, tcp

_ports = itertools.count(23500)
_BEFORE = {"unpoliced": "before the box was attached", "loose": "before the policy was tightened"}

for begins, when in _BEFORE.items():

    @attempt(
        "time",
        f"a connection from {when}, port {{}}",
        Bar.UNLISTED,
        over=(443, 80, 2222),
        begins=begins,
    )
    def _(place: Place, mark: str, port: int) -> Generator[None]:
        with socket.create_connection((place.elsewhere, port), timeout=1) as made:
            yield
            made.sendall(mark.encode())
            made.settimeout(0.3)
            made.recv(100)

    @attempt(
        "time",
        f"a connection to an allowed name's address from {when}, port {{}}",
        Bar.NAMED,
        over=(443, 80, 2222),
        begins=begins,
    )
    def _(place: Place, mark: str, port: int) -> Generator[None]:
        with socket.create_connection((place.allowed_at, port), timeout=1) as made:
            yield
            made.sendall(mark.encode())
            made.settimeout(0.3)
            made.recv(100)

    @attempt(
        "time",
        f"datagrams that go on since {when}, port {{}}",
        Bar.UNLISTED,
        over=(4242, 443),
        begins=begins,
    )
    def _(place: Place, mark: str, port: int) -> Generator[None]:
        with socket.socket(family_of(place.own), socket.SOCK_DGRAM) as made:
            made.connect((place.elsewhere, port))
            made.send(b"early")
            yield
            for _ in range(3):
                with contextlib.suppress(ConnectionRefusedError):
                    made.send(mark.encode())

    @attempt("time", f"datagrams to port 53 that go on since {when}", Bar.ALWAYS, begins=begins)
    def _(place: Place, mark: str) -> Generator[None]:
        with socket.socket(family_of(place.own), socket.SOCK_DGRAM) as made:
            made.connect((place.elsewhere, 53))
            made.send(b"early")  # nobody answers this
            yield
            made.send(mark.encode())

    @attempt("time", f"a ping that goes on since {when}", Bar.UNLISTED, begins=begins)
    def _(place: Place, mark: str) -> Generator[None]:
        send(place, ip(place.own, place.elsewhere, *echo(place.own, place.elsewhere, b"early")))
        yield
        made = echo(place.own, place.elsewhere, mark.encode())
        send(place, ip(place.own, place.elsewhere, *made))

    @attempt(
        "time",
        f"an opening that nobody answered {when}, port {{}}",
        Bar.NAMED,
        over=(80, 443, 2222),
        begins=begins,
    )
    def _(place: Place, mark: str, port: int) -> Generator[None]:
        """The server does not take an opening with a signature; RFC 2385."""
        source_port = next(_ports)
        signature = b"\x13\x12" + bytes(16) + b"\1\1"
        early = tcp(place.own, place.allowed_at, source_port, port, options=signature)
        send(place, ip(place.own, place.allowed_at, TCP, early))
        yield
        late = tcp(place.own, place.allowed_at, source_port, port, mark.encode())
        send(place, ip(place.own, place.allowed_at, TCP, late))
        with socket.socket(family_of(place.own), socket.SOCK_STREAM) as made:
            made.settimeout(1)
            made.bind((place.own, source_port))
            made.connect((place.allowed_at, port))
            made.sendall(f"GET / HTTP/1.1\r\nHost: evil.{mark}\r\n\r\n".encode())
            made.settimeout(0.3)
            made.recv(100)
