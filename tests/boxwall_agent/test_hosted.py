"""What becomes of a box when the control plane says something. Only ENFORCED lets anything pass."""

import pytest

from boxwall.policy import Address, AllowAll, Custom, DenyAll
from boxwall.policy.names import DomainPattern
from boxwall.wire.entries import Entry, Held, NotYours, PolicySet, Removed, Result, Unreadable
from boxwall_agent.hosted import NAMES_NOT_ENFORCED, Hosted, Standing, after, note_on, result_of
from boxwall_agent.ruleset import Interface

LINK = Interface(name="box1", index=1, addresses=(Address.parse("10.77.1.2"),))
NEW = Hosted(box_id="b1", interfaces=(LINK,))
NAMED = Custom(allowed_domains=(DomainPattern.parse("a.test"),))
SET = PolicySet(box_id="b1", uid="u1", revision=3, policy=AllowAll())
ENFORCED = after(NEW, SET, enforces_names=True)
GONE = ENFORCED.closed(Standing.GONE, "its interface is gone")


def test_a_new_box_waits_and_holds_nothing() -> None:
    assert NEW.standing is Standing.WAITING
    assert NEW.policy is None
    assert NEW.held == Held(box_id="b1")
    assert result_of(NEW) is None


@pytest.mark.parametrize("standing", Standing)
def test_a_policy_is_there_exactly_while_it_is_enforced(standing: Standing) -> None:
    policy = None if standing is Standing.ENFORCED else AllowAll()
    with pytest.raises(ValueError, match="exactly while it is ENFORCED"):
        Hosted(box_id="b1", interfaces=(LINK,), standing=standing, policy=policy)


@pytest.mark.parametrize(
    ("entry", "standing", "revision"),
    [
        (SET, Standing.ENFORCED, 3),
        (
            PolicySet(box_id="b1", uid="u2", revision=9, policy=DenyAll()),
            *(Standing.ENFORCED, 9),
        ),
        (Removed(box_id="b1", revision=9), Standing.UNKNOWN, 3),
        (NotYours(box_id="b1", message="n2 has it"), Standing.REFUSED, 3),
        (Unreadable(box_id="b1", uid="u1", revision=9, message="?"), Standing.FAILED, 9),
    ],
    ids=["the same", "another", "removed", "another node's", "unreadable"],
)
def test_what_the_control_plane_says_is_how_it_stands(
    entry: Entry, standing: Standing, revision: int
) -> None:
    found = after(ENFORCED, entry, enforces_names=True)
    assert (found.standing, found.revision) == (standing, revision)
    assert (found.policy is not None) == (standing is Standing.ENFORCED)
    assert found.interfaces == (LINK,)


@pytest.mark.parametrize(
    ("entry", "revision"),
    [
        (PolicySet(box_id="b1", uid="u2", revision=9, policy=AllowAll()), 9),
        (Unreadable(box_id="b1", uid="u2", revision=9, message="?"), 9),
        (Removed(box_id="b1", revision=9), 3),
        (NotYours(box_id="b1", message="n2 has it"), 3),
    ],
    ids=["a policy", "unreadable", "removed", "another node's"],
)
def test_nothing_opens_a_box_whose_interface_is_gone(entry: Entry, revision: int) -> None:
    found = after(GONE, entry, enforces_names=True)
    assert found.standing is Standing.GONE
    assert found.policy is None
    assert found.revision == revision


def test_what_is_held_is_told_when_a_stream_begins() -> None:
    assert ENFORCED.held == Held(box_id="b1", uid="u1", revision=3)
    assert GONE.held == Held(box_id="b1")


def test_names_that_are_not_enforced_are_told() -> None:
    entry = PolicySet(box_id="b1", uid="u1", revision=3, policy=NAMED)
    found = after(NEW, entry, enforces_names=False)
    assert found.message == NAMES_NOT_ENFORCED
    assert result_of(found) == Result(box_id="b1", revision=3, note=NAMES_NOT_ENFORCED)
    assert after(NEW, entry, enforces_names=True).message == ""
    assert [note_on(one) for one in (AllowAll(), DenyAll(), Custom())] == ["", "", ""]


@pytest.mark.parametrize(
    ("hosted", "result"),
    [
        (ENFORCED, None),
        (GONE, Result(box_id="b1", revision=3, failure="its interface is gone")),
        (
            ENFORCED.closed(Standing.FAILED, "no memory"),
            Result(box_id="b1", revision=3, failure="no memory"),
        ),
        (ENFORCED.closed(Standing.SHUT_OUT, "fenced"), None),
        (ENFORCED.closed(Standing.UNKNOWN, "no such box"), None),
        (NEW.closed(Standing.FAILED, "no memory"), None),
    ],
    ids=["enforced", "gone", "failed", "fenced", "unknown", "failed before anything was asked"],
)
def test_an_acknowledgement_says_what_is_not_in_force(
    hosted: Hosted, result: Result | None
) -> None:
    assert result_of(hosted) == result
