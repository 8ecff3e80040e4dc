"""What the policy allows. Where it does not arrive, a refusal of the rest would mean nothing."""

import socket
import ssl

from attempts.catalogue import Bar, Place, attempt
from attempts.connection import say
from attempts.hello import tls_client
from attempts.wire import tell

_WHEN = ("before", "after")


@attempt("control", "the allowed name by TLS, {}", Bar.NOTHING, over=_WHEN)
def _(place: Place, mark: str, _: object) -> None:
    resolve(place)
    with socket.create_connection((place.name, 443), timeout=2) as made:
        client, coming, going = tls_client(place.name, alpn=(mark, "http/1.1"))
        while True:
            try:
                client.do_handshake()
                return
            except ssl.SSLWantReadError:
                made.sendall(going.read())
                coming.write(made.recv(65536))


@attempt("control", "the allowed name by HTTP, {}", Bar.NOTHING, over=_WHEN)
def _(place: Place, mark: str, _: object) -> None:
    resolve(place)
    request = f"GET /{mark} HTTP/1.1\r\nHost: {place.name}\r\n\r\n".encode()
    say(place.allowed_at, 80, request, patience=2)


@attempt("control", "a listed network, {}", Bar.NOTHING, over=_WHEN)
def _(place: Place, mark: str, _: object) -> None:
    tell(place.listed, 4242, mark.encode())


@attempt("control", "an address that nothing allows, {}", Bar.NOTHING, over=_WHEN)
def _(place: Place, mark: str, _: object) -> None:
    tell(place.elsewhere, 4242, mark.encode())


def resolve(place: Place) -> None:
    """As any program does first; then the address may be reached by its name."""
    family = socket.AF_INET6 if place.version == 6 else socket.AF_INET
    socket.getaddrinfo(place.name, 443, family)
