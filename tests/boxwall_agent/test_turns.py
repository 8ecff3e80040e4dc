"""One with much to do does not hold back the others."""

from boxwall_agent.turns import Turns


def test_each_gets_its_turn() -> None:
    turns: Turns[str] = Turns(10)
    turns.add("b1", "xyz")
    turns.add("b2", "a")
    assert turns.take(3) == ["x", "a", "y"]
    assert turns.take(3) == ["z"]
    assert turns.take(3) == []


def test_what_is_added_later_comes_later() -> None:
    turns: Turns[int] = Turns(10)
    turns.add("b1", [1, 2])
    assert turns.take(1) == [1]
    turns.add("b1", [3])
    assert turns.take(5) == [2, 3]


def test_of_too_much_the_oldest_is_forgotten() -> None:
    turns: Turns[int] = Turns(2)
    turns.add("b1", range(5))
    assert turns.take(5) == [3, 4]


def test_nothing_has_no_turn() -> None:
    turns: Turns[int] = Turns(2)
    turns.add("b1", [])
    assert turns.take(1) == []
