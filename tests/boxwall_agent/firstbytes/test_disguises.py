"""Openings that servers take for something else than they seem to be, on a port for anything."""

import pytest

from boxwall.policy import Reason
from boxwall_agent.firstbytes.hello import More
from boxwall_agent.firstbytes.opening import Opaque, Unwanted, read_opening

PORT = 2222
PROXY_2 = b"\r\n\r\n\0\r\nQUIT\n"
VERSION_2 = b"\x80\x2e\x01\x03\x03\x00\x15"


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"X" * 65 + b" / HTTP/1.1\r\n", id="a long method"),
        pytest.param(b"X" * 9000 + b" / HTTP/1.1\r\n", id="a very long one"),
        pytest.param(b"GET\x0c/\x0cHTTP/1.1\r\n", id="form feeds"),
        pytest.param(b"GET\x0b/\x0bHTTP/1.1\r\n", id="vertical tabs"),
        pytest.param(b"GET\x1f/\x1fHTTP/1.1\r\n", id="separators"),
        pytest.param(b"GET\xa0/\xa0HTTP/1.1\r\n", id="no-break spaces"),
        pytest.param(b"GET\r/\rHTTP/1.1\r\n", id="carriage returns"),
        pytest.param(b"GET \xe4\xf6 HTTP/1.1\r\n", id="a target that is no text"),
        pytest.param(b"GET x HTTP/1.1\r\n", id="a target without a slash"),
    ],
)
def test_a_request_in_clear_is_one_however_it_is_written_and_cut(line: bytes) -> None:
    assert read_opening(line, PORT) == Unwanted(Reason.CLEAR_HTTP_PORT)
    for at in (1, 2, 3, 4, 5, 65, 66, 8190, 8200, len(line) - 2):
        assert not isinstance(read_opening(line[:at], PORT), Opaque), line[:at]


@pytest.mark.parametrize(
    "opening",
    [pytest.param(PROXY_2, id="PROXY 2"), pytest.param(VERSION_2, id="SSL 2's hello")],
)
def test_what_hides_a_name_is_not_let_go_before_it_can_be_told(opening: bytes) -> None:
    assert read_opening(opening, PORT) == Unwanted(Reason.UNRECOGNISED_PROTOCOL)
    for at in range(1, len(opening)):
        expected = (More(), Unwanted(Reason.UNRECOGNISED_PROTOCOL))
        assert read_opening(opening[:at], PORT) in expected, opening[:at]


@pytest.mark.parametrize(
    "opening",
    [
        pytest.param(b"SSH-2.0-client\r\n", id="SSH"),
        pytest.param(b"\x80\x01\x02\x03", id="an octet as SSL 2 begins, and others after it"),
        pytest.param(b"\x00\x00\x00\x08ping", id="binary"),
        pytest.param(b"\r\n\r\n\x00\x01", id="empty lines, then binary"),
        pytest.param(b"set key 0 0 3\r\n", id="a line of words"),
        pytest.param(b"*1\r\n$4\r\nPING\r\n", id="Redis"),
    ],
)
def test_other_protocols_are_still_let_through(opening: bytes) -> None:
    assert read_opening(opening, PORT) == Opaque()


def test_a_method_without_an_end_is_refused() -> None:
    assert read_opening(b"X" * 8192, PORT) == Unwanted(Reason.UNRECOGNISED_PROTOCOL)
