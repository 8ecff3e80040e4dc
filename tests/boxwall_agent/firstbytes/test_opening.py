"""The first bytes say which protocol it is; what hides a name, or could, is not let through."""

import time

import pytest

from boxwall.policy import Name, Reason
from boxwall_agent.firstbytes.hello import LONGEST, More
from boxwall_agent.firstbytes.opening import (
    WEB_PORTS,
    Http,
    Opaque,
    Opening,
    Tls,
    Unwanted,
    read_opening,
)
from fakes.tls_messages import CHANGE_CIPHER, FATAL, hello_for, real_hello

NAME = Name.parse("a.com")
HELLO = hello_for("a.com")
UNRECOGNISED = Unwanted(Reason.UNRECOGNISED_PROTOCOL)
CLEAR_HTTP = Unwanted(Reason.CLEAR_HTTP_PORT)
SSL_REQUEST = b"\0\0\0\x08\x04\xd2\x16\x2f"
GSS_REQUEST = b"\0\0\0\x08\x04\xd2\x16\x30"
SMTP, POP3, IMAP, SUBMISSION, SIEVE, POSTGRES, SSH, OTHER = 25, 110, 143, 587, 4190, 5432, 22, 9999


def after(prefix: bytes) -> Tls:
    """The hello, behind something."""
    return Tls(NAME, len(prefix) + len(HELLO))


@pytest.mark.parametrize("port", [443, 80, SMTP, POSTGRES, SSH, OTHER])
def test_tls_is_read_on_any_port(port: int) -> None:
    assert read_opening(HELLO, port) == Tls(NAME, len(HELLO))
    assert read_opening(HELLO + CHANGE_CIPHER, port) == Tls(NAME, len(HELLO))
    real = real_hello("a.com")
    assert read_opening(real, port) == Tls(NAME, len(real))


@pytest.mark.parametrize("port", [443, SMTP, OTHER])
@pytest.mark.parametrize(
    "data",
    [
        pytest.param(CHANGE_CIPHER, id="a change of cipher"),
        pytest.param(FATAL, id="an alert"),
        pytest.param(b"\x17\x03\x03\x00\x01\x00", id="data"),
        pytest.param(b"\x18\x03\x03\x00\x01\x00", id="a heartbeat"),
        pytest.param(b"\x16\x05", id="a record of an unknown version"),
        pytest.param(HELLO[:5] + b"\x02" + HELLO[6:], id="a message that is no ClientHello"),
        pytest.param(b"\x80\x2e\x01\x03\x01\x00", id="a ClientHello of SSL 2"),
        pytest.param(b"\x80\x2e\x01\x00\x02\x00", id="an older one"),
        pytest.param(b"PROXY TCP4 1.2.3.4 5.6.7.8 1 443\r\n", id="PROXY, first version"),
        pytest.param(b"PROXY\tUNKNOWN\r\n", id="PROXY with a tab"),
        pytest.param(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + HELLO, id="PROXY, second version"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="HTTP/2 in clear"),
        pytest.param(b"\r\nPRI * HTTP/2.0\r\n", id="HTTP/2 in clear, behind an empty line"),
    ],
)
def test_what_hides_a_name_is_unwanted_on_any_port(data: bytes, port: int) -> None:
    assert read_opening(data, port) == UNRECOGNISED


@pytest.mark.parametrize(
    "line",
    [
        *(b"GET / HTTP/1.1", b"POST /x HTTP/1.0", b"OPTIONS * HTTP/1.1", b"get /", b"G /"),
        *(b"CONNECT a.com:443 HTTP/1.1", b"GET http://a.com/ HTTP/1.1", b"M-SEARCH * HTTP/1.1"),
        *(b"GET  \t / HTTP/1.1", b"GET\t/ HTTP/1.1", b"GET x HTTP/1.1", b"GET x\ty HTTP/9"),
        *(b"GET  HTTP/1.1", b"GET HTTP/1.1", b"X" * 64 + b" /"),
    ],
)
def test_a_request_is_http_as_soon_as_it_can_be_seen(line: bytes) -> None:
    for prefix in (b"", b"\r\n", b"\n \t\r\n"):
        data = prefix + line
        assert read_opening(data, OTHER) == CLEAR_HTTP
        assert read_opening(data + b"\r\n", OTHER) == CLEAR_HTTP
        assert read_opening(data, 80, frozenset((80,))) == More(), "a line may become HTTP/2"
        assert read_opening(data + b"\r\n", 80, frozenset((80,))) == Http()


