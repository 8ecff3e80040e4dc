"""An allowed name that the server never gets, and another in its place: segments by hand."""

import contextlib
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from typing import Any

from attempts.catalogue import Bar, Place, attempt
from attempts.connection import Connection, opened, opened_by_hand, say
from attempts.hello import client_hello, evil
from attempts.wire import ACK, FIN, PSH, RST, SYN, TCP, URG, family_of, ip, send, tcp

_TRICKS: dict[str, dict[str, Any]] = {
    "with too few hops": {"ttl": 1},
    "with a bad checksum": {"spoil": True},
    "with an old timestamp": {"is_old": True},
    "that acknowledges what was not sent": {"ack": 1},
    "out of the window": {"at": 1 << 30},
    "before the stream": {"at": -600},
    "without ACK": {"flags": PSH},
    "with a signature": {"options": b"\x13\x12" + bytes(16) + b"\1\1"},
}


@contextlib.contextmanager
def _open(place: Place, port: int = 443) -> Iterator[Connection]:
    made = opened(place, port)
    try:
        yield made
        made.answers(0.15)
    finally:
        made.close()


@attempt(
    "streams",
    "first an allowed name in a segment {}, then another",
    Bar.NAMED,
    over=_TRICKS.items(),
)
def _(place: Place, mark: str, trick: tuple[str, dict[str, Any]]) -> None:
    with _open(place) as made:
        made.segment(client_hello(place.name), **trick[1])
        if not made.is_answered():  # else the server has it, and all that follows may pass
            made.segment(client_hello(evil(mark)))


@attempt("streams", "overlapping segments that say different things", Bar.NAMED)
def _(place: Place, mark: str) -> None:
    good, bad = client_hello(place.name), client_hello(evil(mark))
    with _open(place) as made:
        made.segment(bad[100:], at=100)  # after a gap: kept by the server for later
        made.segment(good[:150])
        made.segment(bad[:100])
        made.segment(good)
        made.segment(bad)


@attempt("streams", "a retransmission that says something else", Bar.NAMED)
def _(place: Place, mark: str) -> None:
    good, bad = client_hello(place.name), client_hello(evil(mark))
    with _open(place) as made:
        made.segment(good[:60])
        made.segment(bad[:60])
        made.segment(bad[60:], at=60)


@attempt("streams", "segments out of order", Bar.NAMED)
def _(place: Place, mark: str) -> None:
    bad = client_hello(evil(mark))
    half = len(bad) // 2
    with _open(place) as made:
        made.segment(bad[half:], at=half)
        made.segment(bad[:half])
        made.answers()
        made.segment(bad)


@attempt("streams", "urgent data", Bar.NAMED)
def _(place: Place, mark: str) -> None:
    with _open(place) as made:
        made.segment(client_hello(evil(mark)), flags=PSH | ACK | URG, urgent=3)


@attempt("streams", "an octet out of the stream, by the kernel", Bar.NAMED)
def _(place: Place, mark: str) -> None:
    hello = client_hello(evil(mark))
    with socket.create_connection((place.allowed_at, 443), timeout=1) as made:
        made.sendall(hello[:9])
        made.send(b"x", socket.MSG_OOB)
        made.sendall(hello[9:])


@attempt("streams", "a hello that ends the stream", Bar.NAMED)
def _(place: Place, mark: str) -> None:
    with _open(place) as made:
        made.segment(client_hello(evil(mark)), flags=FIN | PSH | ACK)


@attempt("streams", "a hello behind the end of the stream", Bar.NAMED)
def _(place: Place, mark: str) -> None:
    with _open(place) as made:
        made.segment(b"", flags=FIN | ACK)
        made.segment(client_hello(evil(mark)), at=1)


@attempt("streams", "a hello behind a reset that the server does not take", Bar.NAMED)
def _(place: Place, mark: str) -> None:
    with _open(place) as made:
        made.segment(b"", at=1000, flags=RST)
        made.segment(client_hello(evil(mark)))


