"""A server may ask for another ClientHello; until it has answered, everything is read."""

from boxwall.policy import Name, Reason
from boxwall_agent.firstbytes.flow import PASS, MarkProven, MarkRead, Refuse, State
from boxwall_agent.marks import Grant
from fakes.tcp_talk import Talk
from fakes.tls_messages import (
    CHANGE_CIPHER,
    EARLY_DATA,
    FATAL,
    RETRY,
    WARNING,
    extension,
    hello,
    hello_for,
    real_hello,
    records,
    server_hello,
    server_name,
)

GOOD, EVIL = hello_for("a.com"), hello_for("b.com")
SERVER_HELLO = server_hello()
READ, PROVEN = MarkRead(Grant(7)), MarkProven(Grant(7))
UNRECOGNISED = Refuse(Reason.UNRECOGNISED_PROTOCOL)
MISMATCH = Refuse(Reason.NAME_MISMATCH)
EVIL_NAMED = Refuse(Reason.NAME_MISMATCH, name=Name.parse("b.com"))


def asked_again() -> Talk:
    """The server has the first hello, and asks for another."""
    talk = Talk().open()
    talk.say(GOOD)
    assert talk.answer(RETRY + CHANGE_CIPHER) == PASS
    assert talk.state() is State.READ
    return talk


def test_a_second_hello_with_the_same_name_is_proven() -> None:
    talk = asked_again()
    assert talk.say(CHANGE_CIPHER + GOOD[:30]) == READ
    assert talk.answer(SERVER_HELLO) == PASS, "half of the second hello is no answer to it"
    assert talk.say(GOOD[30:]) == READ
    assert talk.answer() == PASS
    assert talk.answer(SERVER_HELLO) == PROVEN


def test_a_second_hello_with_another_name_is_refused() -> None:
    talk = asked_again()
    assert talk.say(CHANGE_CIPHER) == READ
    assert talk.say(EVIL) == EVIL_NAMED


def test_a_second_hello_with_another_name_is_refused_when_the_name_is_complete() -> None:
    long = records(hello(server_name(b"b.com"), extension(21, bytes(3000))))
    talk = asked_again()
    named_at = long.index(b"b.com") + 5
    assert talk.say(long[: named_at - 1]) == READ
    assert talk.say(long[named_at - 1 : named_at]) == EVIL_NAMED


def test_a_second_hello_without_a_name_is_refused() -> None:
    assert asked_again().say(real_hello(None)) == MISMATCH


def test_a_second_hello_that_is_none_is_refused() -> None:
    assert asked_again().say(b"\x16\x03\x03\x00\x05\x0b\0\0\1\0") == UNRECOGNISED
    assert asked_again().say(b"GET / HTTP/1.1\r\n") == MISMATCH


def test_a_second_hello_that_nobody_asked_for_is_refused() -> None:
    talk = Talk().open()
    assert talk.say(GOOD) == READ
    assert talk.say(GOOD) == MISMATCH
    assert Talk().open().say(GOOD + EVIL) == MISMATCH


def test_a_second_hello_counts_when_the_server_has_all_of_it() -> None:
    talk = asked_again()
    assert talk.say(GOOD) == READ
    assert talk.say(CHANGE_CIPHER) == READ
    assert talk.answer(SERVER_HELLO, got=2 * len(GOOD) - 1) == PASS
    assert talk.answer(got=2 * len(GOOD)) == PROVEN


def test_a_third_hello_is_refused() -> None:
    talk = asked_again()
    assert talk.say(GOOD) == READ
    assert talk.say(GOOD) == MISMATCH


def test_a_warning_before_the_request_for_another_hello_proves_nothing() -> None:
    talk = Talk().open()
    talk.say(GOOD)
    assert talk.answer(WARNING) == PASS
    assert talk.answer(RETRY) == PASS
    assert talk.say(EVIL) == EVIL_NAMED


def test_early_data_go_on_and_are_no_hello() -> None:
    talk = Talk().open()
    assert talk.say(GOOD) == READ
    assert talk.say(CHANGE_CIPHER + EARLY_DATA) == READ
    assert talk.say(EARLY_DATA[:3]) == READ
    assert talk.say(EARLY_DATA[3:]) == READ
    assert talk.answer(SERVER_HELLO) == PROVEN


def test_what_is_no_tls_behind_a_hello_is_refused() -> None:
    talk = Talk().open()
    talk.say(GOOD)
    assert talk.say(b"GET / HTTP/1.1\r\n") == MISMATCH


# What the server says ----------------------------------------------------------------------------


def test_an_answer_in_small_segments_is_read() -> None:
    talk = Talk().open()
    talk.say(GOOD)
    decisions = [talk.answer(bytes((octet,))) for octet in SERVER_HELLO]
    assert decisions[:40] == [PASS] * 40
    assert decisions[-1] == PROVEN


def test_an_answer_out_of_order_is_read_when_it_is_in_order() -> None:
    talk = Talk().open()
    talk.say(GOOD)
    assert talk.answer(SERVER_HELLO[10:], at=10) == PASS
    assert talk.answer(SERVER_HELLO[:10], at=0) == PASS
    assert talk.answer(SERVER_HELLO[5:], at=5) == PROVEN


def test_an_answer_that_is_no_tls_ends_the_connection() -> None:
    talk = Talk().open()
    talk.say(GOOD)
    assert talk.answer(b"HTTP/1.1 400 Bad Request\r\n") == UNRECOGNISED


def test_an_end_by_the_server_is_an_answer() -> None:
    talk = Talk().open()
    talk.say(GOOD)
    assert talk.answer(FATAL) == PROVEN


def test_what_the_server_said_before_the_hello_is_no_answer_to_it() -> None:
    talk = Talk(port=5432).open()
    assert talk.say(b"\0\0\0\x08\x04\xd2\x16\x2f") == PASS
    assert talk.answer(b"S") == PASS
    assert talk.say(GOOD) == READ
    assert talk.answer(b"S", at=0) == PASS
    assert talk.answer(SERVER_HELLO) == PROVEN