@pytest.mark.parametrize("port", [POSTGRES, OTHER])
@pytest.mark.parametrize(
    ("prefix", "found"),
    [
        (SSL_REQUEST, after(SSL_REQUEST)),
        (GSS_REQUEST, after(GSS_REQUEST)),
        (GSS_REQUEST + SSL_REQUEST, after(GSS_REQUEST + SSL_REQUEST)),
    ],
    ids=["SSLRequest", "GSSENCRequest", "one, then the other"],
)
def test_the_hello_behind_a_request_of_postgresql_is_read(
    prefix: bytes, found: Opening, port: int
) -> None:
    whole = prefix + HELLO
    assert read_opening(whole, port) == found
    assert all(isinstance(read_opening(whole[:cut], port), More) for cut in range(len(whole)))


def test_a_client_of_postgresql_may_go_on_in_clear() -> None:
    startup = b"\0\0\0\x09\0\3\0\0\0"
    assert read_opening(SSL_REQUEST + startup, POSTGRES) == Opaque()
    assert read_opening(startup, POSTGRES) == Opaque()


@pytest.mark.parametrize(
    ("prefix", "port"),
    [
        (b"EHLO box\r\nSTARTTLS\r\n", SMTP),
        (b"EHLO box\r\nstarttls\n", SUBMISSION),
        (b"HELO box\r\nMAIL FROM:<a@b>\r\nSTARTTLS\r\n", 2525),
        (b"CAPA\r\nSTLS\r\n", POP3),
        (b"a1 CAPABILITY\r\na2 STARTTLS\r\n", IMAP),
        (b"A.1  StartTLS \r\n", IMAP),
        (b"CAPABILITY\r\nSTARTTLS\r\n", SIEVE),
        (b"STARTTLS\r\n", OTHER),
        (b"\r\n\r\nSTARTTLS\r\n\r\n", OTHER),
        (b"STARTTLS\r\nSTARTTLS\r\n", OTHER),
    ],
    ids=str,
)
def test_the_hello_behind_starttls_is_read(prefix: bytes, port: int) -> None:
    whole = prefix + HELLO
    assert read_opening(whole, port) == after(prefix)
    assert all(isinstance(read_opening(whole[:cut], port), More) for cut in range(len(whole)))


@pytest.mark.parametrize(
    ("data", "port"),
    [
        pytest.param(b"EHLO box\r\nDATA\r\n", SMTP, id="SMTP in clear"),
        pytest.param(b"EHLO box\r\nAUTH PLAIN x\r\n", SUBMISSION, id="SMTP with a password"),
        pytest.param(b"a1 LOGIN user word\r\n", IMAP, id="IMAP in clear"),
        pytest.param(b"USER me\r\n", POP3, id="POP3 in clear"),
        pytest.param(b"EHLO box\r\n", OTHER, id="mail elsewhere"),
        pytest.param(b"SSH-2.0-OpenSSH_9.9\r\n", SSH, id="SSH"),
        pytest.param(b"*1\r\n$4\r\nPING\r\n", 6379, id="Redis"),
        pytest.param(b"\x10\x2c\0\x04MQTT", 1883, id="MQTT"),
        pytest.param(b"\xff\xfe\xfd", OTHER, id="anything"),
        pytest.param(b"xx yy" * 2000, OTHER, id="a line that does not end"),
    ],
)
def test_what_carries_no_name_passes_where_the_web_is_not(data: bytes, port: int) -> None:
    assert read_opening(data, port) == Opaque()
    for web in WEB_PORTS:
        assert read_opening(data, web) == UNRECOGNISED


@pytest.mark.parametrize("port", [443, SMTP, OTHER])
def test_what_says_nothing_yet_says_nothing(port: int) -> None:
    for data in (b"", b"\r\n", b"GET", b"SSH-2.0", b"\r\n\r\n", b" " * 9000):
        assert read_opening(data, port) == More()


@pytest.mark.parametrize("port", [443, SMTP, OTHER])
def test_what_never_says_anything_is_unwanted(port: int) -> None:
    assert read_opening(b"\n" * LONGEST, port) == UNRECOGNISED


def test_a_mail_client_that_says_no_end_of_lines_is_unwanted() -> None:
    assert read_opening(b"NOOP\r\n" * 63, SMTP) == More(is_servers_turn=True)
    assert read_opening(b"NOOP\r\n" * 64, SMTP) == UNRECOGNISED
    assert read_opening(b"NOOP\r\n" * 64 + b"STARTTLS\r\n" + HELLO, SMTP) == UNRECOGNISED


@pytest.mark.parametrize("port", [80, SMTP, OTHER])
@pytest.mark.parametrize(
    "unit", [b" ", b"\t", b"A ", b"A\t", b"A\n", b"\n", b"HTTP/", b"A HTTP", b"A:/", b"a.b "]
)
def test_no_text_takes_long_to_read(unit: bytes, port: int) -> None:
    """The relay gives 64 KiB at once. A pattern that looks at all pairs of places in it would take
    seconds, in which nobody else is served; the bound is far above what this takes.
    """
    data = b"A" + unit * (65535 // len(unit))
    began = time.process_time()
    read_opening(data, port, frozenset((80,)))
    assert time.process_time() - began < 0.25
