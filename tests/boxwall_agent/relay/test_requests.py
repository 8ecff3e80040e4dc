"""Which name an HTTP request carries, and what is too unclear to be passed on."""

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxwall.policy import Name
from boxwall_agent.relay.requests import Unclear, name_of


def read(head: str, port: int = 80) -> Name | Unclear:
    """Read a request as it comes from a box."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(head.replace("\n", "\r\n").encode("latin-1"))
    request = connection.next_event()
    assert isinstance(request, h11.Request)
    return name_of(request, port)


@pytest.mark.parametrize(
    "head",
    [
        pytest.param("GET / HTTP/1.1\nHost: api.example.com\n\n", id="as usual"),
        pytest.param("GET / HTTP/1.1\nhOsT: API.Example.COM.\n\n", id="odd case, trailing dot"),
        pytest.param("GET / HTTP/1.1\nHost: api.example.com:80\n\n", id="with the port"),
        pytest.param("GET / HTTP/1.0\nHost: api.example.com\n\n", id="1.0 with a Host"),
        pytest.param(
            "GET http://api.example.com/a?b HTTP/1.1\nHost: api.example.com\n\n", id="a whole URL"
        ),
        pytest.param("OPTIONS * HTTP/1.1\nHost: api.example.com\n\n", id="about the server"),
        pytest.param(
            "GET / HTTP/1.1\nHost: api.example.com\nUpgrade: WebSocket\n\n", id="a WebSocket"
        ),
        pytest.param("BREW / HTTP/1.1\nHost: api.example.com\n\n", id="another method"),
    ],
)
def test_a_clear_request_names_its_host(head: str) -> None:
    assert read(head) == Name.parse("api.example.com")


@pytest.mark.parametrize(
    ("head", "why"),
    [
        pytest.param("GET / HTTP/1.0\n\n", "0 Host", id="no host"),
        pytest.param("GET / HTTP/1.1\nHost: \n\n", "its Host", id="an empty one"),
        pytest.param("GET / HTTP/1.1\nHost: a.com\n b.com\n\n", "its Host", id="folded"),
        pytest.param("GET / HTTP/1.1\nHost: a.com, b.com\n\n", "its Host", id="two in one"),
        pytest.param("GET / HTTP/1.1\nHost: 8.8.8.8\n\n", "IP address", id="an address"),
        pytest.param("GET / HTTP/1.1\nHost: [2600::1]\n\n", "its Host", id="an IPv6 address"),
        pytest.param("GET / HTTP/1.1\nHost: a.com:81\n\n", "another port", id="another port"),
        pytest.param("GET / HTTP/1.1\nHost: a.com:\n\n", "another port", id="an empty port"),
        pytest.param("GET / HTTP/1.1\nHost: u@a.com\n\n", "its Host", id="with a user"),
        pytest.param("GET / HTTP/1.1\nHost: \xe4.com\n\n", "not ASCII", id="not ASCII"),
        pytest.param(
            "GET http://b.com/ HTTP/1.1\nHost: a.com\n\n", "not the same", id="another in the URL"
        ),
        pytest.param(
            "GET http://b.com\\@a.com/ HTTP/1.1\nHost: a.com\n\n", "not the same", id="a backslash"
        ),
        pytest.param(
            "GET http://a.com\\@b.com/ HTTP/1.1\nHost: a.com\n\n",
            "not the same",
            id="a backslash behind the host",
        ),
        pytest.param(
            "GET http://a.com?@b.com/ HTTP/1.1\nHost: a.com\n\n", "not the same", id="a question"
        ),
        pytest.param(
            "GET http://a.com#@b.com/ HTTP/1.1\nHost: a.com\n\n", "not the same", id="a fragment"
        ),
        pytest.param(
            "GET / HTTP/1.1\nHost: a.com\nConnection: close, HOST\n\n",
            "to be removed",
            id="a Host that proxies are to remove",
        ),
        pytest.param(
            "GET http://a.com@b.com/ HTTP/1.1\nHost: a.com\n\n", "not the same", id="a user in it"
        ),
        pytest.param("GET https://a.com/ HTTP/1.1\nHost: a.com\n\n", "neither", id="https"),
        pytest.param("GET a.com HTTP/1.1\nHost: a.com\n\n", "neither", id="no path"),
        pytest.param("GET * HTTP/1.1\nHost: a.com\n\n", "neither", id="an asterisk"),
        pytest.param("CONNECT a.com:443 HTTP/1.1\nHost: a.com\n\n", "tunnel", id="a tunnel"),
        pytest.param("PRI * HTTP/2.0\n\n", "not HTTP/1", id="HTTP/2 in clear"),
        pytest.param("GET / HTTP/1.1\nHost: a.com\nUpgrade: h2c\n\n", "another protocol", id="h2c"),
        pytest.param(
            "GET / HTTP/1.1\nHost: a.com\nUpgrade: websocket, h2c\n\n",
            "another protocol",
            id="h2c beside",
        ),
        pytest.param(
            "POST / HTTP/1.1\nHost: a.com\nContent-Length: 3\nTransfer-Encoding: chunked\n\n",
            "length twice",
            id="two lengths",
        ),
    ],
)
def test_what_servers_read_differently_is_refused(head: str, why: str) -> None:
    found = read(head)

    assert isinstance(found, Unclear)
    assert why in found.why


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40))
def test_only_what_is_exactly_a_name_is_one(host: str) -> None:
    try:
        found = read(f"GET / HTTP/1.1\nHost: {host}\n\n")
    except h11.RemoteProtocolError:
        return
    if isinstance(found, Name):
        assert found.text == host.lower().removesuffix(":80").removesuffix(".")
