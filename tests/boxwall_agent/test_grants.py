"""No number is given that a connection may carry; a mark names a grant or none."""

import pytest

from boxwall_agent import grants
from boxwall_agent.grants import GrantPool, NoGrantsLeft
from boxwall_agent.marks import (
    LAST_GRANT,
    OPENED_INBOUND,
    POKE,
    READ,
    REFUSED,
    RELAYED,
    UNREAD,
    VERDICT_ACKNOWLEDGED,
    VERDICT_READ,
    grant_in,
)


@pytest.fixture(autouse=True)
def few_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of sixteen million, ten."""
    monkeypatch.setattr(grants, "LAST_GRANT", 10)


def test_numbers_are_not_given_twice() -> None:
    pool = GrantPool()
    assert [pool.take() for _ in range(10)] == list(range(1, 11))


def test_what_is_taken_at_the_start_is_passed_over() -> None:
    pool = GrantPool({1, 2, 4})
    assert [pool.take() for _ in range(3)] == [3, 5, 6]


def test_when_they_begin_anew_it_is_asked_which_are_taken_then() -> None:
    pool = GrantPool({1}, lambda: {3})
    assert [pool.take() for _ in range(12)] == [*range(2, 11), 1, 2, 4]


def test_when_all_are_taken_there_is_none() -> None:
    pool = GrantPool(range(11), lambda: range(11))
    with pytest.raises(NoGrantsLeft):
        pool.take()


@pytest.mark.parametrize(
    ("mark", "grant"),
    [
        (0, 0),
        (7, 7),
        (LAST_GRANT, LAST_GRANT),
        (UNREAD | 7, 7),
        (READ | 7, 7),
        (RELAYED, 0),
        (REFUSED, 0),
        (OPENED_INBOUND, 0),
        (OPENED_INBOUND | 7, 0),
        (VERDICT_READ | 7, 0),
        (VERDICT_ACKNOWLEDGED | 7, 0),
        (POKE, 0),
        (0x01000007, 0),
        (UNREAD | READ | 7, 0),
    ],
)
def test_a_mark_names_a_grant_only_in_classes_that_carry_one(mark: int, grant: int) -> None:
    assert grant_in(mark) == grant


def test_the_classes_of_marks_are_apart() -> None:
    classes = {UNREAD, READ, RELAYED, REFUSED, OPENED_INBOUND, VERDICT_READ, VERDICT_ACKNOWLEDGED}
    assert len(classes) == 7
    assert all(one & LAST_GRANT == 0 for one in classes)
    assert POKE >> 24 not in {one >> 24 for one in classes}
