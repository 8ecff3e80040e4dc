"""Queries made by hand."""

import socket
import struct

from attempts.connection import say
from attempts.wire import family_of


def dns_query(name: bytes, kind: int = 1, *, questions: int = 1, number: int = 7) -> bytes:
    """A query whose name is labels with their lengths, however wrong."""
    return (
        struct.pack(">HHHHHH", number, 0x0100, questions, 0, 0, 0)
        + (name + struct.pack(">HH", kind, 1)) * questions
    )


def labels(text: str) -> bytes:
    """A name on the wire."""
    return b"".join(bytes((len(one),)) + one.encode() for one in text.split(".")) + b"\0"


def ask(server: str, query: bytes, *, over_tcp: bool = False, patience: float = 1.0) -> bytes:
    """Ask a name server; return what it says."""
    if over_tcp:
        return say(server, 53, len(query).to_bytes(2, "big") + query, patience=patience)[2:]
    with socket.socket(family_of(server), socket.SOCK_DGRAM) as made:
        made.settimeout(patience)
        made.sendto(query, (server, 53))
        return made.recv(65536)
