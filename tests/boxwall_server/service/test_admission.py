"""How many streams may begin at once."""

import heapq

import pytest

from boxwall_server.service.admission import Admission


def test_up_to_the_burst_all_are_admitted_at_once() -> None:
    admission = Admission(rate=10, burst=3)
    assert [admission.ask(100.0) for _ in range(3)] == [0, 0, 0]


def test_each_one_turned_away_gets_a_time_of_its_own() -> None:
    admission = Admission(rate=10, burst=1)
    admission.ask(100.0)
    assert [admission.ask(100.0) for _ in range(3)] == pytest.approx([0.1, 0.2, 0.3])


def test_what_was_not_used_is_saved_up_to_the_burst() -> None:
    admission = Admission(rate=10, burst=3)
    for _ in range(3):
        admission.ask(100.0)
    assert [admission.ask(1_000.0) for _ in range(4)] == pytest.approx([0, 0, 0, 0.1])


def test_a_clock_that_begins_at_zero_is_no_gift() -> None:
    admission = Admission(rate=10, burst=1)
    assert admission.ask(0.0) == 0
    assert admission.ask(0.0) > 0


def test_of_five_thousand_at_once_all_are_admitted_soon_and_never_too_many_at_a_time() -> None:
    rate, burst, clients = 500.0, 1_000, 5_000
    admission = Admission(rate=rate, burst=burst)
    waiting = [(100.0, number) for number in range(clients)]
    admitted: list[float] = []
    asked = 0
    while waiting:
        now, number = heapq.heappop(waiting)
        asked += 1
        delay = admission.ask(now)
        if delay:
            heapq.heappush(waiting, (now + delay, number))
        else:
            admitted.append(now)
    assert len(admitted) == clients
    assert admitted[burst - 1] == 100.0, "the burst is used"
    assert admitted[-1] - 100.0 <= 2 * (clients - burst) / rate
    assert asked <= 4 * clients, "few are turned away more than once or twice"
    for first in range(0, clients - 1, 37):
        window = admitted[first : first + burst + 500]
        allowed = burst + rate * (window[-1] - window[0]) + 1
        assert len(window) <= allowed
