"""What holds for every connection, however its bytes are cut, mixed, lost and repeated."""

from random import Random

from hypothesis import example, given, settings
from hypothesis import strategies as st

from boxwall_agent.firstbytes.flow import Flow, MarkProven, Segment, State
from fakes.tcp_talk import LEASE, Talk, only_a_com
from fakes.tls_messages import CHANGE_CIPHER, EARLY_DATA, RETRY, real_hello, server_hello
from fuzz.first_bytes import (
    EVIL,
    FLAGS,
    GOOD,
    PORTS,
    STREAMS,
    Reply,
    Say,
    Step,
    fuzz_one_flow,
    fuzz_one_hello,
    fuzz_one_opening,
    fuzz_one_segment,
    play,
)

_CUTS = st.lists(st.integers(0, 4000), max_size=12)
_USUAL = FLAGS[0]


@st.composite
def _says(draw: st.DrawFn) -> Say:
    stream = draw(st.integers(0, len(STREAMS) - 1))
    longest = len(STREAMS[stream])
    at = draw(st.sampled_from([None, None, 0, len(GOOD)]) | st.integers(0, longest))
    size = draw(st.sampled_from([longest, longest, len(GOOD)]) | st.integers(0, longest))
    flags = draw(st.sampled_from([_USUAL] * len(FLAGS) + list(FLAGS)))
    return Say(stream, at, size, flags, draw(st.sampled_from([True, True, False])))


_STEPS: st.SearchStrategy[list[Step]] = st.lists(
    _says() | st.sampled_from(Reply), min_size=1, max_size=12
)


def whole(stream: int, *, at: int | None = None, arrives: bool = True) -> Say:
    """All of a stream, from there on."""
    return Say(stream, at, 9999, _USUAL, arrives)


@settings(max_examples=400)
@given(_STEPS, st.sampled_from(PORTS))
@example([whole(0, arrives=False), Reply.ACKNOWLEDGE, whole(1, at=0), Reply.GO_ON], 443)
@example([whole(0), Reply.ACKNOWLEDGE, Reply.ASK_AGAIN, whole(3), Reply.GO_ON], 443)
@example([whole(0), Reply.SOMETHING_ELSE, Reply.ASK_AGAIN, whole(3), Reply.GO_ON], 443)
@example([Say(0, 0, 20, _USUAL, True), whole(1, at=20), Reply.GO_ON], 443)
@example([whole(5), Reply.GO_ON], 443)
@example([whole(6), Reply.GO_ON], 5432)
def test_no_server_ever_has_a_wrong_name(steps: list[Step], port: int) -> None:
    play(steps, port)


def _parts(stream: bytes, cuts: list[int]) -> list[tuple[int, bytes]]:
    """The stream in segments: where each begins, and what it is."""
    places = sorted({0, *(cut % len(stream) for cut in cuts)})
    return [
        (at, stream[at:end]) for at, end in zip(places, [*places[1:], len(stream)], strict=True)
    ]


@given(_CUTS, st.sampled_from([GOOD, GOOD + CHANGE_CIPHER + EARLY_DATA, real_hello("a.com")]))
def test_a_good_name_in_order_is_proven(cuts: list[int], stream: bytes) -> None:
    talk = Talk().open()
    for _, part in _parts(stream, cuts):
        talk.say(part)
        talk.answer()
    assert talk.answer(server_hello()) == MarkProven(LEASE.grant)
    assert talk.stream == stream


@given(_CUTS, st.randoms(use_true_random=False), st.sampled_from([GOOD, real_hello("a.com")]))
def test_a_good_name_is_proven_whatever_is_lost_swapped_or_repeated(
    cuts: list[int], random: Random, stream: bytes
) -> None:
    """As long as the box sends again what was not acknowledged, which TCP does."""
    talk = Talk().open()
    parts = _parts(stream, cuts)
    for _ in range(len(parts) * 2):
        shuffled = list(parts)
        random.shuffle(shuffled)
        for at, part in shuffled:
            talk.say(part, at=at, arrives=random.random() < 0.5)
    for at, part in parts:
        talk.say(part, at=at)
    talk.answer(server_hello())
    assert talk.state() is State.PROVEN
    assert talk.stream == stream


@given(_CUTS, st.randoms(use_true_random=False), st.booleans())
def test_a_wrong_name_is_never_read_nor_proven(
    cuts: list[int], random: Random, retry: bool
) -> None:
    talk = Talk().open()
    prefix = b""
    if retry:
        talk.say(GOOD)
        talk.answer(RETRY + CHANGE_CIPHER)
        prefix = GOOD
    parts = _parts(EVIL, cuts)
    shuffled = parts * 3
    random.shuffle(shuffled)
    for at, part in (*shuffled, *parts):
        talk.say(part, at=len(prefix) + at)
        talk.answer(server_hello())
        assert talk.state() is not State.PROVEN
    assert talk.state() is State.REFUSED
    assert len(talk.stream) < len(prefix) + len(EVIL), "the server has all of it"


_NUMBERS = st.integers(0, 2**32 - 1) | st.sampled_from([0, 1, 1001, 2**31, 2**32 - 1])
_SEGMENTS = st.builds(
    Segment,
    _NUMBERS,
    _NUMBERS,
    st.integers(0, 255),
    st.binary(max_size=40) | st.sampled_from(STREAMS),
)


@given(st.lists(st.tuples(st.booleans(), _SEGMENTS), max_size=12), st.sampled_from(PORTS))
def test_no_segments_make_a_flow_fail(segments: list[tuple[bool, Segment]], port: int) -> None:
    flow = Flow(port, only_a_com, 0.0)
    for number, (is_of_box, segment) in enumerate(segments):
        (flow.from_box if is_of_box else flow.from_server)(segment, float(number))


_HELLOS = st.sampled_from([GOOD, EVIL, real_hello("a.com"), *STREAMS])


@st.composite
def _spoilt(draw: st.DrawFn) -> bytes:
    """A hello with some octets changed, and perhaps cut."""
    data = bytearray(draw(_HELLOS))
    for at, octet in draw(
        st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), max_size=3)
    ):
        data[at % len(data)] = octet
    return bytes(data[: draw(st.integers(0, len(data)) | st.just(len(data)))])


_BYTES = (
    st.binary(max_size=300) | _spoilt() | st.binary(max_size=80).map(lambda one: GOOD[:9] + one)
)


@given(_BYTES)
def test_any_bytes_are_a_hello_or_none(data: bytes) -> None:
    fuzz_one_hello(data)


@given(_BYTES | st.text(alphabet="GET /HTTP12.\r\n\tPROXYSTL:*", max_size=60).map(str.encode))
def test_any_bytes_are_an_opening(data: bytes) -> None:
    fuzz_one_opening(data)


@given(st.binary(max_size=120))
def test_any_bytes_are_a_packet_or_none(data: bytes) -> None:
    fuzz_one_segment(data)


@given(st.binary(max_size=120))
def test_any_script_keeps_the_law(data: bytes) -> None:
    fuzz_one_flow(data)
