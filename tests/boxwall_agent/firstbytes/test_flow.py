"""One connection, by script: what each side sends, and what becomes of it."""

import pytest

from boxwall.policy import Name, Reason, Rule, RuleList
from boxwall_agent.firstbytes.flow import (
    ACK,
    DROP,
    FIN,
    MOST_READ,
    PASS,
    PATIENCE,
    RST,
    SYN,
    URG,
    MarkProven,
    MarkRead,
    Refuse,
    State,
)
from boxwall_agent.firstbytes.hello import LONGEST
from boxwall_agent.judging import Passed, Refusal
from boxwall_agent.marks import Grant
from fakes.tcp_talk import LEASE, PSH, Talk
from fakes.tls_messages import (
    CHANGE_CIPHER,
    extension,
    hello,
    hello_for,
    real_conversation,
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


def again(refusal: Refuse) -> Refuse:
    """The same, when it was told already."""
    return Refuse(refusal.reason, refusal.rule, refusal.name, is_news=False)


def test_a_good_name_is_proven_when_the_server_goes_on_with_it() -> None:
    talk = Talk()
    assert talk.state() is State.OPENING
    assert talk.syn() == PASS
    assert talk.syn_ack() == PASS
    assert talk.state() is State.OPENED
    assert talk.say(b"") == PASS
    assert talk.say(GOOD) == READ
    assert talk.state() is State.READ
    assert talk.answer() == PASS, "acknowledged, and not answered yet"
    assert talk.answer(SERVER_HELLO) == PROVEN
    assert talk.state() is State.PROVEN
    assert talk.answer(b"more") == PROVEN
    assert talk.say(CHANGE_CIPHER) == PROVEN


def test_a_wrong_name_is_refused_and_told_once() -> None:
    talk = Talk().open()
    assert talk.say(EVIL) == EVIL_NAMED
    assert talk.state() is State.REFUSED
    assert talk.say(GOOD, at=0) == again(EVIL_NAMED)
    assert talk.answer(SERVER_HELLO) == again(EVIL_NAMED)
    assert talk.stream == b""


def test_the_rule_that_refuses_a_name_is_told() -> None:
    refusal = Refusal(Reason.DENIED_CIDR, Rule(RuleList.DENIED_CIDRS, "8.0.0.0/8"))
    decision = Talk(lambda name: refusal).open().say(GOOD)
    assert decision == Refuse(refusal.reason, refusal.rule, LEASE.name)


def test_a_hello_without_a_name_is_refused() -> None:
    assert Talk().open().say(real_hello(None)) == MISMATCH


def test_a_wrong_name_is_refused_when_it_is_complete_not_what_follows_it() -> None:
    long = records(hello(server_name(b"b.com"), extension(21, bytes(3000))))
    talk = Talk().open()
    named_at = long.index(b"b.com") + 5
    assert talk.say(long[: named_at - 1]) == PASS
    assert talk.say(long[named_at - 1 : named_at]) == EVIL_NAMED


@pytest.mark.parametrize("curve", ["", "secp521r1"], ids=["at once", "after a retry"])
@pytest.mark.parametrize("size", [1, 100, 1448, 65535])
def test_a_real_handshake_is_proven_however_it_is_cut(curve: str, size: int) -> None:
    talk = Talk().open()
    for who, data in real_conversation("a.com", curve):
        for at in range(0, len(data), size):
            part = data[at : at + size]
            talk.say(part) if who == "box" else talk.answer(part)
            talk.answer() if who == "box" else talk.say(b"")
    assert talk.state() is State.PROVEN


# What does not reach the server ------------------------------------------------------------------


def test_a_good_name_that_never_arrives_proves_nothing() -> None:
    talk = Talk().open()
    assert talk.say(GOOD, arrives=False) == READ
    assert talk.answer() == PASS
    assert talk.say(EVIL, at=0) == MISMATCH
    assert talk.stream == b""


def test_a_good_name_that_arrives_in_part_proves_nothing() -> None:
    talk = Talk().open()
    assert talk.say(GOOD[:20]) == PASS
    assert talk.say(GOOD[20:], arrives=False) == READ
    assert talk.answer(SERVER_HELLO) == PASS
    assert talk.say(EVIL[20:], at=20) == MISMATCH


def test_a_lost_segment_may_be_sent_again() -> None:
    talk = Talk().open()
    assert talk.say(GOOD, arrives=False) == READ
    assert talk.say(GOOD, at=0) == READ
    assert talk.answer(SERVER_HELLO) == PROVEN


def test_what_the_server_has_and_nobody_read_ends_the_connection() -> None:
    talk = Talk().open()
    talk.say(GOOD)
    assert talk.answer(SERVER_HELLO, got=len(GOOD) + 2) == MISMATCH


def test_the_end_of_a_stream_is_one_more_than_what_was_read() -> None:
    talk = Talk().open()
    talk.say(GOOD, flags=FIN | ACK)
    assert talk.answer(SERVER_HELLO, got=len(GOOD) + 1) == PROVEN


def test_an_acknowledgement_from_before_the_opening_counts_for_nothing() -> None:
    talk = Talk().open()
    talk.say(GOOD)
    for got in (-1, -2000, -(1 << 31) + 1):
        assert talk.answer(got=got) == PASS
    assert talk.state() is State.READ


def test_an_answer_without_an_acknowledgement_counts_for_nothing() -> None:
    talk = Talk().open()
    talk.say(GOOD)
    assert talk.answer(SERVER_HELLO, flags=PSH) == PASS
    assert talk.state() is State.READ


# Segments that come twice, early, or otherwise ---------------------------------------------------


@pytest.mark.parametrize(
    ("at", "data"),
    [(0, GOOD), (0, GOOD[:10]), (10, GOOD[10:20]), (len(GOOD) - 1, GOOD[-1:])],
    ids=["all of it", "its beginning", "its middle", "its last octet"],
)
def test_what_is_sent_again_as_it_was_goes_on(at: int, data: bytes) -> None:
    talk = Talk().open()
    talk.say(GOOD)
    assert talk.say(data, at=at) == READ


def test_what_is_sent_again_before_it_names_anybody_goes_on() -> None:
    talk = Talk().open()
    assert talk.say(GOOD[:30]) == PASS
    assert talk.say(GOOD[:30], at=0) == PASS
    assert talk.say(GOOD[10:], at=10) == READ
    assert talk.answer(SERVER_HELLO) == PROVEN


@pytest.mark.parametrize("at", [0, 5, len(GOOD) - 1])
@pytest.mark.parametrize("cut", [20, len(GOOD)])
def test_what_is_sent_again_otherwise_ends_the_connection(at: int, cut: int) -> None:
    talk = Talk().open()
    talk.say(GOOD[:cut])
    at = min(at, cut - 1)
    other = bytes((GOOD[at] ^ 1,))
    assert talk.say(other, at=at) == MISMATCH
    assert talk.say(GOOD, at=0) == again(MISMATCH)


def test_an_overlap_that_begins_alike_and_ends_otherwise_ends_the_connection() -> None:
    talk = Talk().open()
    assert talk.say(GOOD[:40]) == PASS
    assert talk.say(GOOD[30:39] + b"\xff" + GOOD[40:], at=30) == MISMATCH


def test_what_comes_early_is_dropped_and_comes_again() -> None:
    talk = Talk().open()
    assert talk.say(GOOD[20:], at=20) == DROP
    assert talk.say(GOOD[:20], at=0) == PASS
    assert talk.say(GOOD[20:], at=20) == READ


def test_what_comes_before_the_stream_is_dropped() -> None:
    """A keep-alive; and what begins before the first octet, which servers cut off."""
    talk = Talk().open()
    assert talk.say(b"\0", at=-1) == DROP
    assert talk.say(b"x" + GOOD, at=-1) == DROP
    assert talk.say(GOOD, at=0) == READ


def test_what_is_far_outside_of_the_window_is_dropped() -> None:
    talk = Talk().open()
    for at in (1 << 20, (1 << 31) - 1, -(1 << 31)):
        assert talk.say(GOOD, at=at) == DROP


@pytest.mark.parametrize("wraps_at", [0, 1, 5, len(GOOD) - 1, len(GOOD)])
def test_numbers_may_wrap_anywhere(wraps_at: int) -> None:
    first = (1 << 32) - wraps_at
    talk = Talk(box_first=first, server_first=(1 << 32) - 3).open()
    for at in range(0, len(GOOD), 7):
        talk.say(GOOD[at : at + 7])
    assert talk.state() is State.READ
    assert talk.say(GOOD[-9:], at=len(GOOD) - 9) == READ
    assert talk.say(b"\xff", at=len(GOOD) - 1) == MISMATCH
    talk = Talk(box_first=first, server_first=(1 << 32) - 3).open()
    talk.say(GOOD)
    assert talk.answer(SERVER_HELLO) == PROVEN


def test_more_than_is_kept_waits_until_the_server_has_answered() -> None:
    talk = Talk().open()
    talk.say(GOOD)
    early = b"\x17\x03\x03\x40\x00" + bytes(16384)
    while len(GOOD) < talk.said + len(early) <= MOST_READ:
        assert talk.say(early) == READ
    assert talk.say(early) == DROP
    assert talk.answer(SERVER_HELLO) == PROVEN


# Flags -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("extra", [ACK, FIN, RST, URG, FIN | RST], ids=str)
def test_an_opening_that_is_more_than_one_is_refused(extra: int) -> None:
    assert Talk().syn(flags=SYN | extra) == UNRECOGNISED


def test_data_on_an_opening_are_refused() -> None:
    talk = Talk()
    assert talk.syn(data=GOOD) == UNRECOGNISED
    assert talk.state() is State.REFUSED


@pytest.mark.parametrize("data", [b"", GOOD[:5], GOOD], ids=["none", "some", "all"])
def test_urgent_data_are_refused(data: bytes) -> None:
    """Some servers take the urgent octet out of the stream, and read another name."""
    assert Talk().open().say(data, flags=URG | PSH | ACK) == UNRECOGNISED
    talk = Talk().open()
    talk.say(GOOD)
    assert talk.say(data, flags=URG | ACK) == UNRECOGNISED


def test_what_follows_the_end_of_the_stream_is_refused() -> None:
    talk = Talk().open()
    assert talk.say(GOOD[:20], flags=FIN | ACK) == PASS
    assert talk.say(GOOD[20:]) == MISMATCH


def test_the_last_segment_may_come_again() -> None:
    talk = Talk().open()
    assert talk.say(GOOD, flags=FIN | ACK) == READ
    assert talk.say(GOOD, at=0, flags=FIN | ACK) == READ


def test_segments_without_data_pass() -> None:
    talk = Talk().open()
    for flags in (ACK, FIN | ACK, RST, RST | ACK):
        assert talk.say(b"", flags=flags) == PASS


# Openings ----------------------------------------------------------------------------------------


def test_data_before_the_server_has_opened_are_refused() -> None:
    talk = Talk()
    talk.syn()
    assert talk.say(GOOD) == UNRECOGNISED


def test_a_connection_whose_opening_was_not_seen_is_refused() -> None:
    assert Talk().say(GOOD) == UNRECOGNISED
    assert Talk().say(b"") == UNRECOGNISED


@pytest.mark.parametrize("flags", [SYN, ACK, RST | ACK], ids=["SYN", "ACK", "RST"])
def test_only_an_answer_to_an_opening_opens(flags: int) -> None:
    talk = Talk()
    talk.syn()
    assert talk.syn_ack(flags=flags) == PASS
    assert talk.state() is State.OPENING
    assert talk.say(GOOD) == UNRECOGNISED


def test_the_stream_begins_where_the_server_says() -> None:
    """Not at the last of several openings, which perhaps never arrived."""
    talk = Talk()
    talk.syn()
    talk.syn(at=499)
    talk.syn_ack(got=0)
    assert talk.say(GOOD, at=500) == DROP
    assert talk.say(GOOD, at=0) == READ


def test_an_opening_answered_again_changes_nothing() -> None:
    talk = Talk().open()
    talk.say(GOOD[:20])
    assert talk.syn_ack(got=20) == PASS
    assert talk.say(GOOD[20:]) == READ


@pytest.mark.parametrize("said", [b"", GOOD[:20], GOOD, EVIL], ids=["0", "some", "good", "evil"])
def test_an_opening_of_what_is_open_begins_anew(said: bytes) -> None:
    """The port is used again. What was read of the connection before counts for nothing."""
    talk = Talk().open()
    talk.say(said)
    assert talk.syn() == PASS
    assert talk.state() is State.OPENING
    assert talk.answer(SERVER_HELLO, got=len(GOOD)) == PASS
    assert talk.state() is State.OPENING
    talk.syn_ack()
    assert talk.say(EVIL, at=0) == EVIL_NAMED


# What is no TLS ----------------------------------------------------------------------------------


def test_what_carries_no_name_is_proven_by_its_acknowledgement() -> None:
    talk = Talk(port=22).open()
    assert talk.answer(b"SSH-2.0-server\r\n") == PASS
    assert talk.say(b"SSH-2.0-box\r\n") == READ
    assert talk.say(b"more") == READ
    assert talk.answer(got=5) == PASS
    assert talk.answer() == PROVEN


def test_what_carries_no_name_is_refused_where_the_web_is() -> None:
    assert Talk(port=443).open().say(b"SSH-2.0-box\r\n") == UNRECOGNISED


def test_clear_http_is_refused_where_it_is_not_relayed() -> None:
    for port in (80, 9999):
        assert Talk(port=port).open().say(b"GET / HTTP/1.1\r\n") == Refuse(Reason.CLEAR_HTTP_PORT)


def test_what_the_rules_let_through_without_a_name_is_theirs() -> None:
    """An address that came to be allowed meanwhile: the next segment does not come here."""
    assert Talk(lambda name: Passed(None)).open().say(GOOD) == PASS


# Time and size -----------------------------------------------------------------------------------


def test_a_name_has_to_be_complete_in_time() -> None:
    talk = Talk().open()
    talk.now = 100.0
    assert talk.say(GOOD[:20]) == PASS, "nothing was sent before"
    talk.now += PATIENCE
    assert talk.say(GOOD[20:30]) == PASS
    talk.now += 0.1
    assert talk.say(GOOD[30:]) == UNRECOGNISED


@pytest.mark.parametrize(
    ("port", "asks"),
    [
        (587, [b"EHLO box\r\n", b"STARTTLS\r\n"]),
        (2222, [b"STARTTLS\r\n"]),
        (5432, [b"\0\0\0\x08\x04\xd2\x16\x2f"]),
    ],
    ids=["mail", "STARTTLS at once", "PostgreSQL"],
)
def test_what_a_server_takes_to_answer_is_not_a_clients_time(port: int, asks: list[bytes]) -> None:
    talk = Talk(port=port).open()
    for ask in asks:
        assert talk.say(ask) == PASS
        talk.now += 10 * PATIENCE
        talk.answer(b"go on")
    assert talk.say(GOOD[:20]) == PASS
    talk.now += PATIENCE + 0.1
    assert talk.say(GOOD[20:]) == UNRECOGNISED, "what follows has to be complete in time"


def test_half_a_line_has_to_be_complete_in_time() -> None:
    talk = Talk(port=587).open()
    assert talk.say(b"EHLO box\r\nSTART") == PASS
    talk.now += PATIENCE + 0.1
    assert talk.say(b"TLS\r\n") == UNRECOGNISED


def test_what_is_touched_is_remembered() -> None:
    talk = Talk().open()
    talk.now = 3.0
    talk.say(b"")
    assert talk.flow.touched == 3.0
    talk.now = 4.0
    talk.answer()
    assert talk.flow.touched == 4.0


def test_a_name_has_to_be_complete_in_so_many_octets() -> None:
    talk = Talk().open()
    endless = records(hello(extension(21, bytes(LONGEST - 60))), 4000)
    assert talk.say(endless[:8000]) == PASS
    assert talk.say(endless[8000:LONGEST]) == UNRECOGNISED
