"""The checker of histories: against named cases, and against trying every order."""

import math
from collections.abc import Iterator, Sequence
from itertools import permutations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guarantees.linearizable import (
    ABSENT,
    Lost,
    NotLinearizable,
    Operation,
    Saw,
    Wrote,
    check_linearizable,
)


def wrote(revision: int, begin: float, end: float, value: str | None = "") -> Wrote:
    """A write of a value of its own, unless another is given."""
    return Wrote(begin=begin, end=end, revision=revision, value=value_of(revision, value))


def saw(revision: int, begin: float, end: float, value: str | None = "") -> Saw:
    return Saw(begin=begin, end=end, revision=revision, value=value_of(revision, value))


def value_of(revision: int, value: str | None) -> bytes | None:
    return ABSENT if value is ABSENT else (value or f"v{revision}").encode()


def missed(begin: float, end: float) -> Saw:
    return saw(0, begin, end, ABSENT)


def lost(revision: int, begin: float) -> Lost:
    return Lost(begin=begin, value=f"v{revision}".encode())


GOOD: dict[str, list[Operation]] = {
    "nothing at all": [],
    "one after the other": [wrote(1, 0, 1), saw(1, 2, 3), wrote(4, 4, 5), saw(4, 6, 7)],
    "a read during a write sees what was before": [wrote(1, 0, 1), wrote(2, 2, 5), saw(1, 3, 4)],
    "a read during a write sees what comes": [wrote(1, 0, 1), wrote(2, 2, 5), saw(2, 3, 4)],
    "writes at once are ordered by revision": [wrote(2, 0, 9), wrote(1, 0, 9), saw(2, 9, 10)],
    "a lost write is never seen": [wrote(1, 0, 1), lost(2, 2), saw(1, 9, 10)],
    "a lost write is seen long after": [wrote(1, 0, 1), lost(2, 2), saw(1, 9, 10), saw(2, 11, 12)],
    "nothing before the first write": [missed(0, 1), wrote(1, 0, 3), saw(1, 2, 4)],
    "nothing after a deletion": [wrote(1, 0, 1), wrote(2, 2, 3, ABSENT), missed(4, 5)],
    "nothing between two lives": [
        wrote(1, 0, 1),
        wrote(2, 2, 9, ABSENT),
        missed(5, 6),
        wrote(3, 4, 9),
        saw(3, 7, 8),
    ],
}

BAD: dict[str, tuple[str, list[Operation]]] = {
    "a read of what was overwritten": ("precede", [wrote(1, 0, 1), wrote(2, 2, 3), saw(1, 4, 5)]),
    "a read of the future": ("precede", [saw(1, 0, 1), wrote(1, 2, 3)]),
    "two reads that go back": (
        "precede",
        [wrote(1, 0, 9), wrote(2, 0, 9), saw(2, 3, 4), saw(1, 5, 6)],
    ),
    "a later write with an earlier revision": ("precede", [wrote(2, 0, 1), wrote(1, 2, 3)]),
    "a lost write is seen, and then is not": (
        "precede",
        [wrote(1, 0, 1), lost(2, 2), saw(2, 3, 4), saw(1, 5, 6)],
    ),
    "a lost write is seen before it began": ("precede", [saw(2, 0, 1), lost(2, 2)]),
    "what nobody wrote": ("not written", [wrote(1, 0, 1), saw(2, 2, 3)]),
    "another value at a revision": ("not written", [wrote(1, 0, 1), saw(1, 2, 3, "other")]),
    "two writes of one revision": ("one revision", [wrote(1, 0, 1), wrote(1, 2, 3, "other")]),
    "no box though it was made": ("no box", [wrote(1, 0, 1), missed(2, 3)]),
    "no box though it was made anew": (
        "no box",
        [wrote(1, 0, 1), wrote(2, 2, 3, ABSENT), wrote(3, 4, 5), missed(6, 7)],
    ),
    "no box before the deletion began": (
        "no box",
        [wrote(1, 0, 1), missed(2, 3), wrote(2, 4, 5, ABSENT)],
    ),
    "a deleted box is seen": ("precede", [wrote(1, 0, 1), wrote(2, 2, 3, ABSENT), saw(1, 4, 5)]),
}


@pytest.mark.parametrize("operations", GOOD.values(), ids=GOOD)
def test_what_one_order_explains_passes(operations: list[Operation]) -> None:
    check_linearizable(operations)


@pytest.mark.parametrize(("why", "operations"), BAD.values(), ids=BAD)
def test_what_no_order_explains_is_refused(why: str, operations: list[Operation]) -> None:
    with pytest.raises(NotLinearizable, match=why):
        check_linearizable(operations)


_SPANS = st.tuples(st.integers(0, 12), st.integers(0, 4)).map(lambda span: (span[0], sum(span)))


@st.composite
def histories(draw: st.DrawFn) -> list[Operation]:
    """At most six operations on one box, most of them impossible."""
    found: list[Operation] = []
    for revision in range(1, draw(st.integers(1, 4))):
        begin, end = draw(_SPANS)
        deletes = draw(st.booleans())
        is_lost = not deletes and draw(st.booleans())
        known = wrote(revision, begin, end, ABSENT if deletes else "")
        found.append(lost(revision, begin) if is_lost else known)
    for revision in draw(st.lists(st.integers(0, 3), max_size=3)):
        begin, end = draw(_SPANS)
        found.append(saw(revision, begin, end) if revision else missed(begin, end))
    return found


@settings(max_examples=1_000)
@given(histories())
def test_the_verdict_is_that_of_trying_every_order(operations: list[Operation]) -> None:
    explained = any(map(explains, orders(operations)))
    try:
        check_linearizable(operations)
    except NotLinearizable:
        assert not explained, "an order explains it"
    else:
        assert explained, "no order explains it"


def orders(operations: Sequence[Operation]) -> Iterator[Sequence[Wrote | Saw]]:
    """Return every order, of all that is known with each choice of what was lost."""
    certain = [one for one in operations if not isinstance(one, Lost)]
    chances = [one for one in operations if isinstance(one, Lost)]
    for choice in product((False, True), repeat=len(chances)):
        taken = [
            Wrote(begin=one.begin, end=math.inf, revision=int(one.value[1:]), value=one.value)
            for one, is_taken in zip(chances, choice, strict=True)
            if is_taken
        ]
        yield from permutations([*certain, *taken])


def explains(order: Sequence[Wrote | Saw]) -> bool:
    """Whether an order agrees with time, and with what a box does."""
    revision, value, moment = 0, ABSENT, -math.inf
    for one in order:
        moment = max(moment, one.begin)
        if one.end < moment:
            return False
        if isinstance(one, Wrote):
            if one.revision <= revision:
                return False
            revision, value = one.revision, one.value
        elif one.value != value or one.revision != (0 if value is ABSENT else revision):
            return False
    return True
