"""The window on history that watchers are served from."""

import pytest

from boxwall_server.changes.change import Change, ChangeKind
from boxwall_server.changes.log import ChangeLog, HistoryBroken
from boxwall_server.changes.revision import Revision
from fakes.changes import EPOCH, OTHER_EPOCH, change, cursor


def log_of(*boxes: str, capacity: int = 100, start: int = 0) -> ChangeLog:
    """A log with one change for each box named."""
    log = ChangeLog(cursor(start), capacity=capacity)
    for revision, box_id in enumerate(boxes, start=start + 1):
        log.append(EPOCH, [change(revision, box_id)])
    return log


def said(changes: list[Change] | None) -> list[tuple[str, int]] | None:
    return None if changes is None else [(c.box.id, c.revision) for c in changes]


def test_an_empty_log_ends_where_the_store_does() -> None:
    log = log_of(start=4)
    assert (log.head, log.floor) == (cursor(4), 4)
    assert said(log.since("t1", Revision(4))) == []
    assert log.since("t1", Revision(3)) is None


def test_what_is_new_comes_newest_version_only_in_order() -> None:
    log = log_of("b1", "b2", "b1", "b3")
    assert said(log.since("t1", Revision(0))) == [("b2", 2), ("b1", 3), ("b3", 4)]
    assert said(log.since("t1", Revision(2))) == [("b1", 3), ("b3", 4)]
    assert said(log.since("t1", Revision(4))) == []


def test_a_commit_of_several_changes_is_taken_whole() -> None:
    log = log_of()
    log.append(EPOCH, [change(1, "b1"), change(2, "b2")])
    assert log.head == cursor(2)
    assert said(log.since("t1", Revision(1))) == [("b2", 2)]


def test_an_empty_commit_changes_nothing() -> None:
    log = log_of("b1")
    log.append(EPOCH, [])
    assert log.head == cursor(1)


def test_changes_of_another_tenant_are_not_seen() -> None:
    log = log_of("b1")
    log.append(EPOCH, [change(2, "b1", tenant="t2")])
    assert said(log.since("t1", Revision(0))) == [("b1", 1)]
    assert said(log.since("t2", Revision(0))) == [("b1", 2)]


def test_nodes_do_not_see_what_they_do_not_enforce() -> None:
    log = log_of("b1")
    log.append(EPOCH, [change(2, "b1", ChangeKind.UPDATED), change(3, "b2", ChangeKind.DELETED)])
    assert said(log.since("t1", Revision(0), for_nodes=True)) == [("b1", 1), ("b2", 3)]
    assert said(log.since("t1", Revision(0))) == [("b1", 2), ("b2", 3)]


def test_the_log_is_bounded_and_says_what_it_has_forgotten() -> None:
    log = log_of(*["b1"] * 50, capacity=3)
    assert log.head == cursor(50)
    assert 3 <= 50 - log.floor <= 6
    assert said(log.since("t1", log.floor)) == [("b1", 50)]
    assert log.since("t1", Revision(log.floor - 1)) is None


@pytest.mark.parametrize(
    "broken",
    [[change(3)], [change(1)], [change(2), change(4)], [change(2), change(2)]],
    ids=["a gap", "a repeat", "a gap inside a commit", "a repeat inside a commit"],
)
def test_a_change_that_does_not_continue_the_log_is_refused_and_changes_nothing(
    broken: list[Change],
) -> None:
    log = log_of("b1")
    with pytest.raises(HistoryBroken):
        log.append(EPOCH, broken)
    assert log.head == cursor(1)
    assert said(log.since("t1", Revision(0))) == [("b1", 1)]


def test_another_history_is_refused() -> None:
    log = log_of("b1")
    with pytest.raises(HistoryBroken):
        log.append(OTHER_EPOCH, [change(2)])
    assert log.head == cursor(1)
