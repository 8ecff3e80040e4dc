"""What is a query, and what is said to what is none."""

import struct

import dns.flags
import dns.message
import pytest

from boxwall_agent.dns.question import (
    BADVERS,
    FORMERR,
    NOTIMP,
    REFUSED,
    Malformed,
    Question,
    read_query,
)
from boxwall_agent.dns.replies import reply_to_malformed
from fakes.dns_messages import on_wire, query_for

NAME = on_wire("api.example.com")
OPT = b"\0\0\x29\x04\xd0\0\0\0\0\0\0"


def made(
    name: bytes = NAME,
    *,
    counts: tuple[int, int, int, int] = (1, 0, 0, 0),
    flags: int = 0x0100,
    kind: int = 1,
    of_class: int = 1,
    after: bytes = b"",
) -> bytes:
    head = struct.pack(">HHHHHH", 7, flags, *counts)
    return head + name + struct.pack(">HH", kind, of_class) + after


def asked(data: bytes) -> Question:
    question = read_query(data)
    assert isinstance(question, Question)
    return question


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(b"", None, id="nothing"),
        pytest.param(made()[:11], None, id="a header cut short"),
        pytest.param(made(flags=0x8100), None, id="an answer"),
        pytest.param(made(flags=0x2800), NOTIMP, id="an update"),
        pytest.param(made(flags=0x1000), NOTIMP, id="a status query"),
        pytest.param(made(flags=0x0300), FORMERR, id="truncated, it says"),
        pytest.param(made(counts=(0, 0, 0, 0)), FORMERR, id="no question"),
        pytest.param(
            made(counts=(2, 0, 0, 0), after=NAME + b"\0\1\0\1"), FORMERR, id="two questions"
        ),
        pytest.param(made(counts=(1, 1, 0, 0)), FORMERR, id="an answer in a query"),
        pytest.param(made(counts=(1, 0, 1, 0)), FORMERR, id="an authority in a query"),
        pytest.param(made(counts=(1, 0, 0, 2), after=OPT * 2), FORMERR, id="two OPTs"),
        pytest.param(made(counts=(1, 0, 0, 1)), FORMERR, id="an OPT that is missing"),
        pytest.param(
            made(counts=(1, 0, 0, 1), after=OPT[:-2] + b"\0\4"), FORMERR, id="an OPT cut short"
        ),
        pytest.param(
            made(counts=(1, 0, 0, 1), after=b"\1a" + OPT), FORMERR, id="an OPT with a name"
        ),
        pytest.param(
            made(counts=(1, 0, 0, 1), after=OPT[:2] + b"\x01" + OPT[3:]), FORMERR, id="an A beside"
        ),
        pytest.param(made(counts=(1, 0, 0, 1), after=OPT + b"x"), FORMERR, id="more after the OPT"),
        pytest.param(made(after=b"x"), FORMERR, id="more after the question"),
        pytest.param(made()[:-1], FORMERR, id="a class cut short"),
        pytest.param(made(b"\xc0\x0c"), FORMERR, id="a pointer to itself"),
        pytest.param(made(b"\x03api\xc0\x0c"), FORMERR, id="a pointer behind a label"),
        pytest.param(made(b"\x41" + b"a" * 65 + b"\0"), FORMERR, id="an unknown kind of label"),
        pytest.param(made(b"\x3fa"), FORMERR, id="a label past the end"),
        pytest.param(made(b"\x01a" * 127 + b"\x01a\0"), FORMERR, id="a name of 257 octets"),
        pytest.param(
            made(counts=(1, 0, 0, 1), after=OPT[:6] + b"\1" + OPT[7:]), BADVERS, id="EDNS 1"
        ),
        pytest.param(made(of_class=3), REFUSED, id="class CHAOS"),
        pytest.param(made(of_class=255), REFUSED, id="any class"),
    ],
)
def test_what_is_no_query_is_refused_or_not_heard(data: bytes, code: int | None) -> None:
    bad = read_query(data)
    assert isinstance(bad, Malformed)
    assert bad.code == code
    said = reply_to_malformed(bad)
    if said is None:
        assert code is None
        return
    read = dns.message.from_wire(said)
    assert (read.id, int(read.rcode())) == (7, code)
    assert read.opcode() == (data[2] >> 3 & 15)
    assert bool(read.flags & dns.flags.RD) is bool(data[2] & 1)


def test_a_query_of_another_library_is_read() -> None:
    question = asked(query_for("API.example.com", "AAAA", payload=4096))
    assert (question.text, question.type, question.payload) == ("api.example.com", 28, 4096)
    assert str(question.name) == "api.example.com"
    assert question.recursion
    assert question.raw.startswith(on_wire("API.example.com"))


def test_the_longest_name_is_read() -> None:
    longest = b"\x01a" * 127 + b"\0"
    assert len(longest) == 255
    assert asked(made(longest)).text == ".".join("a" * 127)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param(b"\0", ".", id="the root"),
        pytest.param(on_wire("localhost"), "localhost", id="a single label"),
        pytest.param(b"\x0bapi.example\x03com\0", "api\\046example.com", id="a dot in a label"),
        pytest.param(b"\x04api\0\x07example\x03com\0", "api\\000.example.com", id="a NUL"),
        pytest.param(b"\x03a b\x03com\0", "a\\032b.com", id="white space"),
        pytest.param(b"\x02\xc3\xa9\x03com\0", "\\195\\169.com", id="not ASCII"),
        pytest.param(on_wire("*.example.com"), "*.example.com", id="a wildcard"),
        pytest.param(on_wire("1.2.3.4"), "1.2.3.4", id="an address"),
        pytest.param(on_wire("-a.example.com"), "-a.example.com", id="a leading hyphen"),
    ],
)
def test_a_name_that_no_policy_could_allow_is_none(name: bytes, text: str) -> None:
    question = asked(made(name))
    assert question.name is None
    assert question.text == text


def test_a_payload_is_never_below_512() -> None:
    small = made(counts=(1, 0, 0, 1), after=OPT[:3] + b"\0\1" + OPT[5:])
    assert asked(small).payload == 512


def test_flags_are_said_back() -> None:
    query = dns.message.make_query("a.example.com", "A", want_dnssec=True)
    query.flags |= dns.flags.CD
    question = asked(query.to_wire())
    assert question.dnssec_ok
    assert question.checking_off
