"""Answers are remembered as long as they hold, and by box."""

from boxwall_agent.dns.cache import Cache, Key
from boxwall_agent.dns.question import TXT, A
from fakes.dns_messages import address_record, answer_with, on_wire

ANSWER = answer_with(address_record("a.test", "1.1.1.1", ttl=60))


def key(name: str, kind: int = A) -> Key:
    return on_wire(name), kind


def test_an_answer_is_found_until_it_no_longer_holds() -> None:
    cache = Cache()
    cache.keep("box", key("a.test"), ANSWER, 100.0)
    assert cache.find("box", key("a.test"), 159.9) is not None
    assert cache.find("box", key("a.test"), 160.0) is None
    assert len(cache) == 0


def test_another_type_or_box_is_another_question() -> None:
    cache = Cache()
    cache.keep("box", key("a.test"), ANSWER, 0.0)
    assert cache.find("box", key("a.test", TXT), 1.0) is None
    assert cache.find("other", key("a.test"), 1.0) is None


def test_what_holds_for_no_time_is_not_kept() -> None:
    cache = Cache()
    cache.keep("box", key("a.test"), answer_with(), 0.0)
    assert len(cache) == 0


def test_what_was_not_asked_for_the_longest_makes_room() -> None:
    cache = Cache(of_a_box=2)
    cache.keep("box", key("a.test"), ANSWER, 0.0)
    cache.keep("box", key("b.test"), ANSWER, 0.0)
    cache.find("box", key("a.test"), 1.0)
    cache.keep("box", key("c.test"), ANSWER, 1.0)
    assert cache.find("box", key("b.test"), 2.0) is None
    assert cache.find("box", key("a.test"), 2.0) is not None
    assert cache.find("box", key("c.test"), 2.0) is not None


def test_a_box_pushes_out_nobody_elses() -> None:
    cache = Cache(of_a_box=2)
    cache.keep("quiet", key("a.test"), ANSWER, 0.0)
    for n in range(100):
        cache.keep("loud", key(f"n{n}.test"), ANSWER, 0.0)
    assert cache.find("quiet", key("a.test"), 1.0) is not None
    assert len(cache) == 3


def test_large_answers_make_room_sooner() -> None:
    cache = Cache(octets_of_a_box=100_000)
    large = answer_with(*(address_record("a.test", f"1.1.1.{n}") for n in range(100)))
    for n in range(10):
        cache.keep("box", key(f"n{n}.test"), large, 0.0)
    assert 0 < len(cache) < 4
    assert cache.find("box", key("n9.test"), 1.0) is not None


def test_what_is_larger_than_all_room_is_not_kept() -> None:
    cache = Cache(octets_of_a_box=10)
    assert cache.keep("box", key("a.test"), ANSWER, 0.0).answer is ANSWER
    assert len(cache) == 0


def test_an_answer_that_comes_anew_takes_no_more_room() -> None:
    cache = Cache(octets_of_a_box=1_000)
    for n in range(100):
        cache.keep("box", key("a.test"), ANSWER, float(n))
    assert cache.find("box", key("a.test"), 100.0) is not None


def test_a_box_that_is_gone_leaves_nothing() -> None:
    cache = Cache()
    cache.keep("box", key("a.test"), ANSWER, 0.0)
    cache.forget("box")
    assert len(cache) == 0
