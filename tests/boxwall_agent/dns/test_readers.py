"""Any bytes have an answer."""

import struct

import dns.message
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from boxwall_agent.dns.answer import MOST_READ, shortened
from fakes.dns_messages import on_wire, query_for
from fuzz.dns_readers import ASKED, fuzz_one_answer, fuzz_one_query

_LABELS = st.lists(st.binary(min_size=1, max_size=63), max_size=6)
_NAMES = st.one_of(
    _LABELS.map(lambda labels: b"".join(bytes((len(one),)) + one for one in labels) + b"\0"),
    st.sampled_from(["aPi.eXample.CoM", "1.2.3.4", "x.127", "*.example.com", "-a.b", "a"]).map(
        on_wire
    ),
    st.sampled_from([b"\xc0\x0c", b"\x03a.b\0", b"\x03a\0b\x01c\0", b"\x40\0"]),
)
_TYPES = st.sampled_from([1, 5, 6, 15, 16, 28, 41, 64, 65, 251, 252, 255]) | st.integers(0, 65535)
_COUNTS = st.lists(st.sampled_from([0, 0, 1, 1, 2, 300, 65535]), min_size=4, max_size=4)


@st.composite
def _records(draw: st.DrawFn) -> bytes:
    name = draw(st.sampled_from([b"\xc0\x0c", on_wire("evil.test")]) | _NAMES)
    kind, ttl = draw(_TYPES), draw(st.sampled_from([0, 60, 2**31 - 1, 2**31, 2**32 - 1]))
    data = draw(_NAMES if kind == 5 else st.binary(max_size=24))
    size = draw(st.sampled_from([len(data), len(data), 4, 65535]))
    return (
        name + struct.pack(">HHIH", kind, draw(st.sampled_from([1, 1, 3, 255])), ttl, size) + data
    )


@st.composite
def _messages(draw: st.DrawFn, flags: st.SearchStrategy[int]) -> bytes:
    head = struct.pack(">HH", draw(st.integers(0, 65535)), draw(flags))
    counts = struct.pack(">HHHH", *draw(_COUNTS))
    question = draw(_NAMES) + struct.pack(">HH", draw(_TYPES), draw(st.sampled_from([1, 1, 3])))
    made = head + counts + question + b"".join(draw(st.lists(_records(), max_size=6)))
    return made[: draw(st.integers(0, len(made)) | st.just(len(made)))]


@given(st.binary(max_size=600) | _messages(st.sampled_from([0, 0x0100, 0x0110, 0x8000, 0x2800])))
@example(query_for("api.example.com"))
@example(query_for("api.example.com", edns=False))
def test_any_bytes_from_a_box_have_an_answer(data: bytes) -> None:
    fuzz_one_query(data)


@given(st.binary(max_size=600) | _messages(st.sampled_from([0x8180, 0x8183, 0x8182, 0x8580])))
def test_any_bytes_from_an_upstream_are_bounded(data: bytes) -> None:
    fuzz_one_answer(data)


@given(st.integers(0, 200), st.binary(min_size=1, max_size=2))
def test_a_query_cut_or_overwritten_anywhere_is_read_or_refused(at: int, other: bytes) -> None:
    good = query_for("api.example.com")
    fuzz_one_query(good[:at])
    fuzz_one_query(good[:at] + other + good[at + len(other) :])
    fuzz_one_query(good + other)


@pytest.mark.parametrize("number", [MOST_READ, MOST_READ + 1, 4000])
def test_a_long_message_is_read_up_to_a_bound(number: int) -> None:
    query = dns.message.make_query(ASKED, "A", use_edns=-1)
    record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4"
    records = b"".join(record + struct.pack(">I", 0x08000000 + one) for one in range(number))
    head = struct.pack(">HHHHHH", query.id, 0x8180, 1, number, 0, 0)
    data = head + query.to_wire()[12:] + records
    read = dns.message.from_wire(shortened(data))
    assert sum(map(len, read.answer)) == min(number, MOST_READ)
    fuzz_one_answer(data)


@pytest.mark.parametrize("size", [0, 11, 12, 20, 40])
def test_a_long_message_that_is_cut_short_stays_as_it_is(size: int) -> None:
    data = (struct.pack(">HHHHHH", 1, 0x8180, 1, 5000, 0, 0) + on_wire("a.b") + b"\0\1\0\1\xc0")[
        :size
    ]
    assert shortened(data) == data
