"""What TLS clients and servers say: real ones by OpenSSL, and any others put together here."""

import contextlib
import ssl
import struct
from collections.abc import Iterator
from functools import cache

import trustme

CHANGE_CIPHER = b"\x14\x03\x03\x00\x01\x01"
EARLY_DATA = b"\x17\x03\x03\x00\x04\xaa\xbb\xcc\xdd"
WARNING = b"\x15\x03\x03\x00\x02\x01\x70"
"""unrecognized_name, of level warning."""
FATAL = b"\x15\x03\x03\x00\x02\x02\x28"

RETRY_RANDOM = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
"""RFC 8446 section 4.1.3."""


@cache
def real_hello(name: str | None) -> bytes:
    """What OpenSSL sends first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("a client waits for an answer")


def real_conversation(name: str, curve: str = "") -> Iterator[tuple[str, bytes]]:
    """Yield who says what ("box" or "server") until both have what they need of a handshake.

    With a `curve` that the client has not guessed the server asks for another ClientHello.
    """
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    if curve:
        context.set_ecdh_curve(curve)
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(trusting)
    box_in, box_out, server_in, server_out = (ssl.MemoryBIO() for _ in range(4))
    box = trusting.wrap_bio(box_in, box_out, server_hostname=name)
    server = context.wrap_bio(server_in, server_out, server_side=True)
    ends = (("box", box, box_out, server_in), ("server", server, server_out, box_in))
    said = True
    while said:
        said = False
        for who, end, out, to_other in ends:
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
            if out.pending:
                said = True
                data = out.read()
                to_other.write(data)
                yield who, data


def hello(
    *extensions: bytes,
    session: bytes = b"",
    suites: bytes = b"\x13\x01",
    all_extensions: bytes | None = None,
) -> bytes:
    """A ClientHello as a handshake message. `all_extensions`: with whatever length they state."""
    body = b"\x03\x03" + bytes(range(32))
    body += bytes((len(session),)) + session
    body += struct.pack(">H", len(suites)) + suites + b"\x01\x00"
    if all_extensions is not None:
        body += all_extensions
    elif extensions:
        joined = b"".join(extensions)
        body += struct.pack(">H", len(joined)) + joined
    return handshake(1, body)


def handshake(kind: int, body: bytes) -> bytes:
    """A handshake message."""
    return bytes((kind,)) + len(body).to_bytes(3, "big") + body


def extension(kind: int, value: bytes) -> bytes:
    """An extension."""
    return struct.pack(">HH", kind, len(value)) + value


def server_name(*names: bytes, kind: int = 0) -> bytes:
    """The extension that names the server."""
    entries = b"".join(struct.pack(">BH", kind, len(name)) + name for name in names)
    return extension(0, struct.pack(">H", len(entries)) + entries)


def records(message: bytes, size: int = 16384, version: int = 0x0301) -> bytes:
    """The message in TLS records of `size` octets each."""
    parts = (message[at : at + size] for at in range(0, len(message), size))
    return b"".join(b"\x16" + struct.pack(">HH", version, len(part)) + part for part in parts)


def hello_for(name: str) -> bytes:
    """A short ClientHello in one record."""
    return records(hello(server_name(name.encode())))


def server_hello(random: bytes = b"r" * 32) -> bytes:
    """A ServerHello in one record; with RETRY_RANDOM a HelloRetryRequest."""
    return records(handshake(2, b"\x03\x03" + random + b"\x00\x13\x01\x00"), version=0x0303)


RETRY = server_hello(RETRY_RANDOM)
