"""A line now and then."""

from boxwall_server.service.seldom import Seldom


def test_the_first_of_each_kind_is_worth_a_line_and_then_one_a_second() -> None:
    seldom = Seldom(pause=1.0)
    heard = [seldom.note(kind, at) for kind, at in (("a", 0), ("a", 0.5), ("b", 0.5), ("a", 0.9))]
    assert heard == [0, None, 0, None]
    assert seldom.note("a", 1.0) == 2
    assert seldom.note("a", 2.5) == 0
