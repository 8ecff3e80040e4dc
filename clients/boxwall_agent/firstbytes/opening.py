"""Which protocol does a connection begin with, and which name does it carry? Pure, and total.

On the ports of the web only what can be read is let through; on others, what is neither TLS nor
HTTP passes at the level of addresses, as SSH and databases do.
"""

import re
from dataclasses import dataclass
from typing import Final, TypeAlias

from boxwall.policy import Name, Reason
from boxwall_agent.firstbytes.hello import LONGEST, Broken, Hello, More, read_hello

WEB_PORTS: Final = frozenset((80, 443, 8080, 8443))


@dataclass(frozen=True, slots=True)
class Tls:
    """A ClientHello. `name` None: it carries none."""

    name: Name | None


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
_PROXY_1: Final = b"PROXY "
_PROXY_2: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]"
_REQUEST_LINE: Final = re.compile(
    rb"%s{1,64}[ \t]+(?:[/*]|[A-Za-z]+://|[^ \t]*[ \t].*HTTP/|[^ \t]*[ \t]+HTTP/)" % _TOKEN,
    re.DOTALL,
)
_HTTP_2: Final = re.compile(rb"[^\n]*HTTP/2")
_TEXT: Final = re.compile(rb"[\t\x20-\x7e]*\r?")
_LONGEST_LINE: Final = 8192
_SSL_REQUESTS: Final = (b"\0\0\0\x08\x04\xd2\x16\x2f", b"\0\0\0\x08\x04\xd2\x16\x30")
"""PostgreSQL's SSLRequest and GSSENCRequest."""

_BEFORE_TLS: Final = re.compile(
    rb"(?:[A-Za-z0-9.]{1,32} +)?(?:EHLO|LHLO|HELO|NOOP|CAPA|CAPABILITY|ID|AUTH)\b[^\n]*", re.I
)
"""What mail clients say before STARTTLS: SMTP, IMAP with a tag, POP3."""

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
    if data[0] == 0x16:
        return _tls(data)
    if _is_version_2(data):
        return _UNRECOGNISED
    for preface in (_PROXY_1, _PROXY_2):
        if data.startswith(preface):
            return _UNRECOGNISED
    for request in _SSL_REQUESTS:
        if data.startswith(request):
            return _after_upgrade(data[len(request) :])
        if request.startswith(data):
            return More()
    return _text(data, port, http_ports)


def _tls(data: bytes) -> Opening:
    found = read_hello(data)
    match found:
        case More():
            return found
        case Hello():
            return Tls(found.name)
        case Broken():
            return _UNRECOGNISED


def _is_version_2(data: bytes) -> bool:
    """SSL 2's ClientHello, which later versions accepted too, and which carries no name."""
    return len(data) >= 5 and data[0] & 0x80 != 0 and data[2] == 1 and data[3] in (0, 3)


def _after_upgrade(data: bytes) -> Opening:
    """TLS may begin now; a server that does not want it makes the client go on without."""
    if not data:
        return More()
    return _tls(data) if data[0] == 0x16 else Opaque()


def _text(data: bytes, port: int, http_ports: frozenset[int]) -> Opening:
    """Requests of HTTP, and commands of mail. Empty lines before the first one do not count."""
    rest = data.lstrip(b"\r\n")
    line, newline, after = rest.partition(b"\n")
    if _REQUEST_LINE.match(line):
        return _http(line, bool(newline), port, http_ports)
    if not _TEXT.fullmatch(line):
        return Opaque()
    if not newline:
        return More() if len(line) < _LONGEST_LINE else Opaque()
    if _STARTTLS.fullmatch(line):
        return _after_upgrade(after)
    if _BEFORE_TLS.fullmatch(line):
        return _text(after, port, http_ports) if after else More()
    return Opaque()


def _http(line: bytes, is_whole: bool, port: int, http_ports: frozenset[int]) -> Opening:
    if _HTTP_2.match(line):
        return _UNRECOGNISED
    if port in http_ports:
        return Http() if is_whole else More()
    return Unwanted(Reason.CLEAR_HTTP_PORT)
