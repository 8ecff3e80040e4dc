"""A server's answer says whether the client may name somebody once more."""

import pytest

from boxwall_agent.firstbytes.tls import Answer, next_handshake, read_answer
from fakes.tls_messages import (
    CHANGE_CIPHER,
    EARLY_DATA,
    FATAL,
    RETRY,
    WARNING,
    handshake,
    hello_for,
    real_conversation,
    records,
    server_hello,
)

SERVER_HELLO = server_hello()
_SHORT_HELLO = records(handshake(2, b"\x03\x03" + b"r" * 8) + bytes(60))


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        pytest.param(b"", Answer.INCOMPLETE, id="nothing"),
        pytest.param(SERVER_HELLO, Answer.FINAL, id="a ServerHello"),
        pytest.param(SERVER_HELLO + CHANGE_CIPHER, Answer.FINAL, id="a ServerHello, and more"),
        pytest.param(RETRY, Answer.RETRY, id="a HelloRetryRequest"),
        pytest.param(RETRY + CHANGE_CIPHER, Answer.RETRY, id="a HelloRetryRequest, and more"),
        pytest.param(FATAL, Answer.FINAL, id="an alert that ends it"),
        pytest.param(WARNING, Answer.INCOMPLETE, id="a warning: more will come"),
        pytest.param(WARNING + SERVER_HELLO, Answer.FINAL, id="a warning, then a ServerHello"),
        pytest.param(WARNING + RETRY, Answer.RETRY, id="a warning, then a HelloRetryRequest"),
        pytest.param(WARNING + FATAL, Answer.FINAL, id="a warning, then the end"),
        pytest.param(b"\x15\x03\x03\x00\x04\x01\x70\x02\x28", Answer.STRANGE, id="two alerts"),
        pytest.param(b"\x15\x02", Answer.STRANGE, id="an alert of another version"),
        pytest.param(CHANGE_CIPHER, Answer.STRANGE, id="a change of cipher"),
        pytest.param(b"HTTP/1.1 400", Answer.STRANGE, id="HTTP"),
        pytest.param(b"\x16\x04", Answer.STRANGE, id="another version"),
        pytest.param(hello_for("a.com"), Answer.STRANGE, id="a ClientHello"),
        pytest.param(records(handshake(2, b"\x03\x03" + b"r" * 8)), Answer.INCOMPLETE, id="short"),
        pytest.param(
            records(SERVER_HELLO[5:], 20), Answer.STRANGE, id="a ServerHello in small records"
        ),
    ],
)
def test_an_answer_is_final_only_when_it_is(data: bytes, answer: Answer) -> None:
    assert read_answer(data) is answer


@pytest.mark.parametrize("data", [SERVER_HELLO, RETRY, FATAL, WARNING + RETRY])
def test_an_answer_that_is_not_all_there_is_not_final(data: bytes) -> None:
    whole = read_answer(data)
    said = [read_answer(data[:cut]) for cut in range(len(data) + 1)]
    assert said == sorted(said, key=[Answer.INCOMPLETE, whole].index)
    assert said[-1] is whole


@pytest.mark.parametrize(("curve", "answer"), [("", Answer.FINAL), ("secp521r1", Answer.RETRY)])
def test_a_real_server_is_understood(curve: str, answer: Answer) -> None:
    said = list(real_conversation("a.com", curve))
    assert [who for who, _ in said[:2]] == ["box", "server"]
    assert read_answer(said[1][1]) is answer


@pytest.mark.parametrize(
    ("data", "at"),
    [
        (b"", 0),
        (hello_for("a.com"), 0),
        (CHANGE_CIPHER + b"\x16", 6),
        (EARLY_DATA + EARLY_DATA + b"\x16", 18),
        (WARNING, 7),
        (EARLY_DATA[:1], 5),
        (EARLY_DATA[:4], 5),
        (EARLY_DATA[:6], 9),
        (b"GET /", None),
        (CHANGE_CIPHER + b"GET /", None),
        (b"\x18\x03\x03\0\1\0", None),
    ],
    ids=[
        *("nothing", "at once", "behind a change of cipher", "behind early data"),
        *("behind an alert", "one octet", "four octets", "a record that is cut"),
        *("no TLS", "no TLS behind a record", "a heartbeat"),
    ],
)
def test_the_next_handshake_is_found(data: bytes, at: int | None) -> None:
    assert next_handshake(data) == at
