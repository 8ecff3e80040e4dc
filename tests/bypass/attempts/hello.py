"""What TLS clients say first."""

import contextlib
import ssl
import struct


def evil(mark: str) -> str:
    """A name that nobody allowed, with the mark where it ends."""
    return f"evil.{mark}"


def tls_client(
    name: str | None, alpn: tuple[str, ...] = ()
) -> tuple[ssl.SSLObject, ssl.MemoryBIO, ssl.MemoryBIO]:
    """A client that is not connected: what comes to it, and what it wants to send."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(list(alpn))
    coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
    return context.wrap_bio(coming, going, server_hostname=name), coming, going


def client_hello(name: str | None, *, alpn: tuple[str, ...] = ("http/1.1",)) -> bytes:
    """What a real TLS client says first."""
    client, _, going = tls_client(name, alpn)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return going.read()


def in_records(hello: bytes, size: int) -> bytes:
    """The same in TLS records of so many octets."""
    body = hello[5:]
    pieces = (body[n : n + size] for n in range(0, len(body), size))
    return b"".join(b"\x16\x03\x01" + struct.pack(">H", len(one)) + one for one in pieces)


def with_names(hello: bytes, old: str, *names: bytes, before: bytes = b"") -> bytes:
    """Put other entries into the list of names, and an extension before it; all lengths around them
    are put right.
    """
    entries = b"".join(b"\0" + struct.pack(">H", len(one)) + one for one in names)
    at = hello.index(old.encode()) - 9  # kind, length, length of the list, kind and length of it
    made = b"\0\0" + struct.pack(">HH", len(entries) + 2, len(entries)) + entries
    end = at + 9 + len(old)
    grown = len(before) + len(made) - (end - at)
    whole = hello[:at] + before + made + hello[end:]
    extensions_at = _extensions_at(hello)
    for where, octets in ((3, 2), (6, 3), (extensions_at, 2)):
        size = int.from_bytes(hello[where : where + octets], "big") + grown
        whole = whole[:where] + size.to_bytes(octets, "big") + whole[where + octets :]
    return whole


def _extensions_at(hello: bytes) -> int:
    at = 5 + 4 + 2 + 32
    at += 1 + hello[at]
    at += 2 + int.from_bytes(hello[at : at + 2], "big")
    return at + 1 + hello[at]
