"""The bypass suite in `make test`: nothing leaks, and every attempt could have.

Needs root. `make bypass` does the same and prints a table; see `__main__`.
"""

from collections.abc import Iterable, Iterator

import pytest
from attempts.everything import CATALOGUE
from forms import FORMS, NOBODY, Form
from world import Made, World

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def boxwall() -> Iterator[World]:
    """A world in which Boxwall polices."""
    with World() as world:
        yield world


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_nothing_leaks_past_a_policy(boxwall: World, form: Form) -> None:
    made = boxwall.run(form)

    assert by_kind(one for one in made if one.problem) == {}
    assert by_kind(one for one in made if one.is_lost) == {}, "controls must arrive"
    assert by_kind(one for one in made if one.is_leak and not one.is_known) == {}


def test_every_attempt_is_seen_where_nobody_polices() -> None:
    """Else one that is not seen behind a policy would mean nothing. What an open network does not
    carry says why, and a reason that is not true any more fails here too.
    """
    with World("nothing") as world:
        made = world.run(NOBODY)

    assert len(made) == len(CATALOGUE.attempts)
    assert by_kind(one for one in made if one.problem) == {}
    assert by_kind(it for it in made if not it.seen_by and not it.attempt.not_carried) == {}
    assert by_kind(it for it in made if it.seen_by and it.attempt.not_carried) == {}


def test_a_known_limit_is_one_where_the_kernel_cannot_tell_and_nowhere_else(
    boxwall: World,
) -> None:
    """What does not leak any more is to be struck off the list."""
    made = [one for form in FORMS for one in boxwall.run(form, "offload")]
    known = {one.title for one in CATALOGUE.attempts if one.known_limit}
    limits = known if boxwall.is_limited else set[str]()

    assert {one.attempt.title for one in made if one.is_known} == limits


def by_kind(made: Iterable[Made]) -> dict[str, list[str]]:
    """Say what is wrong, class by class."""
    found: dict[str, list[str]] = {}
    for one in made:
        found.setdefault(one.attempt.kind, []).append(str(one))
    return found
