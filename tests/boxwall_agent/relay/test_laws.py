"""What holds for any bytes of a box, and any answer of a server."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.http_relay import fuzz_one_relayed, fuzz_one_relayed_badly

_LINES = st.sampled_from(
    [
        *(b"GET / HTTP/1.1", b"POST /x HTTP/1.1", b"GET http://b.com/ HTTP/1.1", b"GET / HTTP/1.0"),
        *(b"Host: a.com", b"Host: b.com", b"host:a.com:80", b"Host: a.com.", b"Host: A.COM"),
        *(
            b"Content-Length: 3",
            b"Content-Length: 0",
            b"Content-Length: -1",
            b"Content-Length: 3, 3",
        ),
        *(b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip, chunked", b" folded", b"X: y"),
        *(b"Connection: close", b"Connection: upgrade", b"Upgrade: websocket", b"Upgrade: h2c"),
        *(b"Expect: 100-continue", b"", b"", b"abc", b"3", b"0", b"zz", b"X : y", b"\x00"),
        *(
            b"CONNECT a.com:80 HTTP/1.1",
            b"OPTIONS * HTTP/1.1",
            b"GET / HTTP/2.0",
            b"PRI * HTTP/2.0",
        ),
    ]
)
_TEXTS = st.lists(_LINES, max_size=16).map(lambda lines: b"\r\n".join(lines) + b"\r\n")
_GOOD = b"GET / HTTP/1.1\r\nHost: a.com\r\n\r\n"
_REQUESTS = st.lists(
    st.sampled_from([_GOOD, _GOOD.replace(b"a.com", b"b.com"), _GOOD.replace(b"GET", b"HEAD")])
    | _TEXTS,
    max_size=4,
).map(b"".join)
_BYTES = _REQUESTS | st.binary(max_size=80) | st.binary(max_size=80).map(lambda one: _GOOD + one)


@given(_BYTES)
def test_a_server_gets_what_was_judged_and_nothing_else(data: bytes) -> None:
    fuzz_one_relayed(data)


@given(_BYTES, st.integers(0, 5))
def test_a_server_that_answers_wrongly_fails_nothing(data: bytes, answer: int) -> None:
    fuzz_one_relayed_badly(bytes((answer,)) + data)


_POST = b"POST / HTTP/1.1\r\nHost: a.com\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_what_follows_a_head_and_cannot_be_read_is_refused_with_a_text() -> None:
    fuzz_one_relayed(_GOOD.replace(b"GET", b"HEAD") + b"\0\0\r\n\r\n")


@pytest.mark.parametrize(
    "data",
    [_POST + b"zz\r\n", _POST + b"3\r\nabcd\r\n0\r\n\r\n", _POST + b"3\r\nab", _POST],
    ids=["no length", "a wrong length", "cut in a chunk", "cut before a chunk"],
)
def test_a_body_that_cannot_be_read_ends_the_connection(data: bytes) -> None:
    fuzz_one_relayed(data)


def test_a_request_behind_an_answer_that_ends_the_connection_goes_by_another() -> None:
    until_the_end = bytes((3,))
    fuzz_one_relayed_badly(until_the_end + _POST + b"0\r\n\r\n" + _POST + b"0\r\n\r\n")
