"""The state machine of streams that go on for ever, by script."""

from collections.abc import Callable

import pytest

from boxwall.sdk.resume import (
    FIRST_DELAY,
    LONGEST_DELAY,
    LONGEST_ORDER,
    SILENCE,
    Backoff,
    IllegalInput,
    Phase,
    Resuming,
)


def always(number: float) -> Callable[[], float]:
    return lambda: number


def opened(*, now: float = 0.0, random: float = 1.0, cursor: str = "") -> Resuming:
    stream = Resuming(now=now, random=always(random), cursor=cursor)
    stream.connect(now)
    return stream


def test_a_new_stream_connects_at_once_and_from_the_beginning() -> None:
    stream = Resuming(now=5.0, random=always(1.0))

    assert (stream.phase, stream.retry_at, stream.connect(5.0)) == (Phase.WAITING, 5.0, "")
    assert stream.phase is Phase.OPEN


def test_the_backoff_doubles_from_200_ms_to_10_s() -> None:
    backoff = Backoff(always(1.0))

    delays = [round(backoff.next_delay(), 3) for _ in range(8)]

    assert delays == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]


def test_the_jitter_is_full_down_to_nothing() -> None:
    backoff = Backoff(always(0.0))

    assert [backoff.next_delay() for _ in range(3)] == [0.0, 0.0, 0.0]


def test_thousands_of_failures_do_not_overflow() -> None:
    backoff = Backoff(always(1.0))

    for _ in range(3_000):
        delay = backoff.next_delay()

    assert delay == LONGEST_DELAY


def test_a_delay_that_the_server_asks_for_comes_before_the_jitter() -> None:
    stream = opened(now=100.0)

    stream.lost(100.0, retry_after=3.0)

    assert stream.retry_at == pytest.approx(103.0 + FIRST_DELAY)


def test_a_server_cannot_keep_a_client_away_for_ever() -> None:
    stream = opened()

    stream.lost(0.0, retry_after=1e9)

    assert stream.retry_at <= LONGEST_ORDER + LONGEST_DELAY


def test_a_reconnect_continues_after_the_last_cursor() -> None:
    stream = opened()
    stream.heard(1.0)
    stream.applied("c1")
    stream.heard(2.0)
    stream.applied("c2")
    stream.lost(3.0)

    assert stream.connect(stream.retry_at) == "c2"


def test_a_page_without_a_cursor_does_not_move_the_place_to_continue() -> None:
    stream = opened(cursor="c1")
    stream.heard(1.0)
    stream.applied("")

    assert stream.cursor == "c1"


def test_a_message_that_was_heard_and_not_applied_does_not_move_it_either() -> None:
    stream = opened(cursor="c1")
    stream.heard(1.0)
    stream.lost(2.0)

    assert stream.connect(3.0) == "c1"


def test_three_missed_bookmarks_make_a_stream_dead() -> None:
    stream = opened(now=100.0)
    assert stream.dead_at == 100.0 + SILENCE == 130.0

    stream.heard(125.0)

    assert stream.dead_at == 155.0


def test_a_stream_that_lasted_starts_over_with_the_shortest_delay() -> None:
    stream = opened()
    for _ in range(6):
        stream.lost(0.0)
        stream.connect(0.0)
    stream.heard(LONGEST_DELAY)
    stream.lost(LONGEST_DELAY)

    assert stream.retry_at == pytest.approx(LONGEST_DELAY + FIRST_DELAY)


def test_a_stream_that_is_accepted_and_dropped_again_and_again_slows_down() -> None:
    stream = Resuming(now=0.0, random=always(1.0))
    now, delays = 0.0, []
    for _ in range(4):
        stream.connect(now)
        stream.heard(now + 0.01)
        stream.lost(now + 0.01)
        delays.append(round(stream.retry_at - now - 0.01, 3))
        now = stream.retry_at

    assert delays == [0.2, 0.4, 0.8, 1.6]


def test_go_away_waits_as_long_as_the_server_says() -> None:
    stream = opened()
    stream.heard(50.0)
    stream.applied("c7")

    stream.go_away(50.0, 4.0)

    assert (stream.retry_at, stream.connect(54.0)) == (54.0, "c7")


def test_two_servers_that_send_a_client_to_each_other_do_not_make_it_fast() -> None:
    stream = Resuming(now=0.0, random=always(1.0))
    delays = []
    for _ in range(3):
        stream.connect(0.0)
        stream.go_away(0.0, 0.0)
        delays.append(stream.retry_at)

    assert delays == pytest.approx([0.2, 0.4, 0.8])


def test_a_cursor_that_the_server_cannot_read_is_forgotten() -> None:
    stream = opened(cursor="c1")
    stream.forget_cursor()
    stream.lost(0.0)

    assert stream.connect(1.0) == ""


@pytest.mark.parametrize(
    ("phase", "illegal"),
    [
        pytest.param(Phase.WAITING, lambda s: s.heard(0.0), id="heard while waiting"),
        pytest.param(Phase.WAITING, lambda s: s.applied("c"), id="applied while waiting"),
        pytest.param(Phase.WAITING, lambda s: s.lost(0.0), id="lost while waiting"),
        pytest.param(Phase.WAITING, lambda s: s.go_away(0.0, 1.0), id="sent away while waiting"),
        pytest.param(Phase.WAITING, lambda s: s.dead_at, id="dead while waiting"),
        pytest.param(Phase.OPEN, lambda s: s.connect(0.0), id="connect while open"),
        pytest.param(Phase.OPEN, lambda s: s.retry_at, id="retry while open"),
    ],
)
def test_an_input_that_the_phase_does_not_allow_changes_nothing(
    phase: Phase, illegal: Callable[[Resuming], object]
) -> None:
    stream = opened(cursor="c1")
    if phase is Phase.WAITING:
        stream.lost(0.0)

    with pytest.raises(IllegalInput):
        illegal(stream)

    assert (stream.phase, stream.cursor) == (phase, "c1")
