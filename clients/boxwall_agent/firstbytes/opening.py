"""Which protocol does a connection begin with, and which name does it carry? Pure, and total.

On the ports of the web only what can be read is let through; on others, what is neither TLS nor
HTTP passes at the level of addresses, as SSH and databases do.
"""

import re
from dataclasses import dataclass
from typing import Final, TypeAlias, assert_never

from boxwall.policy import Name, Reason
from boxwall_agent.firstbytes.hello import LONGEST, Broken, Hello, More, read_hello

WEB_PORTS: Final = frozenset((80, 443, 8080, 8443))


@dataclass(frozen=True, slots=True)
class Tls:
    """A ClientHello. `name` None: it carries none. `end`: how many octets it took to get there."""

    name: Name | None
    end: int


@dataclass(frozen=True, slots=True)
class Http:
    """Clear HTTP/1 on a port on which it is relayed."""


@dataclass(frozen=True, slots=True)
class Opaque:
    """Something else, on a port where that may be."""


@dataclass(frozen=True, slots=True)
class Unwanted:
    """Not to be let through, whatever name it carries."""

    reason: Reason


Opening: TypeAlias = More | Tls | Http | Opaque | Unwanted

_UNRECOGNISED: Final = Unwanted(Reason.UNRECOGNISED_PROTOCOL)
_PROXY_1: Final = re.compile(rb"PROXY[ \t]")
_PROXY_2: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]"
_BLANK: Final = rb"[\t\x0b\x0c\r \x1c-\x1f\x85\xa0]"
"""What servers take for the space in a request line: RFC 9112 section 3, and Python's str.split."""

_ONLY_METHOD: Final = re.compile(rb"%s+" % _TOKEN)
_METHOD: Final = re.compile(rb"%s+%s+" % (_TOKEN, _BLANK))
_TARGET: Final = re.compile(rb"[/*]|[A-Za-z]+://")
_HTTP_2: Final = re.compile(rb"[^\n]*HTTP/2")
_TEXT: Final = re.compile(rb"[\t\x20-\x7e]*\r?")
_LONGEST_LINE: Final = 8192
_MOST_LINES: Final = 64
"""Mail clients say a few before STARTTLS; all are read again with every segment."""

_VERSION_2_HEAD: Final = 5
_RECORDS: Final = frozenset(range(20, 25))
"""First octets of TLS records. What begins with one is TLS, and must begin with a ClientHello."""

_SSL_REQUESTS: Final = (b"\0\0\0\x08\x04\xd2\x16\x2f", b"\0\0\0\x08\x04\xd2\x16\x30")
"""PostgreSQL's SSLRequest and GSSENCRequest."""

_MAIL_PORTS: Final = frozenset((25, 110, 143, 587, 2525, 4190))
_WITHOUT_TLS: Final = re.compile(
    rb"(?:[A-Za-z0-9.]{1,32} +)?(?:DATA|BDAT|AUTH|AUTHENTICATE|LOGIN|USER|PASS|APOP|SELECT)\b.*",
    re.I,
)
"""With what mail clients go on that do not want TLS: SMTP, IMAP with a tag, POP3."""

_STARTTLS: Final = re.compile(rb"(?:[A-Za-z0-9.]{1,32} +)?(?:STARTTLS|STLS)[ \t]*\r?", re.I)


def read_opening(data: bytes, port: int, http_ports: frozenset[int] = frozenset()) -> Opening:
    """Read what a client has sent so far on a connection to `port`."""
    found = _read(data, port, http_ports)
    if isinstance(found, More) and len(data) >= LONGEST:
        return _UNRECOGNISED
    if isinstance(found, Opaque) and port in WEB_PORTS:
        return _UNRECOGNISED
    return found


def _read(data: bytes, port: int, http_ports: frozenset[int]) -> Opening:
    if not data:
        return More()
    if data[0] in _RECORDS:
        return _tls(data, 0)
    if _begins_version_2(data):
        return _UNRECOGNISED if len(data) >= _VERSION_2_HEAD else More()
    if _PROXY_1.match(data):
        return _UNRECOGNISED
    if data.startswith(_PROXY_2[: len(data)]):
        return _UNRECOGNISED if len(data) >= len(_PROXY_2) else More()
    if any(one.startswith(data[: len(one)]) for one in _SSL_REQUESTS):
        return _after_ssl_request(data)
    return _text(data, 0, port, http_ports)


def _tls(data: bytes, at: int) -> Opening:
    found = read_hello(data[at:])
    match found:
        case More():
            return found
        case Hello():
            return Tls(found.name, at + found.size)
        case Broken():
            return _UNRECOGNISED
        case _:
            assert_never(found)


def _after_ssl_request(data: bytes) -> Opening:
    """A server may decline one and take the next; then TLS begins, or goes on without."""
    at = 0
    while any(data.startswith(one, at) for one in _SSL_REQUESTS):
        at += len(_SSL_REQUESTS[0])
    rest = data[at:]
    if any(one.startswith(rest) for one in _SSL_REQUESTS):
        return More(is_servers_turn=not rest)
    return _tls(data, at) if rest[0] in _RECORDS else Opaque()


def _begins_version_2(data: bytes) -> bool:
    """SSL 2's ClientHello, which servers still take from clients of TLS, and which has no name."""
    return data[0] & 0x80 != 0 and data[2:3] in (b"", b"\x01") and data[3:4] in (b"", b"\0", b"\3")


def _text(data: bytes, at: int, port: int, http_ports: frozenset[int]) -> Opening:
    """Requests of HTTP, and commands of mail, line by line; white space before one does not count.

    A server that refuses what a mail client says first takes STARTTLS all the same, so on the ports
    of mail every line is read until one goes on without TLS.
    """
    for _ in range(_MOST_LINES):
        if at >= len(data):
            return More(is_servers_turn=True)
        at = len(data) - len(data[at:].lstrip(b"\r\n \t"))
        if data[at : at + 1] and data[at] in _RECORDS:
            return _tls(data, at)
        line, newline, _ = data[at:].partition(b"\n")
        if _is_request(line):
            return _http(line, bool(newline), port, http_ports)
        if not newline and (_METHOD.match(line) or _ONLY_METHOD.fullmatch(line)):
            return _begun(line)
        if not _TEXT.fullmatch(line):
            return Opaque()
        if not newline:
            break
        is_mail = port in _MAIL_PORTS and not _WITHOUT_TLS.fullmatch(line)
        if not is_mail and not _STARTTLS.fullmatch(line):
            return Opaque()
        at += len(line) + 1
    else:
        return _UNRECOGNISED
    return More() if len(data) - at < _LONGEST_LINE else Opaque()


def _is_request(line: bytes) -> bool:
    """Two patterns and a search, one after the other: as one pattern, a line of blanks takes a time
    that grows with the square of its length, and the agent does nothing else meanwhile.
    """
    method = _METHOD.match(line)
    if method is None:
        return False
    return _TARGET.match(line, method.end()) is not None or line.find(b"HTTP/", method.end()) >= 0


def _begun(line: bytes) -> Opening:
    """It may become a request, however long its method is."""
    if len(line) < _LONGEST_LINE:
        return More()
    return _UNRECOGNISED if _ONLY_METHOD.fullmatch(line) else Opaque()


def _http(line: bytes, is_whole: bool, port: int, http_ports: frozenset[int]) -> Opening:
    if _HTTP_2.match(line):
        return _UNRECOGNISED
    if port in http_ports:
        return Http() if is_whole else More()
    return Unwanted(Reason.CLEAR_HTTP_PORT)