@attempt("streams", "a handshake split in three: an opening that answers the answer", Bar.NAMED)
def _(place: Place, mark: str) -> None:
    with _open(place) as made:
        made.segment(b"", at=-1, flags=SYN | ACK)
        made.segment(client_hello(evil(mark)), flags=SYN | PSH | ACK)
        made.segment(client_hello(evil(mark)))


@attempt("streams", "a second opening in an open connection, with data", Bar.NAMED)
def _(place: Place, mark: str) -> None:
    with _open(place) as made:
        made.segment(client_hello(evil(mark)), at=5000, flags=SYN)
        made.segment(client_hello(evil(mark)), at=5001)


@attempt("streams", "two openings with different numbers", Bar.NAMED)
def _(place: Place, mark: str) -> None:
    good, bad = client_hello(place.name), client_hello(evil(mark))
    for seq in (1000, 90000):
        send(
            place,
            ip(
                place.own,
                place.allowed_at,
                TCP,
                tcp(place.own, place.allowed_at, 23001, 443, seq=seq),
            ),
        )
    for seq, data in ((90001, good), (1001, bad)):
        made = tcp(place.own, place.allowed_at, 23001, 443, data, seq=seq, ack=1, flags=ACK)
        send(place, ip(place.own, place.allowed_at, TCP, made))


@attempt("streams", "a hello in segments of one octet, by a window that is small", Bar.NAMED)
def _(place: Place, mark: str) -> None:
    hello = client_hello(evil(mark))
    with socket.socket(family_of(place.own), socket.SOCK_STREAM) as made:
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 88)
        made.settimeout(1)
        made.connect((place.allowed_at, 443))
        made.sendall(hello)
        made.settimeout(0.2)
        made.recv(100)


@attempt("streams", "another name, once the first was acknowledged but not answered", Bar.NAMED)
def _(place: Place, mark: str) -> None:
    good, bad = client_hello(place.name), client_hello(evil(mark))
    say(place.allowed_at, 9443, good[:-1], good[-1:] + bad, pause=0.05)


_CLOSED = {
    "reset": struct.pack("ii", 1, 0),
    "closed": struct.pack("ii", 0, 0),
}


@attempt(
    "streams",
    "another name from the same port, after the connection was {}",
    Bar.NAMED,
    over=_CLOSED.items(),
)
def _(place: Place, mark: str, how: tuple[str, bytes]) -> None:
    for hello in (client_hello(place.name), client_hello(evil(mark))):
        with contextlib.suppress(OSError), socket.socket(family_of(place.own)) as made:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, how[1])
            made.settimeout(0.5)
            made.bind(("", 23100 + len(how[0])))
            made.connect((place.allowed_at, 443))
            made.sendall(hello)
            made.recv(100)


@attempt(
    "streams",
    "another name from the same port, when the server has forgotten the connection",
    Bar.NAMED,
)
def _(place: Place, mark: str) -> None:
    """An end that nobody acknowledges: a server gives the connection up, and says nothing."""
    source_port = 23200
    hello = client_hello(place.name)
    with _silent_kernel(place, source_port):
        made = opened_by_hand(place, 443, source_port, 1000)
        made.segment(hello)
        made.segment(b"", at=len(hello), flags=FIN | ACK, ack=made.end_of_answer())
        made.close()
        time.sleep(_FORGOTTEN)
        made = opened_by_hand(place, 443, source_port, 1_000_000)
        made.segment(client_hello(evil(mark)))
        time.sleep(0.3)
        made.close()


_FORGOTTEN = 4.0


@contextlib.contextmanager
def _silent_kernel(place: Place, source_port: int) -> Iterator[None]:
    """The box's kernel finds no way for what it would say from this port."""
    which = ("ipproto", "tcp", "sport", str(source_port), "blackhole")
    rule = ("ip", f"-{place.version}", "rule")
    subprocess.run((*rule, "add", *which), check=True)
    try:
        yield
    finally:
        subprocess.run((*rule, "del", *which), check=True)
