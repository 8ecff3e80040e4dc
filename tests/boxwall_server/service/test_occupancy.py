"""How many may be in, in all and of each."""

import pytest

from boxwall_server.service.occupancy import Full, Occupancy


def test_one_caller_fills_its_own_room_and_not_that_of_others() -> None:
    inside = Occupancy(most=3, most_of_one=2)
    assert [inside.enter(who) for who in "aaab"] == [None, None, Full.CALLER, None]
    assert inside.enter("c") is Full.SERVER
    assert len(inside) == 3

    inside.leave("a")
    assert inside.enter("c") is None


def test_who_is_turned_away_is_not_remembered() -> None:
    inside = Occupancy(most=1, most_of_one=1)
    inside.enter("a")
    for number in range(100):
        assert inside.enter(f"stranger {number}") is Full.SERVER
    inside.leave("a")
    assert inside._inside == {}


def test_who_is_not_in_cannot_leave() -> None:
    with pytest.raises(KeyError):
        Occupancy(most=1, most_of_one=1).leave("a")
