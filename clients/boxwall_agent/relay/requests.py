"""Which name does an HTTP request carry? Strict: what servers read differently is refused. Pure."""

from dataclasses import dataclass
from typing import TypeAlias

import h11

from boxwall.policy import EntryError, Name

Header: TypeAlias = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Unclear:
    """The request does not say, or says twice, where it goes."""

    why: str


def name_of(request: h11.Request, port: int) -> Name | Unclear:
    """Return the name that the request is for; `port` is what the connection was opened to."""
    problem = _problem(request)
    if problem:
        return Unclear(problem)
    hosts = _values(request, b"host")
    if len(hosts) != 1:
        return Unclear(f"it has {len(hosts)} Host headers")
    authority = _authority_of_target(request.target)
    if authority is not None and authority.lower() != hosts[0].lower():
        return Unclear("its target and its Host are not the same")
    return _name(hosts[0], port)


def is_upgrade(request: h11.Request) -> bool:
    """Whether the connection may become a WebSocket; other upgrades are refused before."""
    return bool(_values(request, b"upgrade"))


def _problem(request: h11.Request) -> str:
    if request.http_version not in (b"1.0", b"1.1"):
        return "it is not HTTP/1"
    if request.method == b"CONNECT":
        return "it asks for a tunnel"
    if _values(request, b"transfer-encoding") and _values(request, b"content-length"):
        return "it states its length twice"
    if len(_values(request, b"content-length")) > 1:
        return "it states its length twice"
    options = b",".join(_values(request, b"connection")).split(b",")
    if b"host" in (one.strip().lower() for one in options):
        return "its Host is to be removed on the way"
    upgrades = _values(request, b"upgrade")
    if upgrades and [one.lower() for one in upgrades] != [b"websocket"]:
        return "it asks for another protocol"
    target = request.target
    if target.startswith(b"/") or target.lower().startswith(b"http://"):
        return ""
    if target == b"*" and request.method == b"OPTIONS":
        return ""
    return "its target is neither a path nor an http URL"


def _authority_of_target(target: bytes) -> bytes | None:
    """Of an absolute target (RFC 9112 section 3.2.2), which a server must prefer to Host.

    All up to the path, whatever it is: servers differ in whether a backslash, `?` or `#` ends a
    host, so that to some `http://good#@evil/` is for `evil`.
    """
    if target.startswith((b"/", b"*")):
        return None
    return target[len(b"http://") :].partition(b"/")[0]


def _name(host: bytes, port: int) -> Name | Unclear:
    name, colon, given = host.partition(b":")
    if colon and given != str(port).encode():
        return Unclear("its Host names another port")
    try:
        return Name.parse(name.decode("ascii"))
    except UnicodeDecodeError:
        return Unclear("its Host is not ASCII")
    except EntryError as exc:
        return Unclear(f"its Host: {exc}")


def _values(request: h11.Request, name: bytes) -> list[bytes]:
    return [value for header, value in request.headers if header == name]
