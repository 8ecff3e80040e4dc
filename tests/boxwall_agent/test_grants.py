"""A number is not given twice while anybody holds it; a mark names a grant or none."""

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


def test_numbers_go_up_from_where_an_earlier_pool_ended() -> None:
    pool = GrantPool(5)
    assert [pool.take(), pool.take()] == [5, 6]
    assert pool.next_grant == 7


def test_after_the_last_they_begin_anew_and_pass_over_what_is_in_use() -> None:
    pool = GrantPool(LAST_GRANT, lambda: {1, 3})
    assert [pool.take() for _ in range(3)] == [LAST_GRANT, 2, 4]


def test_a_pool_that_continues_one_at_its_end_asks_what_is_in_use() -> None:
    assert GrantPool(LAST_GRANT + 1, lambda: {1}).take() == 2


def test_what_is_in_use_is_asked_again_each_time_the_numbers_begin_anew() -> None:
    held = {1}
    pool = GrantPool(LAST_GRANT, lambda: held)
    assert [pool.take(), pool.take()] == [LAST_GRANT, 2]
    held = {2}
    pool._next = LAST_GRANT + 1
    assert [pool.take(), pool.take()] == [1, 3]


def test_when_all_are_held_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grants, "LAST_GRANT", 3)
    pool = GrantPool(1, lambda: {1, 2, 3})
    assert [pool.take() for _ in range(3)] == [1, 2, 3]
    with pytest.raises(NoGrantsLeft, match="connections hold all of them"):
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
