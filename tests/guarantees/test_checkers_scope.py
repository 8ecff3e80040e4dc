"""Checkers of a stream whose boxes come and go."""

import pytest

from guarantees.cases import (
    bookmark,
    changes,
    cursor,
    history,
    observed,
    reset,
)
from guarantees.checkers import Checkers
from guarantees.heard import Heard, Said
from guarantees.history import GuaranteeBroken


def test_a_box_that_is_attached_again_may_be_answered_with_what_it_was_sent_before() -> None:
    checkers = observed(reset(6, b1=b"six"), scope=["b1"])
    checkers.attach(["b1"])
    checkers.take_heard(changes(6, b1=b"six"))
    with pytest.raises(GuaranteeBroken, match="Unique"):
        checkers.take_heard(changes(6, b1=b"six"))


def test_a_box_that_was_attached_is_in_scope_once_it_was_answered() -> None:
    checkers = observed(reset(3, b1=b"three"), scope=["b1"])
    checkers.attach(["b2"])
    checkers.take_heard(bookmark(4))
    checkers.take_heard(changes(4, b2=b"two"))
    with pytest.raises(GuaranteeBroken, match="Bookmarked"):
        checkers.take_heard(bookmark(5))


def test_a_box_that_was_detached_is_none_of_the_streams_business() -> None:
    checkers = observed(reset(4, b1=b"three", b2=b"two"), scope=["b1", "b2"])
    checkers.detach(["b2"])
    checkers.take_heard(changes(6, b1=b"six"))
    checkers.settle(1.0)


def test_a_box_that_was_refused_is_not_in_scope() -> None:
    checkers = Checkers(history(), now=0.0, scope=["b1", "b2"])
    said = (Said("b1", b"three"), Said("b2", None, refused=True))
    checkers.take_heard(Heard(time=0, kind="reset", cursor=cursor(4), said=said, last=True))
    checkers.take_heard(changes(6, b1=b"six"))
    checkers.settle(1.0)
