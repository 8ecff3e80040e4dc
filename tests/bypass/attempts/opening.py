"""What comes before a name, or instead of one, on an allowed address."""

import socket
import struct

from attempts.catalogue import Bar, Place, attempt
from attempts.connection import say
from attempts.controls import resolve
from attempts.hello import client_hello, evil
from attempts.wire import UDP, family_of, ip, send, udp

_PROXY_2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes(12)


@attempt("openings", "bytes that are no protocol, port {}", Bar.NAMED, over=(80, 443, 8080, 8443))
def _(place: Place, mark: str, port: int) -> None:
    say(place.allowed_at, port, b"\x00\x01" + mark.encode())


@attempt("openings", "SSH on a port of the web, {}", Bar.NAMED, over=(80, 443, 8080, 8443))
def _(place: Place, mark: str, port: int) -> None:
    say(place.allowed_at, port, b"SSH-2.0-" + mark.encode() + b"\r\n")


@attempt("openings", "PROXY 1, port {}", Bar.NAMED, over=(80, 443, 8081, 2222))
def _(place: Place, mark: str, port: int) -> None:
    preface = b"PROXY TCP4 1.1.1.1 2.2.2.2 1 443\r\n"
    say(place.allowed_at, port, preface + client_hello(evil(mark)))


@attempt("openings", "PROXY 2, port {}", Bar.NAMED, over=(80, 443, 8081, 2222))
def _(place: Place, mark: str, port: int) -> None:
    say(place.allowed_at, port, _PROXY_2 + client_hello(evil(mark)))


@attempt(
    "openings",
    "a PROXY preface in two segments, {}",
    Bar.NAMED,
    over=[
        (f"version {v}, cut at {at}", v, at) for v, at in ((1, 2), (1, 5), (2, 4), (2, 5), (2, 11))
    ],
)
def _(place: Place, mark: str, how: tuple[str, int, int]) -> None:
    preface = _PROXY_2 if how[1] == 2 else b"PROXY TCP4 1.1.1.1 2.2.2.2 1 443\r\n"
    rest = preface[how[2] :] + client_hello(evil(mark))
    say(place.allowed_at, 2222, preface[: how[2]], rest, pause=0.05)


@attempt("openings", "TLS after PostgreSQL's {}", Bar.NAMED, over=("SSLRequest", "GSSENCRequest"))
def _(place: Place, mark: str, which: str) -> None:
    code = 80877103 if which == "SSLRequest" else 80877104
    say(place.allowed_at, 5432, struct.pack(">II", 8, code), client_hello(evil(mark)), pause=0.05)


@attempt("openings", "TLS after PostgreSQL's request in pieces", Bar.NAMED)
def _(place: Place, mark: str) -> None:
    request = struct.pack(">II", 8, 80877103)
    parts = (request[:3], request[3:], request, client_hello(evil(mark)))
    say(place.allowed_at, 5432, *parts, pause=0.02)


@attempt(
    "openings",
    "TLS after STARTTLS of {}",
    Bar.NAMED,
    over=(
        ("SMTP", 25, b"EHLO x\r\nSTARTTLS\r\n"),
        ("SMTP, submission", 587, b"EHLO x\r\nSTARTTLS\r\n"),
        ("SMTP, in odd case", 25, b"\r\nsTaRtTlS \r\n"),
        ("SMTP, after nonsense", 25, b"XYZZY\r\nSTARTTLS\r\n"),
        ("IMAP", 143, b"a STARTTLS\r\n"),
        ("IMAP, after a question", 143, b"a CAPABILITY\r\nb STARTTLS\r\n"),
        ("POP3", 110, b"STLS\r\n"),
        ("ManageSieve", 4190, b"STARTTLS\r\n"),
        ("SMTP on another port", 2222, b"STARTTLS\r\n"),
    ),
)
def _(place: Place, mark: str, mail: tuple[str, int, bytes]) -> None:
    say(place.allowed_at, mail[1], mail[2], client_hello(evil(mark)), pause=0.05)


_QUIC = {
    "version 1": b"\xc3\0\0\0\1",
    "version 2": b"\xd3\x6b\x33\x43\xcf",
    "a draft": b"\xc3\xff\0\0\x1d",
    "a forced negotiation": b"\xc3\x1a\x2a\x3a\x4a",
    "Google's": b"\xc3Q050",
    "version 1, without the fixed bit": b"\x83\0\0\0\1",
    "version 2, without the fixed bit": b"\x93\x6b\x33\x43\xcf",
}


@attempt("openings", "QUIC on another port than 443, {}", Bar.NAMED, over=_QUIC.items())
def _(place: Place, mark: str, begins: tuple[str, bytes]) -> None:
    _datagram(place, 8443, begins[1] + b"\x08" + bytes(8) + b"\0\0" + mark.encode(), 5000)


@attempt("openings", "UDP to port 443, whatever it is", Bar.NAMED)
def _(place: Place, mark: str) -> None:
    _datagram(place, 443, mark.encode(), 5001)


@attempt("openings", "QUIC on a port where something else came first", Bar.NAMED)
def _(place: Place, mark: str) -> None:
    _datagram(place, 5555, b"harmless", 5002)
    _datagram(place, 5555, _QUIC["version 1"] + b"\x08" + bytes(8) + b"\0\0" + mark.encode(), 5002)


@attempt("openings", "QUIC in the second of two datagrams that are sent as one", Bar.NAMED)
def _(place: Place, mark: str) -> None:
    """Any program may: the first says how long each is, and networks see them one by one."""
    initial = _QUIC["version 1"] + b"\x08" + bytes(8) + b"\0\0" + mark.encode()
    resolve(place)
    with socket.socket(family_of(place.own), socket.SOCK_DGRAM) as made:
        made.setsockopt(socket.IPPROTO_UDP, _UDP_SEGMENT, _SMALLEST_INITIAL)
        made.connect((place.allowed_at, 8443))
        made.send(bytes(_SMALLEST_INITIAL) + initial.ljust(_SMALLEST_INITIAL, b"\0"))


_UDP_SEGMENT, _SMALLEST_INITIAL = 103, 1200


def _datagram(place: Place, port: int, data: bytes, source_port: int) -> None:
    body = udp(place.own, place.allowed_at, port, data, source_port=source_port)
    send(place, ip(place.own, place.allowed_at, UDP, body))
